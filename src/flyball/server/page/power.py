"""What the page shows of power in one cycle: the tree of domains, a map of racks, and what is recommended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from flyball.power.tree import tree_of
from flyball.report.sentences import money
from flyball.spec.power import LEVELS, Domain, PowerSeen
from flyball.spec.power_plan import Ahead, DomainState, PowerPlan, Recommendation, Relief, WorkloadCap
from flyball.units import Seconds, Watts

BACK: Seconds = 3600.0
"""So far back, and so far ahead, a line goes."""
WIDE, HIGH = 200.0, 40.0
"""Units of a drawing; now is in its middle."""
POINTS = 40
ROWS = 60
"""Domains in the tree; racks beyond are only on the map while nothing is the matter with them."""
STEPS = 10
"""Shades of heat."""
NEAR: Seconds = 300.0
History = Sequence[tuple[Seconds, Mapping[str, Watts]]]
"""Draws by domain, the oldest first."""


class Drawing(msgspec.Struct, frozen=True):
    """Lines as SVG has them: points `x,y` with blanks between them."""

    past: str = ""
    median: str = ""
    band: str = ""
    """From the median to the 99th percentile; an outline."""
    budget: float | None = None
    threshold: float | None = None
    """How high these are, from the top."""


class Row(msgspec.Struct, frozen=True):
    """A domain in the tree."""

    state: DomainState
    kind: str
    depth: int
    drawing: Drawing

    @property
    def near(self) -> Ahead | None:
        """What is foretold in five minutes."""
        return next((one for one in self.state.ahead if one.horizon == NEAR), None)


class Rack(msgspec.Struct, frozen=True):
    """A rack on the map."""

    state: DomainState
    share: float | None
    """Of what it may draw, or of the degrees that it may have; None: there is no limit."""
    hot: bool
    """Whether replicas should go from it first."""

    @property
    def shade(self) -> int:
        """0 is cool."""
        return 0 if self.share is None else min(max(int(self.share * STEPS), 0), STEPS - 1)


class PowerView(msgspec.Struct, frozen=True):
    """Power as the page shows it."""

    rows: tuple[Row, ...]
    unseen: int
    """Domains that are not among them."""
    racks: tuple[tuple[str, tuple[Rack, ...]], ...]
    """By what they are a part of."""
    by_heat: bool
    """Whether shades are of degrees where they are known."""
    policies: tuple[tuple[str, str, Watts, Watts | None, int], ...]
    """Name, mode, drawn, cap, and how many workloads it selects."""
    caps: tuple[WorkloadCap, ...]
    reliefs: tuple[Relief, ...]
    recommendations: tuple[Recommendation, ...]
    worth: tuple[str, ...]
    """What one more kilowatt would save, in a sentence each."""
    troubles: tuple[str, ...]
    notes: tuple[str, ...]


def power_view(seen: PowerSeen, plan: PowerPlan, history: History = ()) -> PowerView:
    """What a cycle shows, after what was drawn before."""
    tree = tree_of(seen.domains, seen.nodes)
    history = [one for one in history if history[-1][0] - one[0] <= BACK]
    states = {one.domain: one for one in plan.domains}
    depth: dict[str, int] = {}
    below: dict[str, list[Domain]] = {}
    for domain in tree.domains.values():
        depth[domain.name] = depth.get(domain.parent, -1) + 1
        below.setdefault(domain.parent, []).append(domain)
    order = [one for one in _in_order("", below) if one.name in states]
    keep = _kept(order, states)
    rows = tuple(
        Row(states[one.name], one.level, depth[one.name], drawing(one.name, states[one.name], history))
        for one in order
        if one.name in keep
    )
    modes = {p.key: p.mode for p in seen.policies}
    return PowerView(
        rows=rows,
        unseen=len(order) - len(rows),
        racks=_racks(order, states, tree.nodes, frozenset(plan.hot)),
        by_heat=any(one.thermal is not None for one in order if one.level == "Rack"),
        policies=tuple(
            (p.policy, modes.get(p.policy, ""), p.watts, p.cap, len(p.workloads)) for p in plan.policies
        ),
        caps=plan.caps,
        reliefs=plan.reliefs,
        recommendations=plan.recommendations,
        worth=tuple(worth(states[one.name]) for one in order if states[one.name].per_kilowatt),
        troubles=tuple(dict.fromkeys((*plan.infeasible, *plan.overruled.values()))),
        notes=plan.notes,
    )


def drawn(plan: PowerPlan | None) -> dict[str, Watts]:
    """What of a cycle is kept for lines."""
    return {} if plan is None else {one.domain: one.watts for one in plan.domains}


def worth(state: DomainState) -> str:
    """What one more kilowatt would save."""
    return f"One more kilowatt for {state.domain} would save {money(state.per_kilowatt or 0.0)}."


def drawing(name: str, state: DomainState, history: History) -> Drawing:
    """A domain's draw an hour back and its forecast an hour ahead, with its budget."""
    now = history[-1][0] if history else 0.0
    past = thinned([(time - now, by[name]) for time, by in history if name in by])
    ahead = [one for one in state.ahead if one.horizon <= BACK]
    limits = [one for one in (state.budget, state.threshold) if one is not None]
    highest = max((state.watts, *limits, *(one.watts[-1] for one in ahead), *(w for _, w in past)))
    top = highest * 1.08 if highest > 0 else 1.0

    def points(those: Iterable[tuple[Seconds, Watts]]) -> str:
        middle = WIDE / 2
        return " ".join(
            f"{middle + middle * t / BACK:.1f},{HIGH - HIGH * max(w, 0.0) / top:.1f}" for t, w in those
        )

    median = [(0.0, state.watts), *((one.horizon, one.watts[0]) for one in ahead)]
    upper = [(0.0, state.watts), *((one.horizon, one.watts[-1]) for one in ahead)]
    return Drawing(
        past=points(past),
        median=points(median) if ahead else "",
        band=points([*median, *reversed(upper)]) if ahead else "",
        budget=None if state.budget is None else round(HIGH - HIGH * state.budget / top, 1),
        threshold=None
        if state.threshold is None
        else round(HIGH - HIGH * max(state.threshold, 0.0) / top, 1),
    )


def thinned(past: list[tuple[Seconds, Watts]]) -> list[tuple[Seconds, Watts]]:
    """Few enough points; of each stretch the highest, and the newest."""
    if len(past) <= POINTS:
        return past
    size = -(-len(past) // POINTS)
    stretches = [past[i : i + size] for i in range(0, len(past), size)]
    return [*(max(one, key=lambda p: p[1]) for one in stretches[:-1]), past[-1]]


def _in_order(parent: str, below: Mapping[str, Sequence[Domain]]) -> Iterable[Domain]:
    for one in below.get(parent, ()):
        yield one
        yield from _in_order(one.name, below)


def _kept(order: Sequence[Domain], states: Mapping[str, DomainState]) -> set[str]:
    """All of few; of many those that are no racks, and those with which something is the matter."""
    if len(order) <= ROWS:
        return {one.name for one in order}

    def weight(one: Domain) -> tuple[int, bool, float]:
        state = states[one.name]
        draws = state.watts / state.threshold if state.threshold else 0.0
        return LEVELS.index(state.level), not state.feasible, draws

    larger = [one for one in order if one.level not in ("Rack", "Node")][:ROWS]
    rest = sorted((one for one in order if one.level in ("Rack", "Node")), key=weight, reverse=True)
    return {one.name for one in (*larger, *rest[: max(ROWS - len(larger), 0)])}


def _racks(
    order: Sequence[Domain],
    states: Mapping[str, DomainState],
    nodes: Mapping[str, tuple[str, ...]],
    hot: frozenset[str],
) -> tuple[tuple[str, tuple[Rack, ...]], ...]:
    found: dict[str, list[Rack]] = {}
    for one in order:
        if one.level == "Rack":
            state = states[one.name]
            rack = Rack(state, _share(one, state), bool(hot.intersection(nodes[one.name])))
            found.setdefault(one.parent, []).append(rack)
    return tuple((parent, tuple(those)) for parent, those in found.items())


def _share(one: Domain, state: DomainState) -> float | None:
    shares = []
    if state.inlet is not None and one.thermal is not None and one.thermal.max_inlet > one.thermal.supply:
        shares.append((state.inlet - one.thermal.supply) / (one.thermal.max_inlet - one.thermal.supply))
    if state.budget:
        shares.append(state.watts / state.budget)
    return max(shares, default=None)
