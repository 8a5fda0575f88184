"""Events: an allowance for each object, and no memory of those that have theirs whole."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.events import AT_ONCE, LONGEST, REFILL, WAITING, Events, Object
from flyball.adapters.kubernetes.governed import DEPLOYMENT
from tests.adapters.kubernetes.governing import Time


class Taking:
    """An API server that takes all."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []

    def post(self, path: str, body: dict[str, Any], kind: type[Any], **params: str) -> None:
        self.taken.append(body)


@contextmanager
def events(server: Taking, clock: Time) -> Iterator[Events]:
    made = Events(cast(Api, server), clock)
    try:
        yield made
    finally:
        made.close()


def about(name: str) -> Object:
    return Object(DEPLOYMENT, "infer", name, f"uid-{name}")


def test_each_object_has_its_allowance_and_gets_it_back() -> None:
    server, clock = Taking(), Time()
    with events(server, clock) as made:
        for number in range(AT_ONCE + 3):
            made.say(about("a"), "Told", str(number))
        made.say(about("b"), "Told", "x" * 2000)
        clock.seconds += 2 * REFILL
        for number in range(3):
            made.say(about("a"), "Told", f"again {number}")
        made.flush()
        assert made.dropped == 3 + 1
    names = [one["involvedObject"]["name"] for one in server.taken]
    assert (names.count("a"), names.count("b")) == (AT_ONCE + 2, 1)
    assert max(len(one["message"]) for one in server.taken) == LONGEST


def test_objects_that_are_long_quiet_are_forgotten() -> None:
    server, clock = Taking(), Time()
    with events(server, clock) as made:
        for number in range(3 * WAITING):
            made.say(about(str(number)), "Told", "once")
            clock.seconds += 1.0
            if number % 500 == 0:
                made.flush()
        assert len(made._allowance) <= WAITING + 1


def test_many_threads_do_not_get_more_than_is_allowed() -> None:
    server = Taking()
    with events(server, Time()) as made:
        threads = [
            threading.Thread(target=lambda: [made.say(about("a"), "Told", "x") for _ in range(50)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        made.flush()
        assert (len(server.taken), made.dropped) == (AT_ONCE, 8 * 50 - AT_ONCE)


def test_objects_without_a_namespace_are_told_where_the_api_server_wants_it() -> None:
    server, clock = Taking(), Time()
    with events(server, clock) as made:
        made.say(Object(DEPLOYMENT, "", "rack-7", "uid"), "Told", "once")
        made.flush()
    (one,) = server.taken
    assert (one["metadata"]["namespace"], one["involvedObject"]["namespace"]) == ("default", "")
