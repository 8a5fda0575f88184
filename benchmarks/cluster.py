"""The governed loop on a real control plane: what a cycle takes, where the time goes, and memory.

A sandbox with N Deployments of library models, one replica each, pods by kwok; their metrics come from
`benchmarks.cluster_metrics`. The loop is put together as `flyball loop` does it, in a process of its own; its
clock is set forward between cycles, so that they look like a period apart.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median
from typing import Any

import httpx2
import msgspec
import numpy as np

from benchmarks.cluster_metrics import Engine, metrics

PERIOD = 15.0
PRODUCTS = {"H100": "NVIDIA-H100-80GB-HBM3", "A100": "NVIDIA-A100-SXM4-80GB", "L40S": "NVIDIA-L40S"}
MODELS = ("Qwen/Qwen3-8B", "meta-llama/Llama-3.1-8B-Instruct", "mistralai/Mistral-7B-v0.3", "Qwen/Qwen3-14B")
IN_TOKENS, OUT_TOKENS = 800.0, 200.0
CARDS_EACH = 5
"""For so many replicas of each server there are cards."""
LOADS = (0.55, 1.5, 2.6)
"""Of what one replica takes within its targets: at first, and at each of the cycles in which all change."""
FEW = 100
"""One server in so many changes in the cycles in which few do."""
LEARNING = 4
"""Cycles until a server has shown the same for long enough that something is learned of its model."""
PHASES = (
    "list",
    "assemble",
    "metrics",
    "observe",
    "decide",
    "act",
    "ledger",
    "board",
    "checkpoint",
    "read again",
)
CONTROLLERS = (
    *("--kube-api-qps=1000", "--kube-api-burst=2000"),
    *("--concurrent-deployment-syncs=20", "--concurrent-replicaset-syncs=20"),
)
SCHEDULER = ("--kube-api-qps=1000", "--kube-api-burst=2000")


# ---- the cluster -------------------------------------------------------------------------------


def bench_cluster(runs: int, workloads: int = 500) -> None:
    """Start all, measure, show a table."""
    from flyball.sandbox.cluster import Options, Sandbox
    from flyball.sandbox.fleet import fleet_from

    groups = [
        {"accelerator": name, "count": math.ceil(workloads * CARDS_EACH / 3 / 8), "cards": 8}
        for name in PRODUCTS
    ]
    options = Options(
        fleet=fleet_from(json.dumps({"kind": "SandboxFleet", "nodes": groups}).encode(), "benchmark"),
        cold_start=0.5,
        arguments={"kube-controller-manager": CONTROLLERS, "kube-scheduler": SCHEDULER},
    )
    print(f"cluster: {workloads:,} Deployments on a control plane beside it, {os.cpu_count()} cores for all")
    began = time.perf_counter()
    with Sandbox.start(options) as sandbox, metrics() as url, tempfile.TemporaryDirectory() as folder:
        deploy(sandbox.kubeconfig, workloads)
        command = [sys.executable, "-m", "benchmarks.cluster", str(sandbox.kubeconfig), url, folder]
        print(f"deployed after {time.perf_counter() - began:.0f} s", flush=True)
        load = os.getloadavg()[0]
        done = subprocess.run([*command, str(runs)], stdout=subprocess.PIPE, check=True)
    show(json.loads(done.stdout), load)


def deploy(kubeconfig: Path, workloads: int) -> None:
    """Create Deployments, in twenty namespaces."""
    from flyball.adapters.kubernetes.api import Api

    with closing(Api(kubeconfig)) as api, ThreadPoolExecutor(8) as pool:
        for team in range(20):
            api.post("/api/v1/namespaces", {"metadata": {"name": f"team-{team}"}}, dict)

        def create(index: int) -> None:
            body = deployment(index)
            path = f"/apis/apps/v1/namespaces/{body['metadata']['namespace']}/deployments"
            api.post(path, body, dict)

        list(pool.map(create, range(workloads)))


def deployment(index: int) -> dict[str, Any]:
    """One in five belongs to the server before it, on other cards, and has no replica at first."""
    second = index % 5 == 4
    server = index - 1 if second else index
    product = list(PRODUCTS.values())[(server + second) % 3]
    name, selector = f"server-{index}", {"app": f"server-{index}"}
    engine = {
        "name": "engine",
        "image": "vllm",
        "command": ["vllm"],
        "args": ["serve", MODELS[server % len(MODELS)], "--max-num-seqs", "128"],
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
        "lifecycle": {"preStop": {"sleep": {"seconds": 15}}},
    }
    template = {
        "nodeSelector": {"nvidia.com/gpu.product": product},
        "terminationGracePeriodSeconds": 120,
        "containers": [engine],
    }
    return {
        "metadata": {
            "name": name,
            "namespace": f"team-{server % 20}",
            "labels": {"inferno.server.managed": "true", "inferno.server.name": f"server-{server}"},
            "annotations": {"flyball.dev/ttft": "p95<1s", "flyball.dev/itl": "p95<80ms"},
        },
        "spec": {
            "replicas": 0 if second else 1,
            "selector": {"matchLabels": selector},
            "template": {"metadata": {"labels": selector}, "spec": template},
        },
    }


# ---- the loop ----------------------------------------------------------------------------------


class Clock:
    """A monotonic clock that can be set forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


class Timer:
    """Seconds by phase of the cycle under way, what is inside another phase counted once."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner = 0.0

    def of(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, timed."""

        def timed(*given: Any, **named: Any) -> Any:
            outer, self._inner = self._inner, 0.0
            began = time.perf_counter()
            try:
                return work(*given, **named)
            finally:
                took = time.perf_counter() - began
                self.seconds[name] += took - self._inner
                self._inner = outer + took

        return timed


class Governed:
    """The loop, taken apart for measuring."""

    def __init__(self, kubeconfig: str, url: str, folder: str, stack: ExitStack) -> None:
        from flyball.adapters import cluster as reading
        from flyball.adapters.kubernetes import write
        from flyball.adapters.kubernetes.api import Api
        from flyball.adapters.ledger import Ledger
        from flyball.commands.loop import Loop
        from flyball.commands.loop_parts import Request, parts_of
        from flyball.loop import runner as running
        from flyball.loop.runner import Runner
        from flyball.server.page.board import Board
        from flyball.server.page.live import Live

        request = Request(period=PERIOD, kubeconfig=Path(kubeconfig), prometheus=url)
        parts = parts_of(request, stack)
        ledger = stack.enter_context(closing(Ledger(Path(folder) / "ledger.sqlite", "benchmark")))
        assert parts.hands is not None
        assert parts.lease is not None
        self.lease, self.reader, self.clock, self.timer = parts.lease, parts.reader, Clock(), Timer()
        self.url, self.requests = url, 0
        self.written: list[float] = []
        self.runner = Runner(parts.law, parts.reader, parts.reader, parts.hands, parts.reader, ledger)
        self.loop = Loop(Live(self.runner, Board()), parts)
        self.api = stack.enter_context(closing(Api(Path(kubeconfig))))
        self.reader._monotonic = self.clock
        timed: Any
        for timed, name, phase in (
            (running, "_read_again", "read again"),
            (reading, "list_cluster", "list"),
            (self.reader._assembler, "cluster", "assemble"),
            (self.reader, "_scrape", "metrics"),
            (self.reader, "observe", "observe"),
            (parts.law, "_law", "decide"),
            (parts.hands, "act", "act"),
            (ledger, "record", "ledger"),
            (self.loop._live.board, "add", "board"),
            (self.loop, "_keep", "checkpoint"),
        ):
            setattr(timed, name, self.timer.of(phase, getattr(timed, name)))
        send, carry = Api._send, write.Writer.carry_out

        def counted(api: Any, *given: Any, **named: Any) -> Any:
            self.requests += 1
            return send(api, *given, **named)

        def carried(writer: Any, target: Any) -> None:
            carry(writer, target)
            self.written.append(time.perf_counter() - self.began)

        Api._send, write.Writer.carry_out = counted, carried  # type: ignore[method-assign]

    def cycle(self) -> dict[str, Any]:
        """One cycle; what it took."""
        self.clock.ahead += PERIOD
        self.timer.seconds.clear()
        self.written.clear()
        requests, cpu, readings = self.requests, time.process_time(), self._readings()
        self.began = time.perf_counter()
        made = self.loop.cycle()
        seconds = time.perf_counter() - self.began
        if made is None or made.decision is None or made.errors:
            raise RuntimeError(f"a cycle failed: {made and made.errors}")
        return {
            "seconds": seconds,
            "cpu": time.process_time() - cpu,
            "requests": self.requests - requests,
            "changed": sum(step.changed for step in made.decision.steps),
            "written": sorted(self.written),
            "late": len(made.refused),
            "readings": self._readings() - readings,
            **{phase: self.timer.seconds[phase] for phase in PHASES},
        }

    def _readings(self) -> int:
        """Of which models were learned so far."""
        memory = self.runner.memory
        return sum(one.readings for one in memory.learned.values()) if memory else 0

    def show(self, load: Callable[[str], float]) -> None:
        """Have the pods that are ready now show a load, in units of what one replica takes."""
        from flyball.adapters.kubernetes.assemble import Assembler
        from flyball.adapters.kubernetes.known import Library
        from flyball.adapters.kubernetes.listing import list_cluster

        memory = self.runner.memory
        cluster = Assembler(Library()).cluster(list_cluster(self.api, time.time()))
        plan = {s.server: s.allocation for s in memory.plan.servers} if memory and memory.plan else {}
        models = {server.name: server.model for server in cluster.fleet.servers}
        ready = defaultdict(list)
        for one in cluster.governed:
            ready[one.server] += [(one.namespace, pod.name) for pod in one.pods if pod.state == "ready"]
        engines = []
        for server, pods in ready.items():
            goal, option = memory.servers[server].goal if memory else None, plan.get(server)
            rate = goal.max_rate * load(server) if goal else 0.5
            ttft, itl = (option.ttft, option.itl) if option else (0.2, 0.02)
            for namespace, pod in pods:
                each = rate / len(pods)
                engines.append(Engine(namespace, pod, models[server], each, ttft, itl, IN_TOKENS, OUT_TOKENS))
        httpx2.put(self.url, content=msgspec.msgpack.encode(engines), timeout=60).raise_for_status()

    def settle(self, most: float = 120.0) -> None:
        """Wait until all replicas that are asked for are ready."""
        until = time.monotonic() + most
        while time.monotonic() < until:
            found = self.api.items("/apis/apps/v1/deployments", dict)
            if all(one["spec"]["replicas"] == one.get("status", {}).get("readyReplicas", 0) for one in found):
                return
            time.sleep(0.5)
        raise TimeoutError(f"not all replicas were ready within {most:g} s")


def measure(kubeconfig: str, url: str, folder: str, runs: int) -> dict[str, Any]:
    """All cycles, by kind."""
    found: dict[str, Any] = defaultdict(list)
    with ExitStack() as stack:
        governed = Governed(kubeconfig, url, folder, stack)
        while governed.lease.term is None:
            time.sleep(0.1)
        governed.settle()

        def run(kind: str, load: float, few: bool = False) -> None:
            governed.settle()
            governed.show(lambda name: load + (0.95 if few and int(name[7:]) % FEW == 0 else 0.0))
            found[kind].append(governed.cycle())

        run("first", LOADS[0])
        run("warm", LOADS[0])
        for _ in range(runs + LEARNING):
            run("quiet", LOADS[0])
        run("few", LOADS[0], few=True)
        for load in LOADS[1:]:
            run("all", load)
    status = Path("/proc/self/status").read_text()
    found["mb"] = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    return found


def show(found: dict[str, Any], load: float) -> None:
    """The table."""
    rows = {
        "first": found["first"],
        "quiet": [one for one in found["quiet"] if not one["readings"]],
        "quiet, and learns": [one for one in found["quiet"] if one["readings"]],
        "few change": found["few"],
        "all change": found["all"],
    }
    figures = ("seconds", "cpu", "requests", "changed", "late")
    print(
        f"{'cycle':<18} {'n':>2} {'median s':>8} {'max':>6} {'CPU s':>6} {'requests':>8} {'changed':>7}",
        end="",
    )
    print(f" {'late':>5}" + "".join(f" {phase:>10}" for phase in PHASES))
    for name, cycles in rows.items():
        if not cycles:
            continue
        seconds, cpu, requests, changed, late = (median(one[key] for one in cycles) for key in figures)
        print(
            f"{name:<18} {len(cycles):>2} {seconds:>8.2f} {max(one['seconds'] for one in cycles):>6.2f} "
            f"{cpu:>6.2f} {requests:>8.0f} {changed:>7.0f} {late:>5.0f}"
            + "".join(f" {median(one[phase] for one in cycles):>10.3f}" for phase in PHASES)
        )
    for name in ("few", "all"):
        written = [at for one in found[name] for at in one["written"]]
        if written:
            print(
                f"written after the cycle began, {name} change: {np.quantile(written, 0.5):.2f} s at p50, "
                f"{np.quantile(written, 0.99):.2f} s at p99"
            )
    print(f"memory at most {found['mb']:.0f} MB; load of the machine {load:.1f} before", flush=True)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    print(json.dumps(measure(*arguments[:3], int(arguments[3]))))
