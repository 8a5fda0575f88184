"""A closed loop: so many requests in flight at one engine, each answered one followed by the next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from flyball.client.engine import EngineClient, Flight
from flyball.spec.measurement import Streamed
from flyball.units import Seconds


class ClosedLoop:
    """Holds `load` requests in flight from its beginning to its end.

    First answers are of all lengths up to the whole, so that those that follow end one after the other and
    not all at once: prompts are then computed beside answers all the time, as under any real load.
    """

    def __init__(
        self, engine: EngineClient, model: str, load: int, out_tokens: int, prompt: Callable[[], str]
    ) -> None:
        self._engine, self._model, self._prompt = engine, model, prompt
        self._out_tokens = out_tokens
        self._flights: list[Flight] = []
        self._warming = load
        self._load = load
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._ask(i)) for i in range(self._load)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def warm(self) -> bool:
        """Whether every first answer has ended."""
        return self._warming == 0

    def seen(self) -> list[Streamed]:
        """All answers so far, those under way too."""
        return [flight.seen() for flight in self._flights]

    def begun_since(self, moment: Seconds) -> int:
        """Answers whose first piece has come since."""
        return sum(1 for flight in self._flights if flight.arrivals and flight.arrivals[0] >= moment)

    async def pause(self, seconds: Seconds) -> None:
        """Let it go on for so long. CallError: a request failed."""
        ended, _ = await asyncio.wait(self._tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        for task in ended:
            task.result()

    async def _ask(self, place: int) -> None:
        first = max(1, round(self._out_tokens * (place + 1) / self._load))
        await self._answered(first)
        self._warming -= 1
        while True:
            await self._answered(self._out_tokens)

    async def _answered(self, out_tokens: int) -> None:
        flight = Flight()
        self._flights.append(flight)
        await self._engine.answer(flight, self._model, self._prompt(), out_tokens)
