"""All simulated servers of a cluster: what runs in its pods, from look to look."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from flyball.sandbox.engines.attainment import Attainment, attainment
from flyball.sandbox.engines.pods import Pod, Workload
from flyball.sandbox.engines.pool import Host, Pool
from flyball.simulate import metrics_text
from flyball.spec.scenario import Engine, Router
from flyball.spec.service_class import Target
from flyball.units import Seconds

KEEP: Seconds = 7200.0
"""Finished requests are remembered for so long."""


class Name(NamedTuple):
    """A pod, workload or server in its namespace."""

    namespace: str
    name: str


class Engines:
    """What runs in a cluster's pods, simulated. `engine_of` says how fast a pod's engine really is, or raises
    ValueError with a sentence; such a pod serves nothing, and `notes` has the sentence."""

    def __init__(
        self,
        engine_of: Callable[[Pod], Engine],
        seed: int = 0,
        *,
        router: Router = "least_loaded",
        keep: Seconds = KEEP,
        compiled: bool | None = None,
    ) -> None:
        self._engine_of, self._seed = engine_of, seed
        self._router: Router = router
        self._keep, self._compiled = keep, compiled
        self._time: Seconds = 0.0
        self._hosts: dict[Name, tuple[Pool, Host]] = {}
        self.pools: dict[Name, Pool] = {}
        """By server."""
        self.notes: dict[Name, str] = {}
        """Pods that cannot serve, and why."""

    @property
    def time(self) -> Seconds:
        """Seconds since the start."""
        return self._time

    @property
    def pods(self) -> list[Pod]:
        """Those that have a metrics page."""
        return [host.pod for _, host in self._hosts.values()]

    def advance(self, now: Seconds) -> None:
        """Let time go on to `now`."""
        if now <= self._time:
            return
        for pool in self.pools.values():
            pool.run(self._time, now)
        self._time = now

    # ---- the cluster ---------------------------------------------------------------------------

    def sync(
        self,
        pods: Iterable[Pod],
        workloads: Iterable[Workload],
        nodes: Collection[str] | None = None,
        killed: Collection[str] = (),
    ) -> None:
        """This is the cluster now. Pods that end, or are gone, finish what they have within their grace.

        Lost is what failed pods have, those with a uid in `killed`, and those on nodes that are not among
        `nodes` (None: all stand).
        """
        here = {Name(pod.namespace, pod.name): pod for pod in pods}
        self._follow(workloads)
        for name, (pool, host) in list(self._hosts.items()):
            pod = here.get(name)
            if pod is None or (pod.uid, pod.server) != (host.pod.uid, host.pod.server):
                if _dead(host.pod, nodes) or host.pod.uid in killed:
                    pool.kill(host, self._time)
                else:
                    pool.drain(host, self._time)
                    pool.forget(host)
                del self._hosts[name]
        self.notes = {}
        for name, pod in sorted(here.items()):
            self._see(name, pod, _dead(pod, nodes))
        for server, pool in list(self.pools.items()):
            if pool.empty:
                del self.pools[server]

    def _follow(self, workloads: Iterable[Workload]) -> None:
        by_server: dict[Name, list[Workload]] = {}
        for workload in sorted(workloads, key=lambda w: w.name):
            by_server.setdefault(Name(workload.namespace, workload.server), []).append(workload)
        for server in by_server:
            self._pool(server)
        for server, pool in self.pools.items():
            pool.follow(by_server.get(server, ()), self._time)

    def _see(self, name: Name, pod: Pod, dead: bool) -> None:
        known = self._hosts.get(name)
        if known is not None and dead:
            known[0].kill(known[1], self._time)
            del self._hosts[name]
        if dead or (known is None and (pod.terminating or not self._ready(pod))):
            return
        try:
            engine = self._engine_of(pod)
        except ValueError as error:
            self.notes[name] = str(error)
            if known is not None:
                known[0].update(known[1], pod, known[1].engine, self._time)
            return
        if known is not None:
            known[0].update(known[1], pod, engine, self._time)
            return
        pool = self._pool(Name(pod.namespace, pod.server))
        pool.join(pod, engine)
        self._hosts[name] = (pool, pool.hosts[pod.name])

    def _ready(self, pod: Pod) -> bool:
        return pod.ready_since is not None and pod.ready_since <= self._time

    def _pool(self, server: Name) -> Pool:
        if server not in self.pools:
            key = tuple("/".join(server).encode())
            seed = np.random.SeedSequence(self._seed, spawn_key=key)
            self.pools[server] = Pool(seed, self._router, self._keep, self._compiled)
        return self.pools[server]

    # ---- what can be read ----------------------------------------------------------------------

    def metrics(self, namespace: str, pod: str) -> str:
        """A pod's metrics as vLLM writes them; KeyError where nothing serves in it."""
        pool, host = self._hosts[Name(namespace, pod)]
        return metrics_text.page(host.pod.model, *pool.shown(host, self._time))

    def report(
        self, since: Seconds = 0.0, until: Seconds | None = None, targets: Sequence[Target] = ()
    ) -> tuple[Attainment, ...]:
        """What came of the requests that arrived in a time; `targets` stand instead of the servers' own."""
        end = self._time if until is None else until
        return tuple(
            attainment(server.namespace, server.name, pool, since, end, targets)
            for server, pool in sorted(self.pools.items())
        )


def _dead(pod: Pod, nodes: Collection[str] | None) -> bool:
    return pod.failed or (nodes is not None and pod.node != "" and pod.node not in nodes)
