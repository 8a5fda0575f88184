"""Tells without making the loop wait: each notifier in a thread of its own, always with the latest news."""

from __future__ import annotations

import threading

from flyball.adapters.notify.notifier import Notifier
from flyball.power.tell import News
from flyball.units import Seconds


class Background:
    """A notifier as a notifier that returns at once. What it could not tell is said by a later `tell`."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._wake = threading.Condition()
        self._news: News | None = None
        self._busy = self._ended = False
        self._problems: tuple[str, ...] = ()
        self._thread = threading.Thread(target=self._work, name="notifier", daemon=True)
        self._thread.start()

    def tell(self, news: News) -> tuple[str, ...]:
        """Tell soon, unless there is later news by then; what could not be told before."""
        with self._wake:
            self._news = news
            problems, self._problems = self._problems, ()
            self._wake.notify_all()
        return problems

    def close(self, limit: Seconds = 5.0) -> None:
        """Tell what waits, for so many seconds at most, and end."""
        self.wait(limit)
        with self._wake:
            self._ended = True
            self._wake.notify_all()
        self._thread.join(limit)

    def wait(self, limit: Seconds) -> bool:
        """Wait until nothing is left to tell; whether that came within so many seconds."""
        with self._wake:
            return self._wake.wait_for(lambda: self._news is None and not self._busy, limit)

    def _work(self) -> None:
        while True:
            with self._wake:
                self._busy = False
                self._wake.notify_all()
                self._wake.wait_for(lambda: self._news is not None or self._ended)
                if self._news is None:
                    return
                news, self._news, self._busy = self._news, None, True
            try:
                problems = self._notifier.tell(news)
            except Exception as error:  # one output must not end the others
                problems = (f"{type(self._notifier).__name__} failed ({type(error).__name__})",)
            with self._wake:
                self._problems = problems
