"""`flyball profiles sweep`: a profile measured on a running replica, step by step."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from flyball.calibrate.sweep import Span, Step, foretold
from flyball.client.engine import EngineClient
from flyball.client.errors import CallError
from flyball.client.tuner import TunerClient
from flyball.commands.output import STANDARD_OUTPUT, put, say
from flyball.commands.profiles_asked import (
    DONE,
    WRONG,
    printed,
    tokens_of,
    told,
)
from flyball.commands.profiles_fit import (
    Fitted,
    Subject,
    check_files,
    subject_of,
)
from flyball.commands.profiles_sweep_result import UNREACHED, entry_names, give
from flyball.commands.profiles_sweep_run import Course, Log, Tell, measure, served_model
from flyball.report import profile_sweep
from flyball.spec.service_class import Target
from flyball.units import Seconds
from flyball.wire import quantities
from flyball.wire.errors import WireError

if TYPE_CHECKING:
    from rich.console import Console

INTERRUPTED = 130
MOST_STEPS = 64
MOST_IN_FLIGHT = 4096
MOST_TOKENS = 1_000_000


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """Which replica is measured, how, and where the result goes."""

    url: str
    about: Fitted
    served_model: str | None = None
    in_tokens: str = "1000"
    out_tokens: str = "300"
    loads: str | None = None
    each: str = "20s"
    max_itl: str = "200ms"
    max_ttft: str = "10s"
    api_key_file: Path | None = None
    ca: Path | None = None
    timeout: Seconds = 60.0
    csv: Path | None = None
    tuner: str | None = None
    dry_run: bool = False
    plot: bool = False
    report: Path | None = None
    format: str = "yaml"
    output: Path | None = None


class Ended(NamedTuple):
    """How the measuring ended."""

    code: int
    problem: str = ""


def sweep_replica(sweep: Sweep) -> int:
    """Measure as asked, fit, and show what came of it; returns the exit code."""
    ended = Ended(DONE)

    def work() -> None:
        nonlocal ended
        ended = _sweep(sweep)

    return told(work) or ended.code


def _sweep(sweep: Sweep) -> Ended:
    course = _course(sweep)
    check_files(sweep.csv, sweep.report, sweep.output)
    _check_places(sweep)
    subject = subject_of(sweep.about)
    course = msgspec.structs.replace(course, room=subject.kv_tokens)
    planned = _planned(subject, course)
    total = sum(seconds for _, _, seconds in planned)
    if sweep.dry_run:
        put(
            printed(None, lambda console: _print_plan(console, subject, course, planned, total)),
            machine=False,
        )
        return Ended(DONE)
    try:
        engine = EngineClient(sweep.url, token_file=sweep.api_key_file, ca=sweep.ca, timeout=sweep.timeout)
    except ValueError as error:
        raise WireError("sweep", str(error).rstrip(".")) from None
    tuner = None if sweep.tuner is None else _tuner(sweep.tuner)
    if sweep.csv is None and sweep.output is None:
        say("Nothing is kept: --csv FILE keeps the measurements, --output FILE the profile.")
    foretelling = (
        f"Up to {len(planned)} steps at {engine.url}, about {profile_sweep.span(total)} as far as it is "
        "known; Ctrl-C ends it with what was measured."
    )
    log = Log()
    ended = _measured(sweep, engine, course, len(planned), foretelling, log)
    if ended.problem:
        say(f"flyball: {ended.problem}")
    if not log.taken:
        if ended.code in (DONE, INTERRUPTED):
            say("flyball: nothing was measured.")
        return ended if ended.code else Ended(UNREACHED)
    if sweep.about.model is None:  # now it is known
        sweep = msgspec.structs.replace(sweep, about=msgspec.structs.replace(sweep.about, model=log.model))
        subject = subject_of(sweep.about)
    told_it = give(sweep, subject, log, tuner)
    return ended if ended.code else Ended(told_it)


# ---- what is asked for -------------------------------------------------------------------------


def _course(sweep: Sweep) -> Course:
    """What to measure. Or WireError."""
    sizes = tokens_of(sweep.in_tokens, sweep.out_tokens)
    for option, value, least in zip(("--in", "--out"), sizes, (1, 2), strict=True):
        if not least <= value <= MOST_TOKENS:
            problem = f"allowed are {least} to {MOST_TOKENS:,} tokens"
            raise WireError(option, problem, value=value, mend="Such as 1000")
    loads: tuple[int, ...] = ()
    if sweep.loads is not None:
        names = sweep.loads.split(",")
        if len(names) > MOST_STEPS:
            raise WireError("--loads", f"has {len(names)}", mend=f"Give up to {MOST_STEPS}")
        counts = (
            quantities.parse_count(name.strip(), "--loads", low=1, high=MOST_IN_FLIGHT) for name in names
        )
        loads = tuple(sorted(set(counts)))
    targets = tuple(
        _target(text, option)
        for text, option in ((sweep.max_itl, "--max-itl"), (sweep.max_ttft, "--max-ttft"))
    )
    return Course(round(sizes[0]), round(sizes[1]), loads, 0, _span(sweep.each), targets)


def _target(text: str, option: str) -> Target:
    return quantities.parse_target(text, "itl" if option == "--max-itl" else "ttft", option)


def _span(text: str) -> Span:
    """`20s`, or a number of requests."""
    if text.strip().isdecimal():
        return Span(requests=quantities.parse_count(text, "--each", low=4, high=1_000_000))
    return Span(seconds=quantities.parse_duration(text, "--each", positive=True))


def _check_places(sweep: Sweep) -> None:
    """Refuse before it measures what could not be written afterwards."""
    for option, path in (("--csv", sweep.csv), ("--report", sweep.report), ("--output", sweep.output)):
        if path is None or path == STANDARD_OUTPUT:
            continue
        if path.is_dir() or not path.absolute().parent.is_dir():
            problem = "is a directory" if path.is_dir() else "is in a directory that is not there"
            raise WireError(option, problem, value=str(path), mend="Name another file")
    if sweep.csv == STANDARD_OUTPUT and sweep.output == STANDARD_OUTPUT:
        raise WireError("--csv", "is standard output, and so is --output", mend="Name a file for one of them")
    if sweep.format == "csv":
        entry_names(sweep.about)


def _tuner(address: str) -> TunerClient:
    try:
        return TunerClient(address if "://" in address else f"http://{address}")
    except ValueError as error:
        raise WireError("--tuner", str(error).rstrip(".")) from None


def _planned(subject: Subject, course: Course) -> list[tuple[Step, float, float]]:
    """Steps as far as is believed: with their time between tokens, and how long they take."""
    limit = min((t.limit for t in course.targets if t.metric == "itl"), default=float("inf"))
    found: list[tuple[Step, float, float]] = []
    good = 0
    for step in course.steps():
        if not step.fits(course.room):
            break
        found.append((step, *foretold(subject.before, step, course.span)))
        if found[-1][1] > limit:
            break
        good = step.load
    others = course.others(good or 1)
    return found + [(step, *foretold(subject.before, step, course.span)) for step in others]


# ---- measuring ---------------------------------------------------------------------------------


def _measured(
    sweep: Sweep, engine: EngineClient, course: Course, steps: int, foretelling: str, log: Log
) -> Ended:
    """Measure, whatever comes; what was measured is in `log`."""

    def served(ids: list[str]) -> str:
        named = sweep.served_model or sweep.about.model
        return served_model(named, ids, engine.url, lambda one: _same_model(one, sweep.about.model))

    async def all_of_it() -> None:
        say(foretelling)  # from here on Ctrl-C is heard where it can be dealt with
        with _shown(steps) as tell:
            await measure(engine, served, course, log, tell)

    try:
        asyncio.run(all_of_it())
    except KeyboardInterrupt:
        partly = log.under_way()
        if partly is not None:
            log.taken.append(partly)
            log.note(f"The step of {partly.step.load} in flight was cut short")
        return Ended(INTERRUPTED, f"interrupted; {len(log.taken)} steps were measured")
    except CallError as error:
        refused = error.status is not None and 400 <= error.status < 500
        return Ended(WRONG if refused else UNREACHED, str(error))
    return Ended(DONE)


def _same_model(name: str, wanted: str | None) -> bool:
    """Whether the library takes both names for one model."""
    from flyball.profiles.library import find_model

    try:
        return wanted is not None and find_model(name).name == find_model(wanted).name
    except WireError:
        return False


@contextmanager
def _shown(steps: int) -> Iterator[Tell]:
    """A bar on a terminal, else a line for each step; both on standard error."""
    done = 0

    def words(step: Step, text: str) -> str:
        return f"{step.load} in flight, {step.in_tokens} in, {step.out_tokens} out: {text}"

    if sys.stderr is None or not sys.stderr.isatty():

        def line(step: Step, text: str, over: bool) -> None:
            nonlocal done
            if over:
                done += 1
                say(f"step {done}: {words(step, text)}")

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("asking which models there are", total=steps)

        def bar(step: Step, text: str, over: bool) -> None:
            nonlocal done
            done += over
            progress.update(task, completed=done, total=max(steps, done), description=words(step, text))

        yield bar


def _print_plan(
    console: Console,
    subject: Subject,
    course: Course,
    planned: list[tuple[Step, float, float]],
    total: Seconds,
) -> None:
    console.print(f"{subject.model} on {subject.accelerator.name}. Prior: {subject.before.source}.")
    for line in subject.notes:
        console.print(f"Note: {line}.", soft_wrap=True)
    console.print(profile_sweep.planned_table(planned))
    stops = " or ".join(f"{t.metric} {quantities.format_target(t)}" for t in course.targets)
    console.print(
        f"{len(planned)} steps, about {profile_sweep.span(total)} as far as it is known. It stops climbing "
        f"where {stops} is missed, or the batch is full; the last two steps have other lengths.",
        soft_wrap=True,
    )
