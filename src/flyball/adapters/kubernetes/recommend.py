"""What would be right for servers that Flyball may not scale: in a ConfigMap, in Events, as gauges.

A quiet cycle writes nothing: only other replicas, another accelerator, batch or mode is a change.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.errors import ClusterError, Conflict, NotFound
from flyball.adapters.kubernetes.events import Events
from flyball.adapters.kubernetes.freeze import CONFIG_MAP, ConfigMap
from flyball.adapters.kubernetes.gauges import Gauges
from flyball.adapters.kubernetes.governed import Cluster, Mode
from flyball.adapters.kubernetes.lease import Lease, timestamp
from flyball.adapters.kubernetes.targets import Target, change_of, targets_of
from flyball.adapters.kubernetes.wanted import Wanted
from flyball.adapters.kubernetes.write import MANAGER
from flyball.spec.decision import Order
from flyball.units import DollarsPerHour

NAME = "flyball-recommendations"
LARGEST = 1_000_000
"""Bytes that a ConfigMap takes."""


class Variant(msgspec.Struct, frozen=True):
    """What one workload of a server should become."""

    workload: str
    namespace: str
    accelerator: str
    replicas: int
    max_batch_size: int = 0
    template: str = ""
    """What of its template would change, in words."""


class Recommendation(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one server should have. The sentence and the cost are as of the change."""

    server: str
    mode: Mode
    variants: tuple[Variant, ...]
    reason: str = ""
    cost_per_hour: DollarsPerHour | None = None
    changed: str = ""
    """When it became this, RFC 3339."""


def recommended(api: Api, namespace: str, server: str) -> Recommendation | None:
    """What is recommended for a server; None: nothing, or nothing that can be read. ClusterError."""
    try:
        kept = api.get(CONFIG_MAP.path(namespace, NAME), ConfigMap).data.get(key_of(server))
        return None if kept is None else msgspec.json.decode(kept, type=Recommendation)
    except (NotFound, msgspec.MsgspecError):
        return None


class Recommender:
    """Publishes what is decided for servers in any mode but act; shows gauges of all."""

    def __init__(
        self,
        api: Api,
        lease: Lease,
        namespace: str,
        *,
        events: Events | None = None,
        gauges: Gauges | None = None,
        wall: Callable[[], str] = timestamp,
    ) -> None:
        """`namespace`: our own; `wall`: the time of changes as it is written."""
        self.gauges, self.wanted = gauges or Gauges(), Wanted()
        self._api, self._lease, self._events, self._wall = api, lease, events, wall
        self._namespace, self._path = namespace, CONFIG_MAP.path(namespace, NAME)
        self._term: int | None = None
        self._version = ""
        self._kept: dict[str, str] = {}
        """What is there, by key; "" as version: it is not there."""

    def publish(
        self,
        cluster: Cluster,
        orders: Sequence[Order],
        why: Callable[[str], str] = lambda server: "",
        costs: Mapping[str, DollarsPerHour] | None = None,
    ) -> tuple[str, ...]:
        """Show and keep what is ordered; in a sentence each what could not be kept. `costs`: by server."""
        targets, _ = targets_of(cluster, orders)
        self.gauges.show(cluster, targets)
        self.wanted.show(cluster, targets)
        if self._lease.term is None:
            self._term = None
            return ()
        try:
            if self._term != self._lease.term:  # another leader may have written in between
                self._read()
                self._term = self._lease.term
            changed = self._keep(cluster, targets, why, costs or {})
        except Conflict:
            self._term = None  # somebody wrote: read it again in the next cycle
            return (
                f"ConfigMap {self._namespace}/{NAME} was written by somebody else; the next cycle does it",
            )
        except ClusterError as error:
            self._term = None
            return (f"recommendations are not kept: {error}",)
        if self._events is not None:
            for target in targets:
                if target.workload.server in changed and target.differs:
                    reason = why(target.workload.server)
                    said = f"{change_of(target)} would be right" + (f": {reason}" if reason else "")
                    self._events.say(target.workload, "Recommended", said)
        return ()

    def _read(self) -> None:
        try:
            there = self._api.get(self._path, ConfigMap)
            self._version, self._kept = there.metadata.resource_version, dict(there.data)
        except NotFound:
            self._version, self._kept = "", {}

    def _keep(
        self,
        cluster: Cluster,
        targets: Sequence[Target],
        why: Callable[[str], str],
        costs: Mapping[str, DollarsPerHour],
    ) -> set[str]:
        """Write what changed; the servers for which something did."""
        wanted = {key_of(one.server): one for one in _recommendations(cluster, targets)}
        changes: dict[str, str | None] = {}
        for key, one in wanted.items():
            if not _same(self._kept.get(key), one):
                cost = costs.get(one.server)
                full = replace(one, reason=why(one.server), cost_per_hour=cost, changed=self._wall())
                changes[key] = msgspec.json.format(msgspec.json.encode(full)).decode()
        # Without an order in this cycle it keeps what was said of it; not where it is gone, or acts.
        here = {key_of(one.server) for one in cluster.governed if one.mode != "act"}
        changes |= {key: None for key in self._kept if key not in here}
        if not changes:
            return set()
        kept = {key: value for key, value in (self._kept | changes).items() if value is not None}
        size = sum(len(key) + len(value.encode()) for key, value in kept.items())
        if size > LARGEST:
            raise _TooLarge(f"{len(kept)} servers take {size} bytes, a ConfigMap holds {LARGEST}")
        if self._version:
            body: dict[str, object] = {"metadata": {"resourceVersion": self._version}, "data": changes}
            there = self._api.patch(self._path, body, ConfigMap, fieldManager=MANAGER)
        else:
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME}, "data": kept}
            there = self._api.post(CONFIG_MAP.path(self._namespace), body, ConfigMap, fieldManager=MANAGER)
        self._version, self._kept = there.metadata.resource_version, kept
        return {one.server for key, one in wanted.items() if key in changes}


class _TooLarge(ClusterError):
    """More than a ConfigMap holds."""


def key_of(server: str) -> str:
    """A server's key in the ConfigMap: its name, or what of it is allowed there with a checksum."""
    if re.fullmatch(r"[-._a-zA-Z0-9]{1,240}", server) and server not in (".", ".."):
        return server
    plain = re.sub(r"[^-._a-zA-Z0-9]", "_", server)[:200]
    return f"{plain}.{zlib.crc32(server.encode()):08x}"


def _recommendations(cluster: Cluster, targets: Sequence[Target]) -> list[Recommendation]:
    modes = {one.server: one.mode for one in cluster.governed if one.mode != "act"}
    variants: dict[str, list[Variant]] = {}
    for target in targets:
        workload = target.workload
        if workload.server in modes:
            place = workload.name, workload.namespace
            rolled = target.rollout.said if target.rollout else ""
            one = Variant(*place, target.accelerator, target.replicas, target.max_batch_size, rolled)
            variants.setdefault(workload.server, []).append(one)
    return [Recommendation(server, modes[server], tuple(all_of)) for server, all_of in variants.items()]


def _same(kept: str | None, one: Recommendation) -> bool:
    if kept is None:
        return False
    try:
        was = msgspec.json.decode(kept, type=Recommendation)
    except msgspec.MsgspecError:
        return False
    return (was.server, was.mode, was.variants) == (one.server, one.mode, one.variants)
