"""The runner: one cycle after the other, whatever its parts do.

A source, sensor, actuator or recorder that fails, hangs or lies costs what it would have given, never the
loop: without a scrape nothing is known, and what is not known changes nothing.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.structs import replace

from flyball.laws.law import Asking, Law
from flyball.loop.parts import Part, PartError
from flyball.loop.ports import Actuator, Advisor, Algorithms, Clock, FleetSource, PowerSensor, Sensor
from flyball.loop.record import Cycle, Recorder
from flyball.spec.decision import Decision, Order
from flyball.spec.fleet import Fleet
from flyball.spec.power import Answer, PowerSeen, aged
from flyball.spec.snapshot import Scrape, Snapshot
from flyball.units import Seconds

LIMIT = 10.0


class Runner:
    """Runs a law against the ports. `cycle` may be called from any thread, one at a time."""

    def __init__(
        self,
        law: Law[Any],
        source: FleetSource,
        sensor: Sensor,
        actuator: Actuator,
        clock: Clock,
        recorder: Recorder | None = None,
        *,
        advisor: Advisor | None = None,
        power: PowerSensor | None = None,
        algorithms: Algorithms | None = None,
        limit: Seconds | None = LIMIT,
        pace: float = 1.0,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`limit`: seconds that a part may take, None: as long as it likes; `pace`: seconds of the world in
        one of ours; `wall`: the time of records.
        """
        self.law = law
        self.memory: Any = None
        self.pace = pace
        self._source, self._sensor, self._actuator, self._clock = source, sensor, actuator, clock
        self._recorder, self._advisor, self._wall = recorder, advisor, wall
        self._power, self._algorithms = power, algorithms
        self._looked: PowerSeen | None = None
        self._fleet: Fleet | None = None
        self._time: Seconds = 0.0
        self._gap = False
        self._parts = {
            name: Part[Any](name, limit)
            for name in ("fleet", "sensor", "clock", "power", "advisor", "actuator", "ledger")
        }
        self._wake = threading.Event()
        self._turn = threading.Lock()
        self.last: tuple[int, Cycle] | None = None

    def cycle(self) -> Cycle | None:
        """Observe, decide, act, record, once; None where not even the fleet was ever readable."""
        with self._turn:
            return self._cycle()

    def _cycle(self) -> Cycle | None:
        errors: list[str] = []
        self._fleet = self._part(
            "fleet", lambda: _read_again(self._source.fleet(), Fleet), self._fleet, errors
        )
        if self._fleet is None:
            return None
        seen = self._part("sensor", lambda: _read_again(self._sensor.observe(), Scrape), None, errors)
        if seen is None or not math.isfinite(seen.time):
            self._time = self._part("clock", self._clock.now, self._time, errors)
            seen = Scrape(self._time, notes=tuple(errors))
        gone, self._time = seen.time - self._time, seen.time
        snapshot = Snapshot(
            self._fleet, seen, self._advised(self._fleet, seen, errors), self._looks(seen, gone, errors)
        )
        snapshot = self._answered(snapshot, errors)
        before, decision, refused = self.memory, None, ()
        began = time.perf_counter()
        try:
            decision, self.memory = self.law(snapshot, before)
        except Exception as error:
            errors.append(f"law {self.law.name}: {type(error).__name__}: {error}")
        took = time.perf_counter() - began
        if decision is not None:
            refused = self._part("actuator", lambda: self._act(decision), (), errors)
        made = Cycle(
            self._wall(),
            self.law.name,
            msgspec.msgpack.encode(self.law) if isinstance(self.law, msgspec.Struct) else b"",
            snapshot,
            decision,
            refused,
            tuple(errors),
            took,
        )
        number = 0
        if self._recorder is not None:
            recorder = self._recorder
            gap = self._gap
            number = self._part("ledger", lambda: recorder.record(made, before, gap), 0, errors)
            self._gap = not number
            made = replace(made, errors=tuple(errors))
        self.last = number, made
        return made

    def _advised(self, fleet: Fleet, seen: Scrape, errors: list[str]) -> tuple[Order, ...] | None:
        if self._advisor is None:
            return None
        advisor = self._advisor
        said: tuple[Order, ...] | None = self._part(
            "advisor", lambda: tuple(advisor.advise(fleet, seen)), None, errors
        )
        return said

    def _looks(self, seen: Scrape, gone: Seconds, errors: list[str]) -> PowerSeen | None:
        """What is seen of power. Where nothing is, budgets and policies still hold, and readings grow old."""
        if self._power is None:
            return None
        power, before = self._power, self._looked
        otherwise = None if before is None else aged(before, gone)
        looked: PowerSeen | None = self._part(
            "power", lambda: _read_again(power.look(seen), PowerSeen), otherwise, errors
        )
        self._looked = looked
        return looked

    def _answered(self, snapshot: Snapshot, errors: list[str]) -> Snapshot:
        """With what the algorithms of power policies say, where they have anything to decide."""
        algorithms = self._algorithms
        if snapshot.power is None or algorithms is None or not isinstance(self.law, Asking):
            return snapshot
        answers: dict[str, Answer] = {}
        try:
            for key, (policy, view) in self.law.asks(snapshot, self.memory).items():
                answer = algorithms.ask(policy.algorithm, policy.parameters, view)
                answers[key] = _read_again(answer, Answer)
        except Exception as error:
            errors.append(f"algorithms: {type(error).__name__}: {error}")
        return replace(snapshot, power=replace(snapshot.power, answers=answers))

    def _act(self, decision: Decision) -> tuple[str, ...]:
        return tuple(self._actuator.act([order for step in decision.steps for order in step.orders]))

    def _part(self, name: str, call: Callable[[], Any], otherwise: Any, errors: list[str]) -> Any:
        try:
            return self._parts[name].call(call)
        except PartError as error:
            errors.append(str(error))
            return otherwise

    def trigger(self) -> None:
        """Run a cycle now, without waiting for the period."""
        self._wake.set()

    def run(self, stop: threading.Event) -> None:
        """Cycle every period until stopped; `trigger` ends a wait. Period 0: on demand."""
        due = time.monotonic()
        while not stop.is_set():
            period = self.law.period / self.pace
            wait = None if period <= 0 else max(0.0, due - time.monotonic())
            if self._wake.wait(wait):
                self._wake.clear()
                if stop.is_set():
                    return
            self.cycle()
            now = time.monotonic()
            due = max(due + period, now) if period > 0 else now


def _read_again(value: Any, kind: type[Any]) -> Any:
    """A value as the ledger will give it back: a whole number is a float then. TypeError: of another kind."""
    if not isinstance(value, kind):
        raise TypeError(f"gave {type(value).__name__} where {kind.__name__} is expected")
    return msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=kind)
