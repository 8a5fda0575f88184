"""The measuring part of `flyball profiles sweep`: steps of load at one replica, one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from flyball.calibrate.sweep import Span, Step, Taken, climb, is_full, missed, other_lengths, taken
from flyball.client.closed_loop import ClosedLoop
from flyball.client.engine import EngineClient
from flyball.client.errors import CallError
from flyball.report.sentences import duration
from flyball.spec.service_class import Target
from flyball.units import Seconds
from flyball.wire.engine import EngineMetrics
from flyball.wire.errors import WireError

TICK: Seconds = 0.1
READ_METRICS: Seconds = 1.0
"""So often, while it measures."""
PROBE_TOKENS = 8
FOREIGN = 0.2
"""Requests of others, on average, that are worth a word."""
LATE = 0.25
"""Of the time between tokens: beyond it, how late this machine wakes is put down to the engine."""
SHORT = 0.95
"""Share of the tokens asked for, below which answers ended by themselves."""
WORDS = (
    *("time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school"),
    *("state", "family", "student", "group", "country", "problem", "hand", "part", "place", "case", "week"),
    *(
        "company",
        "system",
        "program",
        "question",
        "work",
        "number",
        "night",
        "point",
        "home",
        "water",
        "room",
    ),
    *("mother", "area", "money", "story", "fact", "month", "lot", "right", "study", "book", "eye", "job"),
    *("word", "business", "issue", "side", "kind", "head", "house", "service", "friend", "father", "power"),
    *("hour", "game", "line", "end", "member", "law", "car"),
)
"""A token each, in nearly every vocabulary."""


class Course(msgspec.Struct, frozen=True):
    """What is to be measured, and when it stops."""

    in_tokens: int
    out_tokens: int
    loads: tuple[int, ...]
    """Empty: doubling."""
    room: int
    """KV tokens as reckoned; 0: not known."""
    span: Span
    targets: tuple[Target, ...]

    def steps(self) -> list[Step]:
        """The loads, by rising load."""
        return climb(self.loads, self.in_tokens, self.out_tokens, self.room)

    def others(self, load: int) -> list[Step]:
        """The other lengths."""
        return other_lengths(load, self.in_tokens, self.out_tokens, self.room)


@dataclass
class Log:
    """What was measured so far; it stands when the sweep ends early."""

    taken: list[Taken] = field(default_factory=list)
    full: list[Taken] = field(default_factory=list)
    """Steps at which requests waited for a place: no measurements of an iteration."""
    notes: list[str] = field(default_factory=list)
    kv_tokens: int = 0
    """As the engine says; 0: it does not."""
    model: str = ""
    """The name under which it is served."""
    version: str = ""
    under_way: Callable[[], Taken | None] = lambda: None

    def note(self, text: str) -> None:
        """Once."""
        if text not in self.notes:
            self.notes.append(text)


Tell = Callable[[Step, str, bool], None]
"""Hears of a step what there is to say of it so far, and whether it is done."""


async def measure(
    engine: EngineClient, served: Callable[[list[str]], str], course: Course, log: Log, tell: Tell
) -> None:
    """Walk the replica through the loads, then other lengths. CallError, WireError.

    What was measured is in `log`, also where it ends by an error or is cancelled.
    """
    async with engine:
        names = await engine.models()
        model = log.model = served(names)
        before = await engine.metrics()
        course = _known(course, before, log)
        log.version = await engine.version()
        # Another sweep must not find this one's prompts in the prefix cache: no seed is set.
        prompts = np.random.default_rng()
        asked = course.in_tokens
        probe = await engine.probe(model, _prompt(prompts, asked), PROBE_TOKENS, names)
        words = asked / probe.in_tokens  # for a token
        sweep = _Sweep(engine, model, prompts, words, course, log, tell, before is not None)
        good = await sweep.climbed()
        for step in course.others(good) if good else ():
            try:
                log.taken.append(await sweep.step(step))
            except CallError as error:
                if error.status is None or error.status >= 500:
                    raise
                log.note(f"{step.in_tokens:,} input tokens were not measured: {error}")


def _known(course: Course, before: EngineMetrics | None, log: Log) -> Course:
    """With what the metrics say of the replica."""
    if before is None:
        log.note("It has no metrics of vLLM's: whether others use it, and its KV cache, are not known")
        return course
    if before.running + before.waiting > 0:
        log.note(f"Others use it: {before.running + before.waiting:.0f} requests were there before")
    if before.engines > 1:
        log.note(f"{before.engines} engines share the load behind this address: the profile is of them all")
    log.kv_tokens = before.kv_tokens
    return msgspec.structs.replace(course, room=before.kv_tokens or course.room)


def _prompt(chance: np.random.Generator, words: float) -> str:
    """Words at random: no two prompts begin alike."""
    return " ".join(WORDS[i] for i in chance.integers(len(WORDS), size=max(round(words), 1)))


@dataclass
class _Sweep:
    engine: EngineClient
    model: str
    prompts: np.random.Generator
    words: float
    course: Course
    log: Log
    tell: Tell
    watched: bool
    """Whether it has metrics."""

    async def climbed(self) -> int:
        """The largest load within the targets; 0: none was."""
        good, last = 0, None
        steps = self.course.steps()
        for step in steps:
            if not step.fits(self.course.room):
                self.log.note(f"It stopped before {step.load} in flight: {self.course.room:,} KV tokens")
                break
            try:
                found = await self.step(step)
            except CallError as error:
                if error.status is None or error.status >= 500 or not good:
                    raise
                self.log.note(f"It stopped before {step.load} in flight: {error}")
                break
            if is_full(found, last):
                self.log.full.append(found)
                self.log.note(f"At {step.load} in flight the batch is full: requests wait, so it is left out")
                break
            self.log.taken.append(found)
            target = missed(found, self.course.targets)
            if target is not None:
                limit = f"{target.metric} {target.statistic}<{duration(target.limit)}"
                self.log.note(f"It stopped at {step.load} in flight, where {limit} is missed")
                break
            good, last = step.load, found
        return good or (1 if self.log.taken else 0)

    async def step(self, step: Step) -> Taken:
        """Measure one step."""
        self.tell(step, "warming up", False)
        out, words = step.out_tokens, step.in_tokens * self.words
        waiting: list[float] = []
        running: list[float] = []
        loop = ClosedLoop(self.engine, self.model, step.load, out, lambda: _prompt(self.prompts, words))
        async with loop:
            while not loop.warm:
                await loop.pause(TICK)
            begun, read = time.monotonic(), 0.0
            late: list[Seconds] = []

            def so_far() -> Taken | None:
                return taken(step, loop.seen(), begun, time.monotonic(), waiting, running)

            self.log.under_way = so_far
            while True:
                awaited = time.monotonic() + TICK
                await loop.pause(TICK)
                now = time.monotonic()
                late.append(now - awaited)
                if now - read >= READ_METRICS:
                    read = now
                    shown = await self.engine.metrics() if self.watched else None
                    if shown is not None:
                        waiting.append(shown.waiting)
                        running.append(shown.running)
                    self.tell(step, said(so_far()), False)
                if self.course.span.over(now - begun, loop.begun_since(begun)):
                    break
            made = so_far()
        self.log.under_way = lambda: None
        if made is None:
            raise CallError(None, "too few answers began", url=self.engine.url, mend="Measure for longer")
        self.tell(step, said(made), True)
        self._remark(made, max(sum(late) / len(late), 0.0))
        return made

    def _remark(self, made: Taken, late: Seconds) -> None:
        load = made.step.load
        if made.foreign > FOREIGN:
            self.log.note(f"At {load} in flight others had {made.foreign:.1f} requests there: it holds these")
        if late > LATE * float(made.itl.mean()):
            self.log.note(
                f"At {load} in flight this machine was {duration(late)} late in receiving, on average: the "
                "engine may be faster than measured"
            )
        if made.out_tokens < SHORT * made.step.out_tokens:
            self.log.note(
                f"Answers ended after {made.out_tokens:.0f} of {made.step.out_tokens} tokens: it does not "
                "know ignore_eos"
            )


def said(found: Taken | None) -> str:
    """What was measured at a step, in short."""
    if found is None:
        return "measuring"
    p95 = float(np.quantile(found.itl, 0.95))
    return (
        f"ttft {duration(float(found.ttft.mean()))}, itl {duration(float(found.itl.mean()))} "
        f"(p95 {duration(p95)}), {found.throughput:,.0f} tokens/s"
    )


def served_model(wanted: str | None, ids: Sequence[str], where: str, same: Callable[[str], bool]) -> str:
    """The name that an engine serves a model under; `same`: whether a name is of it. Or WireError."""
    listed = ", ".join(ids[:8]) + (", ..." if len(ids) > 8 else "")
    if not ids:
        raise WireError(where, "it serves no model", mend="Load one")
    if wanted is None:
        if len(ids) == 1:
            return ids[0]
        raise WireError("--model", f"{where} serves {len(ids)}: {listed}", mend="Say which")
    tests: tuple[Callable[[str], bool], ...] = (
        lambda one: one == wanted,
        lambda one: one.casefold() == wanted.casefold(),
        lambda one: one.rpartition("/")[2].casefold() == wanted.rpartition("/")[2].casefold(),
        same,
    )
    for test in tests:
        found = [one for one in ids if test(one)]
        if found:
            return found[0]
    mend = "Correct it, or say with --served-model under which name it is served"
    raise WireError("--model", f"{where} serves {listed}", value=wanted, mend=mend)
