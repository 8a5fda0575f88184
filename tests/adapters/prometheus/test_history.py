"""Reading a real Prometheus with a made-up history: figures, ages, and every query that is shipped."""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec
import pytest

from flyball.adapters.prometheus.client import Prometheus
from flyball.adapters.prometheus.errors import PrometheusError
from flyball.adapters.prometheus.figures import Metrics
from flyball.adapters.prometheus.mapping import shipped_names
from flyball.adapters.prometheus.observe import observation
from flyball.adapters.prometheus.presence import AGAIN, EVERY, Presence
from flyball.adapters.prometheus.queries import pod_queries, presence_query, router_queries
from flyball.adapters.prometheus.read import read
from flyball.spec.snapshot import Observation, Variant
from tests.adapters.prometheus.history import BACK, samples
from tests.prometheus import backfill, prometheus, there

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not there(), reason="there is no prometheus on PATH")]

WINDOW = 60.0


@pytest.fixture(scope="module")
def began() -> float:
    return time.time()


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, began: float) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("history")
    backfill(folder, samples(began))
    with prometheus(folder) as url, Prometheus(url) as client:
        yield client


@pytest.fixture(scope="module")
def metrics(asked: Prometheus, began: float) -> Metrics:
    return read(asked, shipped_names(), WINDOW, at=began + 1.0)


def seen(metrics: Metrics, *pods: str, missing: int = 0) -> tuple[Observation, tuple[str, ...]]:
    keys = [("n", pod) for pod in pods]
    variants = (Variant("H100", ready=len(pods) + missing),)
    return observation("chat", variants, metrics.of(keys), window=metrics.window, missing=missing)


def about(value: float, rel: float = 0.01) -> object:
    return pytest.approx(value, rel=rel)


def test_every_shipped_query_runs(asked: Prometheus) -> None:
    names = shipped_names()
    assert names.router is not None
    every = {**pod_queries(names, WINDOW), **router_queries(names.router, names.select, WINDOW)}
    every["presence"] = presence_query(names, WINDOW)
    empty = {name for name, expr in every.items() if not asked.query(expr).samples}
    assert empty == set()


def test_pods_that_were_ever_seen_are_asked_for_seldom(asked: Prometheus, metrics: Metrics) -> None:
    clock = [0.0]
    presence = Presence(asked, shipped_names(), lambda: clock[0])
    found = presence.pods()
    assert found is not None
    assert set(metrics.pods) <= found, "those that are there, and those that are gone"
    presence._prometheus = Prometheus("http://127.0.0.1:9", timeout=1.0)
    with presence._prometheus:
        clock[0] = EVERY - 1.0
        assert presence.pods() is found
        clock[0] = EVERY
        assert presence.pods() is None, "what cannot be read is not known"
    presence._prometheus = asked
    assert presence.pods() is None, "and is not asked at once again"
    clock[0] += AGAIN
    assert presence.pods() == found


def test_the_number_of_queries_does_not_depend_on_the_fleet(metrics: Metrics) -> None:
    assert len(metrics.pods) == 12
    assert ("", "") not in metrics.pods, "what is no pod is not read"


def test_rates_gauges_and_tokens(metrics: Metrics) -> None:
    found, notes = seen(metrics, "chat-0", "chat-1")
    assert notes == ()
    assert found.arrival_rate is not None
    assert found.arrival_rate.value == about(6.0)
    assert found.running is not None
    assert (found.running.value, found.waiting and found.waiting.value) == (16.0, 2.0)
    assert found.kv_usage is not None
    assert found.kv_usage.value == 0.5
    assert found.in_tokens is not None
    assert found.out_tokens is not None
    assert (found.in_tokens.value, found.out_tokens.value) == (about(275.0), about(100.0))
    assert found.cached_share is not None
    assert found.cached_share.value == about(0.2)
    assert metrics.pods["n", "chat-0"].model == "llama"


def test_quantiles_are_those_of_prometheus(asked: Prometheus, metrics: Metrics) -> None:
    found, _ = seen(metrics, "chat-0", "chat-1")
    assert found.ttft["mean"].value == about(0.2 * 0.9 + 2.0 * 0.1)
    for metric, readings in (
        ("vllm:time_to_first_token_seconds", found.ttft),
        ("vllm:request_time_per_output_token_seconds", found.itl),
    ):
        for name, share in (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)):
            expr = f'histogram_quantile({share}, sum by (le) (rate({metric}_bucket{{pod=~"chat-."}}[1m])))'
            (theirs,) = asked.query(expr, metrics.time).samples
            assert readings[name].value == about(theirs.value[1], 1e-6)  # type: ignore[index]
    assert (found.ttft["p50"].least, found.ttft["p99"].least) == (0.1, 1.0)
    assert found.itl["p95"].least == 0.01


def test_spread_of_tokens(metrics: Metrics) -> None:
    found, _ = seen(metrics, "chat-0", "chat-1")
    true = 125.0 / 275.0
    assert found.in_cov is not None
    assert true * 0.95 < found.in_cov.value < true * 1.4
    few, _ = seen(metrics, "new-0")
    assert few.in_cov is None


def test_a_saturated_server_is_known_by_its_queue(metrics: Metrics) -> None:
    found, _ = seen(metrics, "full-0")
    assert found.arrival_rate is not None
    assert found.arrival_rate.value == about(4.0)
    assert found.waiting is not None
    assert found.waiting.value > 1150.0


def test_a_restart_takes_its_requests_with_it(metrics: Metrics) -> None:
    figures = metrics.pods["n", "restart-0"]
    assert figures.restarted
    assert figures.running_before == 100.0
    found, _ = seen(metrics, "restart-0")
    assert found.arrival_rate is not None
    # 2/s finished all the time, but for the scrapes about the restart; 5 are there anew.
    assert 1.6 + 5.0 / 60.0 <= found.arrival_rate.value <= 2.1 + 5.0 / 60.0


def test_a_new_pod_counts_from_nothing(metrics: Metrics) -> None:
    assert metrics.pods["n", "new-0"].fresh
    found, _ = seen(metrics, "new-0")
    assert found.arrival_rate is not None
    assert found.arrival_rate.value == about((30.0 + 12.0) / WINDOW)


def test_age_is_true(metrics: Metrics) -> None:
    figures = metrics.pods["n", "late-0"]
    assert figures.age == pytest.approx(21.0, abs=0.01)
    found, _ = seen(metrics, "chat-0", "chat-1", "late-0")
    assert found.arrival_rate is not None
    assert found.arrival_rate.age == figures.age


def test_not_a_number_is_absent(metrics: Metrics) -> None:
    figures = metrics.pods["n", "nan-0"]
    assert (figures.running, figures.waiting) == (None, None)
    assert figures.finished == about(1.0)
    found, _ = seen(metrics, "nan-0")
    assert (found.arrival_rate, found.running, found.waiting) == (None, None, None)
    most, _ = seen(metrics, "chat-0", "chat-1", "nan-0")
    assert most.arrival_rate is not None
    assert most.arrival_rate.value == about(9.0), "as much as the mean of the two others"


def test_scraped_twice_counts_once(metrics: Metrics) -> None:
    figures = metrics.pods["n", "twice-0"]
    assert (figures.running, figures.finished) == (6.0, about(3.0))
    assert any("n/twice-0" in note for note in metrics.notes)


def test_engines_of_a_pod_are_added(metrics: Metrics) -> None:
    figures = metrics.pods["n", "pair-0"]
    assert (figures.running, figures.waiting, figures.finished) == (7.0, 1.0, about(3.0))


def test_older_names(metrics: Metrics) -> None:
    found, _ = seen(metrics, "old-0")
    assert found.kv_usage is not None
    assert found.kv_usage.value == 0.25
    assert list(found.itl) == ["mean"]
    assert found.itl["mean"].value == about(0.03)
    assert found.cached_share is not None
    assert found.cached_share.value == about(0.5)
    assert found.out_tokens is not None
    assert found.out_tokens.value == about(100.0)


def test_a_pod_that_hangs_has_no_load_that_is_known(metrics: Metrics) -> None:
    found, notes = seen(metrics, "hang-0")
    assert found.arrival_rate is None
    assert any("hang-0" in note for note in notes)


def test_requests_that_are_given_up_are_offered(metrics: Metrics) -> None:
    found, notes = seen(metrics, "impatient-0")
    assert found.arrival_rate is not None
    assert found.arrival_rate.value == about(10.0)
    assert any("given up" in note for note in notes)


def test_the_router_counts_what_never_reached_a_pod(metrics: Metrics) -> None:
    figures = metrics.router("n", "llama")
    assert figures is not None
    assert figures.arrival_rate == about(8.0)
    found, notes = observation(
        "chat", (), metrics.of([("n", "chat-0"), ("n", "chat-1")]), figures, window=WINDOW
    )
    assert found.arrival_rate is not None
    assert found.arrival_rate.value == about(8.0)
    assert notes == (), "a quarter more is no contradiction"


def test_demand_at_zero_replicas(metrics: Metrics) -> None:
    figures = metrics.router("n", "zero", "zero")
    found, _ = observation("idle", (Variant("H100"),), (), figures, window=WINDOW)
    assert found.arrival_rate is not None
    assert found.arrival_rate.value == about(1.0)
    assert found.waiting is not None
    assert found.waiting.value == pytest.approx(BACK, rel=0.2)
    nobody, _ = observation("idle", (Variant("H100"),), (), None, window=WINDOW)
    assert (nobody.arrival_rate, nobody.waiting) == (None, None)


def test_a_router_that_counts_as_requests_come(asked: Prometheus, metrics: Metrics) -> None:
    names = shipped_names()
    assert names.router is not None
    names = msgspec.structs.replace(names, router=msgspec.structs.replace(names.router, counts="arrivals"))
    found = read(asked, names, WINDOW, at=metrics.time)
    chat, zero = found.router("n", "llama"), found.router("n", "zero")
    assert chat is not None
    assert chat.arrival_rate == about(8.0)
    assert zero is not None
    assert zero.arrival_rate is None, "a queue that grows is no count of arrivals"
    assert zero.queue is not None


def test_a_window_without_two_scrapes_is_said(asked: Prometheus, metrics: Metrics) -> None:
    found = read(asked, shipped_names(), 3.0, at=metrics.time)
    assert seen(found, "chat-0")[0].arrival_rate is None
    assert any("fewer than two scrapes" in note for note in found.notes)


def test_the_beginning_of_all_metrics_is_said(asked: Prometheus, began: float) -> None:
    found = read(asked, shipped_names(), WINDOW, at=began - BACK + 20.0)
    assert any("nothing is known of a window ago" in note for note in found.notes)


def test_a_faster_plant(asked: Prometheus, metrics: Metrics) -> None:
    fast = read(asked, shipped_names(), window=300.0, speed=5.0, at=metrics.time)
    slow, figures = metrics.pods["n", "chat-0"], fast.pods["n", "chat-0"]
    assert slow.finished is not None
    assert figures.finished == about(slow.finished / 5.0)
    assert figures.ttft is not None
    assert figures.ttft.total is not None
    found, _ = seen(fast, "full-0")
    assert found.arrival_rate is not None
    assert found.arrival_rate.value == about(4.0 / 5.0)
    assert found.ttft["mean"].value == about(0.38)
    assert fast.pods["n", "late-0"].age == pytest.approx(105.0, abs=0.05)


def test_labels_to_select_by(asked: Prometheus) -> None:
    names = msgspec.structs.replace(shipped_names(), select=(("job", "again"),), router=None)
    assert list(read(asked, names, WINDOW).pods) == [("n", "twice-0")]


def test_an_empty_answer_is_an_empty_fleet(asked: Prometheus) -> None:
    names = msgspec.structs.replace(shipped_names(), select=(("job", "nobody"),))
    found = read(asked, names, WINDOW)
    assert (found.pods, found.routers, found.notes) == ({}, (), ())


def test_a_query_over_a_range(asked: Prometheus, began: float) -> None:
    expr = 'sum(rate(vllm:request_success_total{pod="chat-0"}[1m]))'
    (series,) = asked.query_range(expr, began - 120.0, began - 60.0, 15.0).series
    assert [value for _, value in series.points] == [about(2.0)] * 5
    (infinite,) = asked.query_range(
        'vllm:num_requests_running{pod="nan-0"}', began - 60.0, began, 30.0
    ).series
    assert [value for _, value in infinite.points] == [float("inf")] * 3
    assert infinite.labels["pod"] == "nan-0"


def test_what_is_wrong_with_a_query_is_said(asked: Prometheus) -> None:
    with pytest.raises(PrometheusError, match="parse error") as caught:
        asked.query("sum by (")
    assert (caught.value.status, caught.value.asked) == (400, "sum by (")
    with pytest.raises(PrometheusError, match="vector"):
        asked.query("1 + 1")
