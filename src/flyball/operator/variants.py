"""VariantAutoscaling objects as they stand in the cluster, taken for objects of Inferno's kinds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.errors import ApiError, ClusterError
from flyball.adapters.kubernetes.freeze import CONFIG_MAP, ConfigMap
from flyball.adapters.kubernetes.governed import DEPLOYMENT, STATEFUL_SET, Kind
from flyball.adapters.kubernetes.listing import FORBIDDEN
from flyball.adapters.kubernetes.watch import Watch
from flyball.operator.kinds import Stored
from flyball.profiles import library
from flyball.units import Seconds
from flyball.wire.inferno_in import DEFAULT_CLASS
from flyball.wire.kinds.inferno_objects import Document
from flyball.wire.quantities import format_target
from flyball.wire.wva import Imported, imported
from flyball.wire.wva_config import CLASSES, PRICES
from flyball.wire.wva_shapes import GROUP, KIND, PLURAL, VERSION

VARIANTS = Kind(GROUP, VERSION, PLURAL, KIND)
LEADER_WORKER_SET = Kind("leaderworkerset.x-k8s.io", "v1", "leaderworkersets", "LeaderWorkerSet")
WORKLOADS = {kind.name: kind for kind in (DEPLOYMENT, STATEFUL_SET, LEADER_WORKER_SET)}
FRESH: Seconds = 60.0
"""So long what ConfigMaps say is taken for granted."""


class Variants:
    """Watches them. Any thread may ask."""

    def __init__(
        self, api: Api, namespace: str = "", monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.watch = Watch(api, VARIANTS, Stored, lambda key: None, namespace=namespace)
        self._api, self._monotonic, self._lock = api, monotonic, threading.Lock()
        self._before = self.watch.problem
        self._maps: tuple[Document, ...] = ()
        self._read_at: Seconds | None = None
        self._unread = ""
        self._made: tuple[object, Imported] = (None, Imported())

    def start(self) -> None:
        """Begin to list and to watch."""
        self.watch.start()

    def stop(self) -> None:
        """Begin nothing more."""
        self.watch.stop()

    @property
    def problem(self) -> str:
        """Why what is known may be old or missing; "": it is not, or that is not known yet."""
        problem = self.watch.problem
        if ": 404" in problem:
            problem = f"the cluster has no such kind of {GROUP}/{VERSION}. As soon as it has, they are"
        if problem and problem != self._before:
            return f"VariantAutoscaling objects are not seen: {problem}"
        return self._unread

    def read(self) -> Imported:
        """What they say now; with ConfigMaps that are at most a minute old."""
        with self._lock:
            found = self.watch.all()
            if found:
                self._refresh()
            said = tuple((one.metadata.uid, one.metadata.resource_version) for one in found), self._maps
            if said != self._made[0]:
                self._made = said, imported(map(document, found), self._maps, free_targets())
            return self._made[1]

    @property
    def last(self) -> Imported:
        """What they said when they were read last; nothing is asked for it."""
        return self._made[1]

    def targets(self) -> Iterable[tuple[Kind, str, str]]:
        """The workloads that they name, as `Scope` has them."""
        for one in self.read().targets:
            if one.kind in WORKLOADS:
                yield WORKLOADS[one.kind], one.namespace, one.name

    def _refresh(self) -> None:
        now = self._monotonic()
        if self._read_at is not None and now - self._read_at < FRESH:
            return
        self._read_at = now
        try:
            self._maps, self._unread = config_maps(self._api)
        except ClusterError as error:  # what they said before holds
            self._unread = f"ConfigMaps of the WVA are not seen: {error}"


def config_maps(api: Api) -> tuple[tuple[Document, ...], str]:
    """The ConfigMaps of prices and classes of all namespaces, and why some may not be seen. ClusterError."""
    found: list[Document] = []
    for name in (PRICES, CLASSES):
        try:
            maps = api.items(CONFIG_MAP.path(), ConfigMap, fields=f"metadata.name={name}")
        except ApiError as error:
            if error.status != FORBIDDEN:
                raise
            mend = f"Allow its service account to list configmaps of the names {PRICES} and {CLASSES}"
            return tuple(found), f"prices and classes of the WVA may not be read ({error}). {mend}"
        found += ({**document(one), "data": one.data} for one in maps)
    return tuple(found), ""


def document(one: Stored | ConfigMap) -> Document:
    """An object as `wire` reads it."""
    about = one.metadata
    metadata: Document = {"namespace": about.namespace, "name": about.name, "labels": about.labels}
    metadata |= {"annotations": about.annotations, "deletionTimestamp": about.deletion_timestamp}
    return {"metadata": metadata, **({"spec": one.spec} if isinstance(one, Stored) else {})}


def free_targets() -> Mapping[str, str]:
    """What the shipped class Free promises for any model."""
    free = next(one for one in library.classes() if one.name == DEFAULT_CLASS)
    return {target.metric: format_target(target) for one in free.models for target in one.targets}
