"""Power in one cycle: from what is seen to the rooms, the servers in them, and what may run. Pure.

    watch domains -> policies' caps -> what a plan may use -> (plan) -> what each workload may have now

A workload is in the hands of the most restrictive policy that selects it; one that no policy selects is only
recommended for. In Observe nothing is said of it, in Recommend it is said and not done.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import cached_property

import msgspec
from msgspec.structs import replace

from flyball.power.budget import Governing, Observed, Standing, cap_watts, governing, held_back, selects
from flyball.power.patience import Shed
from flyball.power.places import Places, Weights, mean
from flyball.power.relief import Limited, Reliefs
from flyball.power.relocate import Relocations
from flyball.power.tree import tree_of
from flyball.power.view import Group, Room, ServerView, View
from flyball.power.watch import DomainMemory, Seen, Watched, policy_rooms, watch
from flyball.solve.watts import HEAT
from flyball.spec.power import Mode, PlacedPod, Policy, PowerSeen
from flyball.units import DollarsPerHour, Seconds, TokensPerSecond, Watts

NEAR = 1.0
"""Kelvin below the warmest inlet that is allowed, from which on a rack counts as hot."""
PRICES: Seconds = 300.0
"""Between two looks at what a kilowatt is worth."""
ENDLESS = 1_000_000

FREE = Policy("", "", mode="Recommend")
"""In force where no policy selects a workload."""


class PowerMemory(msgspec.Struct, frozen=True):
    """What is remembered of power from cycle to cycle."""

    domains: dict[str, DomainMemory] = {}
    windows: dict[str, Observed] = {}
    """Of policies with relative caps, by `namespace/name`."""
    wanted: dict[str, int] = {}
    """By workload: what its load asked for when it was decided last."""
    shed: dict[str, Shed] = {}
    """By workload that gave replicas for watts."""
    given: dict[str, int] = {}
    """By enforced workload: replicas that it was given last, there or not yet."""
    prices: dict[str, DollarsPerHour] = {}
    """By domain: what one more kilowatt saves."""
    priced_at: Seconds | None = None
    relocations: Relocations = Relocations()
    reliefs: dict[Mode, Reliefs] = {}

    @property
    def limited(self) -> dict[str, Limited]:
        """Batches that are held to, by workload."""
        return self.reliefs.get("Enforce", Reliefs()).batches


class Need(msgspec.Struct, frozen=True, gc=False):
    """What a governed server has and wants, as the loop knows it."""

    replicas: int
    wanted: int
    priority: int = 100
    least: int = 0
    tokens: TokensPerSecond = 0.0
    idle: Watts = 0.0
    full: Watts = 0.0
    """Of one replica, where it has no pod that tells it."""
    cards: int = 0
    """Of one replica; 0: not known."""
    needed: int | None = None
    """Of those that are wanted, for the present load without any margin; None: all."""


def _is_full(one: Watched) -> bool:
    """Whether nothing grows there."""
    return one.room is not None and (one.room.frozen or one.room.grow <= one.reading.governed)


class Power:
    """Power in one cycle, in the order in which its parts are made."""

    def __init__(self, seen: PowerSeen, memory: PowerMemory, needs: Mapping[str, Need]) -> None:
        """`needs`: of the governed servers; their `wanted` may be that of the last cycle."""
        self.seen, self.memory = seen, memory
        self.nodes = {node.name: node for node in seen.nodes}
        self.tree = tree_of(seen.domains, seen.nodes)
        self.workloads = {w.name: w for w in seen.workloads if not w.governed or w.name in needs}
        # The others are not up for decision.
        pods = [self._limited(pod) for pod in seen.pods if pod.server in self.workloads]
        given = Seen(self.nodes, seen.readings, pods)
        self.domains, self.watched = watch(self.tree, given, memory.domains, seen.now, seen.tau)
        self.pods: dict[str, list[PlacedPod]] = {}
        for pod in pods:
            self.pods.setdefault(pod.server, []).append(pod)
        bounded = [name for name, one in self.watched.items() if one.room is not None]
        frozen = [name for name, one in self.watched.items() if _is_full(one)]
        frozen += [HEAT + name for name in self.inlets if self.is_warm(name)]
        excess = {name: degrees - self._most_degrees(name) for name, degrees in self.inlets.items()}
        self.places = Places(self.tree, seen.nodes, bounded, frozen, excess)
        self.policies = {p.key: p for p in seen.policies}
        self.selected = {key: self._selected(policy) for key, policy in self.policies.items()}
        self.needs = self._needs(needs)
        self.windows, self.caps = self._caps()
        self.governing, self.overruled = self._governing()

    def _limited(self, pod: PlacedPod) -> PlacedPod:
        """What a pod draws whose batch is limited: a full one is only so much of what it was."""
        limited = self.memory.limited.get(pod.server)
        if limited is None:
            return pod
        share = limited.share(self.workloads[pod.server].batch)
        return replace(pod, load=share * pod.load, most=pod.idle + share * (pod.most - pod.idle))

    # ---- who is in whose hands --------------------------------------------------------------------

    def _selected(self, policy: Policy) -> tuple[str, ...]:
        named = bool(policy.labels or policy.kinds or policy.workloads)  # else it is for all that is governed
        inside = {node for name in policy.domains for node in self.tree.nodes.get(name, ())}
        return tuple(
            name
            for name, one in self.workloads.items()
            if (named or one.governed)
            and selects(policy, one.namespace, one.labels, one.scaled_by)
            and (not policy.domains or any(pod.node in inside for pod in self.pods.get(name, ())))
        )

    def _needs(self, needs: Mapping[str, Need]) -> dict[str, Need]:
        """Also of workloads that the loop does not govern: they want what they had before us."""
        found = {}
        for name, one in self.workloads.items():
            wanted = one.replicas if one.wanted is None else one.wanted
            need = needs.get(name) or Need(one.replicas, wanted, least=one.least)
            # What others scale has what they give it, whatever the plan would.
            found[name] = need if one.wanted is None else replace(need, wanted=one.wanted)
        return found

    def drawn(self, name: str) -> Watts:
        """By the model, now."""
        return sum(p.idle + p.load for p in self.pods.get(name, ()) if p.phase != "pending")

    def _if(self, name: str, replicas: int) -> Watts:
        """What it would draw with so many replicas."""
        idle, full, load = self._affine(name)
        return ServerView(name, replicas, replicas, idle=idle, full=full, load=load).watts(replicas)

    def _affine(self, name: str) -> tuple[Watts, Watts, Watts]:
        """Watts of a replica idle and full, and of the whole load on top."""
        need, pods = self.needs[name], self.pods.get(name, ())
        return (
            sum(p.idle for p in pods) / len(pods) if pods else need.idle,
            max((p.most for p in pods), default=need.full),
            sum(p.load for p in pods if p.phase != "pending"),
        )

    def _caps(self) -> tuple[dict[str, Observed], dict[str, Room]]:
        """Windows and rooms of policies; nothing is learned of pods that no longer are."""
        drawn = {key: sum(map(self.drawn, names)) for key, names in self.selected.items()}
        chosen = {name for names in self.selected.values() for name in names}
        wanted = {name: self._if(name, self.needs[name].wanted) for name in chosen}
        now = {name: min(self._if(name, self.needs[name].replicas), wanted[name]) for name in chosen}
        back = {key: held_back(wanted, now, names) for key, names in self.selected.items()}
        windows = {key: one for key, one in self.memory.windows.items() if key in self.policies}
        return policy_rooms(self.seen.policies, windows, drawn, back, self.seen.now)

    def _governing(self) -> tuple[dict[str, Policy], dict[str, str]]:
        """By workload the policy that wins; by policy that loses anywhere a sentence."""
        winner: dict[str, Policy] = {}
        lost: dict[str, str] = {}
        self._floors: dict[str, int] = {}
        self._protected: set[str] = set()
        for namespace in sorted({p.namespace for p in self.seen.policies}):
            standings = [
                Standing(
                    policy,
                    self.selected[key],
                    cap_watts(policy.cap, self.windows.get(key)),
                    sum(self._if(name, self.needs[name].wanted) for name in self.selected[key]),
                )
                for key, policy in self.policies.items()
                if policy.namespace == namespace
            ]
            found: Governing = governing(standings)
            winner |= {name: self.policies[f"{namespace}/{by}"] for name, by in found.policy.items()}
            lost |= {f"{namespace}/{name}": why for name, why in found.overruled.items()}
            self._floors |= found.min_replicas
            self._protected |= set(found.protected)
        return winner, lost

    def policy_of(self, workload: str) -> Policy:
        """The policy whose word holds for it."""
        return self.governing.get(workload, FREE)

    # ---- rooms and what is in them -----------------------------------------------------------------

    @cached_property
    def rooms(self) -> tuple[Room, ...]:
        """Of domains with a budget, of inlets with a limit, and of policies with a cap."""
        domains = [one.room for one in self.watched.values() if one.room is not None]
        return (*domains, *self._heat_rooms(), *self.caps.values())

    def _heat_rooms(self) -> list[Room]:
        """In kelvin: what is left above the supply. As long as one is too warm nothing grows there."""
        found = []
        for name, domain in self.tree.domains.items():
            if domain.thermal is not None:
                left = self.margin(name)
                frozen = self.is_warm(name)
                found.append(Room(HEAT + name, max(left, 0.0), max(left - NEAR, 0.0), frozen))
        return found

    @cached_property
    def inlets(self) -> dict[str, float]:
        """Degrees of the air at domains of which it can be told: T = T_supply + D P."""
        return {
            name: domain.thermal.supply
            + sum(k * self._watts(other) for other, k in domain.thermal.kelvin_per_watt.items())
            for name, domain in self.tree.domains.items()
            if domain.thermal is not None
        }

    def is_warm(self, name: str) -> bool:
        """Whether the inlet of a domain is so near to what it may have that nothing grows."""
        return self.inlets[name] > self._most_degrees(name) - NEAR

    def _most_degrees(self, name: str) -> float:
        thermal = self.tree.domains[name].thermal
        return math.inf if thermal is None else thermal.max_inlet

    def margin(self, name: str) -> float:
        """Kelvin that governed pods may make, of an inlet, where they are levers on it."""
        thermal = self.tree.domains[name].thermal
        assert thermal is not None
        levers, other = self.places.kelvin[name], 0.0
        for domain, k in thermal.kelvin_per_watt.items():
            if domain in self.watched:
                reading = self.watched[domain].reading
                other += k * (reading.ungoverned + (0.0 if domain in levers else reading.governed))
        return thermal.max_inlet - thermal.supply - other

    def _watts(self, domain: str) -> Watts:
        watched = self.watched.get(domain)
        return 0.0 if watched is None else watched.reading.known.watts

    def view(self, modes: Iterable[Mode] = ("Recommend", "Enforce")) -> View:
        """All that algorithms may know; only workloads in these modes are free to move in it."""
        free = set(modes)
        servers = []
        for name in sorted(self.workloads):
            policy = self.policy_of(name)
            server = self._server(name, policy)
            if policy.mode not in free:  # it does what it wants
                server = replace(server, least=server.ceiling, most=server.ceiling, protected=False)
            servers.append(server)
        view = View(self._without_strangers(servers), tuple(servers))
        now = view.drawn({})
        return replace(view, rooms=tuple(self._kept(room, now[room.name]) for room in view.rooms))

    def _without_strangers(self, servers: Iterable[ServerView]) -> tuple[Room, ...]:
        """Rooms less what workloads draw there whose policy is for other domains."""
        taken: dict[str, Watts] = {}
        for server in servers:
            if self.policy_of(server.name).domains:
                _, shares, _ = self._where(server.name, FREE)
                for room, share in shares.items():
                    if room not in server.places:
                        taken[room] = taken.get(room, 0.0) + share * server.watts(server.replicas)
        less = ((room, taken.get(room.name, 0.0)) for room in self.rooms)
        return tuple(
            replace(room, watts=room.watts - w, grow=room.grow - w) if w else room for room, w in less
        )

    def _kept(self, room: Room, now: Watts) -> Room:
        """Where nothing has to go from a domain, what was given is not taken back for the model's sake."""
        watched = self.watched.get(room.name)
        if watched is None or watched.act is None or watched.act.ceiling is not None:
            return room
        return replace(room, watts=max(room.watts, now))

    def _server(self, name: str, policy: Policy) -> ServerView:
        need, one = self.needs[name], self.workloads[name]
        groups, places, lands = self._where(name, policy)
        idle, full, load = self._affine(name)
        floor = 0 if "pause" in policy.levers else max(one.least, need.least)
        return ServerView(
            name=name,
            replicas=need.replicas,
            wanted=need.wanted,
            needed=need.needed,
            least=max(floor, self._floors.get(name, 0)),
            most=ENDLESS if one.most is None else one.most,
            priority=need.priority if policy.priority is None else policy.priority,
            protected=name in self._protected,
            idle=idle,
            full=full,
            load=load,
            tokens=need.tokens,
            places=places,
            groups=groups,
            lands=lands,
        )

    @cached_property
    def _groups(self) -> dict[str, tuple[tuple[Group, tuple[PlacedPod, ...]], ...]]:
        """By workload: several views are made of the same pods."""
        return {name: self.places.groups(pods) for name, pods in self.pods.items()}

    @cached_property
    def _weights(self) -> dict[str, tuple[tuple[Group, ...], Weights]]:
        """By workload: its groups, and where new ones land, in watts as they really come and go."""
        found = {}
        for name in self.workloads:
            goes = self._goes(name)
            there = (group for group, _ in self._groups.get(name, ()))
            groups = tuple(replace(group, rooms=self._really(group.rooms, goes)) for group in there)
            found[name] = groups, self._really(self.places.lands, goes)
        return found

    def _really(self, rooms: Weights, goes: float) -> Weights:
        """What one watt of the model draws in rooms, where such a share goes with its replica."""
        return {
            room: goes * w * (self.watched[room].gain if room in self.watched else 1.0)
            for room, w in rooms.items()
        }

    def _goes(self, name: str) -> float:
        """The share of its watts that goes with it: the rest its empty cards draw."""
        pods = [pod for pod in self.pods.get(name, ()) if pod.phase != "pending"]
        drawn = sum(pod.idle + pod.load for pod in pods)
        return 1.0 - min(sum(pod.empty for pod in pods) / drawn, 1.0) if drawn > 0 else 1.0

    def leaving(self, name: str, went: Iterable[int]) -> tuple[str, ...]:
        """Pods of a workload of which one leaves each of these groups, in this order."""
        left = [sorted(pod.name for pod in pods) for _, pods in self._groups.get(name, ())]
        return tuple(left[at].pop(0) for at in went if at < len(left) and left[at])

    def _where(self, name: str, policy: Policy) -> tuple[tuple[Group, ...], Weights, Weights]:
        """Groups, shares of them all, and of new ones, in the rooms that its policy and caps are for."""
        caps = {key: 1.0 for key in self.caps if name in self.selected[key]}
        groups, lands = self._weights[name]
        if policy.domains:
            mine = {*policy.domains, *(HEAT + domain for domain in policy.domains)}
            groups = tuple(replace(g, rooms={r: w for r, w in g.rooms.items() if r in mine}) for g in groups)
            lands = {room: weight for room, weight in lands.items() if room in mine}
        groups = tuple(replace(group, rooms=group.rooms | caps) for group in groups)
        lands = lands | caps
        count = sum(group.replicas for group in groups)
        shares = mean((group.rooms, group.replicas / count) for group in groups) if count else lands
        return groups, shares, lands

    # ---- prices ----------------------------------------------------------------------------------

    @property
    def price_is_due(self) -> bool:
        """Whether it was long ago that it was asked what one more kilowatt is worth."""
        at = self.memory.priced_at
        return at is None or not 0.0 <= self.seen.now - at < PRICES

    def priced(self, prices: dict[str, DollarsPerHour]) -> None:
        """What one more kilowatt saves, by domain, as of now."""
        self.memory = replace(self.memory, prices=prices, priced_at=self.seen.now)
