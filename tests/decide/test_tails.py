"""Percentiles as measured beside what is foretold of them: what histograms show, what plans make of it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from flyball.decide import tails
from flyball.solve.candidates import Candidates, candidates
from flyball.spec.service_class import ModelTargets, Target
from flyball.spec.snapshot import Reading
from tests.decide.test_calibration import PROFILE, SETTLED, after, reading, seen
from tests.decide.worlds import fleet_of, server_of

PROMISE = ModelTargets("m", (Target("ttft", 2.0, 0.95), Target("itl", 0.1)))


def learned(p95: Reading | None, windows: int = 40, offered: float = 8.0) -> dict[str, float]:
    """After many windows with the same percentile."""
    readings = {} if p95 is None else {"p95": p95}
    shown = seen(offered=offered, latencies={"ttft": readings})
    point = reading(shown, after(shown), SETTLED)
    assert point is not None
    found: dict[str, float] = {}
    for _ in range(windows):
        (found,) = tails.seen([tails.Window(found, shown, point, PROFILE, PROMISE)])
    return found


def test_what_is_longer_than_foretold_is_counted_longer() -> None:
    foretold = 0.06
    found = learned(Reading(0.5, least=0.4))
    assert list(found) == ["ttft p95"]  # a mean has no tail
    factor = tails.factors(found, PROMISE)["ttft p95"]
    assert 1.5 < factor <= tails.LONGEST
    assert factor <= 0.4 / foretold


def test_a_bucket_that_holds_what_is_foretold_says_nothing() -> None:
    assert learned(Reading(0.5, least=0.01)) == {"ttft p95": 0.0}


def test_shorter_than_foretold_promises_no_more() -> None:
    found = learned(Reading(0.02, least=0.01))
    assert found["ttft p95"] < 0
    assert tails.factors(found, PROMISE) == {"ttft p95": pytest.approx(math.exp(0.014))}  # as in the plant
    assert tails.factors(found, None) == {}


def test_few_requests_or_no_reading_leave_it_as_it_was() -> None:
    assert learned(Reading(0.5, least=0.4), offered=0.9) == {"ttft p95": 0.0}
    assert learned(None) == {"ttft p95": 0.0}


def test_many_servers_at_once_are_as_one_by_one() -> None:
    windows = []
    for i in range(12):
        promise = ModelTargets("m", (Target("ttft", 2.0, (0.5, 0.9, 0.95)[i % 3]), Target("itl", 0.1, 0.95)))
        latencies = {"ttft": {"p50": Reading(0.05 + 0.01 * i), "p90": Reading(0.1), "p95": Reading(0.2)}}
        shown = seen(
            offered=8.0 + i, latencies=latencies | ({"itl": {"p95": Reading(0.03)}} if i % 2 else {})
        )
        point = reading(shown, after(shown), SETTLED)
        assert point is not None
        windows.append(tails.Window({"ttft p95": 0.1 * i}, shown, point, PROFILE, promise))
    together = tails.seen(windows)
    assert together == [tails.seen([window])[0] for window in windows]
    assert len({tuple(one.items()) for one in together}) == 12
    assert tails.seen([]) == []


@given(st.floats(1e-4, 100), st.floats(0, 1), st.floats(1e-4, 10))
def test_never_beyond_its_bounds(value: float, begins: float, foretold: float) -> None:
    log = tails._over(Reading(value, least=value * begins), foretold)
    assert abs(log) <= math.log(tails.LONGEST) + 1e-12
    assert not (log > 0 and value * begins <= foretold)
    assert not (log < 0 and value >= foretold)


def test_plans_count_with_tails_and_foretell_without() -> None:
    fleet = fleet_of([server_of("s")], {"A": 99, "B": 99})
    (server,) = fleet.servers
    server = replace(server, load=replace(server.load, arrival_rate=50.0, in_tokens=1000.0, out_tokens=200.0))

    def sized(**factors: float) -> Candidates:
        named = {name.replace("_", " "): factor for name, factor in factors.items()}
        return candidates(replace(fleet, servers=(replace(server, tails=named),)))

    plain, careful = sized(), sized(itl_p95=5.0)
    assert careful.max_rate[0] < 0.9 * plain.max_rate[0]
    assert careful.itl[0] < plain.itl[0]
    assert careful.max_rate[1] == plain.max_rate[1]  # twice as fast: it is stability that limits it
    assert sized(ttft_p99=5.0).max_rate == pytest.approx(plain.max_rate)  # that is not promised
