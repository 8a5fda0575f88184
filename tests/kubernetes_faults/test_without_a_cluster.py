"""What the faults have taught, in small: a take-over, a cycle that fails, an answer that does not end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx2
import msgspec
import pytest

from flyball.adapters.cluster import ClusterReader
from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.assemble import Assembler
from flyball.adapters.kubernetes.checkpoint import Checkpoint
from flyball.adapters.kubernetes.errors import ApiError, ClusterError, Conflict, NotFound, Unreachable
from flyball.adapters.kubernetes.governed import DEPLOYMENT, Cluster, Governed, PodState
from flyball.adapters.kubernetes.lease import Lease
from flyball.adapters.kubernetes.listing import Listing, Scope
from flyball.adapters.kubernetes.objects import Workload
from flyball.adapters.prometheus.figures import Metrics, PodFigures, RouterFigures
from flyball.commands.loop import Loop
from flyball.commands.loop_parts import Parts, ensure_namespace
from flyball.decide.memory import Memory
from flyball.server.page.live import Live
from flyball.spec.fleet import Fleet
from tests.clusters import eventually

KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: here, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: me, user: {token: secret}}]
contexts: [{name: here, context: {cluster: here, user: me}}]
current-context: here
"""
KEPT = Memory(data=7)
BUSY = ApiError("GET", "/x", 503, "", "")
FORBIDDEN = ApiError("GET", "/x", 403, "", "")
MISSING = NotFound("GET", "/x", 404, "", "")


class FakeLease:
    """Held, or not."""

    identity, problem, holder = "me", "", "me"

    def __init__(self) -> None:
        self.term: int | None = 1

    def holds(self) -> bool:
        return self.term is not None


class FakeCheckpoint:
    """Gives one answer after the other."""

    def __init__(self, *answers: object) -> None:
        self.answers, self.kept = list(answers), list[bytes]()

    def read(self) -> object:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def keep(self, memory: bytes, *, now: bool = False) -> str:
        self.kept.append(memory)
        return ""


class FakeLive:
    """Counts cycles; the first may fail."""

    def __init__(self, failing: int = 0) -> None:
        self.runner = SimpleNamespace(memory=None, pace=1.0)
        self.board = SimpleNamespace(last=None)
        self.failing, self.cycles, self.shown = failing, 0, list[str]()

    def cycle(self) -> None:
        self.cycles += 1
        if self.cycles <= self.failing:
            raise RuntimeError("a part that nobody thought of")
        self.board.last = object()

    def fail(self, text: str) -> None:
        self.shown.append(text)


def loop_of(live: FakeLive, checkpoint: FakeCheckpoint, lease: FakeLease) -> Loop:
    law: Any = SimpleNamespace(period=0.01)
    parts = Parts(None, law, lease=cast(Lease, lease), checkpoint=cast(Checkpoint, checkpoint))
    return Loop(cast(Live, live), parts)


def test_a_memory_that_cannot_be_read_for_now_is_waited_for() -> None:
    memory = msgspec.msgpack.encode(KEPT)
    live, checkpoint = FakeLive(), FakeCheckpoint(BUSY, Unreachable("a", "GET", "/x", "late"), (memory, ""))
    loop = loop_of(live, checkpoint, FakeLease())
    assert loop.cycle() is None
    assert loop.cycle() is None
    assert (live.cycles, checkpoint.kept) == (0, [])  # to keep another one would lose it
    loop.cycle()
    assert live.cycles == 1
    assert live.runner.memory == KEPT


def test_the_loop_goes_on_after_a_cycle_that_fails(capsys: pytest.CaptureFixture[str]) -> None:
    live, lease = FakeLive(failing=2), FakeLease()
    loop = loop_of(live, FakeCheckpoint((None, "")), lease)
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        eventually(lambda: live.cycles > 4, 20.0)
        lease.term, lease.problem = None, "503"
        eventually(lambda: live.shown, 20.0)
    finally:
        loop.end()
        thread.join()
    said = capsys.readouterr().err
    assert "a part that nobody thought of" in said
    assert "this process leads" in said
    assert live.shown == ["nothing is decided here: the lease cannot be had or kept: 503"]


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    path = tmp_path / "kubeconfig"
    path.write_text(KUBECONFIG)
    return path


class Endless(httpx2.SyncByteStream):
    """Each byte comes in time, the last one never."""

    def __init__(self) -> None:
        self.sent = 0

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(1000):
            self.sent += 1
            threading.Event().wait(0.01)
            yield b" "


def test_an_answer_that_does_not_end_is_given_up(kubeconfig: Path) -> None:
    stream = Endless()
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, stream=stream))
    api = Api(kubeconfig, timeout=0.1, transport=transport)
    with pytest.raises(Unreachable, match=r"no whole answer within 0\.1 s") as caught:
        api.get("/x", Workload)
    assert caught.value.passing
    assert stream.sent < 1000
    api.close()


@pytest.mark.parametrize("date", ["", "yesterday", formatdate(1e9, usegmt=True)])
def test_the_clock_of_the_api_server_is_known_where_it_tells_it(kubeconfig: Path, date: str) -> None:
    answers = [{"Date": formatdate(5e8, usegmt=True)}, {"Date": date}]
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, headers=answers.pop(0), json={}))
    api = Api(kubeconfig, transport=transport)
    assert api.date is None
    api.get("/x", Workload)
    assert api.date == 5e8
    api.get("/x", Workload)
    assert api.date == (1e9 if "GMT" in date else 5e8)
    api.close()


@pytest.mark.parametrize(
    ("error", "passing"),
    [(BUSY, True), (FORBIDDEN, False), (MISSING, False), (ClusterError(), False)],
)
def test_only_what_may_pass_is_waited_for(error: ClusterError, passing: bool) -> None:
    class Failing:
        def get(self, path: str, kind: object) -> object:
            raise error

    checkpoint = Checkpoint(cast(Api, Failing()), cast(Lease, FakeLease()), "here")
    if passing:
        with pytest.raises(ApiError):
            checkpoint.read()
    else:
        assert checkpoint.read()[0] is None
    assert error.passing == passing


@pytest.mark.parametrize(
    ("answers", "calls"),
    [
        ([None], ["get"]),
        ([MISSING, None], ["get", "post"]),
        ([BUSY, MISSING, BUSY, MISSING, None], ["get", "get", "post", "get", "post"]),
        ([MISSING, Conflict("POST", "/x", 409, "", "")], ["get", "post"]),  # another loop made it just now
        ([MISSING, FORBIDDEN], ["get", "post"]),
        ([FORBIDDEN], ["get"]),
        ([BUSY] * 4, ["get"] * 4),
    ],
)
def test_a_namespace_is_made_once_the_api_server_has_time(
    answers: list[Exception | None], calls: list[str]
) -> None:
    left, made = list(answers), list[str]()

    def answer(name: str) -> None:
        made.append(name)
        said = left.pop(0)
        if said is not None:
            raise said

    api = SimpleNamespace(get=lambda *_: answer("get"), post=lambda *_: answer("post"))
    ensure_namespace(api, "here", pauses=(0.0, 0.0, 0.0))
    assert made == calls


@pytest.mark.parametrize(("ready", "known"), [(30.0, True), (200.0, False)])
def test_after_a_gap_in_prometheus_rates_of_a_part_of_the_window_are_not_taken_for_the_load(
    monkeypatch: pytest.MonkeyPatch, ready: float, known: bool
) -> None:
    """A pod that is older than what is known of it; one that is really new is taken as it is."""
    pod = PodState("chat-1", "ready", ready_for=ready)
    one = Governed("chat", "H100", DEPLOYMENT, "infer", "chat", "u", "1", "act", 1, pods=(pod,))
    cluster = Cluster(Fleet(), (one,), {})
    figures = PodFigures(
        "infer", "chat-1", "m", age=1.0, fresh=True, running=1.0, waiting=0.0, running_before=0.0,
        waiting_before=0.0,
    )  # fmt: skip
    metrics = Metrics(0.0, 60.0, {figures.key: figures}, (RouterFigures("infer", "m", "", 0.1),))
    assembler = SimpleNamespace(cluster=lambda listing, models: cluster)
    monkeypatch.setattr("flyball.adapters.cluster.list_cluster", lambda *_: Listing(0.0))
    reader = ClusterReader(
        cast(Api, SimpleNamespace(date=None)),
        cast(Assembler, assembler),
        Scope(),
        lambda: metrics,
    )
    (seen,) = reader.observe().servers
    assert (seen.arrival_rate is not None) == known
