"""The load emulator: what is asked of managed servers, written as labels where no metrics say it.

With the first change the labels' own values are kept in an annotation beside what was written, in one patch:
so a restart goes on from them, they can be put back after a crash, and what somebody else sets meanwhile is
taken over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

import msgspec
import numpy as np

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.disturbance import Disturbance, Load, disturbed, multiplier, scaled, shared
from flyball.adapters.kubernetes.errors import ApiError, ClusterError, Conflict, NotFound
from flyball.adapters.kubernetes.governed import DEPLOYMENT, STATEFUL_SET, Kind
from flyball.adapters.kubernetes.labels import IN, MANAGED, OURS, OUT, RATE, SELECTOR, TOKENS
from flyball.adapters.kubernetes.objects import Metadata, Pod, Read, Workload
from flyball.spec.phase import Phase
from flyball.units import Seconds, from_per_minute, to_per_minute

COUNTS = (IN, OUT, TOKENS)
LABELS = (RATE, *COUNTS)
NOMINAL = f"{OURS}nominal"
"""Annotation: the labels' own values, and those written in their place."""
POD = Kind("", "v1", "pods", "Pod")
WORKLOADS = (DEPLOYMENT, STATEFUL_SET)
TRIES = 5
"""To write an object that others write too."""
MOST = 1e9

_NUMBER = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")


class Change(msgspec.Struct, frozen=True):
    """What was written to one object."""

    kind: str
    namespace: str
    name: str
    labels: dict[str, str]
    """By short name: rpm, intokens, outtokens, numtokens."""
    before: dict[str, str]
    """What they are moved around; after a restore what they had been moved to."""


class Outcome(msgspec.Struct, frozen=True):
    """What one pass over the cluster came to."""

    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    """What was left alone and why, and how to mend it."""
    multiplier: float = 1.0


class Kept(msgspec.Struct, frozen=True):
    """What the annotation holds."""

    nominal: dict[str, str]
    written: dict[str, str]


class Unusable(ValueError):
    """A label or the annotation of an object cannot be read."""


class Named(Read, frozen=True):
    """What of an object is written: its metadata."""

    metadata: Metadata = Metadata()


class Emulator:
    """Moves the loads of all managed workloads of a namespace, or of all namespaces."""

    def __init__(
        self,
        api: Api,
        by: Disturbance,
        rng: np.random.Generator,
        namespace: str = "",
        phases: Sequence[Phase] = (),
        ended: Callable[[], bool] = lambda: False,
    ) -> None:
        """`ended`: asked between writes; once it is true a cycle stops where it is."""
        self._api, self._by, self._rng, self._namespace = api, by, rng, namespace
        self._phases, self._ended = tuple(phases), ended
        self.writes = 0
        """Objects written so far."""

    def cycle(self, elapsed: Seconds = 0.0) -> Outcome:
        """Move every load once; `elapsed` since the first phase began. ClusterError."""
        factor = multiplier(self._phases, elapsed)
        changes: list[Change] = []
        notes: list[str] = []
        pods = self._pods() if self._by.skew is not None else []
        for kind in WORKLOADS:
            found = self._api.items(kind.path(self._namespace), Workload, selector=SELECTOR)
            for workload in sorted(found, key=lambda one: (one.metadata.namespace, one.metadata.name)):
                if self._ended():
                    break
                try:
                    load = self._move(kind, workload.metadata, factor, changes)
                except (Unusable, ApiError) as error:  # one that is refused keeps no other waiting
                    notes.append(f"{_named(kind, workload.metadata)} {error}")
                    continue
                if load is not None and self._by.skew is not None:
                    own = [pod for pod in pods if _belongs(pod, workload)]
                    self._split(load, own, self._by.skew, changes, notes)
        return Outcome(tuple(changes), tuple(notes), factor)

    def _move(self, kind: Kind, of: Metadata, factor: float, changes: list[Change]) -> Load | None:
        """Write a workload's new load; None where it says none or has gone."""
        own = own_labels(of)
        if not own:
            return None
        nominal = scaled(load_of(_nominal(of, own)), factor)
        load = disturbed(load_of(of.labels), nominal, self._by, self._rng)
        return load if self._set(kind, of, labels_of(load), labels_of(nominal), changes) else None

    def _split(
        self, load: Load, pods: Iterable[Pod], skew: float, changes: list[Change], notes: list[str]
    ) -> None:
        usable: list[tuple[Metadata, Load]] = []
        for pod in pods:
            try:
                usable.append((pod.metadata, load_of(_nominal(pod.metadata, own_labels(pod.metadata)))))
            except Unusable as error:
                notes.append(f"{_named(POD, pod.metadata)} {error}")
        parts = shared(load, [nominal for _, nominal in usable], skew, self._rng)
        for (of, nominal), part in zip(usable, parts, strict=True):
            try:
                self._set(POD, of, labels_of(part), labels_of(nominal), changes)
            except (Unusable, ApiError) as error:
                notes.append(f"{_named(POD, of)} {error}")

    def _set(
        self, kind: Kind, of: Metadata, new: dict[str, str], nominal: dict[str, str], changes: list[Change]
    ) -> bool:
        """Write labels that the object has; False where it has gone or is no longer ours."""

        def body(now: Metadata) -> dict[str, object] | None:
            own = own_labels(now)
            labels = {label: text for label, text in new.items() if label in own}
            if not labels or (kind is not POD and now.labels.get(MANAGED) != "true"):
                return None
            kept = msgspec.json.encode(Kept(own, labels)).decode()
            return {"labels": labels, "annotations": {NOMINAL: kept}}

        labels = self._write(kind, of, body)
        if labels:
            changes.append(Change(kind.name, of.namespace, of.name, _short(labels), _short(nominal)))
        return bool(labels)

    def restore(self, pods: bool = True) -> Outcome:
        """Put back what every object had before, and take the annotation off; notes say what could not be."""
        changes: list[Change] = []
        notes: list[str] = []
        for kind in (*WORKLOADS, POD) if pods else WORKLOADS:
            try:
                found = self._api.items(kind.path(self._namespace), Named)
            except ClusterError as error:
                notes.append(str(error))
                continue
            for one in found:
                if NOMINAL not in one.metadata.annotations:
                    continue
                try:
                    labels = self._write(kind, one.metadata, _original)
                except (Unusable, ClusterError) as error:
                    notes.append(f"{_named(kind, one.metadata)} {error}")
                    continue
                if labels is not None:
                    before = {label: one.metadata.labels.get(label, "") for label in labels}
                    of = one.metadata
                    changes.append(Change(kind.name, of.namespace, of.name, _short(labels), _short(before)))
        return Outcome(tuple(changes), tuple(notes))

    def _write(
        self, kind: Kind, of: Metadata, body: Callable[[Metadata], dict[str, object] | None]
    ) -> dict[str, str] | None:
        """Merge what `body` makes of the metadata; where somebody wrote since, of what is there then.

        The labels written; None where there is nothing to write any more. ClusterError.
        """
        path = kind.path(of.namespace, of.name)
        for attempt in range(TRIES):
            try:
                if attempt:
                    of = self._api.get(path, Named).metadata
                change = body(of)
                if change is None:
                    return None
                meta = {**change, "resourceVersion": of.resource_version}
                self._api.patch(path, {"metadata": meta}, Named, fieldManager="flyball-emulate")
            except Conflict:
                continue
            except NotFound:
                return None
            self.writes += 1
            labels = change["labels"]
            return dict(labels) if isinstance(labels, dict) else {}
        raise ApiError("PATCH", path, 409, "Conflict", f"others wrote it {TRIES} times in between")

    def _pods(self) -> list[Pod]:
        pods = self._api.items(POD.path(self._namespace), Pod, selector=RATE)
        alive = [pod for pod in pods if pod.status.phase == "Running" and not pod.metadata.deletion_timestamp]
        return sorted(alive, key=lambda pod: (pod.metadata.namespace, pod.metadata.name))


def load_of(labels: dict[str, str]) -> Load:
    """What load labels say; or Unusable."""
    rate = _number(labels, RATE)
    tokens = tuple(_number(labels, label) for label in COUNTS)
    return Load(
        None if rate is None else from_per_minute(rate),
        tuple(None if one is None else round(one) for one in tokens),
    )


def labels_of(load: Load) -> dict[str, str]:
    """A load as labels."""
    found = {} if load.rate is None else {RATE: f"{to_per_minute(load.rate):.4f}"}
    return found | {
        label: str(count) for label, count in zip(COUNTS, load.tokens, strict=True) if count is not None
    }


def own_labels(of: Metadata) -> dict[str, str]:
    """The load labels of an object as they were before the emulator's; or Unusable.

    A label that is not as the emulator wrote it was set by somebody else since: that holds from then on.
    """
    kept = _kept(of)
    return {
        label: kept.nominal.get(label, text) if kept.written.get(label) == text else text
        for label, text in of.labels.items()
        if label in LABELS
    }


def _original(now: Metadata) -> dict[str, object] | None:
    if NOMINAL not in now.annotations:
        return None
    own = own_labels(now)
    changed = {label: text for label, text in own.items() if now.labels[label] != text}
    return {"labels": changed, "annotations": {NOMINAL: None}}


def _kept(of: Metadata) -> Kept:
    text = of.annotations.get(NOMINAL)
    if text is None:
        return Kept({}, {})
    try:
        return msgspec.json.decode(text, type=Kept)
    except msgspec.MsgspecError as error:
        raise Unusable(
            f'has the annotation {NOMINAL} "{text[:60]}", which cannot be read ({error}). '
            "Set its load labels by hand and take the annotation off"
        ) from None


def _nominal(of: Metadata, own: dict[str, str]) -> dict[str, str]:
    """Its own labels, or load.nominal.* in their place."""
    return {
        label: of.labels.get(label.replace(".load.", ".load.nominal."), text) for label, text in own.items()
    }


def _number(labels: dict[str, str], label: str) -> float | None:
    text = labels.get(label)
    if text is None:
        return None
    if not _NUMBER.fullmatch(text) or float(text) > MOST:
        raise Unusable(f'has the label {label} "{text}": allowed is a number from 0 to {MOST:g}. Set it anew')
    return float(text)


def _belongs(pod: Pod, workload: Workload) -> bool:
    wanted = workload.spec.selector.match_labels
    same = pod.metadata.namespace == workload.metadata.namespace
    return same and bool(wanted) and wanted.items() <= pod.metadata.labels.items()


def _short(labels: dict[str, str]) -> dict[str, str]:
    return {label.rpartition(".")[2]: text for label, text in labels.items()}


def _named(kind: Kind, of: Metadata) -> str:
    return f"{kind.name} {of.namespace}/{of.name}"
