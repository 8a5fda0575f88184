"""Flyball's own documents: quantities, what is refused and how it says so, and the way there and back."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flyball.spec.accelerator import Accelerator, PowerCurve
from flyball.spec.fleet import Fleet, Settings
from flyball.spec.profile import ChunkedTiming, FlatTiming, IterationTiming, PhaseTiming, Profile, Uncertainty
from flyball.spec.server import NO_ALLOCATION, Allocation, Load, Server
from flyball.spec.service_class import MEAN, ModelTargets, ServiceClass, Target
from flyball.wire import quantities as q
from flyball.wire import text
from flyball.wire.catalogue import Catalogue, catalogue_from_own
from flyball.wire.errors import WireError
from flyball.wire.own import fleet_from_own, is_own, own_document

# ---- quantities ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("read", "value", "expected"),
    [
        (q.parse_duration, "1s", 1.0),
        (q.parse_duration, "50ms", 0.05),
        (q.parse_duration, " 1.5 s ", 1.5),
        (q.parse_duration, "200us", 0.0002),
        (q.parse_duration, "40.846ns", 4.0846e-8),
        (q.parse_duration, "2min", 120.0),
        (q.parse_duration, "1h", 3600.0),
        (q.parse_duration, 0, 0.0),
        (q.parse_rate, "20", 20.0),
        (q.parse_rate, 20, 20.0),
        (q.parse_rate, "20/s", 20.0),
        (q.parse_rate, "1200/min", 20.0),
        (q.parse_rate, "3600/h", 1.0),
        (q.parse_throughput, "2000/s", 2000.0),
        (q.parse_tokens, "1000", 1000.0),
        (q.parse_tokens, "8k", 8000.0),
        (q.parse_tokens, "1.5K", 1500.0),
        (q.parse_count, "438k", 438_000),
        (q.parse_count, 64.0, 64),
        (q.parse_number, "5.98", 5.98),
    ],
)
def test_quantities(read: Any, value: object, expected: float) -> None:
    assert read(value, "doc") == expected


@pytest.mark.parametrize(
    ("read", "value", "says"),
    [
        (q.parse_duration, "50", "has no unit"),
        (q.parse_duration, 0.05, "50ms"),
        (q.parse_duration, "5 parsec", "unknown unit parsec"),
        (q.parse_duration, "-1s", "from 0"),
        (q.parse_duration, "2e6s", "1e6 s"),
        (q.parse_duration, "nans", "allowed"),
        (q.parse_duration, float("nan"), "allowed"),
        (q.parse_duration, True, "allowed"),
        (q.parse_duration, None, "is null"),
        (q.parse_rate, "1200/month", "/min"),
        (q.parse_rate, 1e7, "1200/min"),
        (q.parse_throughput, -1, "tokens per second"),
        (q.parse_tokens, "8kb", "thousand"),
        (q.parse_tokens, 1e8, "1e7"),
        (q.parse_count, 1.5, "whole"),
        (q.parse_count, 10**10, "1,000,000,000"),
        (q.parse_number, "5 dollars", "without unit"),
        (q.parse_number, [1], "a list of 1"),
    ],
)
def test_refused_quantities_say_what_is_allowed(read: Any, value: object, says: str) -> None:
    with pytest.raises(WireError, match=says) as caught:
        read(value, "fleet.yaml", "servers[0].field")
    assert "fleet.yaml: servers[0].field" in str(caught.value)


@pytest.mark.parametrize(
    ("written", "limit", "quantile", "formatted"),
    [
        ("p95<1s", 1.0, 0.95, "p95<1s"),
        ("p99 <= 2s", 2.0, 0.99, "p99<2s"),
        ("mean<50ms", 0.05, MEAN, "mean<50ms"),
        ("50ms", 0.05, 0.95, "p95<50ms"),
        ("p99.9<3s", 3.0, 0.999, "p99.9<3s"),
        ("P50 ≤ 2MIN", 120.0, 0.5, "p50<120s"),
    ],
)
def test_targets(written: str, limit: float, quantile: float, formatted: str) -> None:
    target = q.parse_target(written, "ttft", "--ttft")
    assert target == Target("ttft", limit, quantile)
    assert q.format_target(target) == formatted


@pytest.mark.parametrize(
    "written", ["p95>1s", "p95", "p0<1s", "p100<1s", "p95<1", "<1s", "p95<0s", "", "max<1s", 50]
)
def test_refused_targets_show_how_to_write_one(written: object) -> None:
    with pytest.raises(WireError) as caught:
        q.parse_target(written, "ttft", "--ttft")
    assert "--ttft is" in str(caught.value)
    assert caught.value.mend


@given(
    st.text()
    | st.from_regex(r"(p[0-9.]{1,5}|mean)? ?[<=≤]{0,2} ?[0-9.e+-]{0,8} ?[a-zµ]{0,3}", fullmatch=True)
)
def test_any_text_is_a_target_or_a_wire_error(written: str) -> None:
    try:
        target = q.parse_target(written, "itl", "here")
    except WireError:
        return
    assert 0 <= target.quantile < 1
    assert 0 < target.limit <= q.MAX_SECONDS
    assert q.parse_target(q.format_target(target), "itl", "here") == target


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers())))
def test_any_value_is_a_quantity_or_a_wire_error(value: object) -> None:
    for read in (
        q.parse_duration,
        q.parse_rate,
        q.parse_throughput,
        q.parse_tokens,
        q.parse_count,
        q.parse_number,
    ):
        try:
            number = read(value, "here")
        except WireError:
            continue
        assert 0 <= number <= 1e9


@given(st.floats(0, 1e6))
def test_durations_and_rates_come_back_to_the_bit(value: float) -> None:
    assert q.parse_duration(q.format_duration(value), "here") == value
    assert q.parse_rate(q.format_rate(value), "here") == value


# ---- the document --------------------------------------------------------------------------------

DOCUMENT = """
apiVersion: flyball/v1
kind: Fleet
accelerators:
  - {name: H100, price: 2.99, power: {idle: 119, mid: 525, full: 700}}
  - {name: H100x2, type: H100, cards: 2, price: 5.98, memory: 160, bandwidth: 6700}
profiles:
  - {model: org/8B, accelerator: H100, alpha: 6.39ms, beta: 0.0118ms, kappa: 0.0408us, delta: 0.0202ms,
     kvTokens: 438k}
  - {model: org/70B, accelerator: H100x2, units: 2, alpha: 15ms, beta: 33us, kappa: 27ns, delta: 61us,
     maxBatch: 64}
classes:
  - name: Premium
    priority: 1
    targets: {ttft: p95<500ms, itl: [p50<20ms, p99<40ms], throughput: 100/s}
    models:
      org/70B: {ttft: p95<1s, itl: none}
  - name: Free
capacity: {H100: 64}
servers:
  - {name: chat, model: org/8B, class: Premium, rate: 1200/min, in: 1k, out: 300, min: 1, queue: 0}
  - {name: big, model: org/70B, class: Free, current: {accelerator: H100x2, replicas: 3}}
settings: {solver: exact, saturation: PriorityExhaustive, holdHours: 2, coldStart: 3min}
"""


def parsed(document: str = DOCUMENT) -> Any:
    return text.decode(document.encode(), "fleet.yaml")


def changed(change: str, value: object) -> Any:
    """The document with one place, as `servers/0/rate`, set to something else."""
    document = parsed()
    *path, last = (int(p) if p.isdigit() else p for p in change.split("/"))
    place = document
    for step in path:
        place = place[step]
    place[last] = value
    return document


def test_lengths_that_vary_are_told() -> None:
    document = changed("servers/0/inCov", 0.8)
    document["servers"][0]["outCov"] = 1
    load = fleet_from_own(document, "fleet.yaml").servers[0].load
    assert (load.in_cov, load.out_cov) == (0.8, 1.0)
    with pytest.raises(WireError, match=r"servers\[0\].inCov"):
        fleet_from_own(changed("servers/0/inCov", -1), "fleet.yaml")


def test_a_document_is_read_in_seconds_and_dollars() -> None:
    fleet = fleet_from_own(parsed(), "fleet.yaml")
    assert is_own(parsed())
    assert fleet.accelerators == (
        Accelerator("H100", "H100", 1, 2.99, power=PowerCurve(119, 700, 525, 0.5)),
        Accelerator("H100x2", "H100", 2, 5.98, 160, 6700),
    )
    assert fleet.profiles[0].timing == IterationTiming(6.39e-3, 1.18e-5, 4.08e-8, 2.02e-5)
    assert (fleet.profiles[0].kv_tokens, fleet.profiles[0].max_batch_size) == (438_000, 256)
    premium, free = fleet.service_classes
    assert premium.models == (
        ModelTargets(
            "*", (Target("ttft", 0.5, 0.95), Target("itl", 0.02, 0.5), Target("itl", 0.04, 0.99)), 100
        ),
        ModelTargets("org/70B", (Target("ttft", 1.0, 0.95),), 100),
    )
    assert free == ServiceClass("Free", 100)
    chat, big = fleet.servers
    assert chat.load == Load(20, 1000, 300)
    assert (chat.min_replicas, chat.max_queue_size) == (1, 0)
    assert big.max_queue_size is None
    assert big.current == Allocation("H100x2", 3, cost=5.98 * 2 * 3)
    assert fleet.capacity == {"H100": 64}
    assert fleet.settings == Settings(
        "exact", saturation_policy="PriorityExhaustive", hold_hours=2, cold_start=180
    )


def test_accelerators_that_a_server_may_have_are_kept() -> None:
    fleet = fleet_from_own(changed("servers/0/accelerators", ["H100x2"]), "fleet.yaml")
    assert [server.accelerators for server in fleet.servers] == [("H100x2",), ()]
    assert fleet_from_own(own_document(fleet), "again") == fleet


def test_without_capacity_there_is_no_limit() -> None:
    document = parsed()
    del document["capacity"]
    assert fleet_from_own(document, "f").settings.unlimited
    document["settings"]["unlimited"] = False
    with pytest.raises(WireError, match="capacity"):
        fleet_from_own(document, "f")


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        ("kind", "Fleat", r'kind is "Fleat".*Near: Fleet'),
        ("apiVersion", "flyball/v9", "Near: flyball/v1"),
        ("clases", [], "clases: there is no such field. Near: classes"),
        ("catalogue", "sample", "no catalogue is at hand"),
        ("servers", {}, "servers is an empty object: allowed is a list"),
        ("servers/0", 7, r"servers\[0\] is 7: allowed is an object with name, model"),
        ("servers/0/raet", 7, r"servers\[0\].raet: there is no such field. Near: rate"),
        ("servers/0/rate", "lots", r'servers\[0\].rate is "lots".*20/s'),
        ("servers/0/rate", 2e6, "from 0 to 1e"),
        ("servers/0/in", 1e8, "1e7"),
        ("servers/0/out", 0, r"servers\[0\].out"),
        ("servers/0/maxBatch", 65_537, "65,536"),
        ("servers/0/class", "premium", r'servers\[0\].class is "premium".*Near: Premium'),
        ("servers/0/model", "org/7B", "no such profiled model.*org/70B"),
        ("servers/0/keepAccelerator", "yes", "true or false"),
        ("servers/0/accelerators", "H100", "allowed is a list"),
        ("servers/0/accelerators", ["H10"], r"accelerators\[0\] is \"H10\".*Near: H100"),
        ("servers/1/name", "chat", r"servers\[1\]: chat is there already"),
        ("servers/1/current/accelerator", "H10", "Near: H100"),
        (
            "classes/0/targets/tfft",
            "p95<1s",
            r"classes\[0\].targets.tfft: there is no such field. Near: ttft",
        ),
        ("classes/0/targets/ttft", "fast", r'classes\[0\].targets.ttft is "fast".*p95<1s'),
        ("classes/0/models", {"org/9B": {}}, "no such profiled model.*Near: org/8B"),
        ("classes/0/models", None, "is null"),
        ("classes/0/priority", 0, "from 1 to 100"),
        ("profiles/0/accelerator", "H200", "no such accelerator.*Near: H100"),
        ("profiles/0/epsilon", "1ms", r"profiles\[0\].epsilon: epsilon is the time of experts.*Add experts"),
        ("profiles/0/experts", 8, r"profiles\[0\].expertsPerToken: a token goes to 0 of 8 .*1 to 8"),
        ("profiles/0/alpha", "0s", r"profiles\[0\].alpha"),
        ("profiles/0/uncertainty", {"alpha": 11}, r"profiles\[0\].uncertainty.alpha"),
        ("profiles/1", {"model": "m", "accelerator": "H100"}, r"profiles\[1\].alpha: is missing"),
        ("accelerators/0/price", -1, "dollars per hour"),
        ("accelerators/0/power/midAt", 2, "a utilization from 0 to 1"),
        ("accelerators/1/name", "H100", "H100 is there already"),
        ("capacity/H10O", 3, "capacity.H10O.*Near: H100"),
        ("capacity", None, "Leave capacity out"),
        ("capacity/H100", 1.5, "whole number"),
        ("settings/solver", "gready", "Near: greedy"),
        ("settings/saturation", "none", "Near: None"),
        ("settings/holdHours", 0, "from 0.01"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(place: str, value: object, says: str) -> None:
    with pytest.raises(WireError, match=says) as caught:
        fleet_from_own(changed(place, value), "fleet.yaml")
    assert str(caught.value).startswith("fleet.yaml: ")


@pytest.mark.parametrize("document", [None, [], "Fleet", 7, {}, {"kind": None}])
def test_other_documents_are_not_ours(document: object) -> None:
    assert not is_own(document)
    with pytest.raises(WireError):
        fleet_from_own(document, "x")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)
PLACES = [
    "kind",
    "accelerators",
    "accelerators/0",
    "accelerators/0/name",
    "accelerators/0/power",
    "accelerators/1/cards",
    "profiles",
    "profiles/0",
    "profiles/0/alpha",
    "profiles/0/epsilon",
    "profiles/0/uncertainty",
    "profiles/1/model",
    "profiles/1/timing",
    "classes",
    "classes/0",
    "classes/0/targets",
    "classes/0/targets/itl",
    "classes/0/models",
    "classes/1/priority",
    "capacity",
    "capacity/H100",
    "settings",
    "servers",
    "servers/0",
    "servers/0/rate",
    "servers/0/queue",
    "servers/1/current",
    "servers/1/class",
]


@given(st.sampled_from(PLACES), JSON)
def test_anything_anywhere_is_a_fleet_or_a_wire_error(place: str, value: object) -> None:
    try:
        fleet = fleet_from_own(changed(place, value), "fleet.yaml")
    except WireError:
        return
    assert isinstance(fleet, Fleet)


# ---- catalogues ----------------------------------------------------------------------------------


def test_a_catalogue_is_taken_by_name_and_overridden() -> None:
    catalogue = catalogue_from_own(
        {
            "kind": "Catalogue",
            "name": "ours",
            "priced": "2026-11",
            **{key: parsed()[key] for key in ("accelerators", "profiles")},
        },
        "catalogue.yaml",
    )
    assert (catalogue.name, catalogue.priced, len(catalogue.profiles)) == ("ours", "2026-11", 2)
    document = {
        "kind": "Fleet",
        "catalogue": "ours",
        "accelerators": [{"name": "H100", "price": 2.0}, {"name": "L4", "price": 0.5}],
    }
    fleet = fleet_from_own(document, "fleet.yaml", catalogue)
    assert [(a.name, a.cost) for a in fleet.accelerators] == [("H100", 2.0), ("H100x2", 5.98), ("L4", 0.5)]
    assert fleet.accelerators[0].power == catalogue.accelerators[0].power
    assert fleet.profiles == catalogue.profiles
    with pytest.raises(WireError, match="Near: ours"):
        fleet_from_own(document | {"catalogue": "our"}, "fleet.yaml", catalogue)
    assert fleet_from_own({"kind": "Fleet"}, "fleet.yaml", catalogue).accelerators == ()


def test_a_fleet_is_no_catalogue() -> None:
    with pytest.raises(WireError, match=r"(Near|Known): Catalogue"):
        catalogue_from_own({"kind": "Fleet", "name": "x"}, "x")
    assert Catalogue("empty").accelerators == ()


# ---- there and back ------------------------------------------------------------------------------

NAMES = ("a", "b", "org/c-7B", "50", "null")
positive = st.floats(1e-9, 1e3)
amount = st.floats(0, 1e6)
shares = st.floats(0, 1)
counts = st.integers(0, 10**9)
durations = st.floats(0, 1e3)
texts = st.text(max_size=20)


def some(item: st.SearchStrategy[Any], identity: str) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(item, max_size=3, unique_by=lambda one: getattr(one, identity)).map(tuple)


@st.composite
def promises(draw: st.DrawFn, model: str) -> ModelTargets:
    targets: list[Target] = []
    for metric in ("ttft", "itl", "wait", "e2e"):
        quantiles = draw(st.lists(st.sampled_from([MEAN, 0.5, 0.95, 0.999]), max_size=2))
        targets += [Target(metric, draw(positive), quantile) for quantile in quantiles]  # type: ignore[arg-type]
    return ModelTargets(model, tuple(targets), draw(amount))


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    name = st.sampled_from(NAMES)
    power = st.none() | st.builds(PowerCurve, amount, amount, amount, shares)
    accelerators = draw(
        some(st.builds(Accelerator, name, name, st.integers(1, 8), amount, amount, amount, power), "name")
    )
    known = [a.name for a in accelerators]
    experts = st.integers(8, 512), st.integers(1, 8)
    timing = st.one_of(
        st.builds(FlatTiming, positive, durations),
        st.builds(PhaseTiming, positive, durations, durations, durations),
        st.builds(ChunkedTiming, positive, durations, durations),
        st.builds(IterationTiming, positive, durations, durations, durations, durations),
        st.builds(IterationTiming, positive, durations, durations, durations, durations, durations, *experts),
    )
    uncertainty = st.none() | st.builds(Uncertainty, shares.filter(bool), shares, epsilon=shares)
    batch = st.integers(1, 65_536)
    profile = st.builds(
        Profile,
        name,
        st.sampled_from(known or [""]),
        timing,
        st.integers(1, 9),
        batch,
        counts,
        counts,
        texts,
        uncertainty,
    )
    profiles = draw(some(profile, "model")) if known else ()
    models = [p.model for p in profiles]
    classes = draw(some(st.builds(ServiceClass, name, st.integers(1, 100)), "name"))
    classes = tuple(
        msgspec.structs.replace(
            c, models=tuple(draw(promises(m)) for m in ("*", *models) if draw(st.booleans()))
        )
        for c in classes
    )
    servers: tuple[Server, ...] = ()
    if models and classes:
        busy = st.builds(Load, amount, amount, st.floats(1, 1e6), amount, amount, amount)
        running = st.builds(
            Allocation, st.sampled_from(known), counts, st.integers(0, 65_536), amount, durations, durations
        )
        server = st.builds(
            Server,
            name,
            st.sampled_from(models),
            st.sampled_from([c.name for c in classes]),
            st.just(Load()) | busy,
            st.booleans(),
            counts,
            st.integers(0, 65_536),
            st.none() | counts,
            st.just(NO_ALLOCATION) | running,
        )
        servers = draw(some(server, "name"))
    types = [a.type for a in accelerators]
    capacity = draw(st.dictionaries(st.sampled_from(types), counts)) if types else {}
    settings = st.builds(
        Settings,
        st.sampled_from(["auto", "exact", "greedy", "unlimited"]),
        st.booleans(),
        st.booleans(),
        st.booleans(),
        st.sampled_from(["None", "RoundRobin"]),
        st.floats(0.01, 100),
        durations,
        amount,
        texts,
    )
    return Fleet("flyball", accelerators, profiles, classes, servers, capacity, draw(settings))


@given(fleets())
def test_a_fleet_comes_back_from_its_document(fleet: Fleet) -> None:
    document = own_document(fleet)
    assert is_own(document)
    assert fleet_from_own(document, "here") == fleet
    as_json = text.decode(json.dumps(document).encode(), "json")
    assert fleet_from_own(as_json, "json") == fleet


def test_a_fleet_comes_back_from_yaml() -> None:
    fleet = fleet_from_own(parsed(), "fleet.yaml")
    written = yaml.safe_dump(own_document(fleet), sort_keys=False)
    assert fleet_from_own(text.decode(written.encode(), "yaml"), "yaml") == fleet
    assert "ttft: p95<500ms" in written
    assert "itl: none" in written


def test_a_fleet_of_infernos_rules_is_not_written_as_ours() -> None:
    with pytest.raises(WireError, match="generation G1"):
        own_document(Fleet(generation="G1"))
