"""What is live: the loop that governs, the board that is shown, and, of a simulated world, its stage."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from flyball.decide.aim import Planned, plan_of
from flyball.decide.cycle import fleets_now
from flyball.decide.imagine import Imagined, imagine
from flyball.decide.memory import Memory
from flyball.loop.record import Cycle
from flyball.loop.runner import Runner
from flyball.server.page.board import Board
from flyball.spec.learned import Learned
from flyball.spec.snapshot import Snapshot
from flyball.spec.steering import Steering
from flyball.units import Seconds


class Scenery(msgspec.Struct, frozen=True):
    """What there is in a simulated world to do something with."""

    title: str
    about: str
    nodes: tuple[tuple[str, str, bool], ...]
    """Name, card type, and whether it is there."""
    servers: tuple[str, ...]
    cards: dict[str, int]
    """By type, as many as the world has at most."""


class Stage(Protocol):
    """What the page may do to a simulated world."""

    @property
    def speed(self) -> float:
        """Simulated seconds in a second; 0: paused."""
        ...

    @speed.setter
    def speed(self, value: float) -> None: ...

    def happen(self, what: str, name: str, value: float) -> str:
        """Let something happen now; says in a sentence what it did. ValueError: there is no such thing."""
        ...

    def news(self) -> Sequence[tuple[Seconds, str]]:
        """What happened since this was last asked, with its times."""
        ...

    def describe(self) -> Scenery:
        """What there is."""
        ...


class Nothing(LookupError):
    """There is nothing to show: no such server, or no cycle yet; the message says what."""


class Live:
    """One governed fleet. Cycles may come from any thread, and so may readers."""

    def __init__(self, runner: Runner, board: Board, stage: Stage | None = None, title: str = "") -> None:
        """`stage`: None for a real fleet, whose world the page cannot change."""
        self.runner, self.board, self.stage, self.title = runner, board, stage, title
        self.bell = Bell()
        self.closing = False
        self._seen: tuple[int, Snapshot, Any] | None = None
        self._planning, self._telling = threading.Lock(), threading.Lock()
        self._planned: tuple[int, Planned] | None = None

    def cycle(self) -> Cycle | None:
        """Run a cycle, and show it."""
        before = self.runner.memory
        made = self.runner.cycle()
        if made is not None and self.runner.last is not None:
            last = self.board.last
            number = self.runner.last[0] or (last.number + 1 if last else 1)
            self._seen = number, made.snapshot, before
            self.board.add(number, made)
        self._news()
        self.bell.ring()
        return made

    def _news(self) -> None:
        with self._telling:
            for time, text in self.stage.news() if self.stage else ():
                self.board.happened(time, text)

    def fail(self, text: str) -> None:
        """Show that the world or the loop has stopped."""
        last = self.board.last
        self.board.happened(last.time if last else 0.0, text)
        self.bell.ring()

    def happen(self, what: str, name: str, value: float) -> str:
        """Let something happen in the simulated world. ValueError: it cannot."""
        if self.stage is None:
            raise ValueError("this fleet is real: nothing can be made to happen to it from here")
        said = self.stage.happen(what, name, value)
        self._news()
        self.bell.ring()
        return said

    def set_speed(self, value: float) -> None:
        """How fast the simulated world runs. ValueError: it cannot."""
        if self.stage is None:
            raise ValueError("this fleet is real: its time cannot be changed")
        self.stage.speed = value
        self.bell.ring()

    def imagine(self, text: str) -> Imagined:
        """The plan for what was seen last, as it is and with a change. WhatIfError, Nothing."""
        _, snapshot, memory = self._last()
        return imagine(snapshot, memory, self._steering(), text)

    def planned(self) -> Planned:
        """The plan for what was seen last, with all its candidates; made once a cycle. Nothing."""
        number, snapshot, memory = self._last()
        with self._planning:
            if self._planned is None or self._planned[0] != number:
                self._planned = number, plan_of(*fleets_now(snapshot, memory, self._steering()))
            return self._planned[1]

    def learned(self) -> tuple[Snapshot, Mapping[str, Learned]]:
        """What was seen last, and what had been learned of models before it. Nothing."""
        _, snapshot, memory = self._last()
        return snapshot, memory.learned if memory else {}

    def _last(self) -> tuple[int, Snapshot, Memory | None]:
        if self._seen is None:
            raise Nothing("nothing was decided yet; the first cycle comes soon")
        number, snapshot, memory = self._seen
        return number, snapshot, memory if isinstance(memory, Memory) else None

    def _steering(self) -> Steering:
        found = getattr(self.runner.law, "steering", None)
        return found if isinstance(found, Steering) else Steering()

    def close(self) -> None:
        """Let all who wait for news go."""
        self.closing = True
        self.bell.ring()


class Bell:
    """Wakes coroutines, of any event loop, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rung = 0
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    @property
    def rung(self) -> int:
        """How often it rang."""
        return self._rung

    def ring(self) -> None:
        """Wake all who wait."""
        with self._lock:
            self._rung += 1
            waiting, self._waiting = self._waiting, []
        for loop, event in waiting:
            with contextlib.suppress(RuntimeError):  # that loop is closed
                loop.call_soon_threadsafe(event.set)

    async def heard(self, since: int, timeout: Seconds) -> int:
        """How often it rang, as soon as that is more than `since`, or after the timeout."""
        event = asyncio.Event()
        entry = asyncio.get_running_loop(), event
        with self._lock:
            if self._rung > since:
                return self._rung
            self._waiting.append(entry)
        try:
            async with asyncio.timeout(timeout):
                await event.wait()
        except TimeoutError:
            pass
        finally:
            with self._lock:
                if entry in self._waiting:
                    self._waiting.remove(entry)
        return self._rung
