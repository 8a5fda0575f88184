"""What the status of domains and policies says of a cycle; pure.

Figures never rest: what is written at once are words, as a level, a condition or a reason; figures follow
when they have moved, and not more often than each half minute.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence

from flyball.operator.conditions import Document, Holds
from flyball.operator.statuses import readiness
from flyball.spec.power import LEVELS, Answer, Policy, RelativeCap
from flyball.spec.power_plan import Ahead, DomainState, PolicyState, PowerPlan, Relief, WorkloadCap
from flyball.units import Seconds, Watts
from flyball.wire.climatik import climatik_status
from flyball.wire.kinds.power_status import (
    Exceedance,
    Foretold,
    PowerDomainStatus,
    PowerPolicyStatus,
)

HOLD: Seconds = 60.0
"""So long what was bad is bad."""
FIGURES: Seconds = 30.0
"""Between two writes of figures of one object."""
MOVED = 0.02
"""Share by which a figure must have moved to be worth a write."""
DIGITS = 3
LISTED = 5
LONGEST = 1000
"""Characters of a message."""
AHEAD: Seconds = 300.0
"""Horizon of the forecast in the status of Climatik's kind."""

Bad = dict[str, tuple[Seconds, Holds]]
"""By condition: when it was bad last, and what was said."""


# ---- domains -----------------------------------------------------------------------------------


def of_domain(
    state: DomainState | None,
    below: Sequence[DomainState],
    plan: PowerPlan,
    name: str,
    problem: str = "",
) -> tuple[PowerDomainStatus, tuple[Holds, ...]]:
    """What a PowerDomain says; `below`: domains in it that have no object of their own."""
    if problem or state is None:
        why = problem or _left_out(plan, name)
        return PowerDomainStatus(), (readiness(why),)
    level = max((one.level for one in (state, *below)), key=LEVELS.index)
    exceeded = state.exceeded
    status = PowerDomainStatus(
        level=level,
        watts=rounded(state.watts),
        budget_watts=state.budget,
        budget_reason=state.budget_reason or None,
        threshold_watts=rounded(max(state.threshold, 0.0)) if state.threshold is not None else None,
        headroom_watts=None if state.threshold is None else rounded(state.threshold - state.watts),
        rise_watts=rounded(state.rise) if state.budget is not None else None,
        ungoverned_watts=rounded(max(state.ungoverned, 0.0)),
        forecast=tuple(map(_foretold, state.ahead)) or None,
        price_per_kilowatt=None if state.per_kilowatt is None else rounded(state.per_kilowatt),
        nodes=state.nodes,
        inlet_celsius=None if state.inlet is None else round(state.inlet, 1),
        exceedance=None
        if exceeded is None
        else Exceedance(exceeded.count, round(exceeded.seconds, 1), rounded(exceeded.joules)),
    )
    said = "; ".join(state.notes)[:LONGEST]
    return status, (
        Holds("Ready", True, "Accepted", said),
        _measured(state, below),
        _within(state, below),
        _feasible(state, below, plan),
    )


def _foretold(ahead: Ahead) -> Foretold:
    median, most, highest = (rounded(max(w, 0.0)) for w in ahead.watts)
    coverage = round(ahead.coverage[1], 2) if ahead.checks else None
    return Foretold(round(ahead.horizon), median, most, highest, coverage)


def _measured(state: DomainState, below: Sequence[DomainState]) -> Holds:
    lacking = [one.domain for one in (state, *below) if not one.complete]
    if not lacking:
        return Holds("TelemetryHealthy", True, "Measured")
    said = f"not all of {listed(lacking)} is measured: the upper bound of the rest counts"
    return Holds("TelemetryHealthy", False, "NotAllMeasured", said)


def _within(state: DomainState, below: Sequence[DomainState]) -> Holds:
    bounded = [one for one in (state, *below) if one.budget is not None]
    if not bounded:
        return Holds("WithinBudget", None, "NoBudget", "it is only watched")
    above = [one for one in bounded if one.budget is not None and one.watts > one.budget]
    if not above:
        return Holds("WithinBudget", True, "Within")
    said = "; ".join(
        f"{one.domain} draws {one.watts:,.0f} W of {one.budget:,.0f} W ({one.budget_reason or 'budget'})"
        for one in above[:LISTED]
    )
    return Holds("WithinBudget", False, "Above", said)


def _feasible(state: DomainState, below: Sequence[DomainState], plan: PowerPlan) -> Holds:
    names = [one.domain for one in (state, *below) if not one.feasible]
    if not names and state.budget is None and all(one.budget is None for one in below):
        return Holds("GuaranteeFeasible", None, "NoBudget", "it is only watched")
    if not names:
        return Holds("GuaranteeFeasible", True, "Fits")
    said = [text for text in plan.infeasible if text.partition(":")[0] in names]
    default = f"floors, protection and resident idle of {listed(names)} do not fit under the budget"
    return Holds("GuaranteeFeasible", False, "TooLittle", "; ".join(said or [default])[:LONGEST])


def _left_out(plan: PowerPlan, name: str) -> str:
    why = next((text for text in plan.notes if text.startswith((f"{name} ", f"{name}:"))), "")
    return why or "it was not looked at yet"


# ---- policies ----------------------------------------------------------------------------------


def of_policy(
    policy: Policy | None,
    plan: PowerPlan,
    last: str = "",
    problem: str = "",
    answer: Answer | None = None,
    untold: Sequence[str] = (),
) -> tuple[PowerPolicyStatus, tuple[Holds, ...]]:
    """What a PowerPolicy says; `last`: name of its newest recommendation; `answer`: of its algorithm, where
    that was asked; `untold`: why outputs could not be told."""
    if problem or policy is None:
        return PowerPolicyStatus(), (readiness(problem or "it was not looked at yet"),)
    key = policy.key
    state = next((one for one in plan.policies if one.policy == key), PolicyState(key))
    caps = [one for one in plan.caps if one.policy == key]
    reference = None
    if isinstance(policy.cap, RelativeCap) and state.cap is not None and policy.cap.share > 0:
        reference = rounded(state.cap / policy.cap.share)
    status = PowerPolicyStatus(
        attributed_watts=rounded(state.watts),
        effective_cap_watts=None if state.cap is None else rounded(state.cap),
        reference_watts=reference,
        servers=len(state.workloads),
        held=len(caps),
        last_recommendation=last or None,
    )
    overruled = plan.overruled.get(key, "")
    holds = [
        _ready(policy, state, answer),
        Holds("Overruled", True, "MoreRestrictive", f"{overruled}: the most restrictive wins"[:LONGEST])
        if overruled
        else Holds("Overruled", False, "InForce"),
        _held(policy, caps, [one for one in plan.reliefs if one.policy == key]),
    ]
    if policy.outputs:
        said = "; ".join(untold)[:LONGEST]
        holds.append(Holds("Told", not said, "Unreached" if said else "Told", said))
    return status, tuple(holds)


def _ready(policy: Policy, state: PolicyState, answer: Answer | None) -> Holds:
    notes = list(policy.notes)
    if "concurrency" in policy.levers and not state.batches:
        notes.append("concurrency is passed over: no workload of it says flyball.dev/batch: apply")
    if not state.workloads:
        where = f" in {listed(policy.domains)}" if policy.domains else ""
        said = f"no workload of its namespace with such pods{where} is governed or scaled"
        return Holds("Ready", False, "NothingSelected", "; ".join([said, *notes])[:LONGEST])
    if answer is not None and answer.problem:
        silent = answer.replicas is None
        notes.insert(0, answer.problem + (": the safety filter acts alone" if silent else ""))
        if silent:
            return Holds("Ready", True, "NoAnswer", "; ".join(notes)[:LONGEST])
    if isinstance(policy.cap, RelativeCap) and state.cap is None:
        minutes = policy.cap.window / 60.0
        notes.insert(0, f"the cap begins when a whole window of {minutes:,.0f} min was seen")
        return Holds("Ready", True, "Observing", "; ".join(notes)[:LONGEST])
    return Holds("Ready", True, "Accepted", "; ".join(notes)[:LONGEST])


def _held(policy: Policy, caps: Sequence[WorkloadCap], reliefs: Sequence[Relief]) -> Holds:
    if not (caps or reliefs):
        return Holds("Held", False, "Free")
    said = listed(
        [
            *(f"{one.workload} to {one.most}" for one in caps),
            *(f"{one.workload} to {one.words}" for one in reliefs),
        ]
    )
    word = "Enforced" if policy.mode == "Enforce" else "Recommended"
    return Holds("Held", True, word, f"at most: {said}"[:LONGEST])


def of_climatik(policy: Policy, plan: PowerPlan) -> Document:
    """The status of a PowerCappingConfig: watts of its pods, and the same as their domain is foretold."""
    key = policy.key
    state = next((one for one in plan.policies if one.policy == key), PolicyState(key))
    mine = [one for one in plan.domains if not policy.domains or one.domain in policy.domains]
    widest = max(mine, key=lambda one: (one.nodes, one.watts), default=None)
    growth = 1.0
    if widest is not None and widest.watts > 0:
        median = next((a.watts[0] for a in widest.ahead if a.horizon == AHEAD), widest.watts)
        growth = median / widest.watts
    return climatik_status(rounded(state.watts), rounded(state.watts * growth))


# ---- when it is written ------------------------------------------------------------------------


def steady(found: Iterable[Holds], bad: Bad, now: Seconds, hold: Seconds = HOLD) -> tuple[Holds, ...]:
    """Conditions that turn bad at once, and good when they were not bad for a while; `bad` remembers."""
    made = []
    for one in found:
        if one.type == "Ready":  # who mended an object wants to see it
            made.append(one)
            continue
        if is_bad(one):
            bad[one.type] = now, one
        elif one.type in bad and one.status is not None and now - bad[one.type][0] < hold:
            one = bad[one.type][1]
        made.append(one)
    return tuple(made)


def is_bad(one: Holds) -> bool:
    """Whether a condition is bad as it stands."""
    return one.status is (one.type in ("Overruled", "Held"))


def is_urgent(before: Document, status: Document) -> bool:
    """Whether words differ that are to be known at once."""
    return _words(before) != _words(status)


def is_moved(before: Document, status: Document) -> bool:
    """Whether figures or sentences differ by enough to be written when their time has come."""
    return not _alike(before, status)


def _words(status: Mapping[str, object]) -> tuple[object, ...]:
    rows = status.get("conditions")
    said = {
        one.get("type"): (one.get("status"), one.get("reason"))
        for one in (rows if isinstance(rows, list) else [])
        if isinstance(one, dict)
    }
    names = ("observedGeneration", "level", "budgetReason", "lastRecommendation")
    return (said, *(status.get(name) for name in names))


_FREE = ("lastTransitionTime", "observedGeneration", "headroomWatts")
"""Nothing that is new of itself."""
_FIGURE = re.compile(r"\d[\d,.]*")


def _alike(one: object, other: object) -> bool:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        keys = (one.keys() | other.keys()) - set(_FREE)
        return all(_alike(one.get(key), other.get(key)) for key in keys)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, str) and isinstance(other, str):  # figures in sentences go with those beside them
        return _FIGURE.sub("0", one) == _FIGURE.sub("0", other)
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(
            one, other, rel_tol=MOVED, abs_tol=1.0 if max(abs(one), abs(other)) > 50 else 1e-9
        )
    return one == other


# ---- what is told as Events --------------------------------------------------------------------


def told(before: Document, status: Document) -> list[tuple[str, str, bool]]:
    """What is worth an Event: reason, message, whether it warns."""
    news = []
    level, was = status.get("level"), before.get("level", "normal")
    if level is not None and level != was:
        rises = LEVELS.index(level) > LEVELS.index(was) if was in LEVELS else True
        budget = status.get("budgetWatts")
        of = f" of {budget:,.0f} W" if budget is not None else ""
        said = f"{was} to {level}: draws {status.get('watts', 0):,.0f} W{of}"
        news.append((f"Level{level.capitalize()}", said, rises))
    stood = {one["type"]: one for one in before.get("conditions") or [] if isinstance(one, dict)}
    for one in status.get("conditions") or []:
        was_one = stood.get(one["type"], {})
        if (one["status"], one["reason"]) == (was_one.get("status"), was_one.get("reason")):
            continue
        if one["status"] == "Unknown":
            continue
        bad = is_bad(Holds(one["type"], one["status"] == "True", ""))
        if bad or was_one.get("status") not in (None, one["status"], "Unknown"):
            news.append((f"{one['type']}{one['reason']}", one["message"], bad and one["type"] != "Held"))
    return news


def rounded(value: Watts) -> float:
    """To three digits: more of it is noise."""
    if not math.isfinite(value) or value == 0:
        return 0.0
    return round(value, DIGITS - 1 - math.floor(math.log10(abs(value))))


def listed(names: Sequence[str]) -> str:
    """The first few, and how many more."""
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")
