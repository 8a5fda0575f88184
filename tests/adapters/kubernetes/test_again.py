"""Lists that an API server is too busy for are asked for again, within the cycle's time."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from flyball.adapters.kubernetes.again import FIRST_PAUSE, again
from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.errors import ApiError, ClusterError, NotFound, Unreachable
from flyball.adapters.kubernetes.listing import list_cluster
from flyball.adapters.kubernetes.objects import Workload

KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: here, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: me, user: {token: secret}}]
contexts: [{name: here, context: {cluster: here, user: me}}]
current-context: here
"""
DONE = "done"
AWAY = Unreachable("http://x", "GET", "/x", "refused")


def refused(status: int, after: float | None = None) -> ApiError:
    return ApiError("GET", "/x", status, "", "", after)


class Clock:
    """Time passes by sleeping alone."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def __call__(self) -> float:
        return sum(self.slept)

    def ask(self, *answers: ClusterError, until: float = 10.0) -> str:
        """What comes of a request that is answered so, and with success in the end."""
        left = iter(answers)

        def call() -> str:
            for error in left:
                raise error
            return DONE

        return again(call, until, self, self.slept.append)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.parametrize("error", [*map(refused, (429, 500, 502, 503, 504)), AWAY])
def test_what_passes_is_asked_for_again_with_longer_pauses(clock: Clock, error: ClusterError) -> None:
    assert clock.ask(error, error, error) == DONE
    assert clock.slept == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]


def test_it_waits_as_long_as_the_server_asks(clock: Clock) -> None:
    assert clock.ask(refused(429, 2.0), refused(429, 3.0)) == DONE
    assert clock.slept == [2.0, 3.0]


def test_nothing_is_begun_after_the_end(clock: Clock) -> None:
    with pytest.raises(ApiError, match="429"):
        clock.ask(*[refused(429, 4.0)] * 9)
    assert clock.slept == [4.0, 4.0]
    with pytest.raises(ApiError, match="503"):
        Clock().ask(refused(503), until=0.0)


@pytest.mark.parametrize("error", [refused(403), refused(409), NotFound("GET", "/x", 404, "", "")])
def test_what_does_not_pass_is_an_answer(clock: Clock, error: ClusterError) -> None:
    with pytest.raises(type(error)):
        clock.ask(error)
    assert clock.slept == []


class Server:
    """An API server without any objects, which is busy at first."""

    def __init__(self, busy: int, status: int) -> None:
        self.busy, self.status = busy, status
        self.asked: list[str] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request.url.path)
        if self.busy:
            self.busy -= 1
            return httpx2.Response(self.status, json={"code": self.status, "reason": "Busy"})
        return httpx2.Response(200, json={"items": []})


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flyball.adapters.kubernetes.again.FIRST_PAUSE", 1e-3)


@pytest.mark.parametrize("status", [429, 503])
def test_a_cycle_outlasts_a_busy_server(tmp_path: Path, quick: None, status: int) -> None:
    server = Server(2, status)
    path = tmp_path / "kubeconfig"
    path.write_text(KUBECONFIG)
    with closing(Api(path, transport=httpx2.MockTransport(server))) as api:
        assert list_cluster(api, 0.0).workloads == ()
    assert len(server.asked) == 7 + 2
    assert len(set(server.asked)) == 7


def test_other_lists_are_asked_for_once(tmp_path: Path, quick: None) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(KUBECONFIG)
    transport = httpx2.MockTransport(Server(1, 503))
    with closing(Api(path, transport=transport)) as api, pytest.raises(ApiError, match="503"):
        api.items("/x", Workload)
