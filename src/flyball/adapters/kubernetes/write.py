"""One workload written: only by the leader, only what was read, and not past the end of the cycle."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import msgspec

from flyball.adapters.kubernetes.again import again
from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.errors import ClusterError, Conflict, NotFound
from flyball.adapters.kubernetes.governed import Settings
from flyball.adapters.kubernetes.labels import ACCELERATOR, BATCH, MANAGED, OURS
from flyball.adapters.kubernetes.lease import Lease
from flyball.adapters.kubernetes.objects import Metadata, Scale, Workload
from flyball.adapters.kubernetes.rollout import ROLLED, Rollout
from flyball.adapters.kubernetes.targets import Target
from flyball.adapters.kubernetes.template import Edit, pointer, says
from flyball.units import Seconds

MANAGER = "flyball"
FOUND = f"{OURS}found"
"""The annotation with what was there before the first write."""
TRIES = 3
"""At one write: a Deployment's controller answers our annotation with its status, which is a new version."""

T = TypeVar("T")


class Found(msgspec.Struct, frozen=True, omit_defaults=True):
    """A workload as it was before the first write. A label that is None was absent."""

    replicas: int
    labels: dict[str, str | None]
    template: Settings = Settings()
    """What of it was changed."""


class _Seen(msgspec.Struct, frozen=True):
    """An object as it is known now: as the decision saw it, or after our own write."""

    version: str
    generation: int
    labels: dict[str, str]


class Left(Exception):
    """Something is not written; the message says why."""


class Writer:
    """Writes for one cycle, from any thread."""

    def __init__(
        self,
        api: Api,
        lease: Lease,
        limit: Seconds,
        now: Callable[[], Seconds] = time.monotonic,
        sleep: Callable[[Seconds], None] = time.sleep,
    ) -> None:
        """`limit`: seconds until nothing more is begun."""
        self._api, self._lease, self._now, self._sleep = api, lease, now, sleep
        self._term = lease.term
        self._limit, self._until = limit, now() + limit

    def carry_out(self, target: Target) -> None:
        """Labels and replicas as they are to be; or Left."""
        try:
            self._carry_out(target)
        except NotFound:
            raise Left("it is gone") from None
        except ClusterError as error:
            raise Left(str(error)) from error

    def send(self, call: Callable[[], T]) -> T:
        """A request, again where the API server is busy or away. Left, ClusterError."""

        def checked() -> T:
            self._check()
            return call()

        return again(checked, self._until, self._now, self._sleep)

    def _check(self) -> None:
        if self._term is None or self._lease.term != self._term:
            raise Left(f"this process no longer leads ({self._lease.holder or 'nobody'} holds the lease)")
        if self._now() >= self._until:
            raise Left(f"the cycle's {self._limit:g} s are over; the next one does it")

    def _carry_out(self, target: Target) -> None:
        workload, path = target.workload, target.workload.path
        seen = _Seen(workload.resource_version, workload.generation, workload.labels)
        if target.rollout is not None:
            self._roll(target, target.rollout, seen)
            return
        notes = {} if FOUND in workload.annotations else {FOUND: _found(target)}
        if target.labels or notes:
            changes: dict[str, object] = {"labels": target.labels, "annotations": notes}

            def describe(version: str) -> Metadata:
                body = {"metadata": {"resourceVersion": version, **changes}}
                return self._api.patch(path, body, Workload, fieldManager=MANAGER).metadata

            def described(there: Workload) -> bool:
                labels, annotations = there.metadata.labels, there.metadata.annotations
                return target.labels.items() <= labels.items() and notes.items() <= annotations.items()

            after = self._unless_changed(target, seen, describe, described)
            # A Deployment's generation counts its annotations too.
            seen = _Seen(after.resource_version, after.generation, after.labels)
        if target.replicas != workload.replicas:
            metadata = {"name": workload.name, "namespace": workload.namespace, "uid": workload.uid}

            def scale(version: str) -> Metadata:
                body = {
                    "apiVersion": "autoscaling/v1",
                    "kind": "Scale",
                    "metadata": {**metadata, "resourceVersion": version},
                    "spec": {"replicas": target.replicas},
                }
                return self._api.put(f"{path}/scale", body, Scale, fieldManager=MANAGER).metadata

            self._unless_changed(target, seen, scale, lambda there: there.spec.replicas == target.replicas)

    def _roll(self, target: Target, rollout: Rollout, seen: _Seen) -> None:
        """Template, replicas, labels, and when that was: at once, or not at all.

        Not through /scale: replicas that come first would be made by the old template.
        """
        workload = target.workload
        found, rolled = workload.annotations.get(FOUND), workload.annotations.get(ROLLED)
        kept = _with_template(found or _found(target), rollout.found)
        edits = [*rollout.edits, Edit("/metadata" + pointer("annotations", FOUND), found, kept)]
        edits += [
            Edit("/metadata" + pointer("labels", key), workload.labels.get(key), value)
            for key, value in rollout.labels.items()
        ]
        if target.replicas != workload.replicas:
            edits.append(Edit("/spec/replicas", workload.replicas, target.replicas))

        def roll(version: str) -> Metadata:
            at = datetime.fromtimestamp(self._api.date or time.time(), UTC).isoformat(timespec="seconds")
            operations: list[dict[str, object]] = [
                {"op": "test", "path": "/metadata/resourceVersion", "value": version}
            ]
            for edit in (*edits, Edit("/metadata" + pointer("annotations", ROLLED), rolled, at)):
                operations += edit.operations()
            return self._api.edit(workload.path, operations, Workload, fieldManager=MANAGER).metadata

        def rolled_over(there: Workload) -> bool:
            is_new = there.metadata.annotations.get(ROLLED) != rolled
            return is_new and says(there.spec.template.spec, rollout.wanted)

        self._unless_changed(target, seen, roll, rolled_over)

    def _unless_changed(
        self,
        target: Target,
        seen: _Seen,
        write: Callable[[str], Metadata],
        is_done: Callable[[Workload], bool],
    ) -> Metadata:
        """Write; where the version has moved on, only if nothing that the decision was made from has."""
        version = seen.version
        for _ in range(TRIES):
            try:
                return self.send(partial(write, version))
            except Conflict:
                there = self.send(lambda: self._api.get(target.workload.path, Workload))
            if there.metadata.uid == target.workload.uid and is_done(there):
                return there.metadata  # the answer was lost, or somebody meant the same
            change = _changed(target, seen, there)
            if change:
                raise Left(f"{change} since it was read; the next cycle decides anew")
            if not self.send(self._lease.confirm):
                raise Left("another process leads now")
            version = there.metadata.resource_version
        raise Left("others write it all the time; the next cycle tries again")


def _found(target: Target) -> str:
    labels = target.workload.labels
    found = Found(target.workload.replicas, {key: labels.get(key) for key in (ACCELERATOR, BATCH)})
    return msgspec.json.encode(found).decode()


def _with_template(found: str, template: Settings) -> str:
    """The note of what was found, with what is there now of what was not changed before."""
    try:
        was = msgspec.json.decode(found, type=Found)
    except msgspec.MsgspecError as error:
        raise Left(f"its annotation {FOUND} cannot be read ({error}): remove it") from None
    known = was.template
    both = Settings(
        {**template.flags, **known.flags},
        {**template.selector, **known.selector},
        {**template.cards, **known.cards},
    )
    return msgspec.json.encode(msgspec.structs.replace(was, template=both)).decode()


def _changed(target: Target, seen: _Seen, there: Workload) -> str:
    """What somebody else did, in words; "": nothing that matters."""
    was = target.workload
    if there.metadata.uid != was.uid:
        return "it was made anew"
    replicas = 1 if there.spec.replicas is None else there.spec.replicas
    if replicas != was.replicas:
        return f"somebody set it from {was.replicas} to {replicas} replicas"
    for key in (ACCELERATOR, BATCH):
        label = there.metadata.labels.get(key)
        if label != seen.labels.get(key):
            return f"somebody set its label {key} to {label!r}"
    for key, now, before in (
        *(
            (OURS + key, there.metadata.annotations, was.annotations)
            for key in ("mode", "batch", "accelerator")
        ),
        (MANAGED, there.metadata.labels, was.labels),
    ):
        if now.get(key) != before.get(key):
            return f"somebody set its {key} to {now.get(key)!r}"
    if seen.generation and there.metadata.generation != seen.generation:
        return "somebody changed its specification"
    return ""
