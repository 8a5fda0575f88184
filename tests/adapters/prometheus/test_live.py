"""A real Prometheus that scrapes: a target that vanishes, answers that are late, nobody there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from flyball.adapters.prometheus.client import Prometheus
from flyball.adapters.prometheus.errors import PrometheusError
from flyball.adapters.prometheus.figures import Metrics, PodFigures
from flyball.adapters.prometheus.mapping import shipped_names
from flyball.adapters.prometheus.read import read
from tests.adapters.prometheus.answers import Answer, answering, asking
from tests.adapters.prometheus.history import Engine, pod, steady
from tests.prometheus import prometheus, series, there

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not there(), reason="there is no prometheus on PATH")]

PATIENCE = 30.0
WINDOW = 20.0


class Pods:
    """Metrics pages of two pods, whose counters follow the clock."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.gone: set[str] = set()

    def page(self, path: str, _: str) -> Answer:
        name = path.strip("/")
        if name in self.gone:
            return Answer(503, b"")
        engine = Engine(pod(name), steady(4.0), steady(1.0), 5.0, began=0.0)
        lines = engine.lines(time.monotonic() - self._began)
        text = "".join(f"{series(metric, _own(labels))} {value!r}\n" for metric, labels, value in lines)
        return Answer(200, text.encode(), "text/plain; version=0.0.4")


def _own(labels: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in labels.items() if key not in ("namespace", "pod", "job")}


@pytest.fixture(scope="module")
def pods() -> Pods:
    return Pods()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, pods: Pods) -> Iterator[str]:
    with answering(pods.page) as there:
        groups = "".join(
            f"      - targets: ['{there.removeprefix('http://')}']\n"
            f"        labels: {{namespace: n, pod: {name}, __metrics_path__: /{name}}}\n"
            for name in ("a", "b")
        )
        configuration = (
            "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
            f"scrape_configs:\n  - job_name: engines\n    static_configs:\n{groups}"
        )
        with prometheus(tmp_path_factory.mktemp("live"), configuration) as address:
            yield address


def until(client: Prometheus, wanted: Callable[[PodFigures, PodFigures], bool]) -> Metrics:
    """The first scrape in which something holds, of figures `a` and `b`."""
    last = time.monotonic() + PATIENCE
    while True:
        found = read(client, shipped_names(), WINDOW)
        a, b = (found.pods.get(("n", name)) for name in "ab")
        if a is not None and b is not None and wanted(a, b):
            return found
        assert time.monotonic() < last, found
        time.sleep(0.25)


def test_a_target_that_vanishes(url: str, pods: Pods) -> None:
    with Prometheus(url) as client:
        found = until(client, lambda a, b: min(a.finished or 0.0, b.finished or 0.0) > 0)
        assert found.pods["n", "a"].running == found.pods["n", "b"].running == 4.0
        pods.gone.add("b")
        found = until(client, lambda _, b: b.age is None)
        left = found.pods["n", "b"]
        assert left.finished is not None
        assert left.finished > 0, "what it finished in the window counts still"
        assert (left.running, left.running_before, left.waiting) == (None, None, None)
        stays = found.pods["n", "a"]
        assert stays.age is not None
        assert stays.age < PATIENCE


def test_a_scrape_that_failed_a_window_ago_does_not_make_a_pod_new(url: str, pods: Pods) -> None:
    window = 5.0
    with Prometheus(url) as client:
        until(client, lambda a, _: (a.finished or 0.0) > 0)
        pods.gone.add("a")
        gone = until(client, lambda a, _: a.running is None).time
        pods.gone.discard("a")
        until(client, lambda a, _: a.running == 4.0 and time.time() > gone + window + 0.5)
        figures = read(client, shipped_names(), window, at=gone + window).pods["n", "a"]
        assert (figures.running, figures.running_before, figures.fresh) == (4.0, 4.0, False)


def test_rates_are_those_of_the_counters(url: str) -> None:
    with Prometheus(url) as client:
        expr = 'max_over_time(vllm:generation_tokens_total{pod="a"}[5m])'
        until(client, lambda a, _: (a.finished or 0.0) > 0)
        (series,) = client.query_range(expr, time.time() - 60.0, time.time(), 1.0).series
        values = [value for _, value in series.points]
        assert values == sorted(values)
        figures = read(client, shipped_names(), WINDOW).pods["n", "a"]
        assert figures.finished is not None
        assert figures.generation_tokens is not None
        assert figures.generation_tokens == pytest.approx(100.0 * figures.finished, rel=1e-6)


def test_one_slow_query_of_a_real_one(url: str) -> None:
    held = threading.Event()

    def say(asked: str, _: str) -> Answer:
        if "kv_cache" in asked:
            held.wait(PATIENCE)
        return asking(url, urlencode({"query": asked}))

    with answering(say) as proxy, Prometheus(proxy) as client:
        found = read(client, shipped_names(), WINDOW, timeout=3.0)
        held.set()
    assert found.pods["n", "a"].running == 4.0
    assert found.pods["n", "a"].kv_usage is None
    assert any(note.startswith("kv_usage could not be read") for note in found.notes)


def test_a_prometheus_that_ends(tmp_path: Path) -> None:
    with prometheus(tmp_path) as address:
        client = Prometheus(address)
        assert read(client, shipped_names()).pods == {}
    with pytest.raises(PrometheusError):
        read(client, shipped_names())
    client.close()
