"""The queue of keys: each once at a time, again where it failed, and nothing while it may not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from flyball.operator.work import Work
from tests.clusters import eventually


class Looks:
    """What was looked at, and at how many of one key at once."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.told: list[str] = []
        self.most = 0
        self.fails: dict[str, int] = {}
        self.again: dict[str, float] = {}
        self.gate = threading.Event()
        self.gate.set()
        self._now: dict[str, int] = {}
        self._lock = threading.Lock()

    def look(self, key: str) -> float | None:
        with self._lock:
            self.seen.append(key)
            self._now[key] = self._now.get(key, 0) + 1
            self.most = max(self.most, self._now[key])
        self.gate.wait(10)
        with self._lock:
            self._now[key] -= 1
            if self.fails.get(key, 0):
                self.fails[key] -= 1
                raise ValueError(f"{key} fails")
        return self.again.pop(key, None)

    def failed(self, key: str, error: Exception) -> None:
        self.told.append(f"{key}: {error}")


@contextmanager
def running(work: Work[str]) -> Iterator[Work[str]]:
    work.start()
    try:
        yield work
    finally:
        work.stop()


def test_a_key_named_often_is_looked_at_once() -> None:
    looks = Looks()
    work = Work("test", looks.look, looks.failed)
    for _ in range(100):
        work.add("a")
    with running(work):
        eventually(lambda: not work.waiting)
    assert looks.seen == ["a"]


def test_what_is_named_while_it_is_looked_at_is_looked_at_again_but_never_twice_at_once() -> None:
    looks = Looks()
    looks.gate.clear()
    with running(Work("test", looks.look, looks.failed, threads=3)) as work:
        work.add("a")
        eventually(lambda: looks.seen == ["a"])
        work.add("a")
        work.add("b")
        eventually(lambda: looks.seen == ["a", "b"])  # a waits, and does not hold up b
        looks.gate.set()
        eventually(lambda: not work.waiting)
    assert sorted(looks.seen) == ["a", "a", "b"]
    assert looks.most == 1


def test_what_fails_is_told_and_tried_again() -> None:
    looks = Looks()
    looks.fails["a"] = 2
    with running(Work("test", looks.look, looks.failed)) as work:
        work.add("a")
        eventually(lambda: len(looks.seen) == 3)
    assert looks.told == ["a: a fails"] * 2


def test_it_waits_until_it_may() -> None:
    looks, may = Looks(), threading.Event()
    with running(Work("test", looks.look, looks.failed, may=may.is_set)) as work:
        work.add("a")
        assert not looks.seen
        may.set()
        eventually(lambda: looks.seen == ["a"])


def test_an_earlier_time_counts_and_a_later_look_comes() -> None:
    looks = Looks()
    looks.again["a"] = 0.05
    with running(Work("test", looks.look, looks.failed)) as work:
        work.add("a", after=3600.0)
        assert not looks.seen
        work.add("a")
        eventually(lambda: looks.seen == ["a", "a"])
        assert work.waiting == 0


def test_one_who_tells_of_failures_and_fails_ends_no_thread() -> None:
    looks = Looks()
    looks.fails["a"] = 1

    def failed(key: str, error: Exception) -> None:
        raise OSError("standard error is closed")

    with running(Work("test", looks.look, failed)) as work:
        work.add("a")
        eventually(lambda: len(looks.seen) == 2)
        work.add("b")
        eventually(lambda: not work.waiting)
    assert looks.seen == ["a", "a", "b"]


def test_that_it_may_from_this_very_moment_on_is_not_missed() -> None:
    looks, answers = Looks(), [False]  # asked twice in a row, it says no and then yes
    work = Work("test", looks.look, looks.failed, may=lambda: answers.pop() if answers else True)
    work.add("a")
    with running(work):
        eventually(lambda: not work.waiting)
    assert looks.seen == ["a"]


def test_due_is_what_could_be_done_now() -> None:
    leads = [False]
    looks = Looks()
    work = Work("test", looks.look, looks.failed, may=lambda: leads[0])
    work.add("a")
    work.add("later", after=600.0)
    assert (work.waiting, work.due) == (2, 0)  # somebody else leads, and does it
    leads[0] = True
    assert (work.waiting, work.due) == (2, 1)
    with running(work):
        eventually(lambda: work.due == 0)
    assert (looks.seen, work.waiting) == (["a"], 1)
