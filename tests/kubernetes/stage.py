"""What the system tests are played on: a cluster, engines with loads, and Flyball's commands as processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec
import yaml

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.governed import DEPLOYMENT
from flyball.sandbox.build import program
from flyball.sandbox.cluster import Sandbox
from flyball.units import Seconds
from tests.clusters import eventually

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
SPEED = 20.0
"""Seconds of the engines in one of ours."""
PERIOD = 30.0
"""Of the loop, on the engines' clock."""

LABELS = {"rpm": "load.rpm", "tokens_in": "load.intokens", "tokens_out": "load.outtokens", "cls": "class"}
PRODUCTS = {
    "H100": ("nvidia.com/gpu", {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}),
    "A100": ("nvidia.com/gpu", {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}),
    "L40S": ("nvidia.com/gpu", {"nvidia.com/gpu.product": "NVIDIA-L40S"}),
}
GRACE = 3
"""Of pods that end, on our clock: a minute of the engines'."""


def get(url: str, path: str, limit: Seconds = 60.0) -> tuple[int, bytes]:
    """Status and body of a page."""
    at = urlsplit(url)
    connection = HTTPConnection(at.hostname or "", at.port, timeout=limit)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def server(
    name: str,
    accelerator: str = "H100",
    *,
    replicas: int = 1,
    cards: int = 1,
    model: str = "meta-llama/Llama-3.1-8B",
    cold_start: Seconds | None = None,
    node: str = "",
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    **said: str | float,
) -> dict[str, Any]:
    """A Deployment of a model server; `said`: rpm, tokens_in, tokens_out, cls."""
    resource, selector = PRODUCTS[accelerator]
    shown = {LABELS[key]: str(value) for key, value in said.items()}
    metadata = {
        "name": name,
        "labels": {"inferno.server.managed": "true"}
        | {f"inferno.server.{key}": value for key, value in shown.items()}
        | dict(labels or {}),
        "annotations": dict(annotations or {}),
    }
    marks = {} if cold_start is None else {"sandbox.flyball.dev/cold-start": f"{cold_start:g}s"}
    template = {
        "metadata": {"labels": {"app": name}, "annotations": marks},
        "spec": {
            "terminationGracePeriodSeconds": GRACE,
            "nodeSelector": {"kubernetes.io/hostname": node} if node else selector,
            "tolerations": [
                {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute"}
                | {"tolerationSeconds": 1}
                for key in ("not-ready", "unreachable")
            ],
            "containers": [
                {
                    "name": "vllm",
                    "image": "vllm/vllm-openai:v0.11.0",
                    "args": ["--model", model],
                    "resources": {"limits": {resource: str(cards)}},
                }
            ],
        },
    }
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


class Command:
    """A command of Flyball's that runs; what it says is kept in files."""

    def __init__(self, words: Sequence[object], folder: Path, name: str, more: Mapping[str, str]) -> None:
        self.out, self.err = folder / f"{name}.out", folder / f"{name}.err"
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("INFERNO_", "KUBECONFIG"))}
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flyball", *map(str, words)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=clean | {"PYTHONUNBUFFERED": "1"} | dict(more),
                cwd=folder,
            )

    @property
    def said(self) -> str:
        """All that it said so far."""
        return self.out.read_text() + self.err.read_text()

    @property
    def url(self) -> str:
        """Where it listens, once it says so."""

        def found() -> str:
            assert self.process.poll() is None, self.said
            return next((w.rstrip("/;") for w in self.said.split() if w.startswith("http://127.")), "")

        return eventually(found)

    def end(self, limit: Seconds = 30.0) -> int:
        """End it as Ctrl-C does; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(limit)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"it did not end within {limit:g} s: {self.said[-2000:]}") from None


class Loop(Command):
    """`flyball loop`, and the log of its cycles."""

    log: Path

    def cycles(self) -> list[dict[str, Any]]:
        """Of the log, so far."""
        lines = self.log.read_bytes().split(b"\n")[:-1] if self.log.exists() else []
        return [json.loads(line) for line in lines]

    def history(self, name: str) -> list[int]:
        """Replicas that were ordered of a server, cycle by cycle."""
        return [s["replicas"] for one in self.cycles() for s in one["servers"] if s["name"] == name]

    def more(self, count: int) -> list[dict[str, Any]]:
        """The next so many cycles."""
        begin = len(self.cycles())
        return eventually(lambda: len(now := self.cycles()) >= begin + count and now)[begin:]  # type: ignore[index]

    def invoke(self) -> tuple[int, str]:
        """Ask for a cycle: status and answer."""
        status, body = get(self.url, "/invoke")
        return status, body.decode()


class Stage:
    """The cluster, its Prometheus and its engines."""

    def __init__(self, sandbox: Sandbox, engines: str, folder: Path) -> None:
        self.sandbox, self.engines, self.folder = sandbox, engines, folder
        self.api = Api(sandbox.kubeconfig)
        self.prometheus = sandbox.urls["prometheus"]
        self._count = 0

    # ---- commands ----------------------------------------------------------------------------------

    def kubectl(self, *words: object, code: int = 0) -> str:
        """Run kubectl as the administrator; its output."""
        command = [*program("kubectl"), f"--kubeconfig={self.sandbox.kubeconfig}", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=DEPLOY.parent)
        assert done.returncode == code, done.stderr
        return done.stdout

    @contextmanager
    def command(self, *words: object, kubeconfig: Path | None = None, **more: str) -> Iterator[Command]:
        """A command of Flyball's; ended with the block."""
        with self._running(Command, words, kubeconfig, more) as one:
            yield one

    @contextmanager
    def loop(
        self,
        namespace: str,
        *words: object,
        period: float = PERIOD,
        prometheus: str | None = None,
        kubeconfig: Path | None = None,
        own: str = "",
        **more: str,
    ) -> Iterator[Loop]:
        """A control loop on one namespace, which has its own objects too; it has made its first cycle."""
        self._count += 1
        log = self.folder / f"cycles-{self._count}.jsonl"
        words = (
            *("loop", period, "--port", 0, "--watch", namespace, "--namespace", own or namespace),
            *("--prometheus", prometheus or self.prometheus, "--speed", SPEED, "--cycle-log", log),
            *words,
        )
        with self._running(Loop, words, kubeconfig, more) as one:
            one.log = log
            assert one.url
            if period:
                eventually(one.cycles)
            yield one

    @contextmanager
    def _running(
        self, kind: type[Any], words: Sequence[object], kubeconfig: Path | None, more: Mapping[str, str]
    ) -> Iterator[Any]:
        self._count += 1
        variables = {"KUBECONFIG": str(kubeconfig or self.sandbox.kubeconfig), **more}
        one = kind(words, self.folder, f"{words[0]}-{self._count}", variables)
        try:
            yield one
        except BaseException:
            one.process.kill()
            one.process.wait()
            sys.stderr.write(f"---- {' '.join(map(str, words))}\n{one.said[-6000:]}\n")
            raise
        assert one.end() == 0, one.said[-4000:]

    # ---- the cluster -------------------------------------------------------------------------------

    def create(self, namespace: str, *objects: Mapping[str, Any]) -> None:
        """Make Deployments."""
        for one in objects:
            self.api.post(DEPLOYMENT.path(namespace), one, dict)

    def read(self, namespace: str, name: str) -> dict[str, Any]:
        """A Deployment."""
        return self.api.get(DEPLOYMENT.path(namespace, name), dict)

    def replicas(self, namespace: str, name: str) -> int:
        """That are asked for."""
        found: int = self.read(namespace, name)["spec"]["replicas"]
        return found

    def ready(self, namespace: str, name: str) -> int:
        """That are ready."""
        found: int = self.read(namespace, name)["status"].get("readyReplicas", 0)
        return found

    def load(self, namespace: str, name: str, **said: str | float) -> None:
        """Have other load labels: rpm, tokens_in, tokens_out."""
        labels = {f"inferno.server.{LABELS[key]}": str(value) for key, value in said.items()}
        self.api.patch(DEPLOYMENT.path(namespace, name), {"metadata": {"labels": labels}}, dict)

    def events(self, namespace: str, name: str) -> list[tuple[str, str]]:
        """Reason and message of what Flyball said on a Deployment."""
        found = self.api.items(
            f"/api/v1/namespaces/{namespace}/events", dict, fields=f"involvedObject.name={name}"
        )
        return [(e["reason"], e["message"]) for e in found if e["source"].get("component") == "flyball"]

    # ---- the engines -------------------------------------------------------------------------------

    def now(self) -> Seconds:
        """On the engines' clock."""
        found: float = json.loads(get(self.engines, "/healthz")[1])["time"]
        return found

    def until(self, time_: Seconds) -> None:
        """Wait until that time of the engines' clock."""
        while (rest := time_ - self.now()) > 0:
            time.sleep(min(rest / SPEED, 1.0))

    def pass_by(self, seconds: Seconds) -> None:
        """Let so much time of the engines' go by."""
        self.until(self.now() + seconds)

    def report(self, namespace: str, name: str, **asked: float) -> dict[str, Any]:
        """What came of a server's requests; `asked`: since, until, ttft, itl."""
        found = json.loads(get(self.engines, f"/report?{urlencode(asked)}")[1])["servers"]
        return next((s for s in found if (s["namespace"], s["server"]) == (namespace, name)), {})


def samples(*names: str) -> list[dict[str, Any]]:
    """The objects of files, by their paths below deploy/."""
    return [one for name in names for one in yaml.safe_load_all((DEPLOY / name).read_text())]


def follows(check: Callable[[], Any], limit: Seconds = 90.0) -> Any:
    """What a check gives, once it holds; it may take several cycles."""
    return eventually(check, limit)


def bounded(history: Sequence[int]) -> None:
    """In one cycle at most twice as many replicas (or four more), and at least half of them."""
    for before, after in pairwise(history):
        assert after <= before + max(before, 4), history
        assert after >= before - max(before // 2, 1), history


def data_of(one: Mapping[str, Any], key: str) -> Any:
    """A value of a ConfigMap, decoded."""
    return msgspec.json.decode(one["data"][key])
