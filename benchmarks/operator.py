"""`flyball operator` on a real control plane: how long until an object tells of its change, and a start.

A sandbox with N Servers in one namespace; one after the other is changed, and a watch of our own sees when
the status is of that version. Requests are counted by the API server.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np

CHANGES = 100
SPACE = "bench"
GROUP = "inferno.platform.ai"
PAUSE = 0.3
"""Between two changes: so that each is looked at by itself."""
LIMIT = 300.0


def bench_operator(servers: int = 2_000, objects: int = 10_000) -> None:
    """Changes among some servers, then a start with many objects."""
    from flyball.sandbox.cluster import Options, Sandbox

    print(
        f"operator: beside its control plane on {os.cpu_count()} cores; load {os.getloadavg()[0]:.1f} before"
    )
    with Sandbox.start(Options()) as sandbox, ThreadPoolExecutor(1) as spawner:
        bench = _Bench(sandbox, spawner)
        with bench.kinds(), closing(bench.api):
            bench.make(servers)
            with bench.operator() as (one, _):
                bench.settled(servers)
                _changes(bench, one, servers)
            bench.make(objects - len(_frame()), start=servers)
            bench.ask()
            with bench.operator() as (one, began):
                first = bench.decided()
                print(
                    f"{objects:,} objects: first decision {first - began:.1f} s after its start, "
                    f"until all are written {bench.done() - began:.1f} s; {_peak(one.pid):.0f} MB at most; "
                    f"load {os.getloadavg()[0]:.1f}",
                    flush=True,
                )


def _changes(bench: _Bench, one: Any, servers: int) -> None:
    before, asked = bench.requests(), []
    chance = np.random.default_rng(1)
    with bench.watched() as told:
        for number in range(CHANGES):
            name = f"server-{chance.integers(servers)}"
            at = time.monotonic()
            generation = bench.change(name, 10.0 + number)
            asked.append(told(name, generation) - at)
            time.sleep(PAUSE)
    after = bench.requests()
    p50, p99 = np.quantile(asked, (0.5, 0.99))
    made = {verb: after[verb] - before.get(verb, 0) for verb in sorted(after)}
    made["PATCH"] -= CHANGES  # our own, as is one list before our watch
    made["LIST"] -= 1
    print(
        f"{servers:,} Servers, {CHANGES} changed: status after {p50:.2f} s at p50, {p99:.2f} s at p99, "
        f"{max(asked):.2f} s at most; requests of the operator: "
        + ", ".join(f"{verb} {count:.0f}" for verb, count in made.items() if count)
        + f"; {_peak(one.pid):.0f} MB at most; load {os.getloadavg()[0]:.1f}",
        flush=True,
    )


class _Bench:
    """The administrator."""

    def __init__(self, sandbox: Any, spawner: ThreadPoolExecutor) -> None:
        from flyball.adapters.kubernetes.api import Api

        self.sandbox, self.spawner = sandbox, spawner
        self.api = Api(sandbox.kubeconfig, timeout=60.0)

    @contextmanager
    def kinds(self) -> Iterator[None]:
        """Our definitions, and a namespace."""
        from flyball.adapters.kubernetes.definitions import install
        from flyball.wire.kinds.inferno import DEFINITIONS
        from flyball.wire.kinds.kind import crd

        install(self.api, [crd(definition) for definition in DEFINITIONS])
        self.api.post("/api/v1/namespaces", {"metadata": {"name": SPACE}}, dict)
        for one in _frame():
            self._post(one)
        yield

    def make(self, count: int, start: int = 0) -> None:
        """Servers up to a number."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: self._post(_server(number)), range(start, count)))

    def _post(self, one: dict[str, Any]) -> None:
        from flyball.adapters.kubernetes.errors import ApiError
        from flyball.operator.kinds import KINDS

        for _ in range(100):
            try:
                self.api.post(KINDS[one["kind"]].path(SPACE), one, dict)
                return
            except ApiError as error:
                if error.status not in (404, 429):  # the kind is not served yet
                    raise
                time.sleep(0.2)
        raise TimeoutError(f"{one['metadata']['name']} cannot be made")

    @contextmanager
    def operator(self) -> Iterator[tuple[Any, float]]:
        """One process, as it comes, and when it began."""
        from flyball.sandbox.network import answers, free_ports
        from flyball.sandbox.processes import Process

        (port,) = free_ports(1)
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "log"
            command = (str(Path(sys.prefix) / "bin" / "flyball"), "operator", "--namespace", "home")
            given = {"KUBECONFIG": str(self.sandbox.kubeconfig)}
            process = Process(
                "operator", (*command, "--port", str(port)), log, given, lambda: answers(port, "/readyz")
            )
            began = time.monotonic()
            process.start(self.spawner)
            try:
                yield process, began
            finally:
                process.stop(15.0)

    def settled(self, count: int) -> None:
        """Every Server tells of itself, once."""
        self._until(lambda: all(_told(one) for one in self._all("Server")), 1.0)
        time.sleep(3.0)

    def ask(self) -> None:
        """For a plan."""
        from flyball.operator.kinds import KINDS

        body = {"spec": {"optimize": True}}
        self.api.patch(KINDS["Optimizer"].path(SPACE, "inferno"), body, dict)

    def decided(self) -> float:
        """When a Server has what it is to have."""
        from flyball.operator.kinds import KINDS

        version = self.api.listed(KINDS["Server"].path(SPACE), dict)[1]
        for event in self.api.watch(KINDS["Server"].path(SPACE), dict, version):
            if "desiredAlloc" in event.object.get("spec", {}):
                return time.monotonic()
        raise TimeoutError("no Server was decided for")

    def done(self) -> float:
        """When the request is answered."""
        from flyball.operator.kinds import KINDS

        path = KINDS["Optimizer"].path(SPACE, "inferno")
        self._until(lambda: (self.api.get(path, dict).get("status") or {}).get("done"), 0.1)
        return time.monotonic()

    def change(self, name: str, rate: float) -> int:
        """A Server's load; its generation then."""
        from flyball.operator.kinds import KINDS

        body = {"spec": {"currentAlloc": {"load": {"arrivalRate": rate, "avgLength": 1024}}}}
        there: dict[str, Any] = self.api.patch(KINDS["Server"].path(SPACE, name), body, dict)
        return int(there["metadata"]["generation"])

    @contextmanager
    def watched(self) -> Iterator[Any]:
        """Gives a function: when a Server was told of at a generation."""
        from flyball.adapters.kubernetes.api import Api
        from flyball.operator.kinds import KINDS

        seen: dict[tuple[str, int], float] = {}
        news = threading.Condition()
        watching = Api(self.sandbox.kubeconfig)
        path = KINDS["Server"].path(SPACE)
        version = self.api.listed(path, dict)[1]

        def follow() -> None:
            for event in watching.watch(path, dict, version):
                one, at = event.object, time.monotonic()
                if event.type == "MODIFIED" and _told(one):
                    with news:
                        seen.setdefault((one["metadata"]["name"], one["metadata"]["generation"]), at)
                        news.notify_all()

        threading.Thread(target=follow, daemon=True).start()

        def told(name: str, generation: int) -> float:
            with news:
                if not news.wait_for(lambda: (name, generation) in seen, LIMIT):
                    raise TimeoutError(f"{name} does not tell of generation {generation}")
            return seen[name, generation]

        yield told

    def requests(self) -> dict[str, float]:
        """Of our kinds so far, by verb; watches that are open are not among them."""
        headers = {"Authorization": f"Bearer {self.sandbox.token}"}
        answer = httpx2.get(f"{self.sandbox.url}/metrics", headers=headers, verify=False, timeout=60)
        found: dict[str, float] = {}
        for labels, count in re.findall(
            r"^apiserver_request_total\{(.*)\} (\S+)$", answer.text, re.MULTILINE
        ):
            if f'group="{GROUP}"' in labels:
                verb = re.search(r'verb="(\w+)"', labels)
                assert verb is not None
                found[verb[1]] = found.get(verb[1], 0.0) + float(count)
        return found

    def _all(self, kind: str) -> list[dict[str, Any]]:
        from flyball.operator.kinds import KINDS

        return self.api.items(KINDS[kind].path(SPACE), dict)

    def _until(self, check: Any, pause: float) -> None:
        until = time.monotonic() + LIMIT
        while not check():
            if time.monotonic() > until:
                raise TimeoutError(f"it has not come within {LIMIT:g} s")
            time.sleep(pause)


def _told(one: dict[str, Any]) -> bool:
    return bool((one.get("status") or {}).get("observedGeneration") == one["metadata"]["generation"])


def _peak(pid: int) -> float:
    """Memory that a process had at most, MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _made(kind: str, name: str, /, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": f"{GROUP}/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def _frame() -> list[dict[str, Any]]:
    """All but Servers."""
    names = [f"CARD{number}" for number in range(6)]
    entries = [
        {"acc": name, "alpha": 20.0 - i, "beta": 0.4 - 0.02 * i, "maxBatchSize": 32, "atTokens": 512}
        for i, name in enumerate(names)
    ]
    cards = [_made("Accelerator", n.lower(), name=n, type=n, cost=40.0 + 5 * i) for i, n in enumerate(names)]
    models = [_made("Model", f"model-{i}", name=f"model-{i}", data=entries) for i in range(10)]
    targets = [{"model": f"model-{i}", "slo-itl": 40.0, "slo-ttw": 500.0} for i in range(10)]
    classes = [
        _made("ServiceClass", f"class-{i}", name=f"class-{i}", priority=i, data=targets) for i in range(3)
    ]
    data = {"optimizer": {"unlimited": True, "heterogeneous": False, "milpSolver": False, "useCplex": False}}
    return [*cards, *models, *classes, _made("Optimizer", "inferno", optimize=False, data=data)]


def _server(number: int) -> dict[str, Any]:
    name = f"server-{number}"
    load = {"arrivalRate": 10.0 + number % 97, "avgLength": 1024}
    now = {"accelerator": "CARD0", "numReplicas": 1, "load": load}
    words: dict[str, Any] = {"class": f"class-{number % 3}", "model": f"model-{number % 10}"}
    return _made("Server", name, name=name, currentAlloc=now, **words)
