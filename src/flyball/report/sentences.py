"""Reasons in words: every decision its reason, every refusal its cause and the fix."""

from __future__ import annotations

import math
import re

from flyball.solve.watts import CAP, HEAT, WATTS, is_power
from flyball.spec.fleet import Fleet
from flyball.spec.plan import Exclusion, Option, Plan, ServerPlan, Shortage
from flyball.spec.service_class import Metric
from flyball.units import per_month, to_ms

LIMITED_BY = {
    "ttft": "the time to first token",
    "itl": "the time between tokens",
    "wait": "the wait",
    "e2e": "the response time",
    "throughput": "the throughput that its class provides",
    "stability": "the rate at which its queue stays stable",
    "min_replicas": "the least number of replicas",
    "none": "nothing",
}
REASON = {
    "cheapest": "the option of least cost",
    "kept": "kept as it is: a cheaper option does not repay the switch",
    "capacity": "the best option that capacity allows",
    "mix": "its load divided over several accelerators",
    "pinned": "its accelerator must be kept",
    "no_load": "no load, and no replica is asked for",
    "short": "only part of what it needs: capacity ran out",
    "no_capacity": "could be served, but capacity ran out",
    "out_of_reach": "no accelerator meets its targets, however little the load",
    "no_profile": "no known accelerator has a profile of its model",
    "no_target": "its class is not known, or promises nothing for its model",
    "bad_load": "its load is negative",
}
BRIEF = {
    "cheapest": "least cost",
    "kept": "switch not worth it",
    "capacity": "cheaper is short",
    "mix": "mix",
    "pinned": "must be kept",
    "no_load": "no load",
    "short": "capacity ran out",
    "no_capacity": "capacity ran out",
    "out_of_reach": "targets out of reach",
    "no_profile": "no profile",
    "no_target": "no class or target",
    "bad_load": "negative load",
}
FIX = {
    "no_capacity": "Add cards, lower its priority's load, or set a saturation policy to give it what is left",
    "short": "Add cards, or lower the load",
    "out_of_reach": "Loosen the targets, or add a profile of a faster accelerator",
    "no_profile": "Add a profile of the model for an accelerator of the fleet",
    "no_target": "Add the model (or `*`) to the class, or correct the class's name",
    "bad_load": "Correct arrival rate and tokens",
    "pinned": "Let it change its accelerator, or add a profile for the one it has",
}


SELDOM = 1e-4
"""Share of requests below which it is not worth a sentence that they are turned away."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def printable(text: str) -> str:
    """Text that a terminal shows and does not obey: control characters as `\\x1b`; new line and tab kept."""
    return _CONTROL.sub(lambda m: m[0].encode("unicode_escape").decode("ascii"), text)


def first_of(fleet: Fleet) -> Metric:
    """The latency that stands beside the time between tokens: generation 1 knows only the wait."""
    return "wait" if fleet.generation == "G1" else "ttft"


def duration(seconds: float) -> str:
    """12 ms, 1.25 s; `never` where a queue grows without end, - where nothing is known."""
    if not math.isfinite(seconds):
        return "-" if math.isnan(seconds) else "never"
    if seconds < 1e-6:
        return "0 ms"
    if seconds >= 999.5:
        return f"{seconds:,.0f} s"
    if seconds >= 0.9995:
        return f"{seconds:.3g} s"
    return f"{to_ms(seconds):.3g} ms"


def money(dollars_per_hour: float) -> str:
    """$1.23/h."""
    return f"${dollars_per_hour:,.2f}/h"


def monthly(dollars_per_hour: float) -> str:
    """$898/month."""
    return f"${per_month(dollars_per_hour):,.0f}/month"


def what(option: Option) -> str:
    """3 x H100, batch 64."""
    if not option.replicas:
        return "nothing"
    return f"{option.replicas} x {option.accelerator}, batch {option.max_batch_size}"


def short_of(shortage: Shortage) -> str:
    """Which capacity an option lacks, and by how much."""
    lacking, free = shortage.needed - shortage.free, max(shortage.free, 0.0)
    for prefix, unit, digits, of in (
        (WATTS, "W", 0, "in"),
        (HEAT, "K", 2, "in"),
        (CAP, "W", 0, "under the cap of"),
    ):
        if shortage.resource.startswith(prefix):
            needed, left, missing = (f"{x:,.{digits}f} {unit}" for x in (shortage.needed, free, lacking))
            where = shortage.resource.removeprefix(prefix)
            return f"{shortage.accelerator} needs {needed} {of} {where}, {left} are left: {missing} short"
    return (
        f"{shortage.accelerator} needs {shortage.needed:,.0f} {shortage.resource} cards, "
        f"{free:,.0f} are free: {lacking:,.0f} short"
    )


def excluded(exclusion: Exclusion) -> str:
    """Why an accelerator is no candidate."""
    name = exclusion.accelerator
    if exclusion.reason == "out_of_reach":
        limit = duration(exclusion.limit)
        statistic = "" if exclusion.statistic == "mean" else f"{exclusion.statistic} "
        over = exclusion.best / exclusion.limit - 1.0 if exclusion.limit else math.inf
        best = f"{exclusion.metric} {statistic}{duration(exclusion.best)}"
        return f"{name}: {best} even when idle, target {limit}" + (
            f" ({over:,.0%} over)" if math.isfinite(over) else ""
        )
    return {
        "not_current": f"{name}: not its present accelerator, which must be kept",
        "not_allowed": f"{name}: not among the accelerators that this server can have",
        "unknown_accelerator": f"{name}: has a profile, but the fleet does not know it",
        "not_learned": f"{name}: its profile says that a request takes no time (not learned yet)",
        "kv_too_small": f"{name}: its KV cache does not hold one request",
        "too_many": f"{name}: it would take more than a billion replicas",
    }[exclusion.reason]


def headline(server: ServerPlan) -> str:
    """One sentence: what a server gets, and why."""
    if server.allocation is None:
        return f"{server.server}: not served; {REASON[server.reason]}."
    if server.status == "idle":
        return f"{server.server}: scaled to zero; {REASON[server.reason]}."
    given = " + ".join(what(part) for part in parts_of(server))
    return f"{server.server}: {given} at {money(cost_of(server))}; {REASON[server.reason]}."


def parts_of(server: ServerPlan) -> tuple[Option, ...]:
    """What a server gets: nothing, one option, or the parts of its mix."""
    return server.mix or ((server.allocation,) if server.allocation else ())


def cost_of(server: ServerPlan) -> float:
    """Dollars per hour of all that a server gets."""
    return sum(part.cost for part in parts_of(server))


def watts_of(server: ServerPlan) -> float | None:
    """Watts of all that a server gets; None where a power curve is missing."""
    watts = [part.watts for part in parts_of(server)]
    return sum(w for w in watts if w is not None) if None not in watts else None


def explanation(server: ServerPlan, first: str = "ttft") -> list[str]:
    """Everything that is known about one decision, a sentence each. `first` is `wait` in generation 1."""
    lines = [headline(server)]
    chosen = server.allocation
    if chosen is not None and chosen.replicas and server.status == "served":
        lines.append(f"Its number of replicas is fixed by {LIMITED_BY[chosen.binding]}.")
    if server.turned_away >= SELDOM:
        lines.append(f"{server.turned_away:.2%} of its requests are turned away: its queue is full then.")
    if server.next_best is not None and chosen is not None:
        other, cost = server.next_best, cost_of(server)
        change = f" ({other.cost / cost - 1.0:+,.0%})" if cost else ""
        lines.append(
            f"Next best: {what(other)} at {money(other.cost)}{change}, "
            f"{first} {duration(other.ttft)}, itl {duration(other.itl)}."
        )
    lines += [f"Short: {short_of(s)}." for s in server.shortages]
    lines += [f"Not a candidate: {excluded(e)}." for e in server.exclusions]
    if server.status in ("unserved", "best_effort") and server.reason in FIX:
        watts = server.shortages and all(is_power(s.resource) for s in server.shortages)
        fix = FIX[server.reason]
        lines.append(f"To mend it: {fix.replace('Add cards', 'Raise the power budget') if watts else fix}.")
    return lines


def summary(plan: Plan) -> list[str]:
    """The plan as a whole: who is served, what it costs, how good it is."""
    count = {
        status: sum(s.status == status for s in plan.servers)
        for status in ("served", "best_effort", "unserved")
    }
    resting = sum(s.status == "idle" for s in plan.servers)
    total = len(plan.servers)
    lines = [
        f"{count['served'] + resting} of {total} {'server' if total == 1 else 'servers'} served"
        + (f", {count['best_effort']} in part" if count["best_effort"] else "")
        + (f", {count['unserved']} not at all" if count["unserved"] else "")
        + (f" ({resting} without load)" if resting else "")
        + f"; {money(plan.cost)}, {monthly(plan.cost)}"
        + (f", about {plan.watts / 1000:,.1f} kW" if plan.watts else "")
        + "."
    ]
    if plan.solver != "unlimited":
        quality = "proved best" if plan.proved else f"at most {plan.gap:.2%} of its cost above the best"
        if not math.isfinite(plan.gap):
            quality = "not bounded"
        lines.append(
            f"Solver {plan.solver}: {quality}" + (f"; {plan.seconds:.2f} s." if plan.seconds else ".")
        )
    return lines + [f"Note: {note}." for note in plan.notes]
