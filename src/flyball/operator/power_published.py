"""What a cycle says of power, in the objects of its kinds: by the leader only, and only what is new."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import msgspec

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.errors import ClusterError, Conflict, NotFound
from flyball.adapters.kubernetes.governed import Kind
from flyball.operator import power_status
from flyball.operator.conditions import Document, Holds
from flyball.operator.kinds import Stored, ref_of
from flyball.operator.power_kinds import KINDS, PowerKinds
from flyball.operator.power_recommended import KIND, NAME, Recommendations, Subject
from flyball.operator.power_status import FIGURES, Bad
from flyball.operator.reconciler import WORKERS, Told, moment
from flyball.operator.statuses import finished, readiness
from flyball.operator.writes import Leads, NotLeading, Writes
from flyball.spec.power import Mode, Policy, PowerSeen
from flyball.spec.power_plan import DomainState, PowerPlan
from flyball.units import Seconds
from flyball.wire.climatik import KIND as CLIMATIK
from flyball.wire.kinds import power as kinds
from flyball.wire.kinds.inferno_objects import Ref

DOMAIN, POLICY = kinds.POWER_DOMAIN.kind, kinds.POWER_POLICY.kind
PROFILE = kinds.DEVICE_POWER_PROFILE.kind


class _Memory:
    """Of one object, as this process saw it."""

    def __init__(self) -> None:
        self.bad: Bad = {}
        self.generation = 0
        self.written: Seconds = -float("inf")
        self.problem = ""


class _Look(NamedTuple):
    ref: Ref
    stored: Stored
    status: Document
    memory: _Memory


class PowerPublisher:
    """Writes statuses and recommendations after each cycle, and tells Events."""

    def __init__(
        self,
        api: Api,
        lease: Leads | None,
        objects: PowerKinds,
        namespace: str,
        *,
        watch: str = "",
        told: Told = lambda stored, ref, reason, message, warning: None,
        wall: Callable[[], str] = moment,
        clock: Callable[[], Seconds] = time.time,
        now: Callable[[], Seconds] = time.monotonic,
    ) -> None:
        """`namespace`: our own, for recommendations that no policy allows; `watch`: the only one whose
        policies are looked at, "": all."""
        self._api, self._lease, self._objects, self._told = api, lease, objects, told
        self._wall, self._now = wall, now
        self.recommendations = Recommendations(api, namespace, watch, clock)
        self._memory: dict[str, _Memory] = {}
        """By uid."""
        self._modes: dict[str, Mode] = {}
        self._term: int | None = None
        self._pool = ThreadPoolExecutor(WORKERS, "flyball-power")

    def close(self) -> None:
        """Begin nothing more."""
        self._pool.shutdown(cancel_futures=True)

    def publish(
        self,
        seen: PowerSeen,
        plan: PowerPlan,
        problems: Mapping[Ref, str] | None = None,
        untold: Mapping[str, str] | None = None,
    ) -> tuple[str, ...]:
        """Write what is new; in a sentence each what could not be written.

        `problems`: objects that cannot be read; `untold`: by output why it was not told.
        """
        term = None if self._lease is None else self._lease.term
        if self._lease is not None and term is None:
            self._term = None
            return ()
        if term != self._term:
            self.recommendations.forget()
            self._term = term
        problems = self._objects.objects().problems if problems is None else problems
        stored = self._stored()
        writes = Writes(self._api, self._lease, self._answered, self._kinds(stored))
        try:
            said = self._recommend(writes, seen, plan, stored)
            looks = self._looks(seen, plan, problems, untold or {}, stored)
            return (*said, *self._write(writes, looks))
        except NotLeading:
            return ()

    # ---- objects -----------------------------------------------------------------------------------

    def _stored(self) -> dict[Ref, tuple[Stored, Kind]]:
        """All objects; of two versions of one kind the first."""
        found: dict[Ref, tuple[Stored, Kind]] = {}
        for watch in self._objects.watches.values():
            for one in watch.all():
                found.setdefault(ref_of(watch.kind.name, one), (one, watch.kind))
        return found

    def _kinds(self, stored: Mapping[Ref, tuple[Stored, Kind]]) -> dict[str, Kind]:
        """A cluster has one version of Climatik's kind."""
        theirs = next((kind for ref, (_, kind) in stored.items() if ref.kind == CLIMATIK), None)
        return {**KINDS, NAME: KIND, **({} if theirs is None else {CLIMATIK: theirs})}

    def _answered(self, kind: str, one: Stored) -> None:
        for watch in self._objects.watches.values():
            if watch.kind.name == kind:
                watch.seen(one)

    # ---- recommendations ---------------------------------------------------------------------------

    def _recommend(
        self, writes: Writes, seen: PowerSeen, plan: PowerPlan, stored: Mapping[Ref, tuple[Stored, Kind]]
    ) -> tuple[str, ...]:
        silent = {p.key for p in seen.policies if p.mode == "Observe"}
        spoken = [one for one in plan.recommendations if one.policy not in silent]

        def owner(subject: Subject) -> tuple[Stored, Kind] | None:
            return next((stored[ref] for ref in _owners(subject) if ref in stored), None)

        made = self.recommendations.publish(writes, seen, spoken, owner)
        for subject, name, reason in made.made:
            ref = next((ref for ref in _owners(subject) if ref in stored), None)
            if ref is not None:
                self._told(stored[ref][0], ref, "Recommended", f"{name}: {reason}", False)
        return made.problems

    # ---- statuses ----------------------------------------------------------------------------------

    def _looks(
        self,
        seen: PowerSeen,
        plan: PowerPlan,
        problems: Mapping[Ref, str],
        untold: Mapping[str, str],
        stored: Mapping[Ref, tuple[Stored, Kind]],
    ) -> list[_Look]:
        """What the status of each object is to be."""
        alive = {one.metadata.uid for one, _ in stored.values()}
        self._memory = {uid: memory for uid, memory in self._memory.items() if uid in alive}
        policies = {(p.namespace, p.name): p for p in seen.policies}
        states = {one.domain: one for one in plan.domains}
        below = _below(seen, states, {ref.name for ref in stored if ref.kind == DOMAIN})
        self._tell_modes(seen.policies, stored)
        found = []
        for ref, (one, _) in stored.items():
            problem = problems.get(ref, "")
            policy = None if problem else policies.get((ref.namespace, ref.name))
            memory = self._memory.setdefault(one.metadata.uid, _Memory())
            if ref.kind == CLIMATIK:  # its status has no place for words
                if policy is not None:
                    found.append(_Look(ref, one, power_status.of_climatik(policy, plan), memory))
                if problem and problem != memory.problem:
                    self._told(one, ref, "Invalid", problem, True)
                memory.problem = problem
                continue
            holds: tuple[Holds, ...] = (readiness(problem),)
            made: Document = {}
            if ref.kind == DOMAIN:
                state = states.get(ref.name)
                said, holds = power_status.of_domain(state, below.get(ref.name, ()), plan, ref.name, problem)
                made = msgspec.to_builtins(said)
            elif ref.kind == POLICY:
                outputs = () if policy is None else policy.outputs
                told, holds = power_status.of_policy(
                    policy,
                    plan,
                    self.recommendations.last(ref.namespace, ref.name),
                    problem,
                    seen.answers.get(f"{ref.namespace}/{ref.name}"),
                    [untold[name] for name in outputs if name in untold],
                )
                made = msgspec.to_builtins(told)
            generation, before = one.metadata.generation, one.status
            if generation != memory.generation:  # what was bad of the one before says nothing of this one
                memory.generation, memory.bad = generation, {}
            steady = power_status.steady(holds, memory.bad, self._now())
            status = finished(made, before, steady, generation, None, self._wall())
            found.append(_Look(ref, one, status, memory))
        return found

    def _tell_modes(self, policies: Iterable[Policy], stored: Mapping[Ref, tuple[Stored, Kind]]) -> None:
        for policy in policies:
            key = policy.key
            was, self._modes[key] = self._modes.get(key), policy.mode
            ref = Ref(POLICY, policy.namespace, policy.name)
            if was is not None and was != policy.mode and ref in stored:
                said = f"{was} to {policy.mode}"
                self._told(stored[ref][0], ref, f"Mode{policy.mode}", said, False)

    def _write(self, writes: Writes, looks: Sequence[_Look]) -> tuple[str, ...]:
        now = self._now()

        def one(look: _Look) -> str:
            ref, stored, status, memory = look
            before = stored.status
            due = now - memory.written >= FIGURES and power_status.is_moved(before, status)
            if not due and not power_status.is_urgent(before, status):
                return ""
            try:
                self._put(writes, ref, stored, status)
            except (Conflict, NotFound):
                return ""  # somebody wrote or deleted it meanwhile: the next cycle does it
            except NotLeading:
                raise
            except ClusterError as error:
                return f"{ref} is not written: {error}"
            memory.written = now
            for reason, message, warns in power_status.told(before, status):
                self._told(stored, ref, reason, message, warns)
            return ""

        return tuple(dict.fromkeys(filter(None, self._pool.map(one, looks))))

    def _put(self, writes: Writes, ref: Ref, stored: Stored, status: Document) -> None:
        if ref.kind != CLIMATIK:
            writes.status(ref.kind, stored, status)
            return
        try:
            writes.status(ref.kind, stored, {**stored.status, **status})
        except NotFound:  # one of its definitions has no status of its own
            writes.status_within(ref.kind, stored, status)


def _owners(subject: Subject) -> tuple[Ref, ...]:
    """What a recommendation goes with: its policy, which may be one of Climatik's, or its domain."""
    if not subject.policy:
        return (Ref(DOMAIN, "", subject.domain),)
    return tuple(Ref(kind, subject.namespace, subject.policy) for kind in (POLICY, CLIMATIK))


def _below(
    seen: PowerSeen, states: Mapping[str, DomainState], written: set[str]
) -> dict[str, tuple[DomainState, ...]]:
    """By domain with an object those in it that have none, as racks that were discovered."""
    parents = {one.name: one.parent for one in seen.domains}
    found: dict[str, list[DomainState]] = {}
    for name, state in sorted(states.items()):
        at, steps = name, 0
        while at and at not in written and steps <= len(parents):
            at, steps = parents.get(at, ""), steps + 1
        if at and at != name:
            found.setdefault(at, []).append(state)
    return {name: tuple(those) for name, those in found.items()}
