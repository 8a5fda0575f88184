"""The shipped catalogue and fleet: complete, sane, and with their provenance."""

from __future__ import annotations

import pytest

from flyball.profiles.sample import catalogue, sample_fleet
from flyball.spec.profile import IterationTiming
from flyball.wire.own import fleet_from_own, own_document

MODELS = sorted({p.model for p in catalogue().profiles})


def test_accelerators_are_priced_and_draw_more_the_busier_they_are() -> None:
    assert len(catalogue().accelerators) == 20
    assert catalogue().priced == "2026-11"
    for a in catalogue().accelerators:
        assert a.cost > 0
        assert a.memory_gb > 0
        assert a.bandwidth_gbs > 0
        assert a.power is not None
        assert 0 < a.power.idle <= a.power.mid_power <= a.power.full


def test_units_of_one_type_agree_card_by_card() -> None:
    singles = {a.type: a for a in catalogue().accelerators if a.multiplicity == 1}
    for a in catalogue().accelerators:
        one = singles[a.type]
        assert a.name == (a.type if a.multiplicity == 1 else f"{a.type}x{a.multiplicity}")
        assert a.cost == pytest.approx(a.multiplicity * one.cost)
        assert a.memory_gb == a.multiplicity * one.memory_gb
        assert a.bandwidth_gbs == a.multiplicity * one.bandwidth_gbs
        assert a.power is not None
        assert one.power is not None
        assert a.power.full == a.multiplicity * one.power.full


def test_profiles_are_of_known_accelerators_and_say_where_they_come_from() -> None:
    known = {a.name for a in catalogue().accelerators}
    assert {"meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-70B", "Qwen/Qwen3-32B"} <= set(MODELS)
    for p in catalogue().profiles:
        assert p.accelerator in known
        assert isinstance(p.timing, IterationTiming)
        # a step of one request lasts 1 to 100 ms, a prompt token far less than a step
        assert 1e-3 < p.timing.alpha < 0.1
        assert 0 <= p.timing.beta < p.timing.alpha
        assert 0 <= p.timing.kappa < p.timing.delta < p.timing.alpha / 10
        assert p.kv_tokens > 10_000
        assert p.source.startswith(("op-level", "measured", "SOL"))


def test_the_sample_fleet() -> None:
    fleet = sample_fleet()
    assert (len(fleet.servers), len(fleet.accelerators), len(fleet.service_classes)) == (27, 20, 4)
    assert [c.name for c in fleet.service_classes] == ["Premium", "Standard", "Free", "Batch"]
    assert 2 <= sum(s.current.replicas > 0 for s in fleet.servers) <= 4
    assert {s.service_class for s in fleet.servers} == {c.name for c in fleet.service_classes}
    assert not fleet.settings.unlimited
    assert fleet_from_own(own_document(fleet), "again") == fleet
