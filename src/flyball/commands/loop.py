"""`flyball loop`: the control loop on a cluster, with its page and /invoke."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from flyball.commands.loop_parts import Parts, Request, parts_of
from flyball.commands.loop_power import check_power
from flyball.commands.loop_scaler import check_scaler, start_scaler
from flyball.commands.output import say
from flyball.units import Seconds
from flyball.wire.errors import WireError

if TYPE_CHECKING:
    from flyball.loop.record import Cycle
    from flyball.server.page.live import Live
    from flyball.server.service.run import Options

DONE, WRONG, UNREACHABLE = 0, 2, 5
TAKE_OVER: Seconds = 0.2
"""Between looks at the lease while another process leads."""


def run(request: Request) -> int:
    """Govern until told to end; returns the exit code."""
    return guarded(lambda stack: _run(request, stack))


def guarded(begin: Callable[[ExitStack], int]) -> int:
    """Run what governs a cluster; returns its exit code, and says what it could not have."""
    from flyball.adapters.kubernetes.errors import ClusterError
    from flyball.adapters.ledger import LedgerError

    try:
        with ExitStack() as stack:
            return begin(stack)
    except ClusterError as error:
        say(f"flyball: {error}")
        return UNREACHABLE
    except (WireError, LedgerError, ValueError) as error:
        say(f"flyball: {error}")
        return WRONG


def check(request: Request) -> None:
    """Whether the loop that is asked for can be. ValueError."""
    if not 0 <= request.period <= 86_400:
        raise ValueError(
            f"the period is {request.period:g}: seconds between cycles, up to 86400; 0: on demand only"
        )
    if not 0 < request.speed <= 3600:
        raise ValueError(f"--speed is {request.speed:g}: seconds of a sandbox's engines in one of ours")
    check_scaler(request)
    check_power(request)


def _run(request: Request, stack: ExitStack) -> int:
    from flyball.server.controller import controller
    from flyball.server.service.run import Options, Serving, warning_of

    check(request)
    options = Options(**request.listen)
    parts = parts_of(request, stack)
    live, loop = loop_of(request, parts, stack)
    hosts = hosts_of(options)
    serving = Serving(controller(live, loop.invoke, loop.unready, str(request.ledger or ""), hosts), options)
    if parts.recommender is not None:
        serving.telemetry.registry.register(parts.recommender.gauges.registry)
    start_scaler(request, parts, stack)
    print(f"The loop governs {parts.address}; its page is {serving.url} (Ctrl-C ends it)", flush=True)
    if warning := warning_of(options):
        say(f"flyball: warning: {warning}")
    if request.prometheus is None and request.collector is None:
        say("flyball: no --prometheus: servers are governed by the load that their labels state")
    start(live, loop, loop.run, stack)
    serving.run()
    return DONE


def loop_of(request: Request, parts: Parts, stack: ExitStack) -> tuple[Live, Loop]:
    """The loop of some parts, and what its page shows. LedgerError."""
    from flyball.adapters.ledger import Ledger
    from flyball.loop.runner import Runner
    from flyball.server.page.board import Board
    from flyball.server.page.live import Live

    ledger = None
    if request.ledger is not None:
        request.ledger.parent.mkdir(parents=True, exist_ok=True)
        ledger = stack.enter_context(closing(Ledger(request.ledger, version_of("flyball"))))
    reader, hands = parts.reader, parts.hands
    assert hands is not None
    runner = Runner(
        parts.law,
        parts.source or reader,
        reader,
        hands,
        reader,
        ledger,
        advisor=parts.advisor,
        power=parts.power.sensor if parts.power else None,
        algorithms=parts.power.algorithms if parts.power else None,
        pace=request.speed,
    )
    live = Live(runner, Board(), None, "cluster")
    return live, Loop(live, parts, CycleLog(request.cycle_log) if request.cycle_log else None)


def hosts_of(options: Options) -> set[str] | None:
    """Names under which pages are served; None: any."""
    return {"127.0.0.1", "localhost", "::1", options.host} if options.local else None


def start(live: Live, loop: Loop, run: Callable[[], None], stack: ExitStack) -> None:
    """Run a loop in a thread of its own, until the stack ends."""
    thread = threading.Thread(target=run, name="flyball-loop", daemon=True)

    def end() -> None:
        live.close()
        loop.end()
        thread.join(15.0)

    thread.start()
    stack.callback(end)


class CycleLog:
    """A file to which each cycle adds a line."""

    def __init__(self, path: Path) -> None:
        self._path, self._failed = path, False

    def add(self, number: int, cycle: Cycle) -> None:
        """Add one; where it cannot be written, that is said once."""
        from flyball.report.cycle_line import cycle_line

        try:
            with self._path.open("ab") as file:
                file.write(cycle_line(number, cycle))
            self._failed = False
        except OSError as error:
            if not self._failed:
                say(f"flyball: {self._path}: the log of cycles cannot be written ({error.strerror})")
            self._failed = True


class Loop:
    """Cycles while this process leads; the memory goes from one leader to the next."""

    def __init__(self, live: Live, parts: Parts, log: CycleLog | None = None) -> None:
        self._live, self._lease, self._checkpoint = live, parts.lease, parts.checkpoint
        self._law, self._recommender, self._log = parts.law, parts.recommender, log
        self._stop = threading.Event()
        self._led: int | None = None
        self._turn = threading.Lock()
        self._cycles = 0
        self._told = ""

    @property
    def _term(self) -> int | None:
        """Which time of leading it is; None: another process leads."""
        return 0 if self._lease is None else self._lease.term

    def run(self) -> None:
        """Until `end`."""
        due = time.monotonic()
        period = self._law.period / self._live.runner.pace
        while not self._stop.is_set():
            self._tell()
            if self._term is None:
                if self._recommender is not None:
                    self._recommender.gauges.clear()
                self._stop.wait(TAKE_OVER)
                continue
            new = self._led != self._term
            if (new and period > 0) or (period > 0 and time.monotonic() >= due):
                try:
                    self.cycle()
                except Exception as error:  # whatever it is: a thread that ends would govern no more
                    say(f"flyball: a cycle failed: {type(error).__name__}: {error}")
                now = time.monotonic()
                due = now + period if new else max(due + period, now)
            rest = due - time.monotonic() if period > 0 else 1.0
            self._stop.wait(min(max(rest, 0.0), 1.0))

    def _tell(self) -> None:
        """Say, once, who leads, or why that is not known."""
        lease = self._lease
        if lease is None:
            return
        if lease.holds():
            who, why = "this process leads", ""
        elif lease.problem:
            who, why = "nothing is decided here: the lease cannot be had or kept", lease.problem
        elif lease.holder and lease.holder != lease.identity:
            who, why = f"nothing is decided here: {lease.holder} leads", ""
        else:
            return
        if who != self._told:
            self._told = who
            text = f"{who}: {why}" if why else who
            say(f"flyball: {text}")
            if self._live.board.last is not None:  # which gives it its time
                self._live.fail(text)

    def cycle(self) -> Cycle | None:
        """One cycle, if this process leads."""
        with self._turn:
            term = self._term
            if term is None:
                return None
            if term != self._led:
                if not self._take_over():
                    return None
                self._led = term
            made = self._live.cycle()
            self._keep(now=False)
            self._cycles += 1
            if self._log is not None and made is not None:
                self._log.add(self._cycles, made)
            for text in (*made.errors, *made.refused) if made else ():
                say(f"cycle {self._cycles}: {text}")
            return made

    def _take_over(self) -> bool:
        """Go on with the memory of who led before; whether that is settled."""
        from flyball.adapters.kubernetes.errors import ClusterError
        from flyball.decide.memory import Memory

        if self._checkpoint is None:
            return True
        try:
            data, said = self._checkpoint.read()
        except ClusterError as error:
            say(f"flyball: the memory kept in the cluster cannot be read yet, so it waits: {error}")
            return False
        if said:
            say(f"flyball: {said}")
        if data is None:
            return True
        try:
            self._live.runner.memory = msgspec.msgpack.decode(data, type=Memory)
        except msgspec.MsgspecError as error:
            say(f"flyball: the memory in the cluster is of another version, so it begins afresh: {error}")
        return True

    def _keep(self, now: bool) -> None:
        memory = self._live.runner.memory
        if self._checkpoint is None or memory is None:
            return
        if said := self._checkpoint.keep(lambda: msgspec.msgpack.encode(memory), now=now):
            say(f"flyball: {said}")

    def invoke(self) -> str:
        """A cycle on demand: what went wrong, or ""."""
        if self._lease is not None and self._lease.term is None:
            return f"this process does not lead; {self._lease.holder or 'nobody yet'} does"
        made = self.cycle()
        if made is None:
            return "the cluster could not be read"
        return "; ".join(made.errors)

    def unready(self) -> str:
        """Why it cannot serve; "": it can."""
        return ""

    def end(self) -> None:
        """Stop, and keep what was learned."""
        self._stop.set()
        with self._turn:
            self._keep(now=True)
