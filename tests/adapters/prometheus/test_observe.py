"""From pods' figures to an observation: load is offered load and never less, and doubts are said."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from flyball.adapters.prometheus.figures import Histogram, Metrics, PodFigures, RouterFigures
from flyball.adapters.prometheus.observe import observation
from flyball.spec.snapshot import Observation, Reading, Variant

WINDOW = 60.0
READY = (Variant("H100", ready=1),)


def pod(name: str = "a", **figures: Any) -> PodFigures:
    steady = {
        "age": 5.0,
        "running": 4.0,
        "waiting": 0.0,
        "running_before": 4.0,
        "waiting_before": 0.0,
        "finished": 2.0,
        "prompt_tokens": 400.0,
        "generation_tokens": 200.0,
    }
    return PodFigures("n", name, "m", **{**steady, **figures})


def see(*pods: PodFigures, router: RouterFigures | None = None, missing: int = 0) -> Observation:
    return observation("s", READY, pods, router, window=WINDOW, missing=missing)[0]


def notes(*pods: PodFigures, router: RouterFigures | None = None, missing: int = 0) -> str:
    return "\n".join(observation("s", READY, pods, router, window=WINDOW, missing=missing)[1])


def rate(found: Observation) -> float:
    assert found.arrival_rate is not None
    return found.arrival_rate.value


counts = st.floats(0.0, 1000.0)
rates = st.floats(0.0, 100.0)
steps = st.tuples(rates, counts, counts, counts, counts)


def stepped(index: int, step: tuple[float, float, float, float, float]) -> PodFigures:
    finished, running, waiting, running_before, waiting_before = step
    return pod(
        f"p{index}",
        finished=finished,
        running=running,
        waiting=waiting,
        running_before=running_before,
        waiting_before=waiting_before,
    )


@given(st.lists(steps, min_size=1, max_size=5))
def test_offered_is_finished_and_growth(given_steps: list[tuple[float, float, float, float, float]]) -> None:
    pods = [stepped(index, step) for index, step in enumerate(given_steps)]
    came = sum(f + (r + w - rb - wb) / WINDOW for f, r, w, rb, wb in given_steps)
    assert rate(see(*pods)) == pytest.approx(max(came, 0.0), abs=1e-6)


@given(st.lists(steps, min_size=1, max_size=4), st.integers(0, 6), rates)
def test_missing_pods_never_lower_what_is_seen(
    given_steps: list[tuple[float, float, float, float, float]], missing: int, left: float
) -> None:
    pods = [stepped(index, step) for index, step in enumerate(given_steps)]
    gone = PodFigures("n", "gone", finished=left)
    whole, part = see(*pods, gone), see(*pods, gone, missing=missing)
    if 2 * len(pods) > len(pods) + missing:
        assert rate(part) >= rate(whole)
        assert part.waiting is not None
        assert part.waiting.value >= sum(p.waiting or 0.0 for p in pods) - 1e-9
    else:
        assert (part.arrival_rate, part.waiting, part.running) == (None, None, None)


@given(steps)
def test_a_pod_that_left_only_counts_with_what_it_finished(
    step: tuple[float, float, float, float, float],
) -> None:
    here = pod()
    left = PodFigures("n", "left", finished=step[0])
    assert rate(see(here, left)) == pytest.approx(rate(see(here)) + step[0])
    assert see(here, left).running == see(here).running


@given(st.lists(st.floats(0.0, 59.0), min_size=1, max_size=5))
def test_age_is_the_oldest(ages: list[float]) -> None:
    found = see(*(pod(str(index), age=age) for index, age in enumerate(ages)))
    for reading in (found.arrival_rate, found.running, found.waiting, found.in_tokens):
        assert reading is not None
        assert reading.age == max(ages)


def test_a_pod_with_old_samples_counts_as_missing() -> None:
    stale = pod("stale", age=200.0, finished=50.0)
    found = see(pod("a"), pod("b"), stale)
    assert rate(found) == pytest.approx(6.0)
    assert found.arrival_rate is not None
    assert found.arrival_rate.age == 5.0
    assert "of 3 pods 1 with samples up to 200 s old" in notes(pod("a"), pod("b"), stale)
    assert see(stale).arrival_rate is None


def test_half_of_the_pods_is_not_most() -> None:
    assert see(pod(), missing=1).arrival_rate is None
    assert rate(see(pod(), pod("b"), missing=1)) == pytest.approx(6.0)
    assert "too few" in notes(pod(), missing=1)


def test_missing_pods_do_not_hide_what_the_router_knows() -> None:
    router = RouterFigures("n", "m", arrival_rate=7.0, queue=3.0, age=11.0)
    found = see(pod(), router=router, missing=5)
    assert found.arrival_rate == Reading(7.0, 11.0)
    assert found.waiting is None


@pytest.mark.parametrize(
    ("router", "expected", "said"),
    [(2.1, 2.1, ""), (8.0, 8.0, "not all reach a pod"), (0.5, 2.0, "not all requests pass the router")],
)
def test_the_larger_of_router_and_pods_counts(router: float, expected: float, said: str) -> None:
    figures = RouterFigures("n", "m", arrival_rate=router, queue=4.0)
    found = see(pod(), router=figures)
    assert rate(found) == expected
    assert found.waiting is not None
    assert found.waiting.value == 4.0
    assert said in notes(pod(), router=figures)
    assert bool(said) == bool(notes(pod(), router=figures))


def test_new_and_restarted_pods_count_from_nothing() -> None:
    new = pod(fresh=True, running_before=0.0, finished=None)
    assert rate(see(new)) == pytest.approx(4.0 / WINDOW)
    restarted = pod(restarted=True, running_before=100.0)
    assert rate(see(restarted)) == pytest.approx(2.0 + 4.0 / WINDOW)
    assert rate(see(replace(restarted, restarted=None))) == 2.0, "nobody knows: what is gone may be lost"
    assert rate(see(replace(restarted, restarted=False))) == pytest.approx(2.0 - 96.0 / WINDOW)


@pytest.mark.parametrize(("served", "span"), [(None, WINDOW), (20.0, WINDOW), (90.0, 90.0)])
def test_what_a_pod_has_at_its_first_scrape_came_since_it_is_ready(served: float | None, span: float) -> None:
    new = pod(fresh=True, running_before=0.0, waiting=8.0, finished=1.0, served=served)
    assert rate(see(new)) == pytest.approx(1.0 + 12.0 / span)
    assert rate(see(replace(new, fresh=False, running_before=4.0))) == pytest.approx(1.0 + 8.0 / WINDOW)


def test_an_old_pod_without_its_counter_is_not_idle() -> None:
    assert see(pod(finished=None)).arrival_rate is None


@pytest.mark.parametrize("what", ["running_before", "waiting_before", "running", "waiting"])
def test_completions_alone_are_not_load(what: str) -> None:
    assert see(pod(**{what: None})).arrival_rate is None


def test_requests_that_are_given_up_while_they_run() -> None:
    firsts = Histogram((1.0,), (0.0, 5.0), 20.0)
    assert rate(see(pod(ttft=firsts))) == 5.0
    assert "never finished" in notes(pod(ttft=firsts))
    # First tokens and finished requests of a quiet minute differ by chance.
    assert rate(see(pod(ttft=replace(firsts, counts=(0.0, 2.1))))) == 2.0
    # What was preempted waits again, and has not come anew.
    assert rate(see(pod(ttft=firsts, preemptions=3.0))) == 2.0


def test_a_pod_that_hangs() -> None:
    hung = pod("hung", finished=0.0, generation_tokens=0.0, prompt_tokens=0.0)
    assert see(hung).arrival_rate is None
    assert "does it hang" in notes(hung)
    assert rate(see(pod("a"), pod("b"), hung)) == pytest.approx(6.0)
    slow = pod(finished=0.0, generation_tokens=100.0)
    assert rate(see(slow)) == 0.0
    assert notes(slow) == ""


def test_what_cannot_be_is_left_out_and_said() -> None:
    odd = pod(waiting=-1.0, kv_usage=55.0)
    found = see(odd)
    assert (found.waiting, found.kv_usage, found.arrival_rate) == (None, None, None)
    assert "waiting of a is -1" in notes(odd)
    assert "KV usage of a is 55" in notes(odd)
    assert see(pod(finished=-1.0)).arrival_rate is None


def test_tokens_without_histograms() -> None:
    found = see(pod())
    assert (found.in_tokens, found.out_tokens) == (Reading(200.0, 5.0), Reading(100.0, 5.0))
    firsts = Histogram((1.0,), (0.0, 4.0), 20.0)
    assert see(pod(ttft=firsts)).in_tokens == Reading(100.0, 5.0), "prompt tokens count with the first token"
    idle = see(pod(finished=0.0, prompt_tokens=0.0, running=0.0, running_before=0.0))
    assert (idle.in_tokens, idle.out_tokens, rate(idle)) == (None, None, 0.0)


def test_latency_of_all_pods_together() -> None:
    quick = Histogram((0.1, 1.0, 2.0), (3.0, 3.0, 3.0, 3.0), 0.15)
    slow = Histogram((0.1, 1.0, 2.0), (0.0, 0.0, 1.0, 1.0), 1.5)
    found = see(pod("a", ttft=quick, itl=quick), pod("b", ttft=slow))
    assert found.ttft["mean"].value == pytest.approx(1.65 / 4.0)
    assert (found.ttft["p50"].value, found.ttft["p50"].least) == (pytest.approx(0.1 * 2.0 / 3.0), 0.0)
    assert (found.ttft["p99"].value, found.ttft["p99"].least) == (pytest.approx(1.96), 1.0)
    assert found.itl["p50"].value == pytest.approx(0.05)
    assert see(pod()).ttft == {}


def test_cache_and_kv_usage() -> None:
    found = see(
        pod("a", cache_queries=100.0, cache_hits=10.0, kv_usage=0.5),
        pod("b", cache_queries=300.0, cache_hits=290.0, kv_usage=1.0),
    )
    assert found.cached_share == Reading(0.75, 5.0)
    assert found.kv_usage == Reading(0.75, 5.0)
    assert see(pod(cache_queries=1.0, cache_hits=2.0)).cached_share == Reading(1.0, 5.0)
    assert see(pod(cache_queries=0.0, cache_hits=0.0)).cached_share is None


def test_ready_pods_that_prometheus_does_not_know_are_missing() -> None:
    many = (Variant("H100", ready=2), Variant("A100", ready=1))
    assert observation("s", many, [pod()], window=WINDOW)[0].arrival_rate is None
    most, said = observation("s", many, [pod(), pod("b")], window=WINDOW)
    assert rate(most) == pytest.approx(6.0)
    assert "of 3 pods 1 unknown to Prometheus" in said[0]


@pytest.mark.parametrize(("growth", "expected"), [(-1.5, 0.5), (-2.0, 0.0), (0.5, 2.5)])
def test_what_waited_at_the_router_is_not_taken_for_new_load(growth: float, expected: float) -> None:
    # The pods took 2/s; with -1.5, three quarters of that had waited at the router.
    router = RouterFigures("n", "m", arrival_rate=expected, queue=1.0, queue_growth=growth)
    found = see(pod(), router=router)
    assert found.arrival_rate is not None
    assert found.arrival_rate.value == pytest.approx(expected)
    assert not notes(pod(), router=router)


def test_no_replicas() -> None:
    def see(router: RouterFigures | None = None) -> Observation:
        return observation("s", (Variant("H100", pending=1),), (), router, window=WINDOW)[0]

    found = see()
    assert (found.arrival_rate, found.waiting, found.running) == (None, None, Reading(0.0))
    router = RouterFigures("n", "m", arrival_rate=0.25, queue=9.0, age=3.0)
    assert see(router).arrival_rate == Reading(0.25, 3.0)
    assert see(router).waiting == Reading(9.0, 3.0)


def test_figures_of_the_router_by_pool() -> None:
    metrics = Metrics(
        0.0,
        WINDOW,
        routers=(
            RouterFigures("n", "m", "", 1.0, None, 1.0),
            RouterFigures("n", "m", "x", 2.0, 5.0, 2.0, -1.0),
            RouterFigures("n", "m", "y", 4.0, 7.0, 3.0, 0.5),
            RouterFigures("other", "m", "x", 8.0, 8.0, 4.0),
        ),
    )
    assert metrics.router("n", "m", "x") == RouterFigures("n", "m", "x", 3.0, 5.0, 2.0, -1.0)
    assert metrics.router("n", "m") == RouterFigures("n", "m", "", 7.0, 12.0, 3.0, -0.5)
    assert metrics.router("n", "else") is None
