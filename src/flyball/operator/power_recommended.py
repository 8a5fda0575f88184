"""What is recommended, as PowerRecommendation objects: one for a policy and a domain, as long as it holds.

An object never changes what it asks for: where something else is recommended, or its time runs out, another
takes its place. It is owned by its policy, so that it goes with it.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

import msgspec

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.errors import ClusterError, Conflict, NotFound
from flyball.adapters.kubernetes.governed import Kind
from flyball.operator.conditions import Document
from flyball.operator.kinds import Stored
from flyball.operator.power_status import rounded
from flyball.operator.writes import Writes
from flyball.spec.power import LEVELS, Level, PowerSeen, PowerWorkload, WorkloadRef
from flyball.spec.power_plan import Recommendation
from flyball.units import Seconds
from flyball.wire.kinds import power as kinds
from flyball.wire.kinds.power_specs import Action, NameRef, NotTaken, PowerRecommendationSpec

NAME = kinds.POWER_RECOMMENDATION.kind
KIND = Kind(kinds.GROUP, kinds.VERSION, kinds.POWER_RECOMMENDATION.plural, NAME)
MARK = {"app.kubernetes.io/managed-by": "flyball"}
QUIET: Seconds = 30.0
"""So long an object stands before another takes its place, unless it got worse."""
LEFT = 0.3
"""Share of its time from which on one that still holds is made anew."""
ACTIONS = 256
RELIST: Seconds = 300.0
ABSENT = (
    f"recommendations are not kept, as the cluster has no {NAME}. To install it: "
    f"flyball crds {NAME.lower()} | kubectl apply -f -"
)
_ODD = re.compile(r"[^a-z0-9]+")

Moves = tuple[tuple[str, str, int], ...]
Owner = tuple[Stored, Kind]


class Subject(msgspec.Struct, frozen=True, order=True):
    """What there is one recommendation for."""

    namespace: str
    policy: str = ""
    domain: str = ""


class _Kept(msgspec.Struct, frozen=True):
    subject: Subject
    stored: Stored
    moves: Moves
    made: Seconds
    expires: Seconds
    level: Level = "normal"


class Recommended(msgspec.Struct, frozen=True):
    """What came of it."""

    made: tuple[tuple[Subject, str, str], ...] = ()
    """New ones with their names and reasons."""
    problems: tuple[str, ...] = ()


class Recommendations:
    """Keeps the objects; those of one term are listed at its begin, as another leader may have written."""

    def __init__(
        self, api: Api, namespace: str, watch: str = "", clock: Callable[[], Seconds] = time.time
    ) -> None:
        """`namespace`: of those that no policy allows; `watch`: the only one that is looked at, "": all."""
        self._api, self._namespace, self._watch, self._clock = api, namespace, watch, clock
        self._kept: dict[Subject, _Kept] = {}
        self._over: dict[str, _Kept] = {}
        """By uid: what does not stand any more, until its time is over."""
        self._listed: Seconds | None = None
        self._absent: Seconds | None = None
        """When the cluster was last found without the kind."""

    def forget(self) -> None:
        """Look again what there is."""
        self._listed = self._absent = None

    def last(self, namespace: str, policy: str) -> str:
        """Name of the newest object of a policy; "": there is none."""
        mine = [(k.made, k.stored.metadata.name) for s, k in self._kept.items() if _of(s, namespace, policy)]
        return max(mine, default=(0.0, ""))[1]

    def publish(
        self,
        writes: Writes,
        seen: PowerSeen,
        recommendations: Iterable[Recommendation],
        owner: Callable[[Subject], Owner | None],
    ) -> Recommended:
        """Have the objects as what stands now; `owner`: of a subject, None: it has none yet."""
        now = self._clock()
        problems: list[str] = []
        made: list[tuple[Subject, str, str]] = []
        if self._absent is not None and now - self._absent < RELIST:
            return Recommended()  # it was said
        try:
            self._list(now)
        except NotFound:
            self._absent = now
            return Recommended((), (ABSENT,))
        except ClusterError as error:
            return Recommended((), (f"recommendations are not known: {error}",))
        objects = {one.name: one for one in seen.workloads}
        standing = {subject_of(one, self._namespace): one for one in recommendations if one.actions}
        for subject in sorted(standing.keys() | self._kept.keys()):
            try:
                one = standing.get(subject)
                if one is not None:
                    if (name := self._stand(writes, subject, one, objects, seen, now, owner)) is not None:
                        made.append((subject, name, one.reason))
                elif subject in self._kept:
                    self._withdraw(writes, subject, objects)
            except (Conflict, NotFound):
                self.forget()  # somebody wrote or deleted: the next cycle sees it
            except ClusterError as error:
                problems.append(f"the recommendation for {subject.domain or subject.policy} stays: {error}")
        problems += self._sweep(writes, now)
        return Recommended(tuple(made), tuple(dict.fromkeys(problems)))

    # ---- parts -----------------------------------------------------------------------------------

    def _stand(
        self,
        writes: Writes,
        subject: Subject,
        one: Recommendation,
        objects: Mapping[str, PowerWorkload],
        seen: PowerSeen,
        now: Seconds,
        owner: Callable[[Subject], Owner | None],
    ) -> str | None:
        """The name of a new object; None: what is there says it."""
        lasts = max(one.expires - seen.now, 1.0)
        spec = spec_of(one, objects, now + lasts, subject)
        moves, kept = moves_of(spec), self._kept.get(subject)
        if kept is not None:
            same, worse = kept.moves == moves, LEVELS.index(one.level) > LEVELS.index(kept.level)
            if same and kept.expires - now > LEFT * lasts:
                return None
            if not same and not worse and now - kept.made < QUIET and kept.expires > now:
                return None
        who = owner(subject)
        if who is None and subject.policy:
            return None  # its policy went
        made = _Kept(
            subject,
            writes.make(NAME, subject.namespace, _body(subject, spec, who)),
            moves,
            now,
            now + lasts,
            one.level,
        )
        if kept is not None:
            self._over[kept.stored.metadata.uid] = kept
        self._over = {u: _ended(k) if k.subject == subject else k for u, k in self._over.items()}
        self._kept[subject] = made
        there = writes.status(NAME, made.stored, {"phase": "Proposed"})
        self._kept[subject] = msgspec.structs.replace(made, stored=there)
        return None if kept is not None and kept.moves == moves else there.metadata.name

    def _withdraw(self, writes: Writes, subject: Subject, objects: Mapping[str, PowerWorkload]) -> None:
        kept = self._kept.pop(subject)
        self._over[kept.stored.metadata.uid] = kept
        done = _is_done(kept.moves, subject, objects)
        phase = "Applied" if done else "Withdrawn"
        if kept.stored.status.get("phase") in (None, "Proposed"):
            stored = writes.status(NAME, kept.stored, {**kept.stored.status, "phase": phase})
            self._over[stored.metadata.uid] = msgspec.structs.replace(kept, stored=stored)

    def _sweep(self, writes: Writes, now: Seconds) -> list[str]:
        """Delete those whose time is over."""
        problems = []
        for uid, kept in list(self._over.items()):
            if kept.expires <= now:
                try:
                    writes.remove(NAME, kept.stored)
                    del self._over[uid]
                except Conflict:
                    del self._over[uid]  # another one has its name
                except ClusterError as error:
                    problems.append(f"an old recommendation stays: {error}")
        return problems

    def _list(self, now: Seconds) -> None:
        if self._listed is not None and now - self._listed < RELIST:
            return
        newest: dict[Subject, _Kept] = {}
        over: dict[str, _Kept] = {}
        for stored in sorted(self._api.items(KIND.path(self._watch), Stored), key=_age):
            if not MARK.items() <= stored.metadata.labels.items():
                continue
            one = _read(stored, now)
            if (before := newest.get(one.subject)) is not None:
                over[before.stored.metadata.uid] = _ended(before)
            newest[one.subject] = one
        known, self._kept = self._kept, {}
        for subject, one in newest.items():
            if one.expires <= now or one.stored.status.get("phase") not in (None, "Proposed"):
                over[one.stored.metadata.uid] = one
            else:
                was = known.get(subject)
                level = was.level if was is not None else "normal"
                self._kept[subject] = msgspec.structs.replace(one, level=level)
        self._over, self._listed = over, now


def subject_of(one: Recommendation, namespace: str) -> Subject:
    """Whose it is: that of the policy; the cap of a policy is no domain."""
    space, slash, policy = one.policy.rpartition("/")
    domain = "" if "/" in one.domain else one.domain
    return Subject(space if slash else namespace, policy, domain)


def spec_of(
    one: Recommendation, objects: Mapping[str, PowerWorkload], expires: Seconds, subject: Subject
) -> PowerRecommendationSpec:
    """What the object asks for."""
    actions = tuple(
        Action(
            lever=action.lever,
            target=target_of(objects.get(action.server), action.server, subject.namespace),
            before=action.before,
            after=action.after,
            expected_watts=rounded(action.watts),
            expected_slo=f"{action.lost:,.0f} tokens/s less are served" if action.lost >= 0.5 else None,
        )
        for action in one.actions[:ACTIONS]
    )
    return PowerRecommendationSpec(
        reason=one.reason[:1024],
        actions=actions,
        expires_at=datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        domain_ref=NameRef(subject.domain) if subject.domain else None,
        policy_ref=NameRef(subject.policy) if subject.policy else None,
        if_not_taken=None if one.peak is None else NotTaken(peak_watts=rounded(max(one.peak, 0.0))),
    )


def scaler_of(workload: PowerWorkload) -> WorkloadRef | None:
    """What is to be changed of those that scale it: KEDA's object where there is one."""
    refs = workload.scaled_by
    return next((ref for ref in refs if ref.kind == "ScaledObject"), refs[0] if refs else None)


def target_of(workload: PowerWorkload | None, server: str, namespace: str) -> str:
    """Kind/name; with the namespace where that is another."""
    ref = None if workload is None else scaler_of(workload)
    if workload is None or ref is None:
        return server[:253]
    named = f"{ref.kind}/{ref.name}"
    return (named if workload.namespace in ("", namespace) else f"{workload.namespace}/{named}")[:253]


def moves_of(spec: PowerRecommendationSpec) -> Moves:
    """What of it makes it another."""
    return tuple(sorted((a.lever, a.target, a.after) for a in spec.actions))


def _is_done(moves: Moves, subject: Subject, objects: Mapping[str, PowerWorkload]) -> bool:
    have = {target_of(one, one.name, subject.namespace): one.replicas for one in objects.values()}
    return bool(moves) and all(target in have and have[target] <= after for _, target, after in moves)


def _body(subject: Subject, spec: PowerRecommendationSpec, owner: Owner | None) -> Document:
    said: Document = msgspec.to_builtins(spec)
    about: Document = {
        "name": _name(subject, msgspec.json.encode(spec)),
        "labels": MARK,
    }
    if owner is not None:
        stored, kind = owner
        ref = {"kind": kind.name, "name": stored.metadata.name, "uid": stored.metadata.uid}
        about["ownerReferences"] = [{"apiVersion": f"{kind.group}/{kind.version}", **ref}]
    return {"apiVersion": kinds.API_VERSION, "kind": NAME, "metadata": about, "spec": said}


def _name(subject: Subject, said: bytes) -> str:
    words = [_ODD.sub("-", text.lower()).strip("-")[:80] for text in (subject.policy, subject.domain)]
    digest = hashlib.sha256(repr((subject.policy, subject.domain)).encode() + said).hexdigest()[:10]
    return "-".join([*filter(None, words), digest])


def _read(stored: Stored, now: Seconds) -> _Kept:
    about = stored.metadata
    try:
        spec = msgspec.convert(stored.spec, PowerRecommendationSpec)
        expires = datetime.fromisoformat(spec.expires_at).timestamp()
    except (msgspec.ValidationError, ValueError):  # nothing of ours: it goes
        return _Kept(Subject(about.namespace, "", about.name), stored, (), now, now)
    policy = spec.policy_ref.name if spec.policy_ref else ""
    domain = spec.domain_ref.name if spec.domain_ref else ""
    subject = Subject(about.namespace, policy, domain)
    return _Kept(subject, stored, moves_of(spec), now - QUIET, expires)


def _ended(kept: _Kept) -> _Kept:
    return msgspec.structs.replace(kept, expires=-float("inf"))


def _age(stored: Stored) -> tuple[str, int]:
    about = stored.metadata
    version = int(about.resource_version) if about.resource_version.isdecimal() else 0
    return about.creation_timestamp or "", version


def _of(subject: Subject, namespace: str, policy: str) -> bool:
    return (subject.namespace, subject.policy) == (namespace, policy)
