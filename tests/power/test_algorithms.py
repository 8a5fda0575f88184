"""The algorithms that come with it, each on a case whose answer is plain, and how they are found."""

from __future__ import annotations

import re
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from flyball.power.algorithms import built_in, find
from flyball.power.algorithms.find import BUILT_IN, GROUP, AlgorithmError, find_algorithm, offered
from flyball.power.view import View
from tests.power.test_filter import server, view

GOLD = server("gold", 4, priority=1, full=400.0, load=400.0, tokens=1000.0)
BULK = server("bulk", 8, priority=100, full=200.0, load=400.0, tokens=4000.0)
"""gold draws 4 x 100 + 400 = 800 W and 1.25 tokens/J, bulk 8 x 100 + 400 = 1,200 W and 3.33."""


def short(watts: float) -> View:
    return view(watts, GOLD, BULK)


def test_static_cap_counts_nameplates_in_proportion() -> None:
    # Each quarter of the wish costs 400 + 2 x 200 W.
    assert built_in.static_cap(short(1600.0)) == {"gold": 2, "bulk": 4}
    assert built_in.static_cap(short(1600.0), margin=0.5) == {"gold": 1, "bulk": 2}


def test_oversubscription_gives_what_is_modelled_and_the_important_first() -> None:
    assert built_in.oversubscription(short(2000.0)) == {"gold": 4, "bulk": 8}
    # With k replicas bulk draws 100 k + min(400, 100 k): 1,600 - 800 are enough for 4.
    assert built_in.oversubscription(short(1600.0)) == {"gold": 4, "bulk": 4}
    assert built_in.oversubscription(short(700.0)) == {"gold": 3, "bulk": 0}


def test_perf_per_watt_serves_the_efficient_first() -> None:
    assert built_in.perf_per_watt(short(1300.0)) == {"gold": 0, "bulk": 8}
    assert built_in.perf_per_watt(short(1600.0)) == {"gold": 1, "bulk": 8}


def test_maximize_replicas_takes_those_that_draw_least() -> None:
    assert built_in.maximize_replicas(short(1700.0)) == {"gold": 0, "bulk": 8}
    assert built_in.maximize_replicas(short(2000.0)) == {"gold": 1, "bulk": 8}


def test_prioritize_high_replica_takes_those_that_have_most() -> None:
    many = server("many", 9, full=1000.0)
    assert built_in.prioritize_high_replica(view(9400.0, GOLD, many)) == {"gold": 1, "many": 9}


def test_three_replicas_at_half_the_cap_are_left_alone() -> None:
    """Where the original cuts to two, and swings between one and three at 950 W of 1,000."""
    for watts, left in ((500.0, 3), (950.0, 3), (1050.0, 2)):
        one = server("mistral", 3, idle=0.0, full=watts / 3.0, load=watts)
        for name in ("oversubscription", "maximize-replicas", "prioritize-high-replica"):
            assert BUILT_IN[name](view(1000.0, one)) == {"mistral": left}


def test_what_is_declared_is_what_there_is() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    part = text.partition(f'[project.entry-points."{GROUP}"]')[2].partition("\n\n")[0]
    declared = dict(re.findall(r'(?m)^([a-z-]+) = "([^"]+)"', part))
    assert declared == {n: f"{a.__module__}:{a.__name__}" for n, a in BUILT_IN.items()}  # type: ignore[attr-defined]
    assert {o.name for o in offered()} >= set(BUILT_IN)
    first = offered()[0]
    assert (first.name, first.origin, first.parameters) == (
        "maximize-replicas",
        "flyball",
        {"margin": "float = 0.0"},
    )


def mine(view: View, *, step: int, share: float = 0.5) -> dict[str, int]:
    """Mine."""
    return {}


def outside(monkeypatch: pytest.MonkeyPatch, *entries: EntryPoint) -> None:
    monkeypatch.setattr(find, "entry_points", lambda group: entries)


def test_a_third_party_s_is_found_and_its_parameters_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    outside(monkeypatch, EntryPoint("mine", f"{__name__}:mine", GROUP))
    assert find_algorithm("mine", {"step": 3}).__name__ == "mine"  # type: ignore[attr-defined]
    for given, said in (
        ({}, "needs step"),
        ({"step": "x"}, "step is 'x'"),
        ({"step": 1, "far": 2}, "has no parameter 'far'; it has share, step"),
    ):
        with pytest.raises(AlgorithmError, match=re.escape(said)):
            find_algorithm("mine", given)


def test_what_cannot_be_had_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AlgorithmError, match="did you mean static-cap"):
        find_algorithm("static-cup")
    broken = EntryPoint("broken", "no.such.module:f", GROUP)
    value = EntryPoint("value", f"{__name__}:GOLD", GROUP)
    double = EntryPoint("static-cap", f"{__name__}:mine", GROUP)
    outside(monkeypatch, broken, value, double)
    with pytest.raises(AlgorithmError, match="cannot be loaded: ModuleNotFoundError"):
        find_algorithm("broken")
    with pytest.raises(AlgorithmError, match="is no function"):
        find_algorithm("value")
    with pytest.raises(AlgorithmError, match="two algorithms are called 'static-cap'"):
        find_algorithm("static-cap")
    assert "cannot be loaded" in next(o.says for o in offered() if o.name == "broken")
