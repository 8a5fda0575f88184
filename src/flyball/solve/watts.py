"""Watts of domains, and degrees of inlets, as resource rows beside the cards.

An option draws n a + b where it has n replicas of a watts each before any load (of one that computes all the
time, as it goes on doing with less of it), and b watts for the whole load on top. Of that a domain takes the
share of the replicas that are, or would land, in it. Its row's limit is what is left of its threshold by all
that is not up for decision: the ungoverned, and pods that serve or end beside those that are wanted. Pending
ones are among the n replicas.

The cap of a policy is a row of whole options of the servers that it selects, wherever they are.

Heat: T = T_supply + D P, so a row of degrees is a sum of rows of watts with a row of D as weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from flyball.solve.candidates import Candidates
from flyball.solve.problem import BoolArray, FloatArray, IntArray
from flyball.spec.fleet import Fleet
from flyball.spec.power_plan import WattLimits

WATTS, HEAT, CAP = "watts ", "heat ", "cap "
"""Prefixes of row names, so that no domain is taken for a type of cards."""


def is_power(name: str) -> bool:
    """Whether a row of that name is of watts or heat, and not of cards."""
    return name.startswith((WATTS, HEAT, CAP))


@dataclass(frozen=True, eq=False)
class Rows:
    """R rows and U uses of them by options, in order of option, then row."""

    names: tuple[str, ...]
    limit: FloatArray
    """(R,) watts, or kelvin above the supply."""
    option: IntArray
    """(U,)"""
    row: IntArray
    """(U,)"""
    fixed: FloatArray
    """(U,) of each replica."""
    load: FloatArray
    """(U,) of the whole load."""
    most: FloatArray
    """(U,) of one replica at its largest load."""


@dataclass(frozen=True, eq=False)
class Draw:
    """Watts of O options."""

    idle: FloatArray
    """(O,) of a replica before its load."""
    load: FloatArray
    """(O,) of the whole load on top."""
    most: FloatArray
    """(O,) of a replica at its largest load: the nameplate, which is what too few replicas may draw."""


def drawn(candidates: Candidates, at: IntArray, replicas: FloatArray, limits: WattLimits) -> Draw:
    """Of some pairs with so many replicas, nothing where the accelerator has no power curve.

    What has none draws among the ungoverned, whose watts are off the limits already; so are empty cards.
    """
    pairs, one = candidates.pairs, np.ones(at.size)
    busy, full, watts = (
        np.nan_to_num(w) for w in (pairs.busy_watts(at), pairs.watts(at, one, one), candidates.watts[at])
    )
    if pairs.fleet.settings.heterogeneous:  # a part's share is not known yet: at most all that it may take
        rate = pairs.rate[at]
        taken = np.minimum(candidates.max_rate[at], rate)
        loaded = np.flatnonzero((rate > 0) & (taken > 0))
        _, each = pairs.at_load(at[loaded], one[loaded], (taken / np.where(rate > 0, rate, 1.0))[loaded])
        watts[loaded] = np.nan_to_num(each) * replicas[loaded]
    each = watts / np.maximum(replicas, 1.0)
    idle = np.minimum(busy, each)
    most = np.maximum(full, each)
    share = (each - idle) / np.where(most > idle, most - idle, 1.0)
    less = _empty(candidates, at, limits)
    idle, most = np.maximum(idle - less, 0.0), np.maximum(most - less, 0.0)
    # What pods draw is known better than what their cards may.
    idle_of, most_of = _pods(candidates, at, limits)
    idle = np.where(np.isnan(idle_of), idle, idle_of)
    most = np.where(np.isnan(most_of), most, np.maximum(most_of, idle))
    return Draw(idle, share * (most - idle) * replicas, most)


def _empty(candidates: Candidates, at: IntArray, limits: WattLimits) -> FloatArray:
    """(O,) watts of the cards of a replica of some pairs without it."""
    pairs, fleet = candidates.pairs, candidates.pairs.fleet
    of = {a.name: limits.empty.get(a.type, 0.0) * a.multiplicity for a in reversed(fleet.accelerators)}
    each = np.array([of.get(p.accelerator, 0.0) for p in fleet.profiles])
    result: FloatArray = pairs.units[at] * each[pairs.profile[at]]
    return result


def _pods(candidates: Candidates, at: IntArray, limits: WattLimits) -> tuple[FloatArray, FloatArray]:
    """(O,) watts before load and at most, of replicas as a server has them; else nan."""
    pairs, fleet = candidates.pairs, candidates.pairs.fleet
    draws = [limits.pods.get(s.name) for s in fleet.servers]
    idle, most = (
        np.array([math.nan if d is None else getattr(d, name) for d in draws]) for name in ("idle", "most")
    )
    held = np.array([s.current.accelerator for s in fleet.servers])
    on = np.array([p.accelerator for p in fleet.profiles])
    server = pairs.server[at]
    same = held[server] == on[pairs.profile[at]]
    return np.where(same, idle[server], math.nan), np.where(same, most[server], math.nan)


class Landing:
    """Where the replicas of options are: a share for each place, and from that for each domain.

    A server's replicas stay where they are, and where fewer are wanted each place keeps its share. New ones
    go where cards of their type are free, by how many; without any, where their like are already; failing
    that, where others of the type are; failing that, anywhere.
    """

    def __init__(
        self, fleet: Fleet, candidates: Candidates, limits: WattLimits, domains: Sequence[str]
    ) -> None:
        # Of a fleet whose places are not known, all is taken to be everywhere.
        places = limits.places or {"": tuple(domains)}
        place, domain = ({name: i for i, name in enumerate(names)} for names in (places, domains))
        inside = np.zeros((len(places), len(domains)))
        for name, of in places.items():
            inside[place[name], [domain[d] for d in of if d in domain]] = 1.0
        types = sorted({a.type for a in fleet.accelerators})
        type_of = {a.name: types.index(a.type) for a in reversed(fleet.accelerators)}
        servers = [fleet.servers[i] for i in candidates.servers]
        now = np.array([_by_place(limits.replicas.get(s.name, {}), place) for s in servers])
        now = now.reshape(len(servers), len(places))
        free = np.array([_by_place(limits.free.get(t, {}), place) for t in types]).reshape(-1, len(places))
        held = np.zeros_like(free)
        for counts, server in zip(now, servers, strict=True):
            if server.current.accelerator in type_of:
                held[type_of[server.current.accelerator]] += counts
        anywhere = np.ones(free.shape)
        self.have = now.sum(axis=1)
        """(S,)"""
        self.roomy: BoolArray = free.sum(axis=1) > 0
        """(T,)"""
        self.stay: FloatArray = _shares(now) @ inside
        """(S, D)"""
        new = np.where(self.roomy[:, None], free, np.where(held.sum(axis=1)[:, None] > 0, held, anywhere))
        self.new: FloatArray = _shares(new) @ inside
        """(T, D)"""
        current = [s.current.accelerator for s in servers]
        names = [p.accelerator for p in fleet.profiles]
        number = {name: i for i, name in enumerate(dict.fromkeys([*names, *current]))}
        self._held = np.array([number[name] for name in current], dtype=np.int64)
        self._wanted = np.array([number[name] for name in names], dtype=np.int64)[candidates.pairs.profile]
        self._type = np.array([type_of.get(name, 0) for name in names], dtype=np.int64)[
            candidates.pairs.profile
        ]
        self._server = candidates.pairs.server

    def shares(self, at: IntArray, replicas: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(O, D) share of the replicas of some pairs in each domain; and at most, where there are fewer."""
        server, type_ = self._server[at], self._type[at]
        have = np.where(self._wanted[at] == self._held[server], self.have[server], 0.0)
        kept = np.minimum(have, replicas) / np.maximum(replicas, 1.0)
        kept = np.where((have > 0) & ~self.roomy[type_], 1.0, kept)
        stay = self.stay[server]
        shares: FloatArray = kept[:, None] * stay + (1.0 - kept)[:, None] * self.new[type_]
        return shares, np.where((have > 0)[:, None], np.maximum(shares, stay), shares)


def _by_place(count: Mapping[str, int], place: Mapping[str, int]) -> FloatArray:
    row = np.zeros(len(place))
    for name, n in count.items():
        if name in place:
            row[place[name]] = max(n, 0)
    return row


def _shares(count: FloatArray) -> FloatArray:
    """Rows that sum to 1, or to 0 where there is nothing."""
    whole = count.sum(axis=1, keepdims=True)
    shares: FloatArray = count / np.where(whole > 0, whole, 1.0)
    return shares


def rows_of(fleet: Fleet, candidates: Candidates, at: IntArray, limits: WattLimits) -> Rows:
    """Rows for all domains, inlets and policies with a limit, over O options: pairs, or -1 for nothing."""
    heated = {name for heat in limits.heat for name in heat.kelvin_per_watt}
    domains = sorted({*limits.watts, *heated})
    names = [fleet.servers[i].name for i in candidates.servers]
    exempt = np.isin(names, limits.exempt)
    real = np.flatnonzero(at >= 0)
    real = real[~exempt[candidates.pairs.server[at[real]]]]
    replicas = candidates.replicas[at[real]]
    draw = drawn(candidates, at[real], replicas, limits)
    share, most = Landing(fleet, candidates, limits, domains).shares(at[real], replicas)
    if fleet.settings.heterogeneous:  # parts may be smaller than the option that they are of
        share = most
    empty = _empty(candidates, at[real], limits)
    gross = Draw(draw.idle + empty, draw.load, draw.most + empty)  # policies are for all that pods draw
    selected = np.array([np.isin(names, cap.servers) for cap in limits.caps], dtype=float)
    whole = selected.reshape(len(limits.caps), len(names)).T[candidates.pairs.server[at[real]]]
    weight = np.array([[heat.kelvin_per_watt.get(name, 0.0) for name in domains] for heat in limits.heat])
    rows = stacked(
        watt_rows(domains, np.array([limits.watts.get(d, np.inf) for d in domains]), share, most, draw),
        heat_rows(
            [heat.domain for heat in limits.heat],
            weight.reshape(len(limits.heat), len(domains)),
            np.array([heat.margin for heat in limits.heat]),
            share,
            most,
            draw,
        ),
        _rows(
            CAP,
            [cap.policy for cap in limits.caps],
            np.array([cap.watts for cap in limits.caps]),
            whole,
            whole,
            gross,
        ),
    )
    return Rows(rows.names, rows.limit, real[rows.option], rows.row, rows.fixed, rows.load, rows.most)


def watt_rows(
    domains: Sequence[str], limit: FloatArray, share: FloatArray, most: FloatArray, draw: Draw
) -> Rows:
    """A row for each of D domains with a limit (D,): shares (O, D) of what options draw, `most` of fewer."""
    return _rows(WATTS, domains, limit, share, most, draw)


def heat_rows(
    inlets: Sequence[str],
    kelvin_per_watt: FloatArray,
    margin: FloatArray,
    share: FloatArray,
    most: FloatArray,
    draw: Draw,
) -> Rows:
    """A row for each of H inlets: kelvin_per_watt (H, D) times watts of D domains, within margin (H,) [K].

    The domains must not contain each other.
    """
    return _rows(HEAT, inlets, margin, share @ kelvin_per_watt.T, most @ kelvin_per_watt.T, draw)


def _rows(
    prefix: str, names: Sequence[str], limit: FloatArray, share: FloatArray, most: FloatArray, draw: Draw
) -> Rows:
    bounded = np.flatnonzero(np.isfinite(limit))
    option, row = np.nonzero((most[:, bounded] > 0) & (draw.most > 0)[:, None])
    part = share[option, bounded[row]]
    return Rows(
        names=tuple(prefix + names[i] for i in bounded.tolist()),
        limit=np.maximum(limit[bounded], 0.0),
        option=option.astype(np.int64),
        row=row.astype(np.int64),
        fixed=part * draw.idle[option],
        load=part * draw.load[option],
        most=most[option, bounded[row]] * draw.most[option],
    )


def stacked(*parts: Rows) -> Rows:
    """Several sets of rows over the same options as one."""
    first = np.cumsum([0, *(len(p.names) for p in parts[:-1])])
    option = np.concatenate([p.option for p in parts])
    order = np.argsort(option, kind="stable")
    row = np.concatenate([p.row + before for p, before in zip(parts, first.tolist(), strict=True)])
    fixed, load, most = (
        np.concatenate([getattr(p, name) for p in parts])[order] for name in ("fixed", "load", "most")
    )
    names = tuple(name for p in parts for name in p.names)
    return Rows(names, np.concatenate([p.limit for p in parts]), option[order], row[order], fixed, load, most)
