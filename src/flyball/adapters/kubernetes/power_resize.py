"""CPU and memory of running pods trimmed in place, by their subresource `resize`, and given back.

What was there, and what was written over it, is a note on the pod, written ahead of it: whoever leads next
trims from what its user gave, and gives that back. What somebody else wrote since stays, and that pod is left
alone. What a resize would restart keeps what it has.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from typing import Any, NamedTuple, TypeAlias

import msgspec

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.errors import ApiError, ClusterError, Conflict, NotFound
from flyball.adapters.kubernetes.labels import OURS
from flyball.adapters.kubernetes.listing import FORBIDDEN, PODS
from flyball.adapters.kubernetes.objects import Condition, Metadata, Read, Resources
from flyball.adapters.kubernetes.power_heat import belongs, makers
from flyball.adapters.kubernetes.power_original import MANAGER, Document, Unreadable, managed
from flyball.adapters.kubernetes.template import Edit, pointer
from flyball.adapters.kubernetes.write import Left, Writer
from flyball.spec.power import PowerWorkload, Trim
from flyball.spec.power_plan import Relief
from flyball.wire.errors import WireError
from flyball.wire.kthena_text import quantity

RESOURCES = f"{OURS}power-resources"
"""The annotation with the note."""
RUNNING = "status.phase=Running"
TRIES = 3
"""At one pod, where others write it at the same time."""
INVALID = 422
SCALE = {"cpu": 1000, "memory": 1}
"""What is trimmed, and how many of what is written there are in a whole: millicores, bytes."""

Amounts: TypeAlias = dict[str, str]
"""`requests` and `limits` of one resource, as written."""
Units: TypeAlias = dict[str, Amounts]
"""By `container/resource`."""


class PodNote(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was trimmed of a pod."""

    was: Units
    wrote: Units
    before: Units = {}
    """What was there as `wrote` was decided, where that is not what was."""


class _Policy(Read, frozen=True):
    resource_name: str = ""
    restart_policy: str = ""


class _Container(Read, frozen=True):
    name: str = ""
    resources: Resources = Resources()
    resize_policy: tuple[_Policy, ...] = ()


class _Spec(Read, frozen=True):
    containers: tuple[_Container, ...] = ()


class _Status(Read, frozen=True):
    conditions: tuple[Condition, ...] = ()


class SizedPod(Read, frozen=True):
    """Of a pod, what can be trimmed."""

    metadata: Metadata = Metadata()
    spec: _Spec = _Spec()
    status: _Status = _Status()

    @property
    def path(self) -> str:
        """Of the object."""
        return PODS.path(self.metadata.namespace, self.metadata.name)

    @property
    def words(self) -> str:
        """In sentences."""
        return f"Pod {self.metadata.namespace}/{self.metadata.name}"

    @property
    def units(self) -> Units:
        """What it has."""
        found: Units = {}
        for one in self.spec.containers:
            fields = {"requests": one.resources.requests, "limits": one.resources.limits}
            for name in SCALE:
                if unit := {field: str(there[name]) for field, there in fields.items() if name in there}:
                    found[f"{one.name}/{name}"] = unit
        return found

    @property
    def fixed(self) -> set[str]:
        """Of its units, those of which a change restarts the container."""
        return {
            f"{one.name}/{policy.resource_name}"
            for one in self.spec.containers
            for policy in one.resize_policy
            if policy.restart_policy == "RestartContainer"
        }

    @property
    def refusal(self) -> str:
        """Why its node cannot do what was asked last; "": it can."""
        for one in self.status.conditions:
            if (one.type, one.status, one.reason) == ("PodResizePending", "True", "Infeasible"):
                return one.message or one.reason
        return ""


def trimmed(amounts: Amounts, resource: str, share: float) -> Amounts:
    """What is left of requests and limits; what differed still does, or the pod's QoS class would change."""
    if share >= 1:
        return amounts
    whole = {field: ceil(quantity(text, resource) * SCALE[resource]) for field, text in amounts.items()}
    kept = {field: min(number, max(1, round(number * share))) for field, number in whole.items()}
    if len(set(kept.values())) < len(set(whole.values())):
        kept["limits"] += 1
    unit = "m" if resource == "cpu" else ""
    return {f: amounts[f] if number == whole[f] else f"{number}{unit}" for f, number in kept.items()}


def note_of(annotations: Mapping[str, str]) -> PodNote | None:
    """The note on a pod, or none. Unreadable."""
    text = annotations.get(RESOURCES)
    if text is None:
        return None
    try:
        note = msgspec.json.decode(text, type=PodNote)
        for units in (note.was, note.wrote, note.before):
            for unit, amounts in units.items():
                _same(amounts, dict.fromkeys(amounts, "0"))
                note.was[unit]
    except (msgspec.MsgspecError, KeyError, WireError) as error:
        raise Unreadable(
            f"its annotation {RESOURCES} is {text[:80]!r}, which cannot be read ({error}): "
            "give it the resources that it should have, and remove the annotation"
        ) from None
    return note


class _Done(NamedTuple):
    """What became of a pod."""

    is_ours: bool
    """Whether a note of ours may be on it."""
    why: str = ""
    """What hinders it, the same for all pods of which it is told together."""
    words: str = ""


class Resizer:
    """Trims running pods in place. Whoever leads next goes on from the notes on them."""

    def __init__(self, api: Api, pool: ThreadPoolExecutor) -> None:
        self._api, self._pool = api, pool
        self.begin(())

    def begin(self, namespaces: Iterable[str]) -> None:
        """A new term, with pods of ours in these."""
        self._spaces = set(namespaces)
        self._held: set[str] = set()
        """Uids of pods that have had what we wrote: another value is somebody else's."""
        self._left: set[str] = set()
        """Uids of pods that are left alone, as was told, as long as they are to be trimmed."""
        self._served: bool | None = None

    @property
    def busy(self) -> bool:
        """Whether there is anything to give back, or to forget."""
        return bool(self._spaces or self._left)

    def apply(
        self, writer: Writer, reliefs: Sequence[Relief], workloads: Sequence[PowerWorkload]
    ) -> tuple[str, ...]:
        """Trim pods of these and give back all others; in a sentence each what cannot be."""
        by_name = {one.name: one for one in workloads}
        asked: dict[str, list[tuple[PowerWorkload, Trim]]] = defaultdict(list)
        said: list[str] = []
        for relief in enforced(reliefs):
            if workload := by_name.get(relief.workload):
                asked[workload.namespace].append((workload, relief.trim))
            else:
                said.append(f"{relief.workload} is to be trimmed and is not there: nothing is written")
        if asked and self._served is not True:
            try:
                served = writer.send(lambda: self._api.serves("", "v1", "pods/resize"))
            except (Left, ClusterError) as error:
                return (*said, f"no pod is resized: {error}")
            if not served:
                asked.clear()
                if self._served is None:
                    said.append("no pod is resized: the cluster has no pods/resize. It comes with 1.33")
            self._served = served
        wanted: set[str] = set()
        complete = True
        for space in sorted({*asked, *self._spaces}):
            try:
                pods = writer.send(lambda space=space: self._pods(space))  # type: ignore[misc]
            except (Left, ClusterError) as error:
                complete = False
                said.append(f"resources of pods in {space} stay as they are: {error}")
                continue
            trims = _trims(pods, asked.get(space, ()), said)
            wanted |= trims.keys()
            said += self._space(writer, space, pods, trims)
        if complete:
            self._left &= wanted
            self._held &= wanted
        return tuple(said)

    def _pods(self, namespace: str) -> list[SizedPod]:
        return self._api.items(PODS.path(namespace), SizedPod, fields=RUNNING, cached=True)

    def _space(
        self, writer: Writer, space: str, pods: Sequence[SizedPod], trims: Mapping[str, Trim]
    ) -> list[str]:
        work = [(p, trims.get(p.metadata.uid)) for p in pods]
        work = [(p, trim) for p, trim in work if trim is not None or RESOURCES in p.metadata.annotations]
        work.sort(key=lambda one: one[1] is None)  # the time of a cycle is short
        done = list(self._pool.map(lambda one: self._one(writer, *one), work))
        if any(one.is_ours for one in done):
            self._spaces.add(space)
        else:
            self._spaces.discard(space)
        first = {one.why: one.words for one in reversed(done) if one.why}
        more = Counter(one.why for one in done)
        return [
            words + (f" (the same of {more[why] - 1} more in {space})" if more[why] > 1 else "")
            for why, words in first.items()
        ]

    def _one(self, writer: Writer, pod: SizedPod, trim: Trim | None) -> _Done:
        uid = pod.metadata.uid
        what = "is not given back" if trim is None else "is not resized"
        try:
            for _ in range(TRIES):
                try:
                    return self._settled(writer, pod, trim)
                except Conflict:
                    pod = writer.send(lambda path=pod.path: self._api.get(path, SizedPod))  # type: ignore[misc]
                    if pod.metadata.uid != uid:
                        return _Done(False)
            raise Left("others write it all the time; the next cycle tries again")
        except NotFound:
            return _Done(False)
        except ApiError as error:
            if error.status == INVALID:
                self._left.add(uid)
            mend = _mend(error)
            return _Done(True, f"{error.status}{mend}", f"{pod.words} {what}: {error}{mend}")
        except (Left, ClusterError, Unreadable) as error:
            return _Done(True, type(error).__name__, f"{pod.words} {what}: {error}")

    def _settled(self, writer: Writer, pod: SizedPod, trim: Trim | None) -> _Done:
        uid, note, now = pod.metadata.uid, note_of(pod.metadata.annotations), pod.units
        if note is None and (trim is None or uid in self._left):
            return _Done(False)
        done = _Done(False)
        ours = self._ours(uid, now, note) if note else {}
        if note and len(ours) < len(note.wrote):
            words = f"{pod.words} keeps the resources that somebody else gave it"
            done = _Done(False, "edited", words)
        elif pod.refusal:
            done = _Done(False, "infeasible", f"{pod.words} is not resized: its node refuses: {pod.refusal}")
        wrote = _wanted(pod, {**now, **ours}, ours, trim) if trim else {}
        if trim and not wrote and not done.why:
            words = f"{pod.words} has no CPU or memory that can be trimmed without a restart"
            done = _Done(False, "nothing", words)
        if done.why or trim is None or uid in self._left:
            if note:
                self._give_back(writer, pod, ours)
            if done.why:
                self._left.add(uid)
            return done if trim else _Done(False)
        if note is None or note.wrote != wrote:
            before = {unit: now[unit] for unit in wrote if ours.get(unit, now[unit]) != now[unit]}
            note = PodNote({unit: ours.get(unit, now[unit]) for unit in wrote}, wrote, before)
            # Whatever it would be refused for shows before it has a note.
            self._resize(writer, pod, wrote, dryRun="All")
            self._held.discard(uid)
            pod = self._write(writer, pod, note)
        self._resize(writer, pod, wrote)
        self._held.add(uid)
        return _Done(True)

    def _ours(self, uid: str, now: Units, note: PodNote) -> Units:
        """What was, of the units that nobody else has written since."""
        found = {}
        for unit, wrote in note.wrote.items():
            ours = [wrote]
            if uid not in self._held:  # a process may end between any two writes
                ours += [note.was[unit], note.before.get(unit, wrote)]
            if any(_same(now.get(unit, {}), one) for one in ours):
                found[unit] = note.was[unit]
        return found

    def _write(self, writer: Writer, pod: SizedPod, note: PodNote) -> SizedPod:
        about = pod.metadata
        text = msgspec.json.encode(note).decode()
        body = {
            "metadata": {
                "uid": about.uid,
                "resourceVersion": about.resource_version,
                "annotations": {RESOURCES: text},
            }
        }
        return writer.send(lambda: self._api.patch(pod.path, body, SizedPod, fieldManager=MANAGER))

    def _resize(self, writer: Writer, pod: SizedPod, wanted: Units, **params: str) -> Document | None:
        """The pod with these; None: it has them. ClusterError, Left."""
        edits: list[Edit] = []
        for number, one in enumerate(pod.spec.containers):
            for resource in SCALE:
                for field, amount in wanted.get(f"{one.name}/{resource}", {}).items():
                    there = str(getattr(one.resources, field)[resource])
                    if not _same({field: there}, {field: amount}):
                        at = pointer("spec", "containers", str(number), "resources", field, resource)
                        edits.append(Edit(at, there, amount))
        if not edits:
            return None
        same = {"/metadata/uid": pod.metadata.uid}
        if text := pod.metadata.annotations.get(RESOURCES):
            same[pointer("metadata", "annotations", RESOURCES)] = text
        operations = [{"op": "test", "path": path, "value": value} for path, value in same.items()]
        for edit in edits:
            operations += edit.operations()
        path = f"{pod.path}/resize"
        params = {"fieldManager": MANAGER, **params}
        return writer.send(lambda: self._api.edit(path, operations, dict[str, Any], **params))

    def _give_back(self, writer: Writer, pod: SizedPod, was: Units) -> None:
        """What was, and nothing of ours. ClusterError, Left."""
        there = self._resize(writer, pod, was)
        self._held.discard(pod.metadata.uid)
        if there is None:
            there = writer.send(lambda: self._api.get(pod.path, dict[str, Any]))
        # Marks are applied, and stay.
        kept = [e for e in managed(there) if (e.get("manager"), e.get("operation")) != (MANAGER, "Update")]
        operations: list[dict[str, object]] = [
            {"op": "test", "path": "/metadata/uid", "value": pod.metadata.uid},
            {
                "op": "test",
                "path": "/metadata/resourceVersion",
                "value": there["metadata"]["resourceVersion"],
            },
            {"op": "replace", "path": "/metadata/managedFields", "value": kept or [{}]},
            {"op": "remove", "path": pointer("metadata", "annotations", RESOURCES)},
        ]
        writer.send(lambda: self._api.edit(pod.path, operations, dict[str, Any], fieldManager=MANAGER))


def enforced(reliefs: Iterable[Relief]) -> list[Relief]:
    """Those that are to be carried out here."""
    ours = (one for one in reliefs if one.mode == "Enforce" and one.lever == "resources")
    return [one for one in ours if min(one.trim.cpu, one.trim.memory) < 1]


def _trims(
    pods: Sequence[SizedPod], asked: Iterable[tuple[PowerWorkload, Trim]], said: list[str]
) -> dict[str, Trim]:
    """What pods keep, by uid; of several, the least."""
    found: dict[str, Trim] = {}
    for workload, trim in asked:
        made = makers(workload.scaled_by)
        refs = {(ref.kind, ref.name) for ref in workload.scaled_by}
        has_any = False
        for pod in pods:
            about = pod.metadata
            owners = {(one.kind, one.name) for one in about.owner_references if one.controller}
            if not about.deletion_timestamp and (owners & refs or belongs(about, made)):
                other = found.get(about.uid, trim)
                has_any = True
                found[about.uid] = Trim(min(trim.cpu, other.cpu), min(trim.memory, other.memory))
        if not has_any:
            said.append(f"{workload.name} has no running pod that is known as its own: nothing is trimmed")
    return found


def _wanted(pod: SizedPod, user: Units, noted: Units, trim: Trim) -> Units:
    """What is to be there of what its user gave it, where that is another or has been."""
    made = {}
    for unit, amounts in user.items():
        resource = unit.rpartition("/")[2]
        fixed = unit in pod.fixed
        kept = amounts if fixed else trimmed(amounts, resource, getattr(trim, resource))
        if kept != amounts or unit in noted:
            made[unit] = kept
    return made


def _same(one: Amounts, other: Amounts) -> bool:
    if one == other:
        return True
    return one.keys() == other.keys() and all(
        quantity(one[field], field) == quantity(other[field], field) for field in one
    )


def _mend(error: ApiError) -> str:
    # A LimitRange forbids, too.
    if error.status != FORBIDDEN or "cannot patch" not in error.message:
        return ""
    return ". Allow its service account to patch pods and pods/resize"
