"""Scenario documents: what each field becomes, what is left out, and what is refused and how it says so."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.spec.fleet import Fleet
from flyball.spec.profile import IterationTiming
from flyball.spec.scenario import (
    Days,
    Draw,
    Duration,
    Engine,
    Event,
    Lengths,
    Measuring,
    Node,
    Scenario,
    Stage,
    Stages,
    Steady,
    Stream,
    Trace,
)
from flyball.wire import text
from flyball.wire.catalogue import Catalogue
from flyball.wire.errors import WireError
from flyball.wire.quantities import parse_share
from flyball.wire.scenario import Sources, scenario_from_own

RECORDED = Trace((0.0, 2.0), (10, 20), (3, 4))
YAML = b"""
apiVersion: flyball/v1
kind: Scenario
name: small
about: "Two servers.  "
duration: 1h
scoreFrom: 5min
fleet:
  accelerators:
    - {name: H100, type: H100, cards: 1, price: 3, power: {idle: 120, mid: 500, full: 700}}
    - {name: H100x2, type: H100, cards: 2, price: 6, power: {idle: 200, mid: 900, full: 1200}}
    - {name: A100, type: A100, cards: 1, price: 2}
  profiles:
    - {model: m, accelerator: H100, alpha: 6ms, beta: 10us, kappa: 40ns, delta: 20us, kvTokens: 400k}
    - {model: m, accelerator: A100, alpha: 12ms, beta: 30us, kappa: 80ns, delta: 60us, units: 2}
    - {model: n, accelerator: H100x2, alpha: 14ms, beta: 25us, kappa: 40ns, delta: 50us}
    - {model: unused, accelerator: H100, alpha: 1ms, beta: 1us, kappa: 1ns, delta: 1us}
  classes: [{name: C, priority: 1, targets: {ttft: p95<1s}}]
  capacity: {H100: 16, A100: 8}
  servers:
    - {name: one, model: m, class: C, rate: 4/s, in: 900, out: 90, min: 1}
    - {name: two, model: n, class: C}
load:
  - server: two
    arrivals: {rate: 2/s, cov: 3}
    in: {mean: 2k, cov: 0.5, law: gamma, low: 10, high: 4k}
    out: 50
    cached: 30%
"""
DOCUMENT: dict[str, Any] = text.decode(YAML, "s")  # type: ignore[assignment]


def fleet_at(name: str) -> Fleet:
    return read(DOCUMENT).believed if name == "here.yaml" else missing(name)


def missing(name: str) -> Any:
    raise WireError(name, "there is none", mend="Correct it")


def read(document: object) -> Scenario:
    sources = Sources(fleet_at, lambda name: RECORDED if name == "t.csv" else missing(name))
    return scenario_from_own(document, "s", Catalogue("sample"), sources)


def changed(**fields: object) -> dict[str, Any]:
    return copy.deepcopy(DOCUMENT) | fields


def first_stream(**fields: object) -> Stream:
    return read(changed(load=[{"server": "two", "arrivals": "1/s"} | fields])).world.streams[0]


def test_a_short_document() -> None:
    found = read(DOCUMENT)
    world = found.world
    assert (found.name, found.about, found.duration, found.score_from) == (
        "small",
        "Two servers.",
        3600.0,
        300.0,
    )
    assert found.loop == {}
    assert len(found.believed.profiles) == 4
    assert world.fleet.profiles == ()
    assert world.fleet.capacity == {"H100": 16, "A100": 8}
    assert world.engines == (
        Engine("m", "H100", 6e-3, 1e-5, 4e-8, 2e-5, 400_000),
        Engine("m", "A100", 12e-3, 3e-5, 8e-8, 6e-5, accelerator_count=2),
        Engine("n", "H100x2", 14e-3, 2.5e-5, 4e-8, 5e-5),
    )
    assert world.streams == (
        Stream("two", Steady(2.0, 3.0), Lengths(2000, 0.5, "gamma", 10, 4000), Lengths(50), 0.3),
        Stream("one", Steady(4.0), Lengths(900), Lengths(90)),
    )
    assert world.draws == (Draw("H100", 120.0, 525.0, 700.0),)
    assert (world.cold_start, world.grace, world.router) == (Duration(100.0, 0.1), 300.0, "least_loaded")
    assert (world.measuring, world.events, world.nodes, world.start) == (Measuring(), (), (), {})


def test_all_of_truth_and_measuring() -> None:
    truth = {
        "maxSequences": 64,
        "batchedTokens": 2048,
        "blockSize": 32,
        "coldStart": {"mean": "90s", "cov": 0.2},
        "grace": "1min",
        "engines": [
            {
                "model": "n",
                "accelerator": "A100",
                "alpha": "1s",
                "beta": 0,
                "kappa": 0,
                "delta": 0,
                "units": 4,
            },
            {"model": "m", "accelerator": "H100", "alpha": "9ms", "batchedTokens": 512},
        ],
    }
    measuring = {"window": "30s", "noise": "5%", "gaps": 0.01, "delay": "15s", "bias": {"itl": 1.1}}
    world = read(changed(truth=truth, measuring=measuring, router="random", loop={"period": "15s"})).world
    limits = {"max_sequences": 64, "batched_tokens": 2048, "block_size": 32}
    assert world.engines[0] == Engine("m", "H100", 9e-3, 1e-5, 4e-8, 2e-5, 400_000, 64, 512, 32)
    assert world.engines[1].max_sequences == 64
    assert world.engines[3] == Engine("n", "A100", 1.0, 0, 0, 0, accelerator_count=4, **limits)
    assert (world.cold_start, world.grace, world.router) == (Duration(90.0, 0.2), 60.0, "random")
    assert world.measuring == Measuring(30.0, 0.05, 0.01, 15.0, {"itl": 1.1})
    assert read(changed(truth={"coldStart": "7s"})).world.cold_start == Duration(7.0)


def test_truth_is_off_by_chance_and_for_each_engine_alone() -> None:
    def engines(seed: int, **fields: object) -> dict[str, Engine]:
        found = read(changed(truth={"error": "15%", "seed": seed}, **fields)).world.engines
        return {f"{e.model} on {e.accelerator}": e for e in found}

    one, again, other = engines(1), engines(1), engines(2)
    assert one == again
    assert all(one[name] != other[name] for name in one)
    fewer = copy.deepcopy(DOCUMENT["fleet"])
    fewer["profiles"] = fewer["profiles"][1:]
    assert engines(1, fleet=fewer)["m on A100"] == one["m on A100"]
    off = [e.delta / d - 1 for e, d in zip(one.values(), (2e-5, 6e-5, 5e-5), strict=True)]
    assert len({round(x, 6) for x in off}) == 3
    assert 0.001 < max(abs(x) for x in off) <= 0.15
    assert one["m on H100"].kv_tokens == 400_000


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("120/min", Steady(2.0)),
        ({"rate": 2}, Steady(2.0)),
        ({"stages": [["2/s", "5min"], [0, "1min"]]}, Stages((Stage(2.0, 300.0), Stage(0.0, 60.0)))),
        ({"stages": [["2/s", "5min"]], "exact": True}, Stages((Stage(2.0, 300.0),), exact=True)),
        ({"stages": [["2/s", "5min"]], "cov": 2}, Stages((Stage(2.0, 300.0),), cov=2.0)),
        ({"days": {"rate": 3}}, Days(3.0)),
        (
            {
                "days": {
                    "rate": "3/s",
                    "swing": "40%",
                    "peak": "12h",
                    "weekend": 0.2,
                    "noise": "20%",
                    "bursts": 5,
                    "burstSize": 3,
                    "burstLength": "1min",
                    "cov": 2,
                    "start": "9h",
                }
            },
            Days(3.0, 0.4, 43200.0, 0.2, 0.2, 5.0, 3.0, 60.0, 2.0, 32400.0),
        ),
        ({"trace": "t.csv"}, RECORDED),
        (
            {"trace": "t.csv", "scale": 2.5, "jitter": "5s", "repeat": True},
            Trace((0.0, 2.0), (10, 20), (3, 4), (), 2.5, 5.0, True),
        ),
    ],
)
def test_arrivals(given: object, expected: object) -> None:
    assert first_stream(arrivals=given).arrivals == expected


def test_a_stream_has_from_the_fleet_what_it_leaves_out() -> None:
    (stream, _) = read(changed(load=[{"server": "one", "in": 5}, DOCUMENT["load"][0]])).world.streams
    assert stream == Stream("one", Steady(4.0), Lengths(5), Lengths(90))
    for arrivals, expected in (({"cov": 2}, Steady(4.0, 2.0)), ({"days": {}}, Days(4.0))):
        document = changed(load=[{"server": "one", "arrivals": arrivals}])
        assert read(document).world.streams[0].arrivals == expected


def test_nodes_events_and_start() -> None:
    found = read(
        changed(
            nodes=[
                {"name": "h", "type": "H100", "count": 2, "rack": "r"},
                {"name": "a", "type": "A100", "cards": 8},
            ],
            events=[
                {"at": "9min", "what": "blind", "value": "5min"},
                {"at": "8min", "what": "load", "name": "one", "value": 2},
                {"at": "7min", "what": "lose_node", "name": "h-2"},
                {"at": "6min", "what": "capacity", "name": "A100", "value": 4},
                {"at": "5min", "what": "slow", "value": 1.5},
                {"at": "4min", "what": "lose_replica", "name": "two"},
                {"at": "3min", "what": "return_node", "name": ""},
                {"at": "2min", "what": "stale", "value": "30s"},
            ],
            start={"one": {"H100": 2, "A100": 4}, "two": {"H100x2": 7}},
        )
    ).world
    assert found.nodes == (Node("h-1", "H100", 8, "r"), Node("h-2", "H100", 8, "r"), Node("a", "A100", 8, ""))
    assert found.events == (
        Event(120.0, "stale", "", 30.0),
        Event(180.0, "return_node"),
        Event(240.0, "lose_replica", "two"),
        Event(300.0, "slow", "", 1.5),
        Event(360.0, "capacity", "A100", 4.0),
        Event(420.0, "lose_node", "h-2"),
        Event(480.0, "load", "one", 2.0),
        Event(540.0, "blind", "", 300.0),
    )
    assert found.start == {"one": {"H100": 2, "A100": 4}, "two": {"H100x2": 7}}
    assert read(changed(start="planned")).world.start == {}


def test_a_fleet_by_name() -> None:
    assert read(changed(fleet="here.yaml")) == read(DOCUMENT)


def events(**event: object) -> dict[str, Any]:
    return changed(events=[{"at": "1min"} | event])


def load(**stream: object) -> dict[str, Any]:
    return changed(load=[{"server": "two", "arrivals": 1} | stream])


def fleet(**fields: object) -> dict[str, Any]:
    return changed(fleet=copy.deepcopy(DOCUMENT["fleet"]) | fields)


ENGINE = {"model": "n", "accelerator": "A100", "alpha": "1s", "beta": 0, "kappa": 0, "delta": 0}


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], "s is an empty list: allowed is an object with apiVersion"),
        (changed(kind="Fleet"), 's: kind is "Fleet": there is no such kind here. Known: Scenario'),
        (changed(durations=1), "s: durations: there is no such field. Near: duration"),
        ({"kind": "Scenario"}, "s: duration: is missing"),
        (changed(duration=0), "s: duration is 0: allowed is a time over 0"),
        (changed(scoreFrom="1h"), "s: scoreFrom: is not before the end"),
        (changed(about="x" * 4001), "s: about is"),
        (changed(loop=[]), "s: loop is an empty list: allowed is an object of settings"),
        (changed(fleet="elsewhere"), "elsewhere: there is none"),
        (changed(fleet=7), "s: fleet is 7: allowed is a fleet, or where it is"),
        (fleet(capacites={}), "s: fleet: capacites: there is no such field. Near: capacity"),
        (
            fleet(capacity={"H100": 1, "A100": 8}),
            "s: fleet.capacity: there are no cards for a replica of two, n",
        ),
        (
            fleet(
                profiles=[
                    {"model": "m", "accelerator": "H100", "timing": "flat", "alpha": "1ms", "beta": "1ms"}
                ]
            ),
            "profiled model",
        ),
        (
            fleet(
                profiles=[
                    *DOCUMENT["fleet"]["profiles"],
                    {"model": "m", "accelerator": "H100x2", "timing": "flat", "alpha": "1ms", "beta": "1ms"},
                ]
            ),
            "s: fleet: m on H100x2 has a profile of another form than iteration. Say how it really runs",
        ),
        (changed(truth={"eror": 0}), "s: truth.eror: there is no such field. Near: error"),
        (changed(truth={"error": "95%"}), 's: truth.error is "95%": allowed is a share from 0 to 90%'),
        (changed(truth={"engines": [ENGINE | {"model": "x"}]}), "s: truth.engines[0].model"),
        (
            changed(truth={"engines": [ENGINE | {"alpha": 0}]}),
            "s: truth.engines[0].alpha is 0: allowed is a time over",
        ),
        (changed(truth={"engines": [ENGINE, ENGINE]}), "s: truth.engines[1]: n on A100 is there already"),
        (
            changed(truth={"engines": [{"model": "n", "accelerator": "A100", "alpha": "1s"}]}),
            "s: truth.engines[0].beta: is missing",
        ),
        (
            changed(router="roundrobin"),
            's: router is "roundrobin": there is no such router. Near: round_robin',
        ),
        (changed(nodes=[{"name": "h", "type": "H100"}]), "s: nodes: hold 8 H100 cards, and capacity is 16"),
        (
            changed(nodes=[{"name": "h-2", "type": "H100"}, {"name": "h", "type": "H100", "count": 3}]),
            "s: nodes: h-2 is there twice",
        ),
        (changed(measuring={"bias": {"tpot": 1}}), "s: measuring.bias.tpot: there is no such field"),
        (changed(measuring={"window": 0}), "s: measuring.window is 0"),
        (
            changed(load=[{"server": "tow"}]),
            's: load[0].server is "tow": there is no such server in the fleet. Near: two',
        ),
        (changed(load=[{"server": "two"}]), "s: load[0].arrivals: is missing"),
        (changed(load=[DOCUMENT["load"][0]] * 2), "s: load[1]: two is there already"),
        (load(arrivals={"cov": 2}), "s: load[0].arrivals.rate: is missing"),
        (load(arrivals={"stage": []}), "s: load[0].arrivals.stage: there is no such field. Near: stages"),
        (load(arrivals={"stages": [], "rate": 2}), "s: load[0].arrivals.rate: there is no such field"),
        (load(arrivals={"stages": []}), "s: load[0].arrivals.stages: has no stage"),
        (
            load(arrivals={"stages": [["2/s"]]}),
            "s: load[0].arrivals.stages[0] is a list of 1: allowed is a rate",
        ),
        (load(arrivals={"stages": [["2/s", 0]]}), "s: load[0].arrivals.stages[0][1] is 0"),
        (
            load(arrivals={"stages": [[1, "1s"]], "exact": True, "cov": 1}),
            "s: load[0].arrivals.cov: exact stages",
        ),
        (load(arrivals={"days": {"rate": 1, "swing": 1.1}}), "s: load[0].arrivals.days.swing is 1.1"),
        (load(arrivals={"days": {"rate": 1, "peak": "25h"}}), "s: load[0].arrivals.days.peak: a day has 24h"),
        (load(arrivals={"days": {"rate": 1, "burstSize": 0.5}}), "burstSize is 0.5"),
        (load(arrivals={"trace": "u.csv"}), "u.csv: there is none"),
        (
            load(arrivals={"trace": "t.csv"}, out=5),
            "s: load[0].out: a trace brings its own lengths. Leave out out",
        ),
        (
            load(**{"in": {"mean": 5, "law": "log-normal"}}),
            'is "log-normal": there is no such law. Near: lognormal',
        ),
        (load(**{"in": {"mean": 5, "low": 9, "high": 8}}), "s: load[0].in.low is 9.0: low is over high, 8"),
        (load(cached="130%"), 's: load[0].cached is "130%": allowed is a share from 0 to 100%'),
        (
            events(what="lose_nodes"),
            's: events[0].what is "lose_nodes": there is no such event. Near: lose_node',
        ),
        (events(what="lose_node", name="n1"), "s: events[0].name"),
        (events(what="lose_node", value=1), "s: events[0].value is 1: lose_node has no value. Leave it out"),
        (events(what="capacity", value=1), "s: events[0].name: is missing"),
        (
            events(what="capacity", name="H100", value=1.5),
            "s: events[0].value is 1.5: allowed is a whole number",
        ),
        (events(what="load", name="one"), "s: events[0].value: is missing"),
        (events(what="slow", value=0), "s: events[0].value is 0: allowed is a factor from 0.01"),
        (events(what="blind", value=5), "s: events[0].value is 5: has no unit"),
        (events(what="stale", name="one", value="5s"), "s: events[0].name"),
        (changed(start=3), "s: start is 3: allowed is planned, or replicas by server"),
        (changed(start={"one": {"H100x2": 1}}), "s: start.one.H100x2: there is no such field. Near: H100"),
        (changed(start={"on": {"H100": 1}}), "s: start.on"),
        (changed(start={"two": {"H100x2": 9}}), "s: start: takes 18 H100 cards, and capacity is 16"),
        (changed(start={"one": {"A100": 5}}), "s: start: takes 10 A100 cards, and capacity is 8"),
    ],
)
def test_what_is_refused_says_where_and_how_to_mend_it(document: object, says: str) -> None:
    with pytest.raises(WireError) as caught:
        read(document)
    assert says in str(caught.value)


def test_a_stated_engine_stands_for_a_profile_of_another_form() -> None:
    flat = {"model": "m", "accelerator": "H100x2", "timing": "flat", "alpha": "1ms", "beta": "1ms"}
    document = fleet(profiles=[*DOCUMENT["fleet"]["profiles"], flat])
    document["truth"] = {"engines": [ENGINE | {"model": "m", "accelerator": "H100x2"}]}
    found = read(document)
    assert found.world.engines[-1] == Engine("m", "H100x2", 1.0, 0.0, 0.0, 0.0)
    assert sum(isinstance(p.timing, IterationTiming) for p in found.believed.profiles) == 4


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["5s", "x", "10%", "", "one", "H100"]),
    lambda below: (
        st.lists(below, max_size=2)
        | st.dictionaries(
            st.sampled_from(["rate", "at", "what", "server", "mean", "name", "stages"]), below, max_size=3
        )
    ),
    max_leaves=5,
)
FIELDS = [
    "about",
    "scoreFrom",
    "fleet",
    "truth",
    "router",
    "nodes",
    "measuring",
    "load",
    "events",
    "start",
    "loop",
]


@given(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=2))
def test_any_values_are_a_scenario_or_one_error(fields: dict[str, object]) -> None:
    try:
        found = read(changed(**fields))
    except WireError:
        return
    assert found.world.engines


@pytest.mark.parametrize(
    ("value", "share"), [("15%", 0.15), (" 5 % ", 0.05), (0.15, 0.15), ("0.2", 0.2), (1, 1.0)]
)
def test_shares(value: object, share: float) -> None:
    assert parse_share(value, "s") == share


@pytest.mark.parametrize("value", ["15 percent", 15, "-1%", "101%", None, True, "%", float("nan")])
def test_refused_shares(value: object) -> None:
    with pytest.raises(WireError, match="allowed is a share from 0 to 100%, such as 15% or"):
        parse_share(value, "s")
