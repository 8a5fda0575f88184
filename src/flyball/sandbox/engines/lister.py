"""The cluster's objects: pods from a watch, so that none ends unseen; the few others listed at each look."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lightkube import Client, KubeConfig

from flyball.sandbox.engines.objects import DeploymentObject, NodeObject, PodObject, StatefulSetObject
from flyball.sandbox.engines.watch import MANAGED, Objects
from flyball.units import Seconds

ALL = "*"
AGAIN: Seconds = 0.5
"""After a watch has broken off."""


class Pods:
    """All pods as they stand, from a list and the events after it; for two threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pods: dict[str, PodObject] = {}
        self._ending: set[str] = set()
        self._killed: set[str] = set()
        self._problem: Exception | None = ConnectionError("the pods were not listed yet")

    def begin(self, listed: Iterable[PodObject]) -> None:
        """These are all."""
        with self._lock:
            self._pods = {}
            for pod in listed:
                self._see(pod)
            self._ending &= set(self._pods)
            self._problem = None

    def event(self, kind: str, pod: PodObject) -> None:
        """One was added, has changed, or is gone: killed, unless it was given time to end before."""
        uid = pod.metadata.uid
        with self._lock:
            if kind != "DELETED":
                self._see(pod)
            elif self._pods.pop(uid, None) is not None:
                if uid not in self._ending:
                    self._killed.add(uid)
                self._ending.discard(uid)

    def _see(self, pod: PodObject) -> None:
        meta = pod.metadata
        if meta.deletion_timestamp is not None:
            if meta.deletion_grace_period_seconds != 0:
                self._ending.add(meta.uid)
            elif meta.uid in self._ending and meta.uid in self._pods:
                return  # the last word of whoever ended it within its grace; how long that was is known
        self._pods[meta.uid] = pod

    def broken(self, problem: Exception) -> None:
        """They cannot be seen now."""
        with self._lock:
            self._problem = problem

    def take(self) -> tuple[tuple[PodObject, ...], frozenset[str]]:
        """All pods, and the uids of those killed since the last taking; or what is wrong is raised."""
        with self._lock:
            if self._problem is not None:
                raise self._problem
            killed, self._killed = frozenset(self._killed), set()
            return tuple(self._pods.values()), killed


class Lister:
    """Looks at a cluster. Whatever `list` raises: it cannot be seen now."""

    def __init__(self, kubeconfig: Path) -> None:
        """ValueError: the file says of no cluster how to reach it."""
        try:
            self._config = KubeConfig.from_file(str(kubeconfig))
        except Exception as error:  # of lightkube's own, of the YAML reader, and KeyError
            said = f"{type(error).__name__}: {error}".splitlines()[0]
            raise ValueError(f"{kubeconfig} is no kubeconfig ({said}). Name another file") from None
        self._client = Client(config=self._config, trust_env=False)
        self._pods = Pods()
        threading.Thread(target=self._watch, name="pods", daemon=True).start()

    def list(self) -> Objects:
        """Managed workloads, all pods and nodes."""
        pods, killed = self._pods.take()
        client = self._client
        managed: dict[str, Any] = {MANAGED: "true"}
        return Objects(
            tuple(client.list(DeploymentObject, namespace=ALL, labels=managed)),
            tuple(client.list(StatefulSetObject, namespace=ALL, labels=managed)),
            pods,
            tuple(client.list(NodeObject)),
            killed,
        )

    def _watch(self) -> None:
        client = Client(config=self._config, trust_env=False)
        while True:
            try:
                listed = client.list(PodObject, namespace=ALL)
                self._pods.begin(tuple(listed))
                version = listed.resourceVersion
                for kind, pod in client.watch(PodObject, namespace=ALL, resource_version=version):
                    self._pods.event(kind, pod)
            except Exception as error:  # the API server is away, or has forgotten the version
                self._pods.broken(error)
            time.sleep(AGAIN)
