"""Parts of the world, isolated: one that fails or hangs does not stop the loop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from flyball.units import Seconds

T = TypeVar("T")


class PartError(RuntimeError):
    """A part failed or did not answer in time; the message says which and how."""


class Part(Generic[T]):
    """Calls one function of the outside, within a time limit, and never twice at once."""

    def __init__(self, name: str, limit: Seconds | None) -> None:
        """`limit` None: called directly, as long as it takes."""
        self.name, self.limit = name, limit
        self._running: threading.Thread | None = None

    def call(self, function: Callable[[], T]) -> T:
        """The function's result; PartError where it fails, is too slow or still busy with the last call."""
        if self.limit is None:
            return self._guarded(function)
        if self._running is not None and self._running.is_alive():
            raise PartError(f"{self.name}: still busy with an earlier call")
        result: list[T] = []
        failure: list[PartError] = []

        def work() -> None:
            try:
                result.append(self._guarded(function))
            except PartError as error:
                failure.append(error)

        thread = threading.Thread(target=work, name=f"flyball-{self.name}", daemon=True)
        self._running = thread
        thread.start()
        thread.join(self.limit)
        if failure:
            raise failure[0]
        if not result:
            raise PartError(f"{self.name}: no answer within {self.limit:g} s")
        return result[0]

    def _guarded(self, function: Callable[[], T]) -> T:
        try:
            return function()
        except Exception as error:
            raise PartError(f"{self.name}: {type(error).__name__}: {error}") from error
