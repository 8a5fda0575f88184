"""Scenarios: `kind: Scenario` in YAML or JSON, a world for the plant and what the law is told of it.

`fleet` is what is believed: the profiles in it are the law's. The true engines are those profiles with each
parameter off by up to `truth.error`, drawn by `truth.seed`, so that no law steers the model that it has.
Other documents that a scenario names, a fleet or traces, are fetched by the caller.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, cast, get_args, get_type_hints

import msgspec

from flyball.spec.fleet import Fleet
from flyball.spec.scenario import (
    Draw,
    Duration,
    Engine,
    Event,
    Measuring,
    Node,
    Router,
    Scenario,
    Trace,
    World,
)
from flyball.wire.catalogue import API_VERSION, Catalogue, check_head
from flyball.wire.errors import WireError, child
from flyball.wire.fields import Fields, parse_list, parse_name, parse_text
from flyball.wire.own import fleet_from_own
from flyball.wire.quantities import parse_count, parse_duration, parse_number, parse_share
from flyball.wire.streams import read_streams
from flyball.wire.truth import Truth, cards_of, check_hardware, true_engines

LONGEST_TEXT = 4000
MOST_NODES = 10_000
MAX_FACTOR = 1e4
DECODE_SHARE = 0.75
"""Of the full power, while a card decodes (public A100 measurements)."""

_WHATS: tuple[str, ...] = get_args(get_type_hints(Event)["what"])
_BIASES: tuple[Literal["arrival_rate", "ttft", "itl"], ...] = ("arrival_rate", "ttft", "itl")


class Sources(NamedTuple):
    """Where a scenario gets what it names: a fleet or a trace by its name. Both may raise WireError."""

    fleet: Callable[[str], Fleet]
    trace: Callable[[str], Trace]


def scenario_from_own(doc: object, where: str, catalogue: Catalogue, sources: Sources) -> Scenario:
    """Read a `kind: Scenario` document; `catalogue` is there for fleets that ask for it. Or WireError."""
    about = ("apiVersion", "kind", "name", "about", "duration", "scoreFrom")
    made_of = ("fleet", "truth", "router", "nodes", "measuring", "load", "events", "start", "loop")
    fields = Fields(doc, where, "", (*about, *made_of))
    check_head(fields, "Scenario")
    duration = fields.read("duration", parse_duration, positive=True)
    score_from = fields.read("scoreFrom", parse_duration, 0.0)
    if score_from >= duration:
        raise WireError(where, "is not before the end", path="scoreFrom", mend="Let it be under duration")
    return Scenario(
        name=fields.read("name", parse_text),
        about=fields.read("about", _prose, ""),
        duration=duration,
        score_from=score_from,
        believed=(fleet := fields.read("fleet", _fleet, catalogue=catalogue, sources=sources)),
        world=_world(fields, fleet, sources),
        loop=fields.read("loop", _settings, {}),
    )


def _prose(value: object, where: str, path: str) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        problem = f"allowed is text of up to {LONGEST_TEXT:,} characters"
        raise WireError(where, problem, path=path, value=value, mend="Put quotes around it")
    return value.strip()


def _settings(value: object, where: str, path: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise WireError(where, "allowed is an object of settings by name", path=path, value=value)
    return value


def _fleet(value: object, where: str, path: str, *, catalogue: Catalogue, sources: Sources) -> Fleet:
    if isinstance(value, str):
        return sources.fleet(parse_text(value, where, path))
    if not isinstance(value, dict):
        problem = "allowed is a fleet, or where it is: sample, or the path of a file"
        raise WireError(where, problem, path=path, value=value)
    return fleet_from_own(
        {"apiVersion": API_VERSION, "kind": "Fleet", **value}, f"{where}: {path}", catalogue
    )


# ---- world -------------------------------------------------------------------------------------


def _world(fields: Fields, fleet: Fleet, sources: Sources) -> World:
    where = fields.where
    truth = fields.read("truth", Truth, Truth({}, where, "truth"))
    engines = true_engines(truth, fleet)
    check_hardware(engines, fleet, where)
    nodes = _nodes(fields, fleet)
    router = fields.read("router", parse_name, "least_loaded", known=get_args(Router), what="router")
    return World(
        fleet=msgspec.structs.replace(fleet, profiles=()),
        engines=tuple(engines.values()),
        streams=read_streams(fields, {s.name: s for s in fleet.servers}, sources.trace),
        nodes=nodes,
        draws=_draws(fleet),
        cold_start=truth.read("coldStart", _random_time, Duration(100.0, 0.1)),
        grace=truth.read("grace", parse_duration, 300.0),
        router=cast(Router, router),
        measuring=fields.read("measuring", _measuring, Measuring()),
        events=_events(fields, fleet, nodes),
        start=fields.read("start", _start, {}, fleet=fleet, engines=engines),
    )


def _nodes(fields: Fields, fleet: Fleet) -> tuple[Node, ...]:
    groups = fields.each(
        "nodes", _node_group, lambda g: g[0].name, types={a.type for a in fleet.accelerators}
    )
    nodes = tuple(node for group in groups for node in group)
    if not nodes:
        return ()
    names, held = Counter(node.name for node in nodes), Counter[str]()
    for node in nodes:
        held[node.type] += node.cards
    twice = [name for name, times in names.items() if times > 1]
    if twice:
        raise WireError(fields.where, f"{twice[0]} is there twice", path="nodes", mend="Rename one")
    for kind, cards in fleet.capacity.items():
        if held[kind] < cards:
            problem = f"hold {held[kind]} {kind} cards, and capacity is {cards}"
            raise WireError(fields.where, problem, path="nodes", mend="List all nodes, or none")
    return nodes


def _node_group(value: object, where: str, path: str, *, types: set[str]) -> tuple[Node, ...]:
    """One node, or `count` of them, named name-1, name-2, ..."""
    fields = Fields(value, where, path, ("name", "type", "cards", "rack", "count"))
    count = fields.read("count", parse_count, 0, low=1, high=MOST_NODES)
    name = fields.read("name", parse_text)
    one = Node(
        name=name,
        type=fields.read("type", parse_name, known=types, what="type of card"),
        cards=fields.read("cards", parse_count, Node("", "").cards, low=1, high=1024),
        rack=fields.read("rack", parse_text, ""),
    )
    if not count:
        return (one,)
    return tuple(msgspec.structs.replace(one, name=f"{name}-{i}") for i in range(1, count + 1))


def _draws(fleet: Fleet) -> tuple[Draw, ...]:
    """Of each type with a power curve, by that of its smallest unit."""
    draws: dict[str, Draw] = {}
    for a in sorted(fleet.accelerators, key=lambda a: (a.multiplicity, a.name)):
        if a.power is not None and a.type not in draws:
            full = a.power.full / a.multiplicity
            draws[a.type] = Draw(a.type, a.power.idle / a.multiplicity, DECODE_SHARE * full, full)
    return tuple(draws[kind] for kind in sorted(draws))


def _random_time(value: object, where: str, path: str) -> Duration:
    if not isinstance(value, dict):
        return Duration(parse_duration(value, where, path))
    fields = Fields(value, where, path, ("mean", "cov"))
    return Duration(fields.read("mean", parse_duration), fields.read("cov", parse_number, 0.0, high=10.0))


def _measuring(value: object, where: str, path: str) -> Measuring:
    fields = Fields(value, where, path, ("window", "noise", "gaps", "delay", "bias"))
    default = Measuring()
    bias = Fields(fields.values.get("bias", {}), where, child(path, "bias"), _BIASES)
    return Measuring(
        window=fields.read("window", parse_duration, default.window, positive=True),
        noise=fields.read("noise", parse_share, default.noise),
        gaps=fields.read("gaps", parse_share, default.gaps),
        delay=fields.read("delay", parse_duration, default.delay),
        bias={
            key: bias.read(key, parse_number, low=0.01, high=100.0) for key in _BIASES if key in bias.values
        },
    )


# ---- events and start --------------------------------------------------------------------------


def _events(fields: Fields, fleet: Fleet, nodes: tuple[Node, ...]) -> tuple[Event, ...]:
    """In order of time."""
    servers = {s.name for s in fleet.servers}
    machines = {node.name for node in nodes}
    named = {
        "load": ("server", servers),
        "lose_node": ("node", machines),
        "return_node": ("node", machines),
        "capacity": ("type of card", {a.type for a in fleet.accelerators}),
        "lose_replica": ("server", servers),
        "slow": ("accelerator", {a.name for a in fleet.accelerators}),
        "blind": ("server", servers),
        "stale": ("name here", set[str]()),
    }
    listed: list[object] = fields.read("events", parse_list, [])
    events = [_event(event, fields.where, child("events", i), named=named) for i, event in enumerate(listed)]
    return tuple(sorted(events, key=lambda event: event.at))


def _event(value: object, where: str, path: str, *, named: Mapping[str, tuple[str, set[str]]]) -> Event:
    fields = Fields(value, where, path, ("at", "what", "name", "value"))
    what = fields.read("what", parse_name, known=_WHATS, what="event")
    kind, known = named[what]
    if what in ("capacity", "lose_replica"):
        name = fields.read("name", parse_name, known=known, what=kind)
    else:
        every = fields.values.get("name", "") == ""
        name = "" if every else fields.read("name", parse_name, known=known, what=kind)
    amount = 0.0
    if what in ("load", "slow"):
        low = 0.0 if what == "load" else 0.01
        amount = fields.read("value", parse_number, low=low, high=MAX_FACTOR, what="a factor")
    elif what == "capacity":
        amount = fields.read("value", parse_count)
    elif what in ("blind", "stale"):
        amount = fields.read("value", parse_duration, positive=True)
    elif "value" in fields.values:
        value = fields.values["value"]
        mend = "Leave it out"
        raise WireError(where, f"{what} has no value", path=child(path, "value"), value=value, mend=mend)
    at = fields.read("at", parse_duration)
    return msgspec.convert({"at": at, "what": what, "name": name, "value": amount}, Event)


def _start(
    value: object, where: str, path: str, *, fleet: Fleet, engines: Mapping[tuple[str, str], Engine]
) -> dict[str, dict[str, int]]:
    if value == "planned":
        return {}
    models = {s.name: s.model for s in fleet.servers}
    if not isinstance(value, dict):
        problem = "allowed is planned, or replicas by server and accelerator, such as {chat: {H100: 2}}"
        raise WireError(where, problem, path=path, value=value)
    cards, used = cards_of(fleet), Counter[str]()
    start: dict[str, dict[str, int]] = {}
    for name, replicas in value.items():
        below = child(path, name)
        parse_name(name, where, below, known=models, what="server in the fleet")
        runs_on = tuple(a for (model, a) in engines if model == models[name])
        fields = Fields(replicas, where, below, runs_on)
        start[name] = {a: fields.read(a, parse_count, high=100_000) for a in fields.values}
        for accelerator, count in start[name].items():
            kind, number = cards[accelerator]
            used[kind] += count * number * engines[models[name], accelerator].accelerator_count
    for kind, needed in used.items():
        if needed > fleet.capacity.get(kind, 0):
            problem = f"takes {needed} {kind} cards, and capacity is {fleet.capacity.get(kind, 0)}"
            raise WireError(where, problem, path=path, mend="Let fewer replicas be ready at the beginning")
    return start
