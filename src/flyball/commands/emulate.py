"""`flyball emulate`: the loads of managed servers, moved from cycle to cycle and put back in the end."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import numpy as np

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.disturbance import Disturbance
from flyball.adapters.kubernetes.errors import ClusterError
from flyball.adapters.kubernetes.labels import SELECTOR
from flyball.adapters.kubernetes.load import Change, Emulator, Outcome
from flyball.commands.output import put, say
from flyball.spec.phase import Phase
from flyball.units import Seconds
from flyball.wire.errors import WireError
from flyball.wire.phases import read_phases
from flyball.wire.quantities import parse_count, parse_duration, parse_share

DONE, WRONG, PARTLY, FAILED = 0, 2, 3, 5


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """The options, as text where they are read here."""

    interval: str = "60"
    alpha: str = "0.5"
    theta: str = "1"
    skew: str | None = None
    phases: Path | None = None
    seed: int | None = None
    count: int | None = None
    leave: bool = False
    """Do not put back in the end."""
    restore: bool = False
    namespace: str = ""
    kubeconfig: Path | None = None
    context: str | None = None


class _Settings(msgspec.Struct, frozen=True):
    interval: Seconds
    by: Disturbance
    phases: tuple[Phase, ...]
    seed: int | None


def run(request: Request) -> int:
    """Emulate until the end; the exit code."""
    try:
        settings = _read(request)
    except WireError as error:
        say(f"flyball: {error}")
        return WRONG
    ended = threading.Event()
    try:
        with closing(Api(request.kubeconfig, request.context)) as api, _ends(ended):
            rng = np.random.default_rng(settings.seed)
            emulator = Emulator(api, settings.by, rng, request.namespace, settings.phases, ended=ended.is_set)
            if request.restore:
                return _put_back(emulator, pods=True)
            return _emulate(emulator, settings, request, ended)
    except ClusterError as error:
        say(f"flyball: {error}")
        return FAILED


def _emulate(emulator: Emulator, settings: _Settings, request: Request, ended: threading.Event) -> int:
    began, number, code = time.monotonic(), 0, DONE
    while True:
        try:
            outcome = emulator.cycle(time.monotonic() - began)
        except ClusterError as error:
            if not number:  # a later one may pass: the loop that this is for goes on too
                say(f"flyball: {error}")
                code = FAILED
                break
            say(f"flyball: {error}. It is tried again in {settings.interval:g} s")
        else:
            number += 1
            if outcome.changes or outcome.notes or not ended.is_set():  # one that is cut short saw nobody
                _show(number, outcome)
        last = request.count is not None and number >= request.count
        if (last and request.leave) or ended.wait(settings.interval) or last:
            break
    if not emulator.writes or (request.leave and not ended.is_set()):
        return code
    return _put_back(emulator, pods=settings.by.skew is not None) or code


def _put_back(emulator: Emulator, pods: bool) -> int:
    outcome = emulator.restore(pods)
    for note in outcome.notes:
        say(f"flyball: not put back: {note}")
    if outcome.changes or not outcome.notes:
        many = len(outcome.changes)
        put(f"put back: the labels of {many} object{'s' if many != 1 else ''}\n", machine=False)
    if outcome.notes:
        say("flyball: flyball emulate --restore tries it again")
        return PARTLY
    return DONE


def _show(number: int, outcome: Outcome) -> None:
    """A line for the cycle and one for each object, aligned."""
    for note in outcome.notes:
        say(f"flyball: left alone: {note}")
    if not outcome.changes and not outcome.notes:
        say(f"flyball: no Deployment or StatefulSet has the label {SELECTOR} and load labels")
    times = f", {outcome.multiplier:.3g} times the nominal rate" if outcome.multiplier != 1.0 else ""
    many = sum(change.kind != "Pod" for change in outcome.changes)
    head = f"{time.strftime('%H:%M:%S')} cycle {number}: {many} server{'s' if many != 1 else ''}{times}"
    put("\n".join([head, *_lines(outcome.changes)]) + "\n", machine=False)


def _lines(changes: Sequence[Change]) -> Iterator[str]:
    names = [("  " if one.kind == "Pod" else "") + f"{one.namespace}/{one.name}" for one in changes]
    width = max(map(len, names), default=0)
    for name, change in zip(names, changes, strict=True):
        figures = (
            f"{label} {_figure(text)} ({_figure(change.before[label])})"
            for label, text in change.labels.items()
        )
        yield f"  {name:<{width}}  {'  '.join(figures)}"


def _figure(text: str) -> str:
    return f"{float(text):.1f}" if "." in text else text


def _read(request: Request) -> _Settings:
    """What the text means. Or WireError."""
    if request.count is not None:
        parse_count(request.count, "--count", low=1)
    if request.seed is not None:
        parse_count(request.seed, "--seed")
    by = Disturbance(
        alpha=parse_share(request.alpha, "alpha (INFERNO_LOAD_ALPHA)"),
        theta=parse_share(request.theta, "--theta (INFERNO_LOAD_THETA)"),
        skew=None if request.skew is None else parse_share(request.skew, "--skew (INFERNO_LOAD_SKEW)"),
    )
    phases: tuple[Phase, ...] = ()
    if request.phases is not None:
        where = f"--phases (INFERNO_LOAD_PHASES) {request.phases}"
        try:
            phases = read_phases(request.phases.read_bytes(), where)
        except OSError as error:
            raise WireError(where, f"cannot be read ({error.strerror})", mend="Name another file") from None
    return _Settings(_interval(request.interval), by, phases, request.seed)


def _interval(given: str) -> Seconds:
    where = "interval (INFERNO_LOAD_INTERVAL)"
    text = given.strip()
    bare = text.replace(".", "", 1).isdecimal()
    return parse_duration(f"{text}s" if bare else text, where, positive=True)


@contextmanager
def _ends(ended: threading.Event) -> Iterator[None]:
    """Ctrl-C and SIGTERM end it in good order; the second one ends it at once."""
    numbers = (signal.SIGINT, signal.SIGTERM)

    def end(number: int, frame: object) -> None:
        ended.set()
        for each in numbers:
            signal.signal(each, signal.default_int_handler)

    before = [signal.signal(number, end) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
