"""ModelBoosters on a real control plane: all children of many at once, restarts, edits under load; and the
same writes by a client that does nothing else, as no operator can be faster than the API server is alone."""

from __future__ import annotations

import os
import re
import ssl
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import numpy as np

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.definitions import install
from flyball.adapters.kubernetes.errors import ClusterError
from flyball.adapters.kubernetes.objects import Metadata, Read
from flyball.boosting.expand import expand
from flyball.boosting.settings import Images, Settings
from flyball.operator.booster_kinds import BOOSTER, CHILDREN, NEEDED
from flyball.sandbox.cluster import Options, Sandbox
from flyball.sandbox.network import answers, free_ports
from flyball.sandbox.processes import Process
from flyball.wire.kthena import WORKLOAD_API
from flyball.wire.kthena_booster import read_booster

SPACE, ALONE = "default", "alone"
API_SERVER = "kube-apiserver"
CLIENTS = 8
EDITS = 200
EVERY = 0.02
"""Seconds between edits under load."""
LIMIT = 300.0
QUIET = 3.0


class _One(Read, frozen=True):
    metadata: Metadata = Metadata()
    spec: msgspec.Raw = msgspec.Raw()


def booster(number: int, replicas: int = 1) -> dict[str, Any]:
    """A ModelBooster of one server with a cache."""
    worker = {
        "type": "server",
        "image": "vllm/vllm-openai:v0.10.0",
        "replicas": 1,
        "pods": 1,
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
        "config": {"max-model-len": 32768, "gpu-memory-utilization": 0.9},
    }
    backend = {
        "name": "b1",
        "type": "vLLM",
        "modelURI": "hf://Qwen/Qwen3-8B",
        "cacheURI": "hostpath:///cache",
        "replicas": replicas,
        "workers": [worker],
    }
    about = {"name": f"m-{number}", "namespace": SPACE}
    return {
        "apiVersion": WORKLOAD_API,
        "kind": "ModelBooster",
        "metadata": about,
        "spec": {"backend": backend},
    }


class Operator:
    """`flyball operator --boost` as a process."""

    def __init__(self, sandbox: Sandbox, folder: Path, spawner: ThreadPoolExecutor) -> None:
        (port,) = free_ports(1)
        words = ("operator", "--no-loop", "--boost", "--local", "--namespace", SPACE, "--port", str(port))
        command = (str(Path(sys.prefix) / "bin" / "flyball"), *words)
        environment = {"KUBECONFIG": str(sandbox.kubeconfig)}
        log = folder / "operator.log"
        self._process = Process("operator", command, log, environment, lambda: answers(port, "/readyz"))
        self._spawner = spawner

    def __enter__(self) -> Operator:
        self._process.start(self._spawner)
        self._process.wait(60.0)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop(20.0)

    def memory(self) -> tuple[float, float]:
        """Megabytes now and at most."""
        text = Path(f"/proc/{self._process.pid}/status").read_text()
        now, most = (re.search(rf"{name}:\s+(\d+)", text) for name in ("VmRSS", "VmHWM"))
        assert now
        assert most
        return int(now[1]) / 1024, int(most[1]) / 1024

    def seconds(self) -> float:
        """Of a core, so far."""
        return seconds_of(self._process)


def seconds_of(process: Process) -> float:
    """Of a core, that a process has used."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Writes:
    """Versions of all objects as they come, by a watch of each kind."""

    def __init__(self, kubeconfig: Path) -> None:
        self.count: Counter[str] = Counter()
        self.names: dict[str, set[str]] = {name: set() for name in CHILDREN}
        self.heard: Callable[[str, _One, float], None] = lambda kind, one, at: None
        self._api = Api(kubeconfig)
        self._lock = threading.Lock()
        for name, kind in {"ModelBooster": BOOSTER, **CHILDREN}.items():
            if self._api.serves(kind.group, kind.version, kind.plural):
                threading.Thread(target=self._run, args=(name, kind), daemon=True).start()

    def _run(self, name: str, kind: Any) -> None:
        with suppress(ClusterError):  # in the end it goes
            self._follow(name, kind)

    def _follow(self, name: str, kind: Any) -> None:
        _, version = self._api.listed(kind.path(SPACE), _One)
        while True:
            for event in self._api.watch(kind.path(SPACE), _One, version):
                if event.type == "BOOKMARK":
                    continue
                at = time.monotonic()
                with self._lock:
                    self.count[f"{event.type} {name}"] += 1
                    if name in self.names:
                        self.names[name].add(event.object.metadata.name)
                version = event.object.metadata.resource_version
                self.heard(name, event.object, at)

    def whole(self, boosters: int) -> bool:
        """Whether all have their children."""
        return all(len(self.names[kind]) >= boosters for kind in NEEDED)

    def close(self) -> None:
        """Hear no more."""
        self._api.close()


def until(check: Callable[[], bool], what: str) -> float:
    """When a check holds, of the monotonic clock."""
    limit = time.monotonic() + LIMIT
    while not check():
        if time.monotonic() > limit:
            raise TimeoutError(what)
        time.sleep(0.01)
    return time.monotonic()


def quiet(writes: Writes) -> None:
    """Wait until nothing is written any more."""
    before = -1
    while before != (now := writes.count.total()):
        before = now
        time.sleep(QUIET)


def bench_boosters(runs: int, boosters: int = 1000) -> None:
    """Once: `runs` is for the others."""
    shared = Path(os.environ.get("FLYBALL_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    folder = shared / "vectors" / "kthena" / "crds-v1"
    if not folder.is_dir():
        print(
            "boosters: Kthena's definitions are not beside this checkout; set FLYBALL_SHARED", file=sys.stderr
        )
        return
    import yaml

    definitions = [yaml.load(one.read_text(), yaml.CSafeLoader) for one in sorted(folder.glob("*.yaml"))]
    print(f"boosters: {boosters:,} ModelBoosters, control plane and operator on {os.cpu_count()} cores")
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        spawner = stack.enter_context(ThreadPoolExecutor(1))
        sandbox = stack.enter_context(Sandbox.start(Options()))
        api = stack.enter_context(closing(Api(sandbox.kubeconfig)))
        install(api, definitions)
        until(lambda: api.serves(BOOSTER.group, BOOSTER.version, BOOSTER.plural), "the kinds")
        operator = Operator(sandbox, work, spawner)
        pool = stack.enter_context(ThreadPoolExecutor(4))
        with operator:
            writes = Writes(sandbox.kubeconfig)
            time.sleep(QUIET)
            server = sandbox.process(API_SERVER)
            load, cpu, servers = os.getloadavg()[0], operator.seconds(), seconds_of(server)
            began = time.monotonic()
            list(pool.map(lambda n: api.post(BOOSTER.path(SPACE), booster(n), dict), range(boosters)))
            created = time.monotonic() - began
            whole = until(lambda: writes.whole(boosters), "all children") - began
            quiet(writes)
            own = {key: n for key, n in writes.count.items() if key != "ADDED ModelBooster"}
            now, most = operator.memory()
            print(
                f"all children of {boosters:,}: {whole:.1f} s (created within {created:.1f} s), "
                f"{sum(own.values()) / boosters:.2f} writes each, {operator.seconds() - cpu:.1f} CPU s "
                f"(API server: {seconds_of(server) - servers:.1f}), {now:.0f} MB (at most {most:.0f}), "
                f"load before {load:.1f}"
            )
            print(f"  {dict(sorted(own.items()))}", flush=True)
            edits(writes, api, boosters, "with nothing else", 0.1, EDITS // 4)
            edits(writes, api, boosters, "under load", EVERY, EDITS)
            quiet(writes)
            before = writes.count.total()
        with operator:
            time.sleep(QUIET)
            quiet(writes)
            print(f"restart: {writes.count.total() - before} writes, {operator.memory()[1]:.0f} MB at most")
        writes.close()
        alone(sandbox, api, boosters)


def alone(sandbox: Sandbox, api: Api, boosters: int) -> None:
    """The same five writes for each, in a namespace of their own, by connections that do nothing else."""
    encode, connections, at = msgspec.json.encode, threading.local(), urlsplit(sandbox.url)
    trusted = ssl.create_default_context(cafile=str(sandbox.authority))
    api.post("/api/v1/namespaces", {"metadata": {"name": ALONE}}, dict)

    def send(method: str, path: str, body: Any) -> Any:
        if not hasattr(connections, "one"):
            connections.one = HTTPSConnection(at.hostname or "", at.port, context=trusted)
        headers = {"Authorization": f"Bearer {sandbox.token}", "Content-Type": "application/json"}
        connections.one.request(method, path, encode(body), headers)
        answer = connections.one.getresponse()
        content = answer.read()
        if answer.status >= 300:
            raise ClusterError(f"{method} {path}: {answer.status} {content[:200]!r}")
        return content

    bodies = []
    for number in range(boosters):
        one = booster(number)
        one["metadata"] |= {"namespace": ALONE, "uid": f"uid-{number}"}
        made = expand(read_booster(one, "it"), Images(), Settings("v1")).documents()
        for each in made:
            del each["metadata"]["ownerReferences"]  # else the garbage collector takes them
        del one["metadata"]["uid"]
        bodies.append([one, *made])
    server = sandbox.process(API_SERVER)
    rows: list[tuple[str, float, float]] = []
    versions: dict[str, str] = {}

    def timed(what: str, each: Callable[[int], object]) -> None:
        used, began = seconds_of(server), time.monotonic()
        list(pool.map(each, range(boosters)))
        rows.append((what, time.monotonic() - began, seconds_of(server) - used))

    def post(number: int, which: int) -> None:
        body = bodies[number][which]
        kind = {BOOSTER.name: BOOSTER, **CHILDREN}[body["kind"]]
        there = msgspec.json.decode(send("POST", kind.path(ALONE), body))["metadata"]
        versions.setdefault(there["name"], there["resourceVersion"])

    def status(number: int) -> None:
        name = f"m-{number}"
        said = {"status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        body = {
            "apiVersion": WORKLOAD_API,
            "kind": BOOSTER.name,
            "metadata": {"name": name, "namespace": ALONE, "resourceVersion": versions[name]},
            "status": {"conditions": [{"type": kind, **said} for kind in ("Initialized", "Active")]},
        }
        send("PUT", BOOSTER.path(ALONE, name, "status"), body)

    load = os.getloadavg()[0]
    with ThreadPoolExecutor(CLIENTS) as pool:
        for which, body in enumerate(bodies[0]):
            timed(body["kind"], lambda number, which=which: post(number, which))  # type: ignore[misc]
            if which == 0:
                timed("its status", status)
    took = sum(seconds for _, seconds, _ in rows)
    print(
        f"without an operator, by a bare client: {took:.1f} s, {len(rows) * boosters / took:.0f} writes/s, "
        f"API server {sum(used for _, _, used in rows):.1f} CPU s, load before {load:.1f}"
    )
    print("  " + ", ".join(f"{what} {seconds:.1f} s ({used:.1f} CPU s)" for what, seconds, used in rows))


def edits(writes: Writes, api: Api, boosters: int, what: str, every: float, number: int) -> None:
    """Seconds from the answer to an edit until its ModelServing has it."""
    sent: dict[str, float] = {}
    reached: dict[str, float] = {}

    def heard(kind: str, one: _One, at: float) -> None:
        name = one.metadata.name.removesuffix("-b1")
        if kind == "ModelServing" and name in sent and b'"runtimeClassName":"x%g"' % every in bytes(one.spec):
            reached.setdefault(name, at)

    writes.heard = heard
    chosen = np.random.default_rng(7).choice(boosters, number, replace=False)
    for one in chosen:
        name = f"m-{one}"
        sent[name] = time.monotonic()
        body = {"spec": {"backend": {"runtimeClassName": f"x{every:g}"}}}
        api.patch(BOOSTER.path(SPACE, name), body, _One)
        time.sleep(every)
    until(lambda: len(reached) == number, f"edits {what}")
    took = np.array([reached[name] - at for name, at in sent.items()]) * 1e3
    print(
        f"edits {what}: p50 {np.percentile(took, 50):.0f} ms, p99 {np.percentile(took, 99):.0f} ms, "
        f"load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
