"""A cluster with engines, a Prometheus, and loops that reach both through proxies of their own."""

from __future__ import annotations

import itertools
import re
import signal
import sys
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

import msgspec
from lightkube import Client
from lightkube.codecs import from_dict
from lightkube.models.autoscaling_v1 import ScaleSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.coordination_v1 import Lease

from flyball.adapters.ledger import Ledger
from flyball.loop.record import Cycle
from flyball.sandbox.cluster import Sandbox
from flyball.sandbox.engines.process import command
from flyball.sandbox.network import answers, free_ports
from flyball.sandbox.plane import write_kubeconfig
from flyball.sandbox.processes import Process
from tests.clusters import eventually
from tests.kubernetes_faults.proxy import Passed, Plan, Proxy, nothing

SPEED = 20.0
PERIOD = 20.0
"""Of a cycle, in the engines' seconds."""
NAMESPACE = "infer"
START = "import runpy; runpy.run_module('flyball', run_name='__main__', alter_sys=True)"
OTHERS = re.compile(r"/leases|/events|/namespaces$")
"""Written by those that do not lead, too; events are told later, by a thread of their own."""
MOST = 4
"""Replicas of a server, by its annotation."""


def workload(
    name: str, rpm: int, replicas: int = 1, namespace: str = NAMESPACE, card: str = ""
) -> Deployment:
    """A governed Deployment of one-card pods; on H100s, where nothing else is said."""
    labels = {
        "inferno.server.managed": "true",
        "inferno.server.class": "Chat",
        "inferno.server.load.rpm": str(rpm),
        "inferno.server.load.intokens": "800",
        "inferno.server.load.outtokens": "200",
    }
    engine = {
        "name": "vllm",
        "image": "vllm/vllm-openai:v0.10.1",
        "args": ["--model", "meta-llama/Llama-3.1-8B"],
        "lifecycle": {"preStop": {"sleep": {"seconds": 15}}},
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
    }
    spec = {
        "terminationGracePeriodSeconds": 120,
        "nodeSelector": {"nvidia.com/gpu.product": f"NVIDIA-{card or 'H100-80GB-HBM3'}"},
        "containers": [engine],
    }
    template = {"metadata": {"labels": {"app": name}}, "spec": spec}
    annotations = {"flyball.dev/min": "1", "flyball.dev/max": str(MOST)}
    return from_dict(  # type: ignore[return-value]
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": namespace, "labels": labels, "annotations": annotations},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": name}},
                "template": template,
            },
        }
    )


class LoopProcess:
    """`flyball loop`, behind proxies of its own."""

    def __init__(self, world: World, name: str, home: str, watch: str, code: str) -> None:
        """`home`: the namespace of its own objects, which loops that compete share; `code`: runs first."""
        self.name, self.home = name, home
        self.cluster = Proxy(world.sandbox.url, world.sandbox.authority)
        self.metrics = Proxy(world.sandbox.urls["prometheus"])
        self.folder = world.folder / f"{next(world.numbers)}-{name}"
        self.folder.mkdir()
        self.kubeconfig = self.folder / "kubeconfig"
        plane = world.sandbox.plane
        write_kubeconfig(plane, self.kubeconfig, "admin", plane.tokens["admin"])
        text = self.kubeconfig.read_text()
        self.kubeconfig.write_text(text.replace(plane.url, self.cluster.url))
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self.ledger = self.folder / "ledger.sqlite"
        self.log = self.folder / "log"
        words: tuple[object, ...] = (
            *(sys.executable, "-c", f"{code}\n{START}", "loop", f"{PERIOD:g}", "--speed", f"{SPEED:g}"),
            *("--prometheus", self.metrics.url, "--kubeconfig", self.kubeconfig, "--port", self.port),
            *("--namespace", home, "--watch", watch, "--ledger", self.ledger),
        )
        self._spawner = world.spawner
        self.process = Process(
            name, tuple(map(str, words)), self.log, {}, lambda: answers(self.port, "/readyz")
        )

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.process.start(self._spawner)
        self.process.wait(60.0)

    def pause(self) -> None:
        """SIGSTOP."""
        self.process.send(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.process.send(signal.SIGCONT)

    def close(self) -> None:
        """End it and its proxies."""
        self.process.stop(15.0)
        self.cluster.close()
        self.metrics.close()

    @property
    def words(self) -> str:
        """What it said."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def cycles(self, after: int = 0) -> list[Cycle]:
        """Those that it recorded, from the one after a number."""
        if not self.ledger.exists():
            return []
        ledger = Ledger(self.ledger, "test")
        try:
            return [ledger.cycle(n) for n in ledger.numbers(after + 1, 1 << 60)]
        finally:
            ledger.close()

    def newest(self) -> tuple[int, Cycle | None]:
        """Number and content of the last cycle; 0: there is none."""
        if not self.ledger.exists():
            return 0, None
        ledger = Ledger(self.ledger, "test")
        try:
            return next(iter(ledger.newest(1)), (0, None))
        finally:
            ledger.close()

    @property
    def last_time(self) -> float:
        """Of its newest cycle, Unix seconds; 0: there is none."""
        cycle = self.newest()[1]
        return cycle.time if cycle else 0.0

    def is_well(self, after: int) -> bool:
        """Whether it has decided since a cycle, without errors and from a load that it knows."""
        number, cycle = self.newest()
        if cycle is None or number < after + 2 or cycle.errors or cycle.decision is None:
            return False
        seen = cycle.snapshot.seen.servers
        return bool(seen) and all(one.arrival_rate is not None for one in seen)

    @property
    def page(self) -> str:
        """As people see it."""
        with urlopen(self.url, timeout=30) as answer:
            return str(answer.read().decode())


class World:
    """What the tests share."""

    def __init__(self, sandbox: Sandbox, folder: Path, spawner: ThreadPoolExecutor, port: int) -> None:
        """`port`: of the engines."""
        self.sandbox, self.folder, self.spawner = sandbox, folder, spawner
        self.client: Client = sandbox.client()
        self.numbers = itertools.count(1)
        self.loops: list[LoopProcess] = []
        words = command(sandbox.kubeconfig, port=port, speed=SPEED)
        log = folder / "engines.log"
        self.engines = Process("engines", words, log, {}, lambda: answers(port, "/healthz"))

    @contextmanager
    def loop(
        self,
        name: str = "a",
        home: str = "",
        watch: str = NAMESPACE,
        code: str = "",
        metrics: Plan = nothing,
    ) -> Iterator[LoopProcess]:
        """A loop that runs; `home`: where it is "", one of its own; `metrics`: as Prometheus answers it."""
        one = LoopProcess(self, name, home or f"home-{next(self.numbers)}", watch, code)
        one.metrics.plan = metrics
        self.loops.append(one)
        try:
            one.start()
            yield one
        finally:
            one.close()

    def put(self, name: str, rpm: int, replicas: int) -> None:
        """A Deployment as it is wanted, and all its pods ready."""
        self.load(name, rpm)
        self.scale(name, replicas)
        eventually(lambda: self.ready(name) == replicas)

    def load(self, name: str, rpm: int) -> None:
        """Requests a minute from now on."""
        labels = {"metadata": {"labels": {"inferno.server.load.rpm": str(rpm)}}}
        self.client.patch(Deployment, name, labels, namespace=NAMESPACE)

    def scale(self, name: str, replicas: int) -> None:
        """As somebody else would."""
        made = Deployment.Scale(
            metadata=ObjectMeta(name=name, namespace=NAMESPACE), spec=ScaleSpec(replicas=replicas)
        )
        self.client.replace(made, name=name, namespace=NAMESPACE)

    def replicas(self, name: str) -> int:
        """Asked for now."""
        return int(self.client.get(Deployment, name, namespace=NAMESPACE).spec.replicas or 0)

    def ready(self, name: str) -> int:
        """Ready now."""
        status = self.client.get(Deployment, name, namespace=NAMESPACE).status
        return int((status and status.readyReplicas) or 0)

    def start_engines(self) -> None:
        """Start them, and wait until they answer."""
        self.engines.start(self.spawner)
        self.engines.wait(60.0)

    def lease(self, home: str) -> Lease | None:
        """Of the loops at a home."""
        found = [one for one in self.client.list(Lease, namespace=home) if one.metadata.name == "flyball"]
        return found[0] if found else None

    def holder(self, home: str) -> str:
        """Who leads; "": nobody."""
        lease = self.lease(home)
        return (lease and lease.spec and lease.spec.holderIdentity) or ""


class Write(NamedTuple):
    """A write to something that only the leader writes."""

    revision: int
    loop: str
    path: str
    replicas: int | None


def revision_of(passed: Passed) -> int:
    """Where in the order of all writes it is; etcd counts them."""
    return int(passed.body["metadata"]["resourceVersion"])


def writes_of(loop: LoopProcess) -> list[Write]:
    """All that it wrote, but for the lease and events."""
    found = []
    for one in list(loop.cluster.passed):
        path = one.path.partition("?")[0]
        if one.wrote and one.method != "DELETE" and not OTHERS.search(path):
            replicas = one.sent["spec"]["replicas"] if path.endswith("/scale") else None
            found.append(Write(revision_of(one), loop.name, path, replicas))
    return found


def scales_of(*loops: LoopProcess) -> list[Write]:
    """What they asked for, in the order in which it was written."""
    return sorted(w for loop in loops for w in writes_of(loop) if w.replicas is not None)


def strangers(loops: list[LoopProcess]) -> list[tuple[Write, str]]:
    """Writes that were done while, by the order of the API server, another one held the lease."""
    held = []
    for loop in loops:
        for one in list(loop.cluster.passed):
            if one.wrote and "/leases" in one.path and one.body.get("spec"):
                held.append((revision_of(one), loop.name if one.body["spec"].get("holderIdentity") else ""))
    held.sort()
    revisions, found = [revision for revision, _ in held], []
    for write in (write for loop in loops for write in writes_of(loop)):
        place = bisect_right(revisions, write.revision)
        holder = held[place - 1][1] if place else ""
        if holder != write.loop:
            found.append((write, holder))
    return found


def blind(cycles: list[Cycle]) -> list[tuple[float, str]]:
    """Servers that were to shrink though their load was not known."""
    found = []
    for cycle in cycles:
        seen = {one.server: one for one in cycle.snapshot.seen.servers}
        for step in cycle.decision.steps if cycle.decision else ():
            was, now = (sum(o.replicas for o in orders) for orders in (step.was, step.orders))
            rate = seen[step.server].arrival_rate if step.server in seen else None
            if now < was and (rate is None or rate.age > 90.0):
                found.append((cycle.time, step.server))
    return found


def said(cycles: list[Cycle]) -> str:
    """All that cycles complained of."""
    lines = [
        line for c in cycles for line in (*c.errors, *c.refused, *(c.decision.notes if c.decision else ()))
    ]
    return "\n".join(dict.fromkeys(lines))


def lasts(check: Callable[[], bool], seconds: float) -> None:
    """What must hold all the time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert check()
        time.sleep(0.2)


def decoded(body: bytes) -> Any:
    """JSON."""
    return msgspec.json.decode(body)
