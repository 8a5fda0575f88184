"""Keys that are to be looked at: each once, however often it is named, and again later where that failed."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Generic, TypeVar

from flyball.units import Seconds

K = TypeVar("K", bound=Hashable)
FIRST_PAUSE: Seconds = 0.1
LONGEST_PAUSE: Seconds = 60.0


class Work(Generic[K]):
    """A queue and the threads that empty it. One key is never looked at by two of them at once.

    `look` returns after how many seconds a key is to be looked at again, None: when it is named. What it
    raises is told and tried again, later and later.
    """

    def __init__(
        self,
        name: str,
        look: Callable[[K], Seconds | None],
        failed: Callable[[K, Exception], None],
        *,
        threads: int = 1,
        may: Callable[[], bool] = lambda: True,
        settle: Seconds = 0.0,
        now: Callable[[], Seconds] = time.monotonic,
    ) -> None:
        """`may`: whether anything may be done now, else it waits; `settle`: how long a key waits for more
        changes of the same."""
        self._look, self._failed, self._may, self._settle, self._now = look, failed, may, settle, now
        self._ready = threading.Condition()
        self._due: dict[K, Seconds] = {}
        self._heap: list[tuple[Seconds, int, K]] = []
        self._count = 0
        self._busy: set[K] = set()
        self._pauses: dict[K, Seconds] = {}
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True)
            for number in range(threads)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self, limit: Seconds = 10.0) -> None:
        """Begin nothing more, and wait for what is under way, for so long at most."""
        with self._ready:
            self._stopped = True
            self._ready.notify_all()
        until = self._now() + limit
        for thread in self._threads:
            thread.join(max(until - self._now(), 0.0))

    def add(self, key: K, after: Seconds | None = None) -> None:
        """Look at a key soon, or after some seconds; the earliest counts."""
        at = self._now() + (self._settle if after is None else after)
        with self._ready:
            if key not in self._due or at < self._due[key]:
                self._due[key] = at
                self._count += 1
                heapq.heappush(self._heap, (at, self._count, key))
                self._ready.notify()

    @property
    def waiting(self) -> int:
        """Keys that are to be looked at, and those that are being."""
        with self._ready:
            return len(self._due) + len(self._busy)

    @property
    def due(self) -> int:
        """Keys whose time has come, and those that are being looked at; none while nothing may be done."""
        if not self._may():
            return 0
        now = self._now()
        with self._ready:
            return sum(at <= now for at in self._due.values()) + len(self._busy)

    def _run(self) -> None:
        while (key := self._take()) is not None:
            again: Seconds | None = None
            try:
                again = self._look(key)
                self._pauses.pop(key, None)
            except Exception as error:  # whatever it is: a thread that ends would look at nothing more
                pause = self._pauses.get(key, FIRST_PAUSE)
                self._pauses[key] = min(2 * pause, LONGEST_PAUSE)
                again = pause
                with suppress(Exception):  # nobody to tell it to
                    self._failed(key, error)
            with self._ready:
                self._busy.discard(key)
                self._ready.notify()
            if again is not None:
                self.add(key, again)

    def _take(self) -> K | None:
        """The next key that is due; None: it was stopped."""
        with self._ready:
            while not self._stopped:
                now = self._now()
                wait: Seconds | None = None
                held = []
                may = self._may()
                while self._heap and may:
                    at, _, key = self._heap[0]
                    if self._due.get(key) != at:
                        heapq.heappop(self._heap)  # it was named again, for an earlier time
                    elif at > now:
                        wait = at - now
                        break
                    elif key in self._busy:
                        held.append(heapq.heappop(self._heap))
                    else:
                        heapq.heappop(self._heap)
                        del self._due[key]
                        self._busy.add(key)
                        for one in held:
                            heapq.heappush(self._heap, one)
                        return key
                for one in held:
                    heapq.heappush(self._heap, one)
                if self._heap and not may:
                    wait = 0.2
                self._ready.wait(wait)
            return None
