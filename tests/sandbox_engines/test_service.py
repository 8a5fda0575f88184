"""The pages over HTTP, and the engines in step with the clock and the cluster."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from flyball.sandbox.engines.clock import EngineClock
from flyball.sandbox.engines.process import command, start
from flyball.sandbox.engines.service import EngineService, Look
from flyball.sandbox.engines.watch import Seen
from flyball.spec.service_class import Target
from tests.sandbox_engines.builders import advance, engines, figures, pod, workload

PATIENCE = 30.0


class StandingClock(EngineClock):
    """Stands still until it is moved."""

    time = 0.0

    def now(self) -> float:
        return self.time


def still(at: float = 60.0, **more: Any) -> EngineService:
    """Pages of engines that ran for a while, without a loop."""
    e = engines()
    e.sync([pod(), pod("chat-2", ready_since=None)], [workload(targets=(Target("ttft", 1.0),), **more)])
    advance(e, at)
    service = EngineService(e, StandingClock(), None)
    service._socket.close()
    return service


def test_pods_page() -> None:
    service = still()
    status, kind, body = service.answer("GET", "/pods/ns/chat-1/metrics")
    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert body.decode() == service.engines.metrics("ns", "chat-1")
    assert service.answer("GET", "/pods/ns/chat-2/metrics")[0] == 404
    assert service.answer("GET", "/pods/elsewhere/chat-1/metrics")[0] == 404


def test_router_counts_requests_as_they_are_handed_to_a_pod() -> None:
    e = engines()
    e.sync([], [workload(4.0)])
    advance(e, 60.0)
    service = EngineService(e, EngineClock(3.0), None)
    service._socket.close()
    page = service.answer("GET", "/router/metrics")[2].decode()
    found = figures(page)
    waiting = found["inference_extension_flow_control_queue_size"]
    assert waiting > 150
    assert found["inference_objective_request_total"] == found["llm_d_epp_request_total"] == 0
    assert found["inference_pool_ready_pods"] == found["inference_objective_running_requests"] == 0
    assert page.count('error_code="InferencePoolResourceExhausted"} 0\n') == 3
    assert (found["flyball_sandbox_time_seconds"], found["flyball_sandbox_speed"]) == (60.0, 3.0)
    labels = [
        s.labels
        for f in text_string_to_metric_families(page)
        for s in f.samples
        if s.name.startswith("inference_")
    ]
    assert all(
        one["namespace"] == "ns" and one["inference_pool"] == "chat" and one["model_name"] == "m"
        for one in labels
    )
    e.sync([pod(ready_since=60.0)], [workload(4.0)])
    advance(e, 61.0)
    found = figures(service.answer("GET", "/router/metrics")[2].decode())
    assert found["inference_extension_flow_control_queue_size"] == 0
    assert found["llm_d_epp_request_total"] >= waiting


def test_router_says_what_it_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flyball.sandbox.engines.pool.MOST_REQUESTS", 10)
    e = engines()
    e.sync([], [workload(4.0)])
    advance(e, 60.0)
    service = EngineService(e, EngineClock(3.0), None)
    service._socket.close()
    page = service.answer("GET", "/router/metrics")[2].decode()
    away = {
        s.labels["error_code"]: s.value
        for f in text_string_to_metric_families(page)
        for s in f.samples
        if s.name == "llm_d_epp_request_error_total"
    }
    assert away["InferencePoolResourceExhausted"] > 150
    assert away["Internal"] == 0


def test_targets_are_what_prometheus_discovers() -> None:
    service = still()
    found = json.loads(service.answer("GET", "/targets")[2])
    router, one = found
    assert router["labels"]["__metrics_path__"] == "/router/metrics"
    assert one["targets"] == [service.address]
    assert {key: one["labels"][key] for key in ("namespace", "pod", "job")} == {
        "namespace": "ns",
        "pod": "chat-1",
        "job": "chat-on-h100",
    }
    assert service.answer("GET", one["labels"]["__metrics_path__"])[0] == 200


def test_report_and_its_parameters() -> None:
    service = still()
    whole = json.loads(service.answer("GET", "/report")[2])
    (server,) = whole["servers"]
    assert whole["time"] == 60.0
    assert server["share"] == 1.0
    assert server["limits"] == {"ttft": 1.0}
    (late,) = json.loads(service.answer("GET", "/report", "since=50&itl=0.001")[2])["servers"]
    assert 0 < late["finished"] < server["finished"]
    assert (late["attained"], late["limits"]) == (0, {"itl": 0.001})
    for query in ("since=soon", "since=-1", "since=nan", "before=3"):
        status, _, body = service.answer("GET", "/report", query)
        assert status == 400
        assert query.partition("=")[0] in json.loads(body)["error"]


def test_other_pages_and_methods_are_refused() -> None:
    service = still()
    assert service.answer("POST", "/report")[0] == 405
    status, _, body = service.answer("GET", "/nothing")
    assert status == 404
    assert "/router/metrics" in json.loads(body)["error"]


def test_a_port_that_is_taken_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ValueError, match="cannot be had"):
            EngineService(engines(), EngineClock(), None, taken.getsockname()[1])


@contextmanager
def running(look: Look, speed: float = 20.0) -> Iterator[EngineService]:
    service = EngineService(engines(), EngineClock(speed), look)
    thread = threading.Thread(target=service.run)
    thread.start()
    try:
        yield service
    finally:
        service.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def ask(address: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(address, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def until(address: str, path: str, wanted: Any) -> Any:
    """The first answer that is wanted."""
    end = time.monotonic() + PATIENCE
    while True:
        status, body = ask(address, path)
        if status == 200 and wanted(body):
            return body
        assert time.monotonic() < end, body
        time.sleep(0.05)


def test_the_process_follows_the_cluster_and_outlives_an_api_server_that_is_away() -> None:
    away = threading.Event()
    pods = [pod(ready_since=-1.0)]

    def look() -> Seen:
        if away.is_set():
            raise ConnectionError("nobody is there")
        return Seen(tuple(pods), (workload(),), frozenset({"n0"}), frozenset(), ("a note",))

    def served(body: bytes) -> float:
        return figures(body.decode())["vllm:request_success_total"]

    with running(look) as service:
        first = until(service.address, "/pods/ns/chat-1/metrics", lambda body: served(body) > 0)
        away.set()
        health = until(service.address, "/healthz", lambda body: b"nobody is there" in body)
        assert json.loads(health)["pods"] == 1
        assert json.loads(health)["notes"] == ["a note"]
        until(service.address, "/pods/ns/chat-1/metrics", lambda body: served(body) > served(first))
        pods[0] = msgspec.structs.replace(pods[0], name="chat-9", uid="chat-9")
        away.clear()
        until(service.address, "/pods/ns/chat-9/metrics", lambda body: True)
        assert ask(service.address, "/pods/ns/chat-1/metrics")[0] == 404
        health = json.loads(ask(service.address, "/healthz")[1])
        assert health["problem"] == ""
        assert health["speed"] == 20.0


def test_the_clock_goes_at_its_speed() -> None:
    clock = EngineClock(10.0)
    before, wall = clock.now(), time.monotonic()
    time.sleep(0.05)
    passed, least = clock.now() - before, 10.0 * 0.05
    assert least <= passed <= 10.0 * (time.monotonic() - wall) + 0.01
    assert clock.of(time.time()) == pytest.approx(clock.now(), abs=1.0)
    assert clock.of(time.time() - 10.0) == pytest.approx(clock.now() - 100.0, abs=1.0)


KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: c
clusters: [{name: c, cluster: {server: "http://127.0.0.1:PORT"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
"""


@pytest.mark.slow
def test_as_a_child_process(tmp_path: Path) -> None:
    """Without any API server: it says so, and goes on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = tmp_path / "kubeconfig"
    config.write_text(KUBECONFIG.replace("PORT", str(port)))
    started = start(command(config, speed=5.0, seed=3), tmp_path / "log")
    try:
        address = started.url.removeprefix("http://")
        health = json.loads(until(address, "/healthz", lambda body: b"not looked" not in body))
        assert "Connect" in health["problem"]
        assert health["looked"] is None
        assert health["speed"] == 5.0
    finally:
        started.stop()
    assert started.process.returncode == 0
    assert (tmp_path / "log").read_text() == ""
    with pytest.raises(ValueError, match="there is no such file"):
        start(command(tmp_path / "none"), tmp_path / "log")


@pytest.mark.slow
@pytest.mark.parametrize("words", [["--speed", "0"], ["--error", "2"], ["--profiles", "none.yaml"]])
def test_wrong_options(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "k").write_text(KUBECONFIG)
    command = [sys.executable, "-m", "flyball.sandbox.engines", "--kubeconfig", str(tmp_path / "k"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("flyball: ")


PARENT = """
import sys
from pathlib import Path
from flyball.sandbox.engines.process import command, start
print(start(command(Path(sys.argv[1])), Path(sys.argv[2])).url)
"""


@pytest.mark.slow
def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    (tmp_path / "k").write_text(KUBECONFIG.replace("PORT", "1"))
    words = [sys.executable, "-c", PARENT, str(tmp_path / "k"), str(tmp_path / "log")]
    url = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    end = time.monotonic() + PATIENCE
    with suppress(OSError):  # refused, or cut off
        while ask(url.removeprefix("http://"), "/healthz"):
            assert time.monotonic() < end
            time.sleep(0.05)
    assert (tmp_path / "log").read_text() == ""
