"""What the status of each object is to be; pure."""

from __future__ import annotations

from collections.abc import Sequence

from flyball.operator.conditions import Document, Holds, conditions, differs
from flyball.operator.planning import Outcome, Result
from flyball.wire.kinds.decided import unchanged
from flyball.wire.kinds.documents import Namespace
from flyball.wire.kinds.inferno_objects import Ref

RESULTS = ("reason", "bindingConstraint", "nextBest", "desiredAlloc", "lastDecisionTime")


def readiness(error: str, lacking: str = "") -> Holds:
    """Whether an object can be planned with."""
    if error:
        return Holds("Ready", False, "Invalid", error)
    if lacking:
        return Holds("Ready", False, "Lacking", lacking)
    return Holds("Ready", True, "Accepted")


def of_server(
    read: Namespace, ref: Ref, name: str, before: Document, generation: int, result: Result | None, now: str
) -> Document:
    """The status of a Server; `result`: of an optimization that was just made, None: there was none."""
    error = read.errors.get(ref, "")
    found = [readiness(error, "" if error else read.blocked.get(name, ""))]
    status: Document = {key: before[key] for key in (*RESULTS, "currentAlloc") if key in before}
    if result is not None:
        status |= results_of(result, now)
        found += [*holds_of(result), Holds("Stale", False, "Decided", "")]
    elif before.get("observedGeneration") not in (None, generation) and "lastDecisionTime" in before:
        said = "it was changed since it was decided: set optimize: true, or give the Optimizer a period"
        found.append(Holds("Stale", True, "Changed", said))
    return finished(status, before, found, generation, not error, now)


def results_of(result: Result, now: str) -> Document:
    """What was decided, as a status has it."""
    made = result.decided
    found = {
        "reason": made.reason,
        "bindingConstraint": made.binding,
        "nextBest": made.next_best,
        "desiredAlloc": made.desired,
        "lastDecisionTime": now,
    }
    return {key: found[key] or None for key in RESULTS}


def holds_of(result: Result) -> Sequence[Holds]:
    """Whether it is feasible, and whether something is short."""
    word = camel(result.decided.reason)
    return (
        Holds("Feasible", result.feasible, word, result.message),
        Holds("Limited", bool(result.limited), "Short" if result.limited else "Enough", result.limited),
    )


def of_other(read: Namespace, ref: Ref, before: Document, generation: int, now: str) -> Document:
    """The status of an Accelerator, Model, ServiceClass or Capacity."""
    error = read.errors.get(ref, "")
    return finished({}, before, [readiness(error)], generation, not error, now)


def of_optimizer(
    read: Namespace,
    ref: Ref,
    before: Document,
    generation: int,
    outcome: Outcome | None,
    problem: str,
    now: str,
) -> Document:
    """The status of an Optimizer; `problem`: why it could not be done now."""
    kept = ("done", "lastRunTime", "cost", "served", "unserved")
    status: Document = {key: before[key] for key in kept if key in before}
    found = [readiness(read.errors.get(ref, ""))]
    if problem:
        status["done"] = False
        found = [Holds("Ready", False, "Unanswered", problem)]
    elif outcome is not None:
        missed = sorted(name for name, one in outcome.results.items() if not one.feasible)
        served = len(outcome.results) - len(missed)
        status |= {
            "done": True,
            "lastRunTime": now,
            "cost": round(outcome.cost, 6),
            "served": served,
            "unserved": len(missed),
        }
        said = f"not served, or not whole: {', '.join(missed[:10])}" + (", ..." if len(missed) > 10 else "")
        found.append(
            Holds("Feasible", not missed, "NotServed" if missed else "Served", said if missed else "")
        )
    else:
        status.setdefault("done", False)  # the original's definition wants it
    return finished(status, before, found, generation, None, now)


FINISHING = "Finishing"
"""Why an Optimizer is not done: all is written but that the request is taken back."""


def finishing(status: Document) -> Document:
    """The status of an Optimizer just before its request is taken back: whoever comes then may end it."""
    made = [one | {"reason": FINISHING} if one["type"] == "Ready" else one for one in status["conditions"]]
    return status | {"done": False, "conditions": made}


def is_finishing(status: Document) -> bool:
    """Whether a request was about to be taken back when its status was written."""
    ready: Document = next((one for one in status.get("conditions") or [] if one.get("type") == "Ready"), {})
    return not status.get("done") and bool(ready.get("reason") == FINISHING)


def finished(
    status: Document,
    before: Document,
    found: Sequence[Holds],
    generation: int,
    active: bool | None,
    now: str,
) -> Document:
    """A status with its conditions; `active`: the original's word for being planned with."""
    if active is not None:
        status["active"] = active
    status["observedGeneration"] = generation
    status["conditions"] = conditions(before.get("conditions"), found, generation, now)
    return status


def is_news(before: Document, status: Document) -> bool:
    """Whether a status says anything that the one before does not, times left aside."""
    if differs(before.get("conditions"), status["conditions"]):
        return True
    timeless = {"conditions", "lastDecisionTime", "lastRunTime"}
    keys = (before.keys() | status.keys()) - timeless
    return any(not unchanged(before.get(key), status.get(key)) for key in keys)


def camel(word: str) -> str:
    """no_capacity as NoCapacity."""
    return "".join(part.capitalize() for part in word.split("_")) or "Unknown"
