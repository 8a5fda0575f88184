"""The stage of a simulated fleet: its time, at a speed, and what is made to happen in it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from flyball.server.page.live import Scenery
from flyball.spec.scenario import Event
from flyball.units import Seconds

SPEEDS = (0.0, 1.0, 10.0, 60.0, 300.0)
PAUSE: Seconds = 0.002
"""Between two steps, in which others get at the world."""
WHATS = ("load", "lose_node", "return_node", "capacity", "lose_replica", "slow")


class World(Protocol):
    """A plant that can be run on."""

    def now(self) -> Seconds:
        """Its time."""
        ...

    def run(self, until: Seconds) -> None:
        """Let its time go on."""
        ...

    def happen(self, event: Event) -> str:
        """Let an event happen now; says what it did."""
        ...

    @property
    def happened(self) -> int:
        """How many entries the log ever had: it keeps the last ones only."""
        ...

    @property
    def log(self) -> Sequence[tuple[Seconds, str]]:
        """What happened, oldest first: of the scenario itself and from outside."""
        ...


class SimulatedStage:
    """Runs a world period by period, a cycle after each. `play` is for a thread of its own."""

    def __init__(
        self,
        world: World,
        scenery: Callable[[], Scenery],
        period: Seconds,
        speed: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`scenery` is asked while the world stands still."""
        self.world, self.period = world, period
        self._scenery, self._clock = scenery, clock
        self._turn = threading.Lock()
        self._changed = threading.Condition()
        self._speed = speed
        self._told = 0

    @property
    def speed(self) -> float:
        """Simulated seconds in a second; 0: paused."""
        return self._speed

    @speed.setter
    def speed(self, value: float) -> None:
        if not 0.0 <= value <= 3600.0:
            raise ValueError(f"the speed is {value:g}; it must be between 0 (paused) and 3600")
        with self._changed:
            self._speed = value
            self._changed.notify_all()

    def happen(self, what: str, name: str, value: float) -> str:
        """Let an event happen now."""
        if what not in WHATS:
            raise ValueError(f"'{what}' cannot be made to happen; it can be {', '.join(WHATS)}")
        with self._turn:
            return self.world.happen(Event(self.world.now(), what, name, value))  # type: ignore[arg-type]

    def news(self) -> Sequence[tuple[Seconds, str]]:
        """What happened in the world since this was last asked."""
        new, self._told = self.world.happened - self._told, self.world.happened
        return list(self.world.log)[-new:] if new else []

    def describe(self) -> Scenery:
        """What there is in the world now."""
        with self._turn:
            return self._scenery()

    def step(self, cycle: Callable[[], object]) -> None:
        """One period, and the cycle at its end."""
        with self._turn:
            self.world.run(self.world.now() + self.period)
            cycle()

    def play(self, cycle: Callable[[], object], stop: threading.Event) -> None:
        """Until stopped. Where the machine is too slow, time goes slower; no period is left out."""
        due = self._clock()
        while not stop.is_set():
            speed = self._speed
            wait = due - self._clock() if speed else None
            if wait is None or wait > 0:
                with self._changed:
                    if self._speed == speed and not stop.is_set():
                        self._changed.wait(wait)
                if self._speed != speed:
                    due = self._clock()
                continue
            self.step(cycle)
            time.sleep(PAUSE)
            due = max(due + self.period / speed, self._clock() - 1.0)

    def wake(self) -> None:
        """Let `play` see that it is stopped."""
        with self._changed:
            self._changed.notify_all()
