"""`catalogue: library`: a fleet's document without profiles, for models and cards that the library knows."""

from __future__ import annotations

from typing import Any

import pytest

from flyball.calibrate.catalogue import catalogue_for
from flyball.decide.plan import plan
from flyball.profiles.sample import catalogue as sample
from flyball.spec.fleet import Fleet
from flyball.wire.errors import WireError
from flyball.wire.read import fleet_from

LOAD = {"class": "chat", "in": 800, "out": 200}
DOCUMENT: dict[str, Any] = {
    "apiVersion": "flyball/v1",
    "kind": "Fleet",
    "catalogue": "library",
    "classes": [{"name": "chat", "targets": {"ttft": "p95<1s", "itl": "p95<50ms"}}],
    "capacity": {"NVIDIA-H100-80GB-HBM3": 16, "MI300X": 8},
    "servers": [
        {"name": "small", "model": "llama-3.1-8b", "rate": "10/s", **LOAD},
        {
            "name": "mixed",
            "model": "openai/gpt-oss-120b",
            "class": "chat",
            "rate": "5/s",
            "in": 800,
            "out": 200,
        },
    ],
}


def read(**changes: Any) -> Fleet:
    return fleet_from({"fleet.yaml": {**DOCUMENT, **changes}}, catalogue_for)


def test_a_fleet_without_any_profile_is_planned() -> None:
    fleet = read()
    assert {p.model for p in fleet.profiles} == {"llama-3.1-8b", "openai/gpt-oss-120b"}
    assert {a.type for a in fleet.accelerators} == {"NVIDIA-H100-80GB-HBM3", "MI300X"}
    assert all(p.uncertainty is not None and p.margin > 1 and p.source for p in fleet.profiles)
    made = plan(fleet)
    assert all(s.status == "served" for s in made.servers)
    assert {r.name for r in made.resources} <= {"NVIDIA-H100-80GB-HBM3", "MI300X"}


def test_without_capacity_every_card_with_a_price_is_there() -> None:
    fleet = read(capacity={}, settings={"unlimited": True})
    assert len({a.type for a in fleet.accelerators}) > 20


def test_own_profiles_go_before_the_library_s() -> None:
    own = {
        "model": "llama-3.1-8b",
        "accelerator": "MI300X",
        "alpha": "5ms",
        "beta": "10us",
        "kappa": "0s",
        "delta": "9us",
    }
    (mine,) = [
        p for p in read(profiles=[own]).profiles if (p.model, p.accelerator) == ("llama-3.1-8b", "MI300X")
    ]
    assert (mine.timing.alpha, mine.uncertainty) == (0.005, None)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"servers": [{"name": "s", "model": "Lama-3.1-8B", "class": "chat"}]},
            r"servers\[0\].model.*Near: Llama-3.1-8B",
        ),
        ({"capacity": {"H1O0": 4}}, "capacity.*no such card.*Near: H100"),
        ({"catalogue": "libary"}, "no such catalogue.*Near: library"),
    ],
)
def test_what_the_library_does_not_know(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(WireError, match=says):
        read(**changes)


def test_elsewhere_only_the_catalogue_at_hand_is_there() -> None:
    with pytest.raises(WireError, match="only sample is at hand here"):
        fleet_from({"fleet.yaml": DOCUMENT}, sample())
    assert catalogue_for({"catalogue": "sample"}) is sample()
