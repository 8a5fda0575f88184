"""A watch over an API server that is scripted: list, events, and all that can go wrong between them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from flyball.adapters.kubernetes.api import SILENCE, Api
from flyball.adapters.kubernetes.governed import Kind
from flyball.adapters.kubernetes.objects import Metadata, Read
from flyball.adapters.kubernetes.watch import Key, Watch
from tests.clusters import eventually
from tests.kubernetes_faults.test_without_a_cluster import KUBECONFIG

THINGS = Kind("tests.flyball.dev", "v1", "things", "Thing")
Act = bytes | Exception | Callable[[], object]


class Thing(Read, frozen=True):
    metadata: Metadata = Metadata()
    spec: int = 0


def thing(name: str, version: int, spec: object = 0, uid: str = "") -> dict[str, Any]:
    about = {"name": name, "namespace": "infer", "uid": uid or f"uid-{name}", "resourceVersion": str(version)}
    return {"metadata": about, "spec": spec}


def listed(version: int, *things: dict[str, Any]) -> httpx2.Response:
    return httpx2.Response(200, json={"metadata": {"resourceVersion": str(version)}, "items": things})


def event(type: str, one: dict[str, Any]) -> bytes:
    return json.dumps({"type": type, "object": one}).encode() + b"\n"


def bookmark(version: int) -> bytes:
    return event("BOOKMARK", {"kind": "Thing", "metadata": {"resourceVersion": str(version)}})


class Stream(httpx2.SyncByteStream):
    """Pieces one after the other; an error is raised, a callable is called."""

    def __init__(self, acts: Iterable[Act]) -> None:
        self._acts = acts

    def __iter__(self) -> Iterator[bytes]:
        for act in self._acts:
            if isinstance(act, Exception):
                raise act
            if isinstance(act, bytes):
                yield act
            else:
                act()


class Server:
    """Answers lists and watches as it is told; when there is nothing more to say it is silent."""

    def __init__(self) -> None:
        self.lists: list[Any] = []
        self.streams: list[Any] = []
        self.asked: list[str] = []
        self.timeouts: list[Any] = []
        self.over = threading.Event()

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        params = request.url.params
        if params.get("watch") != "true":
            self.asked.append("list")
            answer = self.lists.pop(0) if len(self.lists) > 1 else self.lists[0]
        else:
            self.asked.append(params.get("resourceVersion", "none"))
            self.timeouts.append(request.extensions["timeout"])
            answer = self.streams.pop(0) if self.streams else [self.silence]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, list):
            return httpx2.Response(200, stream=Stream(answer))
        return answer

    def silence(self) -> None:
        self.over.wait(60)


class Watched:
    """A watch, and which keys it told."""

    def __init__(self, server: Server, folder: Path) -> None:
        path = folder / "kubeconfig"
        path.write_text(KUBECONFIG)
        self.told: list[Key] = []
        self.api = Api(path, transport=httpx2.MockTransport(server))
        self.watch = Watch(self.api, THINGS, Thing, self.told.append, pause=0.001)

    def specs(self) -> dict[str, int]:
        return {one.metadata.name: one.spec for one in self.watch.all()}

    def names(self) -> list[str]:
        return [name for _, name in self.told]


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def running(server: Server, tmp_path: Path) -> Callable[[], Any]:
    @contextmanager
    def run() -> Iterator[Watched]:
        made = Watched(server, tmp_path)
        made.watch.start()
        try:
            yield made
        finally:
            made.watch.stop()
            server.over.set()
            made.watch._thread.join(10)
            assert not made.watch._thread.is_alive()
            made.api.close()

    return run


# ---- what it keeps -------------------------------------------------------------------------------


def test_it_lists_and_then_follows(server: Server, running: Any) -> None:
    server.lists = [listed(5, thing("a", 3, 1), thing("b", 4, 2))]
    server.streams = [
        [
            event("ADDED", thing("c", 6, 3)) + event("MODIFIED", thing("a", 7, 10)),  # in one piece
            event("DELETED", thing("b", 8))[:20],  # and one in two
            event("DELETED", thing("b", 8))[20:],
            server.silence,
        ]
    ]
    with running() as made:
        eventually(lambda: made.specs() == {"a": 10, "c": 3})
        assert made.watch.synced
        assert made.watch.wait(0)
        assert made.names() == ["a", "b", "c", "a", "b"]
        assert made.watch.problem == ""
        assert made.watch.get(("infer", "c")) == Thing(made.watch.all()[1].metadata, 3)
        assert made.watch.get(("infer", "b")) is None
        assert made.watch.all("elsewhere") == ()
    assert server.asked == ["list", "5"]
    assert server.timeouts[0]["read"] == SILENCE
    assert server.timeouts[0]["connect"] < SILENCE  # one that is away is known to be so earlier


def test_before_it_is_listed_it_says_so(server: Server, tmp_path: Path) -> None:
    made = Watched(server, tmp_path)
    assert made.watch.problem == "it was not listed yet"
    assert not made.watch.wait(0)
    made.api.close()


def test_a_watch_that_ends_goes_on_from_the_last_bookmark(server: Server, running: Any) -> None:
    server.lists = [listed(5, thing("a", 3))]
    server.streams = [[bookmark(90)], [event("MODIFIED", thing("a", 91, 1))]]
    with running() as made:
        eventually(lambda: server.asked[-1] == "91")
        assert made.specs() == {"a": 1}
    assert server.asked == ["list", "5", "90", "91"]
    assert made.names() == ["a", "a"]


# ---- what goes wrong -----------------------------------------------------------------------------


def gone_in_an_event(code: int) -> list[Act]:
    status = {"kind": "Status", "code": code, "reason": "Expired", "message": "too old"}
    return [event("ERROR", status)]


@pytest.mark.parametrize("gone", [httpx2.Response(410, json={"reason": "Gone"}), gone_in_an_event(410)])
def test_what_is_too_old_is_listed_again(server: Server, running: Any, gone: Any) -> None:
    server.lists = [
        listed(5, thing("a", 3), thing("b", 4), thing("c", 5)),
        listed(50, thing("a", 3), thing("b", 40, 1), thing("d", 41), thing("c", 42, 0, "another")),
    ]
    server.streams = [gone]
    with running() as made:
        eventually(lambda: made.specs() == {"a": 0, "b": 1, "c": 0, "d": 0})
        eventually(lambda: server.asked[-1] == "50")
        assert made.names() == ["a", "b", "c", "b", "c", "d"]  # only what is another
        assert made.watch.problem == ""


def test_a_server_that_finds_everything_too_old_is_not_asked_without_pause(
    server: Server, running: Any
) -> None:
    server.lists = [listed(5)]
    server.streams = [httpx2.Response(410, json={})] * 10_000
    with running():
        eventually(lambda: len(server.asked) >= 6)
        threading.Event().wait(0.2)
        assert len(server.asked) < 40  # 1, 2, 4 ... 128 ms


def test_watches_that_end_at_once_are_not_begun_without_pause(server: Server, running: Any) -> None:
    server.lists = [listed(5)]
    server.streams = [[] for _ in range(10_000)]
    with running():
        eventually(lambda: len(server.asked) >= 4)
        threading.Event().wait(0.2)
        assert len(server.asked) < 40


@pytest.mark.parametrize(
    "broken",
    [
        httpx2.ReadTimeout("silence"),
        httpx2.RemoteProtocolError("cut off"),
        httpx2.ConnectError("refused"),
        ConnectionResetError("reset"),
    ],
)
def test_a_broken_watch_says_so_and_goes_on_where_it_was(
    server: Server, running: Any, broken: Exception
) -> None:
    server.lists = [listed(5, thing("a", 3))]
    held = threading.Event()
    server.streams = [
        [event("MODIFIED", thing("a", 6, 1)), broken],
        broken,
        [lambda: held.wait(10), event("MODIFIED", thing("a", 7, 2)), server.silence],
    ]
    with running() as made:
        eventually(lambda: "does not answer" in made.watch.problem or server.asked[3:])
        assert made.specs() == {"a": 1}  # what was known stays known
        held.set()
        eventually(lambda: made.specs() == {"a": 2})
        assert made.watch.problem == ""
    assert server.asked == ["list", "5", "6", "6"]


def test_while_it_cannot_be_watched_the_problem_stands(server: Server, running: Any) -> None:
    server.lists = [listed(5, thing("a", 3))]
    server.streams = [httpx2.Response(403, json={"message": "may not watch"})] * 10_000
    with running() as made:
        eventually(lambda: "may not watch" in made.watch.problem)
        seen = {made.watch.problem for _ in range(20_000)}
        assert all("may not watch" in problem for problem in seen)
        assert made.watch.synced


def test_a_list_that_fails_is_asked_for_again(server: Server, running: Any) -> None:
    busy = httpx2.Response(503, json={"message": "busy"})
    server.lists = [busy, httpx2.Response(200, content=b"<html>"), httpx2.Response(200, json=[1])]
    server.lists += [listed(5, thing("a", 3))]
    with running() as made:
        eventually(lambda: made.specs() == {"a": 0})
        eventually(lambda: made.watch.problem == "")


@pytest.mark.parametrize(
    "line", [b"nonsense\n", b"{}\n", b'{"type": "\xff"}\n', b'{"type": "ADDED", "object": 5}\n']
)
def test_nonsense_among_the_events_is_got_over(server: Server, running: Any, line: bytes) -> None:
    server.lists = [listed(5, thing("a", 3)), listed(9, thing("a", 3), thing("b", 8))]
    server.streams = [[line], [event("ADDED", thing("b", 8)), server.silence]]
    with running() as made:
        eventually(lambda: made.specs() == {"a": 0, "b": 0})
        assert made.watch.problem == ""


def test_what_cannot_be_read_holds_up_no_others(server: Server, running: Any) -> None:
    server.lists = [listed(5, thing("a", 3), thing("bad", 4, "text"))]
    held, mended = threading.Event(), threading.Event()
    server.streams = [
        [
            event("MODIFIED", thing("a", 6, "text")),
            event("ADDED", thing("b", 7, 1)),
            lambda: held.wait(10),
            event("DELETED", thing("bad", 8, "text")),
            lambda: mended.wait(10),
            event("MODIFIED", thing("a", 9, 2)),
            server.silence,
        ]
    ]
    with running() as made:
        eventually(lambda: made.specs() == {"b": 1})
        assert made.watch.synced
        assert made.watch.problem.startswith("Thing infer/bad: Expected `int`")
        held.set()
        eventually(lambda: made.watch.problem.startswith("Thing infer/a: Expected `int`"))
        mended.set()
        eventually(lambda: made.specs() == {"a": 2, "b": 1})
        assert made.watch.problem == ""
    assert server.asked == ["list", "5"]


def test_a_listener_that_fails_ends_nothing(server: Server, tmp_path: Path) -> None:
    made = Watched(server, tmp_path)
    calls: list[Key] = []

    def told(key: Key) -> None:
        calls.append(key)
        if len(calls) == 1:
            raise RuntimeError("a part that nobody thought of")

    server.lists = [listed(5, thing("a", 3))]
    server.streams = [[event("MODIFIED", thing("a", 6, 1)), server.silence]]
    watch = Watch(made.api, THINGS, Thing, told, pause=0.001)
    watch.start()
    eventually(lambda: [one.spec for one in watch.all()] == [1])
    watch.stop()
    server.over.set()
    watch._thread.join(10)
    made.api.close()


# ---- own writes ----------------------------------------------------------------------------------


def own(name: str, version: int, spec: int, uid: str = "") -> Thing:
    return Thing(
        Metadata(name=name, namespace="infer", uid=uid or f"uid-{name}", resource_version=str(version)), spec
    )


def test_an_own_write_is_known_before_its_event_and_older_events_change_nothing(
    server: Server, running: Any
) -> None:
    server.lists = [listed(5, thing("a", 3))]
    held = threading.Event()
    server.streams = [
        [
            lambda: held.wait(10),
            event("MODIFIED", thing("a", 9, 1)),  # somebody's, from before ours
            event("MODIFIED", thing("a", 10, 2)),  # ours
            bookmark(11),
        ]
    ]
    with running() as made:
        eventually(lambda: made.specs() == {"a": 0})
        made.watch.seen(own("a", 10, 2))
        assert made.specs() == {"a": 2}
        assert made.names() == ["a", "a"]
        held.set()
        eventually(lambda: server.asked[-1] == "11")
        assert made.specs() == {"a": 2}
        assert made.names() == ["a", "a"]
        made.watch.seen(own("a", 8, 9))  # the answer to a write before it, by another thread
        assert made.specs() == {"a": 2}


def test_versions_are_numbers_and_not_texts(server: Server, running: Any) -> None:
    server.lists = [listed(9, thing("a", 9))]
    server.streams = [[event("MODIFIED", thing("a", 10, 1)), server.silence]]
    with running() as made:
        eventually(lambda: made.specs() == {"a": 1})


@pytest.mark.parametrize("anew", [False, True])
def test_an_own_write_of_what_went_meanwhile_does_not_bring_it_back(
    server: Server, running: Any, anew: bool
) -> None:
    server.lists = [listed(5, thing("a", 3))]
    again = [event("ADDED", thing("a", 12, 7, "another"))] if anew else []
    server.streams = [[event("DELETED", thing("a", 11)), *again, bookmark(13)]]
    with running() as made:
        eventually(lambda: server.asked[-1] == "13")
        made.watch.seen(own("a", 10, 2))
        assert made.specs() == ({"a": 7} if anew else {})


def test_the_end_of_one_that_was_made_anew_is_not_its_own(server: Server, running: Any) -> None:
    server.lists = [listed(20, thing("a", 12, 7, "another"))]
    server.streams = [[event("DELETED", thing("a", 11)), bookmark(21)]]
    with running() as made:
        eventually(lambda: server.asked[-1] == "21")
        assert made.specs() == {"a": 7}


def test_a_list_does_not_undo_an_own_write(server: Server, running: Any) -> None:
    server.lists = [listed(5, thing("a", 3), thing("b", 4, 1))]
    held = threading.Event()
    server.streams = [[lambda: held.wait(10), *gone_in_an_event(410)]]
    with running() as made:
        eventually(lambda: made.specs() == {"a": 0, "b": 1})
        made.watch.seen(own("a", 10, 2))
        server.lists = [listed(9, thing("a", 3), thing("b", 9, 0, "another"))]  # as it was before that
        held.set()
        eventually(lambda: server.asked[-1] == "9")
        assert made.specs() == {"a": 2, "b": 0}
