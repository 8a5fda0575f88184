"""What may be drawn: budgets with their schedules, caps as shares of what was wanted, and which policy wins.

A share is of what the pods would have drawn, not of what they were allowed to: of their own capped draw, 80 %
of the peak would become 64 % after one window, and so on to nothing. So an observation is the measured draw
plus what was held back, as modelled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from flyball.spec.power import DAY, AbsoluteCap, Cap, Domain, Policy, Slot, WorkloadRef
from flyball.units import Seconds, Watts

BUCKETS = 120
"""Of an observation window."""


class Budget(msgspec.Struct, frozen=True, gc=False):
    """What a domain may draw now, and why."""

    watts: Watts
    reason: str


def budget_at(domain: Domain, now: Seconds) -> Budget | None:
    """The budget at a moment (seconds since 1970, UTC); of several slots the lowest. None: watched only."""
    slots = [s for s in domain.schedule if holds_at(s, now)]
    slot = min(slots, key=lambda s: (s.watts, s.start), default=None)
    if slot is not None:
        found = Budget(slot.watts, slot.reason or "schedule")
    elif domain.watts is not None:
        found = Budget(domain.watts, "budget")
    elif domain.breaker is not None:
        return Budget(domain.breaker, "breaker")
    else:
        return None
    if domain.breaker is not None and domain.breaker < found.watts:
        return Budget(domain.breaker, "breaker")
    return found


def holds_at(slot: Slot, now: Seconds) -> bool:
    """Whether a slot holds at a moment."""
    if not slot.daily:
        return slot.start <= now < slot.end
    clock = now % DAY
    if slot.start < slot.end:
        return slot.start <= clock < slot.end
    return clock >= slot.start or clock < slot.end


# ---- shares of peak and average ----------------------------------------------------------------


class Bucket(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A piece of the window."""

    number: int
    peak: Watts
    energy: float
    """Watts times seconds."""
    seconds: Seconds


class Observed(msgspec.Struct, frozen=True):
    """What was wanted over a window, oldest first."""

    window: Seconds
    buckets: tuple[Bucket, ...] = ()
    began: Seconds | None = None
    time: Seconds | None = None

    @property
    def complete(self) -> bool:
        """Whether a whole window was seen."""
        if self.began is None or self.time is None:
            return False
        return self.time - self.began >= self.window * (1.0 - 1.0 / BUCKETS)

    @property
    def peak(self) -> Watts | None:
        """The highest; None: nothing was seen."""
        return max((b.peak for b in self.buckets), default=None)

    @property
    def average(self) -> Watts | None:
        """The mean over time; None: nothing was seen."""
        seconds = sum(b.seconds for b in self.buckets)
        if not self.buckets:
            return None
        return sum(b.energy for b in self.buckets) / seconds if seconds > 0 else self.buckets[-1].peak


def observed(before: Observed, now: Seconds, watts: Watts | None, held_back: Watts = 0.0) -> Observed:
    """The window after a reading; `watts` None: nothing was seen. A bucket goes when all of it is too old."""
    if before.time is not None and now <= before.time:
        return before
    size = before.window / BUCKETS
    number = int(now // size)
    oldest = number - BUCKETS
    kept = tuple(b for b in before.buckets if b.number > oldest)
    if watts is None:
        return Observed(before.window, kept, before.began if kept else None, now)
    wanted = watts + max(held_back, 0.0)
    span = min(now - before.time, size) if before.time is not None else 0.0
    last = kept[-1] if kept and kept[-1].number == number else Bucket(number, wanted, 0.0, 0.0)
    grown = Bucket(number, max(last.peak, wanted), last.energy + wanted * span, last.seconds + span)
    began = now if before.began is None or not kept else before.began
    return Observed(before.window, (*(b for b in kept if b.number < number), grown), began, now)


def cap_watts(cap: Cap | None, seen: Observed | None) -> Watts | None:
    """Watts of a cap; None: there is none, or no whole window was seen yet of which it is a share."""
    if cap is None or isinstance(cap, AbsoluteCap):
        return cap.watts if cap else None
    # Of the first reading alone, a share would take something from everyone at each start.
    if seen is None or not seen.complete:
        return None
    reference = seen.peak if cap.of == "Peak" else seen.average
    return None if reference is None else cap.share * reference


# ---- overlapping policies ----------------------------------------------------------------------


def selects(
    policy: Policy, namespace: str, labels: Mapping[str, str], workloads: Iterable[WorkloadRef]
) -> bool:
    """Whether a policy is for pods with these labels; `workloads` are all that scale them."""
    known = {(w.kind, w.name) for w in workloads}
    if policy.namespace != namespace:
        return False
    if policy.workloads:
        return any((w.kind, w.name) in known for w in policy.workloads)
    if policy.kinds and not any(kind in policy.kinds for kind, _ in known):
        return False
    return policy.labels.items() <= labels.items()


class Standing(msgspec.Struct, frozen=True):
    """A policy with its cap now and the servers that it selects."""

    policy: Policy
    servers: tuple[str, ...]
    cap: Watts | None
    wanted: Watts = 0.0
    """What those would draw if nothing held them."""

    @property
    def tightness(self) -> float:
        """The share of what is wanted that it leaves; above 1 it takes nothing."""
        if self.cap is None:
            return float("inf")
        return self.cap / self.wanted if self.wanted > 0 else float("inf")


class Governing(msgspec.Struct, frozen=True):
    """Which policy wins for each server, and whom it overrules."""

    policy: dict[str, str]
    """By server: the policy whose mode, levers, priority and algorithm hold."""
    overruled: dict[str, str]
    """By policy that loses anywhere: a sentence for its condition."""
    min_replicas: dict[str, int]
    """By server: the most that any of its policies asks to keep."""
    protected: tuple[str, ...]
    """Servers that some policy protects."""


def governing(standings: Sequence[Standing]) -> Governing:
    """The most restrictive policy wins, server by server; all caps hold, and all protection adds up.

    Most restrictive: leaves the least share of what is wanted; of equals one that enforces, then by name.
    """
    rank = {"Enforce": 0, "Recommend": 1, "Observe": 2}
    ranked = sorted(
        standings, key=lambda s: (s.tightness, rank[s.policy.mode], s.policy.namespace, s.policy.name)
    )
    winner: dict[str, Standing] = {}
    lost: dict[str, dict[str, list[str]]] = {}
    floors: dict[str, int] = {}
    for standing in ranked:
        for server in standing.servers:
            floors[server] = max(floors.get(server, 0), standing.policy.min_replicas)
            first = winner.setdefault(server, standing)
            if first is not standing:
                by = lost.setdefault(standing.policy.name, {})
                by.setdefault(first.policy.name, []).append(server)
    return Governing(
        policy={server: s.policy.name for server, s in sorted(winner.items())},
        overruled={name: _sentence(by) for name, by in sorted(lost.items())},
        min_replicas=dict(sorted(floors.items())),
        protected=tuple(sorted({s for st in standings if st.policy.protected for s in st.servers})),
    )


def held_back(wanted: Mapping[str, Watts], allowed: Mapping[str, Watts], servers: Iterable[str]) -> Watts:
    """What servers would draw beyond what they are allowed to, by their models."""
    return sum(max(wanted.get(s, 0.0) - allowed.get(s, wanted.get(s, 0.0)), 0.0) for s in servers)


def _sentence(by: Mapping[str, Sequence[str]]) -> str:
    parts = []
    for name, servers in sorted(by.items()):
        shown = ", ".join(sorted(servers)[:3]) + (f" and {len(servers) - 3} more" if len(servers) > 3 else "")
        parts.append(f"{name} is more restrictive for {shown}")
    return "; ".join(parts)
