"""The loop does not wait for outputs, and hears later what failed."""

from __future__ import annotations

import threading

from flyball.adapters.notify.background import Background
from flyball.power.tell import News
from tests.adapters.notify.builders import news


class Slow:
    """Tells when it is let."""

    def __init__(self) -> None:
        self.heard: list[float] = []
        self.begun, self.let = threading.Semaphore(0), threading.Semaphore(0)

    def tell(self, given: News) -> tuple[str, ...]:
        self.begun.release()
        assert self.let.acquire(timeout=10)
        self.heard.append(given.now)
        if given.now == 9.0:
            raise OSError("hunter2")
        return (f"{given.now:g} failed",)


def test_the_latest_news_wins_and_problems_come_later() -> None:
    slow = Slow()
    one = Background(slow)
    assert one.tell(news(1.0)) == ()
    assert slow.begun.acquire(timeout=10)
    assert one.tell(news(2.0)) == ()
    assert one.tell(news(3.0)) == ()
    slow.let.release(2)
    assert one.wait(10)
    assert slow.heard == [1.0, 3.0], "2 was overtaken"
    assert one.tell(news(9.0)) == ("3 failed",)
    slow.let.release()
    assert one.wait(10)
    slow.let.release()
    assert one.tell(news(10.0)) == ("Slow failed (OSError)",), "without its words, which may hold secrets"
    one.close(10)
    assert slow.heard[-1] == 10.0
