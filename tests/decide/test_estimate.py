"""Error bars: what options cost and reach as far as their profiles are known."""

from __future__ import annotations

import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from flyball.calibrate.belief import Belief
from flyball.calibrate.hardware import Unit, fleet_of, units
from flyball.decide.estimate import estimates, sampled
from flyball.decide.plan import plan
from flyball.profiles.latency import entries
from flyball.profiles.library import find_card, find_model
from flyball.solve.candidates import candidates
from flyball.spec.fleet import Fleet
from flyball.spec.plan import Estimate
from flyball.spec.server import Load
from flyball.spec.service_class import Target

TARGETS = [Target("ttft", 1.0, 0.95), Target("itl", 0.05)]


def known(
    *names: str, model: str = "Llama-3.1-8B", spread: float = 1.0, margin: float | None = None
) -> list[Unit]:
    """Units of one card each; their beliefs `spread` times as wide."""
    found = []
    for unit in units(find_model(model), [find_card(n) for n in names], entries(), counts=(1,)):
        belief = replace(
            unit.belief,
            covariance=unit.belief.covariance * spread**2,
            residual=unit.belief.residual * spread,
            gamma_sigma=unit.belief.gamma_sigma * spread,
        )
        profile = msgspec.structs.replace(unit.profile, margin=margin or unit.profile.margin)
        found.append(Unit(unit.accelerator, belief, profile))
    return found


def found(units_: list[Unit], rate: float = 20.0, **options: int) -> tuple[Fleet, tuple[Estimate, ...]]:
    fleet = fleet_of(find_model("Llama-3.1-8B"), units_, Load(rate, 1000.0, 300.0), TARGETS)
    beliefs = {unit.accelerator.name: unit.belief for unit in units_}
    return fleet, estimates(fleet, candidates(fleet), "Llama-3.1-8B", beliefs, **options)


def test_options_are_those_of_the_plan_cheapest_first() -> None:
    fleet, bars = found(known("H100", "A100", "L40S"))
    made = plan(fleet)
    assert [e.option.accelerator for e in bars] == [
        e.option.accelerator for e in sorted(bars, key=lambda e: e.option.cost)
    ]
    assert made.servers[0].allocation == bars[0].option
    assert {(x.metric, x.statistic) for x in bars[0].latencies} == {("ttft", "p95"), ("itl", "mean")}
    first = {p.metric: p.value for p in made.servers[0].promises}
    assert {x.metric: pytest.approx(x.likely) for x in bars[0].latencies} == first


def test_what_is_known_exactly_has_no_bars() -> None:
    _, bars = found(known("H100", "L40S", spread=0.0, margin=1.0))
    for e in bars:
        assert (e.cost_low, e.cost_high, e.within) == (e.option.cost, e.option.cost, 1.0)
        for x in e.latencies:
            assert (x.low, x.high) == pytest.approx((x.likely, x.likely))


def test_bars_surround_and_grow_with_ignorance() -> None:
    _, little = found(known("H100", spread=0.3))
    _, much = found(known("H100", spread=1.5))
    for e in (*little, *much):
        assert e.cost_low <= e.cost_high
        for x in e.latencies:
            assert x.low <= x.likely <= x.high
    for a, b in zip(little[0].latencies, much[0].latencies, strict=True):
        assert b.high / b.low > a.high / a.low


def test_a_margin_makes_targets_hold_more_often() -> None:
    within = [found(known("L40S", margin=m), rate=60.0)[1][0].within for m in (1.0, 1.3, 1.8)]
    assert within == sorted(within)
    assert within[0] < within[-1]


def test_the_same_seed_gives_the_same_bars() -> None:
    assert found(known("H100"), draws=20) == found(known("H100"), draws=20)
    assert found(known("H100"), draws=20)[1] != found(known("H100"), draws=20, seed=2)[1]


def test_without_load_or_beliefs_there_is_nothing_to_show() -> None:
    fleet, _ = found(known("H100"))
    assert estimates(fleet, candidates(fleet), "Llama-3.1-8B", {}) == ()
    assert found(known("H100"), rate=0.0)[1] == ()


def test_draws_have_the_beliefs_law() -> None:
    belief = Belief(
        np.log([5e-3, 1e-5, 4e-8, 2e-5]), np.diag([0.04, 0.25, 0.09, 0.01]), 0.1, gamma=math.log(0.03)
    )
    drawn = sampled(belief, 20_000, np.random.default_rng(0))
    logs = np.log([[t.alpha, t.beta, t.kappa, t.delta] for t in drawn])
    assert logs.mean(axis=0) == pytest.approx(belief.mean, abs=0.02)
    assert logs.std(axis=0) == pytest.approx(np.sqrt(np.array([0.04, 0.25, 0.09, 0.01]) + 0.01), rel=0.03)
    assert np.array([t.gamma for t in drawn]) == pytest.approx(0.03)
