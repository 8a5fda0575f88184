"""The reader of a cluster: whose word counts for the load, right after a start of the loop too."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec.structs import replace

from flyball.adapters.cluster import SCRAPED, ClusterReader
from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.assemble import Assembler
from flyball.adapters.kubernetes.governed import DEPLOYMENT, Cluster, Governed, PodState
from flyball.adapters.kubernetes.listing import Listing, Scope
from flyball.adapters.prometheus.errors import PrometheusError
from flyball.adapters.prometheus.figures import Metrics, PodFigures, RouterFigures
from flyball.spec.fleet import Fleet
from flyball.spec.server import Load
from flyball.spec.snapshot import Observation

LONG = 600.0
"""That a pod has been ready."""
UNKNOWN = "unknown to Prometheus"
LABELS = Load(5.0, 800.0, 200.0)
DOWN = PrometheusError("http://prometheus", "it is away", "Start it")


def governed(name: str = "chat", *pods: PodState, load: Load | None = LABELS) -> Governed:
    """A workload, with one pod that has long been ready where none are given."""
    return Governed(
        name, "H100", DEPLOYMENT, "infer", name, name, "1", "act", 1, load=load,
        pods=pods or (PodState(f"{name}-7d9f-a", "ready", ready_for=LONG),),
    )  # fmt: skip


def figures(pod: str, *, fresh: bool = False, rate: float | None = 3.0) -> PodFigures:
    return PodFigures(
        "infer", pod, "m", age=1.0, fresh=fresh, running=1.0, waiting=0.0, running_before=1.0,
        waiting_before=0.0, finished=rate,
    )  # fmt: skip


def metrics(*pods: PodFigures, router: RouterFigures | None = None) -> Metrics:
    return Metrics(0.0, 60.0, {pod.key: pod for pod in pods}, () if router is None else (router,))


class Seen:
    """A reader that has just begun; what it sees may be replaced, and time passes as told."""

    def __init__(self, *workloads: Governed) -> None:
        self.workloads = workloads
        self.answer: Metrics | Exception = metrics()
        self.past: frozenset[tuple[str, str]] | None = frozenset()
        self.clock = 1000.0

    def reader(self, **more: Any) -> ClusterReader:
        cluster = lambda listing, models: Cluster(Fleet(), self.workloads, {})  # noqa: E731
        return ClusterReader(
            cast(Api, SimpleNamespace(date=None)),
            cast(Assembler, SimpleNamespace(cluster=cluster)),
            Scope(),
            monotonic=lambda: self.clock,
            **more,
        )

    def scrape(self) -> Metrics:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


Begin = Callable[..., tuple[Seen, ClusterReader]]


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch) -> Begin:
    """A reader of some workloads, and what it sees: a Prometheus that answers and knows nothing."""
    monkeypatch.setattr("flyball.adapters.cluster.list_cluster", lambda *_: Listing(0.0))

    def made(*workloads: Governed, **more: Any) -> tuple[Seen, ClusterReader]:
        seen = Seen(*(workloads or (governed(),)))
        return seen, seen.reader(**{"scrape": seen.scrape, "past": lambda: seen.past, **more})

    return made


def observed(reader: ClusterReader, server: str = "chat") -> tuple[Observation, str]:
    """One server, and all that is said."""
    scrape = reader.observe()
    (one,) = (found for found in scrape.servers if found.server == server)
    return one, "\n".join(scrape.notes)


def is_held(one: Observation) -> bool:
    return one.arrival_rate is None and not one.stated


def is_stated(one: Observation) -> bool:
    return one.stated and one.arrival_rate is not None and one.arrival_rate.value == 5.0


def test_without_a_prometheus_labels_count_at_once(begin: Begin) -> None:
    _, reader = begin(scrape=None, past=None)
    one, said = observed(reader)
    assert is_stated(one)
    assert said == ""


def test_labels_count_once_prometheus_has_known_nothing_for_long_enough_to_have_scraped(begin: Begin) -> None:
    seen, reader = begin()
    for passed, held in ((0.0, True), (SCRAPED - 1.0, True), (1.0, False), (LONG, False)):
        seen.clock += passed
        one, said = observed(reader)
        assert is_held(one) if held else is_stated(one), passed
        assert UNKNOWN in said


def test_whoever_looks_once_need_not_wait(begin: Begin) -> None:
    one, said = observed(begin(scraped=0.0)[1])
    assert is_stated(one)
    assert "'chat': 1 pods unknown to Prometheus" in said


@pytest.mark.parametrize(("ready_for", "is_said"), [(SCRAPED - 1.0, False), (SCRAPED + 1.0, True)])
def test_a_pod_may_be_unknown_until_it_should_have_been_scraped(
    begin: Begin, ready_for: float, is_said: bool
) -> None:
    """By its own time: the loop has just begun."""
    pod = PodState("chat-7d9f-a", "ready", ready_for=ready_for)
    _, said = observed(begin(governed("chat", pod), scraped=0.0)[1])
    assert (UNKNOWN in said) == is_said
    going = PodState("chat-7d9f-b", "draining")
    seen, reader = begin(governed("chat", pod, going, load=None))
    seen.answer = metrics(figures(going.name))  # which could be taken for the one that is ready
    one, said = observed(reader)
    assert ("of 2 pods 1 unknown to Prometheus: too few" in said) == is_said
    assert is_held(one) == is_said


def test_an_error_holds_and_the_time_to_scrape_begins_anew(begin: Begin) -> None:
    seen, reader = begin()
    observed(reader)
    seen.clock += SCRAPED
    assert is_stated(observed(reader)[0])
    seen.answer = DOWN
    one, said = observed(reader)
    assert is_held(one)
    assert "it is away" in said
    seen.answer = metrics()  # it has begun anew, and has scraped nobody yet
    assert is_held(observed(reader)[0])
    seen.clock += SCRAPED
    assert is_stated(observed(reader)[0])


def test_what_was_measured_before_the_loop_began_holds(begin: Begin) -> None:
    seen, reader = begin(scraped=0.0)
    seen.past = frozenset({("infer", "chat-6c8e-gone")})
    one, said = observed(reader)
    assert is_held(one)
    assert "of 1 pods 1 unknown to Prometheus: too few" in said
    seen.past = frozenset()  # it was long ago
    assert is_held(observed(reader)[0])


def test_what_may_have_been_measured_holds(begin: Begin) -> None:
    seen, reader = begin(scraped=0.0)
    seen.past = None
    assert is_held(observed(reader)[0])
    seen.past = frozenset()
    assert is_stated(observed(reader)[0])


def test_what_was_measured_since_holds_by_pods_or_by_the_router(begin: Begin) -> None:
    seen, reader = begin(scraped=0.0)
    seen.answer = metrics(figures("chat-7d9f-a"))
    one, _ = observed(reader)
    assert one.arrival_rate is not None
    assert (one.arrival_rate.value, one.stated) == (3.0, False)
    seen.answer = metrics()
    assert is_held(observed(reader)[0])
    router = RouterFigures("infer", "m", "", 2.0)
    seen, reader = begin(governed("chat"), scraped=0.0)
    reader._models["infer", "chat"] = "m"
    seen.answer = metrics(router=router)
    assert observed(reader)[0].arrival_rate is not None
    seen.answer = metrics()
    assert is_held(observed(reader)[0])


def test_metrics_of_one_workload_say_nothing_of_another(begin: Begin) -> None:
    """Whose name, or namespace, only begins as the other's does."""
    names = ("chat", "chat-big", "chat-big-er")
    seen, reader = begin(*map(governed, names), scraped=0.0)
    seen.past = frozenset({("infer", "chat-big-7d9f-x"), ("elsewhere", "chat-7d9f-x"), ("infer", "chat")})
    held = [name for name in names if is_held(observed(reader, name)[0])]
    assert held == ["chat-big"]


def test_the_past_is_only_asked_for_where_labels_might_count(begin: Begin) -> None:
    asked: list[int] = []

    def past() -> frozenset[tuple[str, str]]:
        asked.append(1)
        return frozenset()

    seen, reader = begin(governed("chat"), governed("code", load=None), past=past)
    seen.answer = metrics(figures("chat-7d9f-a"))
    observed(reader)
    assert not asked
    seen.answer = metrics()
    observed(reader)
    assert not asked
    observed(begin(past=past)[1])
    assert asked


@pytest.mark.parametrize(("ready_for", "known"), [(90.0, True), (60.0 + SCRAPED + 1.0, False)])
def test_rates_since_prometheus_began_anew_are_not_those_of_the_window(
    begin: Begin, ready_for: float, known: bool
) -> None:
    """Of a pod that was ready before, as it says itself; one that is really new is taken as it is."""
    seen, reader = begin(governed("chat", PodState("chat-7d9f-a", "ready", ready_for=ready_for)))
    seen.answer = metrics(figures("chat-7d9f-a", fresh=True))
    assert is_held(observed(reader)[0]) != known


def fresh(running: float) -> Metrics:
    """Of a pod that nothing was known of a window ago."""
    return metrics(replace(figures("chat-7d9f-a", fresh=True), running=running, running_before=0.0))


def test_growth_is_not_made_up_after_prometheus_began_anew(begin: Begin) -> None:
    """Also of a pod that is young by the wall's clock: it was scraped before, so it is not new."""
    young = PodState("chat-7d9f-a", "ready", uid="1", ready_for=70.0)
    seen, reader = begin(governed("chat", young))
    seen.answer = metrics(figures(young.name))
    assert observed(reader)[0].arrival_rate is not None
    seen.clock += 61.0
    seen.answer = fresh(60.0)
    one, said = observed(reader)
    assert is_held(one)
    assert "of 1 pods 1 unknown to Prometheus" in said


@pytest.mark.parametrize(
    "between",
    [(), (PodState("chat-7d9f-a", "pending", uid="1"),)],
    ids=["another of its name", "began anew itself"],
)
def test_a_pod_that_is_new_again_counts_from_nothing(begin: Begin, between: tuple[PodState, ...]) -> None:
    seen, reader = begin(governed("chat", PodState("chat-7d9f-a", "ready", uid="1", ready_for=70.0)))
    seen.answer = metrics(figures("chat-7d9f-a"))
    observed(reader)
    seen.clock += 200.0
    for pod in between:
        seen.workloads = (governed("chat", pod),)
        seen.answer = metrics()
        observed(reader)
    after = PodState("chat-7d9f-a", "ready", uid="1" if between else "2", ready_for=5.0)
    seen.workloads = (governed("chat", after),)
    seen.answer = fresh(60.0)
    one = observed(reader)[0]
    assert one.arrival_rate is not None
    assert one.arrival_rate.value == pytest.approx(3.0 + 1.0)


def test_what_a_new_pod_has_came_since_it_is_ready(begin: Begin) -> None:
    """Prometheus found it late."""
    seen, reader = begin(governed("chat", PodState("chat-7d9f-a", "ready", ready_for=100.0)))
    seen.answer = fresh(60.0)
    one = observed(reader)[0]
    assert one.arrival_rate is not None
    assert one.arrival_rate.value == pytest.approx(3.0 + 0.6)
    slow = begin(governed("chat", PodState("chat-7d9f-a", "ready", ready_for=10.0)), speed=10.0)
    slow[0].answer = fresh(60.0)
    one = observed(slow[1])[0]
    assert one.arrival_rate is not None
    assert one.arrival_rate.value == pytest.approx(3.0 + 0.6)
