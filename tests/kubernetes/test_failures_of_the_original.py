"""What goes wrong with the original on a real API server, and does not here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from tests.clusters import eventually
from tests.kubernetes.stage import PERIOD, Loop, Stage, bounded, follows, get, server

pytestmark = pytest.mark.slow


class Flawed(ThreadingHTTPServer):
    """A Prometheus whose answers lack what is of some pods, or that answers nothing at all."""

    daemon_threads = True

    def __init__(self, behind: str) -> None:
        self.behind = behind
        self.hidden = ""
        """Pods whose names begin so are not known."""
        self.broken = False
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Flawed

    def do_GET(self) -> None:
        self._answer("")

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length", 0))
        self._answer(self.rfile.read(length).decode())

    def _answer(self, form: str) -> None:
        path = self.path + ("&" if "?" in self.path else "?") + form if form else self.path
        status, body = (500, b"{}") if self.server.broken else get(self.server.behind, path)
        if status == 200 and self.server.hidden:
            body = self._without(json.loads(body))
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _without(self, found: Any) -> bytes:
        data = found.get("data")
        if isinstance(data, dict) and "result" in data:
            data["result"] = [r for r in data["result"] if not self._is_hidden(r)]
        return json.dumps(found).encode()

    def _is_hidden(self, row: Any) -> bool:
        return str(row["metric"].get("pod", "")).startswith(self.server.hidden)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@contextmanager
def flawed(behind: str) -> Iterator[Flawed]:
    one = Flawed(behind)
    thread = Thread(target=one.serve_forever, daemon=True)
    thread.start()
    try:
        yield one
    finally:
        one.shutdown()
        one.server_close()


def test_a_prometheus_error_scales_nothing_down(stage: Stage, space: str) -> None:
    busy = {"rpm": 1500, "tokens_in": 500, "tokens_out": 150}
    stage.create(space, server("seen", **busy), server("unseen", replicas=3, **busy))
    eventually(lambda: stage.ready(space, "unseen") == 3)
    with flawed(stage.prometheus) as prometheus, stage.loop(space, prometheus=prometheus.url) as loop:
        # Of one server nothing is known any more.
        stage.pass_by(60)
        prometheus.hidden = "unseen-"
        loop.more(1)  # the one under way has read it before
        had = stage.replicas(space, "unseen")
        assert had >= 1
        loop.more(3)
        assert stage.replicas(space, "unseen") >= had
        # The others are governed all the same.
        stage.load(space, "seen", rpm=9000)
        follows(lambda: stage.replicas(space, "seen") >= 3)
        assert stage.replicas(space, "unseen") >= had
        # Of none is anything known.
        prometheus.broken = True
        loop.more(1)
        held = {name: stage.replicas(space, name) for name in ("seen", "unseen")}
        loop.more(3)
        assert all(stage.replicas(space, name) >= count for name, count in held.items()), held


def test_load_that_returns_is_seen(stage: Stage, space: str) -> None:
    stage.create(space, server("chat", rpm=600, tokens_in=500, tokens_out=150))
    with stage.loop(space) as loop:
        follows(lambda: _running(loop) > 0)
        stage.load(space, "chat", rpm=0)
        follows(lambda: _running(loop) == 0)
        loop.more(4)
        assert stage.replicas(space, "chat") == 1, "the last one stays"
        stage.load(space, "chat", rpm=9000)
        follows(lambda: stage.replicas(space, "chat") >= 3)
        assert min(loop.history("chat")) >= 1


def _running(loop: Loop) -> float:
    found: float = loop.cycles()[-1]["servers"][0]["occTotal"]
    return found


def test_one_infeasible_server_freezes_nobody(stage: Stage, space: str) -> None:
    impossible = {"flyball.dev/itl": "1us"}
    stage.create(
        space,
        server("never", annotations=impossible, replicas=2, rpm=60, tokens_in=500, tokens_out=100),
        server("chat", rpm=9000, tokens_in=500, tokens_out=150),
    )
    with stage.loop(space) as loop:
        follows(lambda: stage.replicas(space, "chat") >= 3)
        loop.more(2)
        assert stage.replicas(space, "never") >= 2, "it keeps what it has"
        assert not loop.cycles()[-1]["errors"]


def test_a_spike_is_followed_in_bounded_steps(stage: Stage, space: str) -> None:
    stage.create(space, server("chat", "H100", rpm=300, tokens_in=500, tokens_out=200))
    with stage.loop(space) as loop:
        stage.pass_by(2 * PERIOD)
        stage.load(space, "chat", rpm=24_000)
        follows(lambda: stage.replicas(space, "chat") >= 8)
        loop.more(3)
        history = loop.history("chat")
    assert history[0] == 1
    assert len({one for one in history if 1 < one < max(history)}) >= 1, "more than one step"
    bounded(history)
    assert max(history) <= 16, "as many as there are cards"


def test_steady_load_moves_to_cheaper_hardware(stage: Stage, space: str) -> None:
    steady = {"rpm": 600, "tokens_in": 500, "tokens_out": 100}
    named = {"inferno.server.name": "chat"}
    stage.create(
        space,
        server("chat-h100", "H100", labels=named, **steady),
        server("chat-l40s", "L40S", labels=named, replicas=0),
    )
    eventually(lambda: stage.ready(space, "chat-h100") == 1)
    with stage.loop(space) as loop:
        began = stage.now()
        both: list[tuple[int, int]] = []

        def moved() -> bool:
            both.append(tuple(stage.ready(space, f"chat-{card}") for card in ("h100", "l40s")))  # type: ignore[arg-type]
            return both[-1][0] == 0 and both[-1][1] >= 1

        follows(moved)
        # The old ones go when the new ones serve, and no request is lost on the way.
        assert min(sum(one) for one in both) >= 1, both
        loop.more(3)
        assert stage.replicas(space, "chat-h100") == 0
        found = stage.report(space, "chat", since=began)
        assert found["failed"] == 0
        assert found["share"] >= 0.95, found
        why = [message for _, message in stage.events(space, "chat-l40s")]
        assert any("serves the same at less cost" in one for one in why), why
