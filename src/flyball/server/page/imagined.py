"""What if, for the page: the text from its form, and the difference between two plans."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from flyball.decide.imagine import Imagined
from flyball.report.sentences import cost_of, parts_of
from flyball.spec.plan import Plan, ServerPlan
from flyball.units import DollarsPerHour, Watts

FIELDS = (("load", "load", "*"), ("capacity", "capacity", "="), ("price", "price", "*"))
"""Field of the form, what it changes, and how."""
METRICS = ("ttft", "itl", "e2e")


class Change(msgspec.Struct, frozen=True):
    """One server in two plans."""

    server: str
    before: str
    after: str
    cost: DollarsPerHour


class Difference(msgspec.Struct, frozen=True):
    """What a change would do: costs, servers by name, watts more."""

    before: DollarsPerHour
    after: DollarsPerHour
    watts: Watts | None
    changes: tuple[Change, ...]
    lost: tuple[str, ...]
    """Served before, not at all after."""
    part: tuple[str, ...]
    """Served whole before, in part after."""
    won: tuple[str, ...]
    """Not served whole before, served after."""


def text_of(form: Mapping[str, str]) -> str:
    """The changes that a form asks for, as what-if text: its fields, then its own text."""
    parts = []
    for field, kind, operator in FIELDS:
        value, name = form.get(field, "").strip(), form.get(f"{field}_of", "")
        if value:
            parts.append(f"{kind}[{name}]{operator}{value}" if name else f"{kind}{operator}{value}")
    target = form.get("target", "").strip()
    if target:
        parts.append(f"{form.get('target_of', METRICS[0])}*{target}")
    own = form.get("text", "").strip()
    return ", ".join([*parts, own] if own else parts)


def difference(imagined: Imagined) -> Difference:
    """The difference between the plan as it is and the one with the change."""
    before, after = imagined.before.plan, imagined.after.plan
    old, new = _servers(before), _servers(after)
    changes = []
    for name in sorted(old.keys() & new.keys()):
        a, b = _given(old[name]), _given(new[name])
        cost = cost_of(new[name]) - cost_of(old[name])
        if a != b or abs(cost) >= 0.005:
            changes.append(Change(name, a, b, cost))
    served = {name: (_rank(old[name]), _rank(new[name])) for name in old.keys() & new.keys()}
    known = before.watts is not None and after.watts is not None
    return Difference(
        before=before.cost,
        after=after.cost,
        watts=(after.watts or 0.0) - (before.watts or 0.0) if known else None,
        changes=tuple(sorted(changes, key=lambda c: (-abs(c.cost), c.server))),
        lost=tuple(sorted(n for n, (a, b) in served.items() if a > 0 and b == 0)),
        part=tuple(sorted(n for n, (a, b) in served.items() if a == 2 and b == 1)),
        won=tuple(sorted(n for n, (a, b) in served.items() if a < 2 and b == 2)),
    )


def _servers(plan: Plan) -> dict[str, ServerPlan]:
    return {s.server: s for s in plan.servers}


def _rank(server: ServerPlan) -> int:
    return {"unserved": 0, "best_effort": 1}.get(server.status, 2)


def _given(server: ServerPlan) -> str:
    parts = [f"{p.replicas} x {p.accelerator}" for p in parts_of(server) if p.replicas]
    return " + ".join(parts) or "nothing"
