"""`flyball backtest` on a recorded period that is made up: the world, the replicas, and what came of it."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from flyball.adapters.kubernetes.assemble import Assembler, Rules
from flyball.adapters.kubernetes.governed import Cluster
from flyball.adapters.kubernetes.known import Library
from flyball.adapters.prometheus.figures import Histogram
from flyball.adapters.prometheus.history import COUNTERS, Past
from flyball.commands.backtest import _simulate, since_of
from flyball.commands.backtest_result import backtest, measured, simulated, summary, table
from flyball.commands.backtest_world import (
    AS_IT_WAS,
    IN_TOKENS,
    AsItWas,
    Recorded,
    engine_of,
    recorded,
    scenario_of,
    streams_of,
    trimmed,
)
from flyball.commands.campaign import Ran
from flyball.report.campaign import Figures, Requests
from flyball.simulate.load import source
from flyball.spec.profile import ChunkedTiming, FlatTiming, PhaseTiming, Profile
from flyball.spec.snapshot import Scrape, Snapshot
from flyball.testing.cluster import listing, node, workload
from flyball.testing.make import make_fleet, make_server
from flyball.wire.errors import WireError

STEP = 60.0


def cluster_of(*names: str) -> Cluster:
    library = Library()
    return Assembler(library, Rules(mode="act")).cluster(
        listing([workload(name, labels={"inferno.server.class": "Free"}) for name in names], nodes=[node()])
    )


def past(pods: list[float | None], rate: list[float | None], **rates: list[float | None]) -> Past:
    empty: list[float | None] = [None] * len(pods)
    found = {name: empty for name in COUNTERS} | {"finished": rate} | rates
    return Past(pods, rate, found, {"ttft": Histogram((0.5, 1.0), (8.0, 9.0, 10.0), None)})


def server(offered: list[float], replicas: list[int], **more: Any) -> Recorded:
    tokens = {"in_tokens": [300.0 * r for r in offered], "out_tokens": [50.0 * r for r in offered]}
    return Recorded("chat", offered, {"H100": replicas}, finished=offered, **(tokens | more))


def test_gaps_have_no_load_and_the_replicas_of_before() -> None:
    pasts = {("infer", "chat"): past([2.0, None, 3.0], [4.0, None, 6.0])}
    (one,) = recorded(cluster_of("chat", "code"), pasts, speed=2.0)
    assert one.replicas == {"H100": [2, 2, 3]}
    assert one.offered == [2.0, 0.0, 3.0]  # engines live two seconds in one
    assert one.seen == pytest.approx(2 / 3)
    assert one.cached_share == 0.0


def test_the_cache_share_and_the_lengths_are_the_recorded_ones() -> None:
    rates: dict[str, list[float | None]] = {"cache_queries": [100.0, 100.0], "cache_hits": [20.0, 30.0]}
    pasts = {("infer", "chat"): past([1.0, 1.0], [1.0, 1.0], **rates)}
    (one,) = recorded(cluster_of("chat"), pasts, speed=1.0)
    assert one.cached_share == pytest.approx(0.25)


def test_what_was_never_seen_is_left_out_and_the_beginning_is_where_anything_begins() -> None:
    pasts = {
        ("infer", "chat"): past([None, None, 1.0], [None, None, 1.0]),
        ("infer", "code"): past([None, None, None], [None, None, None]),
    }
    assert [one.server for one in recorded(cluster_of("chat", "code"), pasts, 1.0)] == ["chat"]
    assert trimmed(pasts) == 2
    assert trimmed({}) == 0


def test_streams_have_the_recorded_rate_and_lengths_in_each_part() -> None:
    offered = [2.0] * 28 + [0.0] * 28 + [6.0] * 28
    tokens = [2.0 * 100] * 28 + [0.0] * 28 + [6.0 * 900] * 28
    streams = streams_of(server(offered, [1] * 84, in_tokens=tokens), STEP)
    arrived = [
        source(stream, seed).take(84 * STEP)
        for stream, seed in zip(streams, np.random.SeedSequence(1).spawn(len(streams)), strict=True)
    ]
    times = np.concatenate([each.times for each in arrived])
    lengths = np.concatenate([each.in_tokens for each in arrived])
    edges = np.array([0, 28, 56, 84]) * STEP
    counts = np.histogram(times, edges)[0]
    assert counts[1] == 0
    assert counts[0] == pytest.approx(2.0 * 28 * STEP, rel=0.1)
    assert counts[2] == pytest.approx(6.0 * 28 * STEP, rel=0.1)
    assert lengths[times < edges[1]].mean() == pytest.approx(100, rel=0.05)
    assert lengths[times > edges[2]].mean() == pytest.approx(900, rel=0.05)


def test_without_tokens_requests_have_usual_lengths() -> None:
    none = {"in_tokens": [0.0, 0.0], "out_tokens": [0.0, 0.0]}
    (stream, *_) = streams_of(server([1.0, 1.0], [1, 1], **none), STEP)
    assert stream.in_tokens.mean == IN_TOKENS


@pytest.mark.parametrize(
    ("timing", "kappa", "delta"),
    [
        (ChunkedTiming(0.01, 0.002, 3e-6), 3e-6, 0.002),
        (PhaseTiming(0.01, 0.002, 0.1, 4e-5), 0.0, 4e-5),
        (FlatTiming(0.01, 0.002), 0.0, 0.0),
    ],
)
def test_engines_run_as_their_profiles_say(timing: Any, kappa: float, delta: float) -> None:
    engine = engine_of(Profile("m", "A", timing, kv_tokens=500), 32)
    assert (engine.alpha, engine.beta, engine.kappa, engine.delta) == (0.01, 0.002, kappa, delta)
    assert (engine.max_sequences, engine.kv_tokens) == (32, 500)


@pytest.mark.parametrize(("now", "wanted"), [(0.0, 1), (60.0, 3), (120.0, 3), (180.0, 2), (9e9, 2)])
def test_the_recorded_replicas_are_asked_for_a_cold_start_ahead(now: float, wanted: int) -> None:
    law = AsItWas((server([1.0] * 4, [1, 1, 3, 2]),), STEP, ahead=60.0)
    decision, _ = law(Snapshot(make_fleet([make_server("chat")]), Scrape(now)), None)
    assert [(o.accelerator, o.replicas) for s in decision.steps for o in s.orders] == [("H100", wanted)]


def test_measured_costs_what_was_scraped_and_keeps_what_the_histograms_show() -> None:
    cluster = cluster_of("chat")
    (found,) = cluster.fleet.servers
    price = next(a.cost for a in cluster.fleet.accelerators if a.name == "H100")
    one = server([1.0] * 4, [1, 1, 3, 3], histograms={"ttft": Histogram((0.5, 1.0), (8.0, 9.0, 10.0), None)})
    way = measured(one, cluster.fleet, found, (0.75, 0.1), STEP)
    assert way.replicas == 2.0
    assert way.dollars == pytest.approx(8 * STEP / 3600 * price)
    assert (way.ttft_within, way.itl_within) == (pytest.approx(0.85), None)
    assert way.within == way.ttft_within
    assert way.both_within is None


def test_simulated_requests_that_are_not_finished_have_missed() -> None:
    requests = Requests(np.array([0.1, 0.9]), np.array([0.01, 0.01]), 4)
    ran = Ran(Figures("x", 1, {}, {}), {"chat": requests}, {"chat": 3.0}, {"chat": 2.0})
    way = simulated(ran, "chat", (0.5, 0.02))
    assert (way.ttft_within, way.itl_within, way.both_within, way.within) == (0.25, 0.5, 0.25, 0.25)
    assert way.ttft_p95 is None  # it is not known how late the missing ones are


@pytest.mark.slow
def test_a_period_with_too_many_replicas_would_have_cost_less() -> None:
    cluster = cluster_of("chat")
    one = server([4.0] * 40, [6] * 40, in_cov=0.5, out_cov=0.5)
    scenario = scenario_of(cluster, [one], STEP, "made up", 60.0)
    ran = _simulate(scenario, [one], 1, STEP, 60.0)
    made = backtest(cluster, scenario, [one], ran, STEP, 80 * STEP)
    (line,) = made.lines
    assert line.measured.replicas == 6.0
    assert line.simulated_as_it_was.replicas == pytest.approx(6.0, abs=0.05)
    assert line.simulated_as_it_was.dollars == pytest.approx(line.measured.dollars, rel=0.02)
    assert line.simulated_flyball.dollars is not None
    assert line.simulated_flyball.dollars < 0.6 * (line.measured.dollars or 0.0)
    assert (line.simulated_flyball.within or 0.0) > 0.99
    assert any("history begins" in note for note in made.notes)
    assert "Flyball (-" in summary(made)
    assert table(made).row_count == 1
    assert msgspec.json.decode(msgspec.json.encode(made))["lines"][0]["server"] == "chat"
    assert [*ran] == [AS_IT_WAS, "flyball"]


def test_a_server_without_a_profile_is_refused() -> None:
    cluster = cluster_of("chat")
    bare = msgspec.structs.replace(cluster, fleet=msgspec.structs.replace(cluster.fleet, profiles=()))
    with pytest.raises(ValueError, match="no profile says how fast chat runs"):
        scenario_of(bare, [server([1.0], [1])], STEP, "made up", 60.0)


@pytest.mark.parametrize(
    ("text", "seconds"), [("7d", 604800), ("2w", 1209600), ("36h", 129600), ("90min", 5400), ("0.5d", 43200)]
)
def test_periods_are_written_in_days_too(text: str, seconds: float) -> None:
    assert since_of(text) == seconds


@pytest.mark.parametrize("text", ["0d", "soon", "7", "-1d"])
def test_what_is_no_period_is_refused(text: str) -> None:
    with pytest.raises(WireError, match="--since"):
        since_of(text)
