"""A Kubernetes cluster and its Prometheus as the loop's source of fleets and its sensor.

Objects are listed once a cycle, for the fleet and the replicas alike; metrics are read beside them. Time is
that of the API server at first, and our own monotonic clock since, so that a wall clock of ours that is wrong
or is set does not disturb, and one leader's times are the next one's. How old a reading is, Prometheus says.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.assemble import observe
from flyball.adapters.kubernetes.governed import Cluster, Governed
from flyball.adapters.kubernetes.listing import Listing, Scope, list_cluster
from flyball.adapters.prometheus.errors import PrometheusError
from flyball.adapters.prometheus.figures import Metrics, PodFigures, PodKey, RouterFigures
from flyball.adapters.prometheus.observe import observation
from flyball.spec.fleet import Fleet
from flyball.spec.server import Load
from flyball.spec.snapshot import Observation, Reading, Scrape, Variant
from flyball.units import Seconds

FRESH: Seconds = 5.0
"""A list of objects that is no older serves a second time."""

GONE: Seconds = 300.0
"""What pods that are gone had done may be asked for so long."""
SCRAPED: Seconds = 45.0
"""So long after it is ready a pod should have been scraped, by a Prometheus that answers; of our seconds."""

Scraper = Callable[[], Metrics]
Past = Callable[[], frozenset[PodKey] | None]
"""Which pods Prometheus ever had metrics of; None: it is not known."""


class Assembling(Protocol):
    """What makes a cluster of lists."""

    def cluster(self, listing: Listing, models: Mapping[tuple[str, str], str] | None = None) -> Cluster:
        """The cluster; `models`: what metrics say that a workload serves, by namespace and name."""
        ...


class _Known(NamedTuple):
    """A pod that was there."""

    server: str
    seen: Seconds
    ready: Seconds | None
    """Since when it is without a break, as it says itself: also right after our own start."""
    scraped: Seconds | None
    """Since when there are metrics of it, as it is."""
    uid: str


class ClusterReader:
    """Ports FleetSource, Sensor and Clock. `speed`: seconds of simulated engines in one of ours."""

    def __init__(
        self,
        api: Api,
        assembler: Assembling,
        scope: Scope,
        scrape: Scraper | None = None,
        past: Past | None = None,
        *,
        scraped: Seconds = SCRAPED,
        speed: float = 1.0,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`scrape`: reads the metrics; None: there are none. `past`: what had some; None: nothing else did.

        `scraped`: so long Prometheus must answer before labels tell the load where it never had metrics.
        """
        self._api, self._assembler, self._scope = api, assembler, scope
        self._scrape, self._past, self._scraped, self._speed = scrape, past, scraped, speed
        self._wall, self._monotonic = wall, monotonic
        self._began: tuple[float, float] | None = None
        self._read: Seconds | None = None
        self._models: dict[tuple[str, str], str] = {}
        self._serving: dict[tuple[str, str], set[str]] = {}
        """Servers by namespace and model."""
        self._had: set[str] = set()
        """Servers that there were metrics of."""
        self._unsure = False
        """Whether it is not known of which others there were."""
        self._answers: Seconds | None = None
        """Since when Prometheus does."""
        self._pods: dict[PodKey, _Known] = {}
        self._of_server: dict[str, list[PodKey]] = {}
        self.cluster: Cluster | None = None
        """As it was listed last."""
        self.listing: Listing | None = None
        """What that was made of."""
        self.metrics: Metrics | None = None
        """As they were read last."""
        self.seen = Scrape(0.0)
        """What was made of both."""
        self._shown: tuple[Seconds, Cluster | None] = (0.0, None)

    def now(self) -> Seconds:
        """Since 1970 by the API server's clock at the start, and our own since."""
        if self._began is None:
            self._began = self._unix() * self._speed, self._monotonic()
        unix, began = self._began
        return unix + (self._monotonic() - began) * self._speed

    def _unix(self) -> float:
        """By the API server's clock, with which pods' times are written; ours where it does not say."""
        date = self._api.date
        return self._wall() if date is None else date

    def fleet(self) -> Fleet:
        """Servers, profiles and cards as they are now. ClusterError."""
        return self._listed().fleet

    def _listed(self) -> Cluster:
        now = self._monotonic()
        if self.cluster is None or self._read is None or not 0 <= now - self._read <= FRESH:
            listing = replace(list_cluster(self._api, 0.0, self._scope), at=self._unix())
            self.cluster, self._read = self._assembler.cluster(listing, self._models), now
            self.listing = listing
        return self.cluster

    def observe(self) -> Scrape:
        """Replicas and metrics of all servers. ClusterError."""
        cluster = self._listed()
        notes: list[str] = []
        self._read = None  # the next cycle lists anew
        metrics = None
        if self._scrape is not None:
            try:
                metrics = self._scrape()
                notes += metrics.notes
            except PrometheusError as error:
                notes.append(f"no metrics: {error}")
                self._answers = None
        self.metrics = metrics
        variants, by_server = observe(cluster), cluster.by_server()
        self._remember(cluster)
        if metrics is not None:
            notes += self._serve(cluster, metrics)
            self._recall(cluster, metrics)
        seen = []
        for name in sorted(variants):
            timed = tuple(_timed(v, self._speed) for v in variants[name])
            one, said = self._observation(name, timed, by_server[name], metrics)
            seen.append(one)
            notes += said
        self.seen = Scrape(self.now(), tuple(seen), cluster.capacity, None, (*cluster.notes, *notes))
        self._shown = self.seen.time, cluster
        return self.seen

    def cluster_of(self, time: Seconds) -> Cluster | None:
        """The cluster as it was when the scrape of that time was made; None: another one was made since."""
        shown, cluster = self._shown
        return cluster if shown == time else None

    def _observation(
        self,
        name: str,
        variants: tuple[Variant, ...],
        workloads: Sequence[Governed],
        metrics: Metrics | None,
    ) -> tuple[Observation, tuple[str, ...]]:
        start = _cold_start(workloads, self._speed)
        if metrics is not None:
            figures = metrics.of(self._of_server.get(name, ()))  # also of pods that are gone since
            whole = tuple(self._dated(f) for f in figures if not self._is_cut(f, metrics.window))
            router = self._router(workloads, metrics) if len(whole) == len(figures) else None
            if router:
                self._had.add(name)
            if figures or router or not self._is_stated(name, workloads):
                known = {f.key for f in whole if f.age is not None}
                return observation(
                    name,
                    variants,
                    whole,
                    router,
                    window=metrics.window,
                    missing=self._missing(workloads, known),
                    cold_start=start,
                )
        elif self._scrape is not None or not _load(workloads):
            return Observation(name, variants, cold_start=start), ()
        notes: tuple[str, ...] = ()
        if metrics is not None and (missing := self._missing(workloads, set())):
            notes = (f"'{name}': {missing} pods unknown to Prometheus, now and ever: labels tell the load",)
        return _stated(name, variants, _load(workloads), start), notes

    def _is_stated(self, name: str, workloads: Sequence[Governed]) -> bool:
        """Whether its labels tell the load, and no metrics of it ever did."""
        if _load(workloads) is None or name in self._had or self._unsure or self._answers is None:
            return False
        # One that has just begun anew knows of none yet, and labels may be old.
        return self._monotonic() - self._answers >= self._scraped

    def _recall(self, cluster: Cluster, metrics: Metrics) -> None:
        """Which servers have metrics, or had some before we began."""
        if self._answers is None:
            self._answers = self._monotonic()
        now = self._monotonic()
        for key, one in self._pods.items():
            if key in metrics.pods:
                self._had.add(one.server)
                if one.scraped is None:
                    self._pods[key] = one._replace(scraped=now)
        if all(w.load is None or w.server in self._had for w in cluster.governed):
            return
        past = self._past() if self._past is not None else frozenset()
        self._unsure = past is None
        servers = {(w.namespace, w.name): w.server for w in cluster.governed}
        self._had |= {server for pod in past or () if (server := _server_of(pod, servers)) is not None}

    def _is_cut(self, figures: PodFigures, window: Seconds) -> bool:
        """Whether it is older than what Prometheus, which began anew, knows of it: its rates are too low."""
        one = self._pods.get(figures.key)
        if not figures.fresh or one is None:
            return False
        now, span = self._monotonic(), window / self._speed
        if one.scraped is not None and now - one.scraped > span:
            return True
        return one.ready is not None and now - one.ready > span + SCRAPED

    def _dated(self, figures: PodFigures) -> PodFigures:
        """With the time in which what a new pod shows has come."""
        one = self._pods.get(figures.key)
        if not figures.fresh or one is None or one.ready is None:
            return figures
        return replace(figures, served=(self._monotonic() - one.ready) * self._speed)

    def _remember(self, cluster: Cluster) -> None:
        """Which pods there were lately, and since when they are ready."""
        now = self._monotonic()
        for workload in cluster.governed:
            for pod in workload.pods:
                ready = now - pod.ready_for if pod.state == "ready" else None
                key = workload.namespace, pod.name
                known = self._pods.get(key)
                is_same = known is not None and known.uid == pod.uid and pod.state != "pending"
                scraped = known.scraped if known is not None and is_same else None
                self._pods[key] = _Known(workload.server, now, ready, scraped, pod.uid)
        self._pods = {key: one for key, one in self._pods.items() if now - one.seen <= GONE}
        self._of_server = {}
        for key, one in self._pods.items():
            self._of_server.setdefault(one.server, []).append(key)

    def _missing(self, workloads: Sequence[Governed], known: set[PodKey]) -> int:
        """Pods that have been ready for a while, and that Prometheus does not know."""
        now = self._monotonic()
        ready = ((w.namespace, p.name) for w in workloads for p in w.pods if p.state == "ready")
        return sum(
            key not in known and (since := self._pods[key].ready) is not None and now - since > SCRAPED
            for key in ready
        )

    def _serve(self, cluster: Cluster, metrics: Metrics) -> list[str]:
        """Learn what workloads serve; in sentences which servers serve the same."""
        self._serving = {}
        for workload in cluster.governed:
            for figures in metrics.of((workload.namespace, pod.name) for pod in workload.pods):
                if figures.model:
                    self._models[workload.namespace, workload.name] = figures.model
            if model := self._models.get((workload.namespace, workload.name)):
                self._serving.setdefault((workload.namespace, model), set()).add(workload.server)
        return [
            f"{len(servers)} servers in {namespace} serve {model}, such as '{min(servers)}', and the router "
            "does not tell their requests apart: only their pods tell the load"
            for (namespace, model), servers in self._serving.items()
            if len(servers) > 1 and metrics.router(namespace, model) is not None
        ]

    def _router(self, workloads: Sequence[Governed], metrics: Metrics) -> RouterFigures | None:
        model = next((m for w in workloads if (m := self._models.get((w.namespace, w.name)))), "")
        namespace = workloads[0].namespace
        if len(self._serving.get((namespace, model), ())) > 1:
            return None
        return metrics.router(namespace, model) if model else None

    def busy(self) -> Mapping[str, float]:
        """How full each pod's batch is, 0 to 1, by "namespace/pod"; those that are not known are absent."""
        if self.cluster is None or self.metrics is None:
            return {}
        found = {}
        for workload in self.cluster.governed:
            for one in self.metrics.of((workload.namespace, pod.name) for pod in workload.pods):
                if one.running is not None and one.age is not None:
                    share = (one.running + (one.waiting or 0.0)) / max(workload.max_batch_size, 1)
                    found[f"{one.namespace}/{one.pod}"] = min(share, 1.0)
        return found


def _server_of(pod: PodKey, servers: Mapping[tuple[str, str], str]) -> str | None:
    """Of a pod that may be gone: it is called as its workload, a dash and more; the longest such name."""
    namespace, name = pod
    while name := name.rpartition("-")[0]:
        if (server := servers.get((namespace, name))) is not None:
            return server
    return None


def _load(workloads: Sequence[Governed]) -> Load | None:
    return next((w.load for w in workloads if w.load is not None), None)


def _timed(variant: Variant, speed: float) -> Variant:
    return variant if speed == 1.0 else replace(variant, waited=variant.waited * speed)


def _cold_start(workloads: Sequence[Governed], speed: float) -> Reading | None:
    starts = [w.cold_start * speed for w in workloads if w.cold_start is not None]
    return Reading(sum(starts) / len(starts)) if starts else None


def _stated(
    name: str, variants: tuple[Variant, ...], load: Load | None, start: Reading | None
) -> Observation:
    """What its labels say: not measured, so latencies are the model's."""
    if load is None:
        return Observation(name, variants, cold_start=start)
    return Observation(
        name,
        variants,
        Reading(load.arrival_rate),
        Reading(load.in_tokens) if load.in_tokens else None,
        Reading(load.out_tokens) if load.out_tokens else None,
        waiting=Reading(0.0),
        cold_start=start,
        stated=True,
    )
