"""Units of cards for a model: what holds it, what is believed of it, and how careful that makes one."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from flyball.calibrate.hardware import fleet_of, units
from flyball.calibrate.margin import MOST, margin
from flyball.profiles.latency import entries
from flyball.profiles.library import cards, find_card, find_model
from flyball.spec.card import Card
from flyball.spec.server import Load
from flyball.spec.service_class import Target
from flyball.wire.own import fleet_from_own, own_document

SMALL, LARGE = find_model("Llama-3.1-8B"), find_model("Llama-3.1-70B")


def test_only_what_holds_the_model_and_a_request() -> None:
    found = units(LARGE, [find_card("L4"), find_card("H100")], entries())
    assert [u.accelerator.name for u in found] == ["L4x8", "H100x2", "H100x4", "H100x8"]
    # 141 GB of weights leave 22 tokens x thousands on two H100 cards, and no more
    room = next(u.profile.kv_tokens for u in found if u.accelerator.name == "H100x2")
    assert not units(LARGE, [find_card("H100")], entries(), in_tokens=room + 1.0, counts=(2,))
    at_fp8 = units(LARGE, [find_card("H100")], entries(), precision="fp8")
    assert "H100" in [u.accelerator.name for u in at_fp8] or "H100x2" in [u.accelerator.name for u in at_fp8]


def test_cards_without_figures_are_passed_over() -> None:
    bare = Card("X", memory_gb=80.0, price=1.0)
    assert units(SMALL, [bare, replace(bare, bandwidth_gbs=1000.0)], entries()) == ()
    assert units(SMALL, [replace(bare, bandwidth_gbs=1000.0, tflops=100.0)], entries())


def test_every_priced_card_has_a_profile_that_makes_sense() -> None:
    for unit in units(SMALL, cards(), entries()):
        timing = unit.profile.timing
        assert unit.profile.accelerator == unit.accelerator.name
        assert 1e-3 < timing.alpha < 0.2  # type: ignore[union-attr]
        assert 1.0 <= unit.profile.margin <= MOST
        assert unit.profile.source
        assert unit.profile.kv_tokens > 1300


def test_the_margin_is_the_quantile_of_the_iteration() -> None:
    (unit,) = units(SMALL, [find_card("H100")], entries(), counts=(1,))
    even, sure = (margin(unit.belief, 1000, 300, 256, c) for c in (0.5, 0.8413447))
    assert even == 1.0
    assert margin(unit.belief, 1000, 300, 256, 0.2) == 1.0
    # one standard deviation of a logarithm
    assert math.log(margin(unit.belief, 1000, 300, 256, 0.97725)) == pytest.approx(
        2 * math.log(sure), rel=1e-4
    )


@given(st.floats(0.5, 0.99), st.floats(0.5, 0.99))
def test_surer_is_wider(one: float, other: float) -> None:
    (unit,) = units(SMALL, [find_card("L40S")], entries(), counts=(1,))
    less, more = sorted((one, other))
    assert margin(unit.belief, 1000, 300, 64, less) <= margin(unit.belief, 1000, 300, 64, more)


def test_a_fleet_can_be_written_down() -> None:
    found = units(SMALL, [find_card("H100"), find_card("A100")], entries())
    fleet = fleet_of(SMALL, found, Load(20.0, 1000.0, 300.0), [Target("ttft", 1.0, 0.95)], spare=1.0)
    assert (fleet.servers[0].name, fleet.settings.spare, fleet.settings.unlimited) == (
        "Llama-3.1-8B",
        1.0,
        True,
    )
    assert fleet_from_own(own_document(fleet), "again") == fleet
