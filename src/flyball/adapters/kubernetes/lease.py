"""Leader election on a Lease, by our own monotonic clock.

Wall clocks differ between machines, so what another one wrote as a time is never read: a lease has expired
when its record has not changed for its whole duration while we looked. Ours counts from before the renewal
was sent, and only until the renew deadline; others wait the longer duration from when they saw it at the
earliest. A process that was stopped in between therefore finds that it no longer holds the lease.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType

import msgspec
import numpy as np

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.errors import ClusterError, Conflict, NotFound
from flyball.adapters.kubernetes.governed import Kind
from flyball.adapters.kubernetes.objects import Metadata, Read
from flyball.units import Seconds

LEASE = Kind("coordination.k8s.io", "v1", "leases", "Lease")
NAME = "flyball"
DURATION: Seconds = 15.0
RENEW_DEADLINE: Seconds = 10.0
RETRY: Seconds = 2.0
JITTER = 0.2
"""Waits are shorter by up to this share, so that candidates do not come at once."""


def uptime() -> Seconds:
    """Monotonic; on Linux it goes on while the machine sleeps."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


def timestamp() -> str:
    """Now, as Kubernetes' MicroTime; for people to read."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class _Spec(Read, frozen=True):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class _Lease(Read, frozen=True):
    metadata: Metadata = Metadata()
    spec: _Spec = _Spec()


class Holder(msgspec.Struct, frozen=True):
    """Who holds a lease, and what changes when it renews it; "": nobody."""

    name: str = ""
    renewed: str = ""


def holder_of(api: Api, namespace: str, name: str = NAME) -> Holder | None:
    """Who holds the lease now; None: there is none. ClusterError."""
    try:
        there = api.get(LEASE.path(namespace, name), _Lease)
    except NotFound:
        return None
    return Holder(there.spec.holder_identity or "", there.spec.renew_time or "")


def held(api: Api, name: str = NAME) -> set[str]:
    """The namespaces in which somebody holds the lease, or did and died. ClusterError."""
    found = api.items(LEASE.path(), _Lease, fields=f"metadata.name={name}")
    return {one.metadata.namespace for one in found if one.spec.holder_identity}


class Lease:
    """Tried for and kept by a thread of its own between `start` and `stop`; any thread may ask for `term`.

    Give it an `Api` of its own, with a timeout below the renew deadline.
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        identity: str = "",
        *,
        name: str = NAME,
        duration: Seconds = DURATION,
        renew_deadline: Seconds = RENEW_DEADLINE,
        retry: Seconds = RETRY,
        now: Callable[[], Seconds] = uptime,
    ) -> None:
        """`identity`: unique to this process; "": made of host name, process id and time."""
        if not retry < renew_deadline < duration:
            raise ValueError(
                f"a lease's retry of {retry:g} s, renew deadline of {renew_deadline:g} s and duration of "
                f"{duration:g} s must be in this order, each longer than the one before"
            )
        self.identity = identity or f"{socket.gethostname()}_{os.getpid()}_{time.time_ns():x}"
        self.problem = ""
        """Why the last attempt failed; "": it did not."""
        self._api, self._path = api, LEASE.path(namespace, name)
        self._collection = LEASE.path(namespace)
        self._name, self._now = name, now
        self._duration, self._deadline, self._retry = duration, renew_deadline, retry
        self._chance = np.random.default_rng(zlib.crc32(self.identity.encode()))
        self._seen: _Lease | None = None
        self._unchanged_since: Seconds = 0.0
        self._held: tuple[Seconds, int] | None = None  # replaced as a whole: other threads read it
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    # ---- asked by whoever writes ---------------------------------------------------------------

    @property
    def term(self) -> int | None:
        """Which time of holding it is; None: not held now. What was decided in one is void in another."""
        held = self._held
        if held is None or self._now() - held[0] >= self._deadline:
            return None
        return held[1]

    def holds(self) -> bool:
        """Whether the last successful renewal is younger than the renew deadline."""
        return self.term is not None

    def confirm(self) -> bool:
        """Whether the API server, too, says that it is held by us. ClusterError."""
        there = self._api.get(self._path, _Lease)
        return there.spec.holder_identity == self.identity and self.holds()

    @property
    def holder(self) -> str:
        """Who held it when last seen; "": nobody."""
        return (self._seen and self._seen.spec.holder_identity) or ""

    # ---- kept ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to try for it."""
        self._thread = threading.Thread(target=self._run, name="flyball-lease", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Give it back, so that another one need not wait for it to expire. Write nothing after this."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        held, self._held = self._held, None
        if held is None or self._seen is None:
            return
        try:
            self._patch(
                self._seen, {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": timestamp()}
            )
        except ClusterError as error:
            self.problem = str(error)  # it expires by itself

    def __enter__(self) -> Lease:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def step(self) -> Seconds:
        """One attempt to get or to keep it; returns how long to wait until the next."""
        try:
            self._attempt()
            self.problem = ""
        except Exception as error:  # whatever it is: a thread that ends would lose the lease for good
            self.problem = str(error) or type(error).__name__
        wait = self._retry * (1.0 - JITTER * float(self._chance.random()))
        if self._seen is None or self._is_ours(self._seen):
            return wait
        left = self._unchanged_since + self._duration_of(self._seen) - self._now()
        return min(wait, left) if left > 0 else wait  # not a moment after it has expired

    def _run(self) -> None:
        while not self._stop.wait(self.step()):
            pass

    def _attempt(self) -> None:
        for fresh in (False, True):
            if fresh or self._seen is None or not self._is_ours(self._seen):
                self._look()
            if self._seen is None:
                self._create()
                return
            if not self._is_ours(self._seen) and not self._is_free(self._seen):
                self._held = None
                return
            try:
                self._take(self._seen)
                return
            except Conflict:
                if fresh:
                    raise
            except NotFound:
                self._seen, self._held = None, None

    def _look(self) -> None:
        try:
            there = self._api.get(self._path, _Lease)
        except NotFound:
            self._seen = None
            return
        if self._seen is None or there.spec != self._seen.spec:
            self._unchanged_since = self._now()
        self._seen = there

    def _create(self) -> None:
        sent, spec = self._now(), self._record(timestamp(), 0)
        body = {
            "apiVersion": f"{LEASE.group}/{LEASE.version}",
            "kind": LEASE.name,
            "metadata": {"name": self._name},
            "spec": spec,
        }
        self._won(sent, self._api.post(self._collection, body, _Lease))

    def _take(self, seen: _Lease) -> None:
        transitions = seen.spec.lease_transitions or 0
        sent = self._now()
        if self._is_ours(seen):
            spec = self._record(seen.spec.acquire_time or timestamp(), transitions)
        else:
            spec = self._record(timestamp(), transitions + 1)
        self._won(sent, self._patch(seen, spec))

    def _patch(self, seen: _Lease, spec: dict[str, object]) -> _Lease:
        body = {"metadata": {"resourceVersion": seen.metadata.resource_version}, "spec": spec}
        return self._api.patch(self._path, body, _Lease, fieldManager=NAME)

    def _won(self, sent: Seconds, there: _Lease) -> None:
        self._seen, self._unchanged_since = there, sent
        self._held = sent, there.spec.lease_transitions or 0

    def _record(self, acquired: str, transitions: int) -> dict[str, object]:
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": max(1, round(self._duration)),
            "acquireTime": acquired,
            "renewTime": timestamp(),
            "leaseTransitions": transitions,
        }

    def _is_ours(self, seen: _Lease) -> bool:
        return seen.spec.holder_identity == self.identity

    def _is_free(self, seen: _Lease) -> bool:
        expired = self._now() - self._unchanged_since >= self._duration_of(seen)
        return not seen.spec.holder_identity or expired

    def _duration_of(self, seen: _Lease) -> Seconds:
        return float(seen.spec.lease_duration_seconds or self._duration)
