"""What is known, in words and as curves."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from flyball.report.known import ends, itl_chart, of_step, remarks, rests_on, source_of
from flyball.spec.decision import Decision, Order, Step
from flyball.spec.known import Known
from flyball.spec.learned import Learned, Point
from flyball.spec.profile import IterationTiming, Profile
from flyball.testing.make import make_fleet, make_server

ONE = Known("m", "A", 24.2, 1000.0, 200.0, 0.027, 0.031, 0.06, readings=38, points=3, at=100.0, margin=1.08)
FLEET = replace(
    make_fleet([make_server("s"), make_server("t")]),
    profiles=(Profile("m", "A", IterationTiming(10e-3, 5e-5, 4e-8, 2e-5), source="the library"),),
)


def test_a_sentence_says_what_a_profile_rests_on() -> None:
    assert rests_on(ONE, "library") == (
        "profile: library, corrected by 38 readings at 3 loads; "
        "itl at 24 requests 31 ms (the profile said 27 ms), ±6 %"
    )
    assert rests_on(replace(ONE, readings=1, points=1)).startswith(
        "profile: as given, corrected by 1 reading at 1 load;"
    )
    assert rests_on(replace(ONE, readings=0, points=0, itl=0.027), "library") == (
        "profile: library; nothing seen yet, it holds; itl at 24 requests 27 ms, ±6 %"
    )


def test_what_happened_is_said_and_nothing_where_nothing_did() -> None:
    assert remarks(ONE) == []
    busy = replace(ONE, changes=2, strange=1, outliers=1200, kv_tokens=97500)
    assert remarks(busy) == [
        "begun anew 2 times: it ran steadily unlike before",
        "the last 1 reading is far off",
        "1,200 set aside in all",
        "KV cache 97,500 tokens, as used",
    ]


def test_of_a_step_it_tells_the_accelerators_that_the_server_has() -> None:
    other = replace(ONE, accelerator="B")
    step = Step("s", (Order("s", "A", 2), Order("s", "B", 0)), (Order("s", "A", 1),))
    decision = Decision("flyball", 0.0, (step,), known=(ONE, other, replace(ONE, model="n")))
    (line,) = of_step(decision, step, FLEET)
    assert line.startswith("on A, profile: the library, corrected by 38 readings")
    assert of_step(replace(decision, known=()), step, FLEET) == []
    assert source_of(FLEET, other) == ""


def test_four_fifths_lie_between_the_ends() -> None:
    low, high = ends(ONE)
    assert low * high == pytest.approx(ONE.itl**2)
    assert high / ONE.itl == pytest.approx(1.08, abs=0.001)


def test_the_chart_has_the_profile_what_is_known_and_the_loads_seen() -> None:
    # 18.4 requests at the profile's own parameters, and a tenth slower
    slow = Point(20.0, 4.0, 1000.0, 200.0, 0.0215, weight=9.0, at=50.0)
    made = itl_chart(FLEET, ONE, Learned(points=(slow,), readings=9), 100.0)
    assert made is not None
    assert (made.points, made.band) == (("seen",), ("90 %", "10 %"))
    assert max(made.x) == pytest.approx(1.5 * ONE.running)
    at = made.x.index(20.0)
    assert [i for i, v in enumerate(made.lines["seen"]) if v is not None] == [at]
    profile, known, low, high, dot = (made.lines[n][at] for n in ("profile", "known", "10 %", "90 %", "seen"))
    assert profile is not None
    assert known is not None
    assert dot is not None
    assert low is not None
    assert high is not None
    assert low < known < high
    assert profile < known < dot


def test_without_readings_it_is_the_profile_and_its_spread() -> None:
    made = itl_chart(FLEET, replace(ONE, readings=0, points=0), Learned(), 0.0)
    assert made is not None
    assert list(made.lines) == ["profile", "10 %", "90 %"]
    assert made.points == ()
    assert itl_chart(FLEET, replace(ONE, accelerator="B"), Learned(), 0.0) is None
