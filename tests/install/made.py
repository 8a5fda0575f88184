"""What is installed: overlays as kustomize builds them, and the chart as Helm renders it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from flyball.sandbox.build import HELM, built, is_built, program
from tests.clusters import needed

ROOT = Path(__file__).resolve().parents[2]
OPERATOR = ROOT / "deploy" / "operator"
GENERATE = OPERATOR / "generate.py"
CHART = ROOT / "dist" / "chart"
OVERLAYS = ("recommend-only", "cluster", "one-namespace")
EVERYTHING = (
    ("recommend-only",),
    ("cluster",),
    ("cluster", "wva", "boost", "power", "power-enforce", "monitoring"),
    ("one-namespace",),
    ("one-namespace", "act", "wva"),
)
"""Overlays with further components."""
VALUES: dict[str, dict[str, Any]] = {
    "as-it-is": {},
    "act": {"mode": "act", "prometheus": {"url": "http://prometheus.monitoring:9090"}},
    "one-namespace": {"watchNamespace": "infer", "mode": "act", "wva": True},
    "all": {
        "mode": "act",
        "wva": True,
        "boost": True,
        "power": {"enabled": True},
        "monitoring": {"enabled": True},
        "optimizer": {"host": "inferno-optimizer.inferno.svc.cluster.local", "port": 80, "stateless": False},
        "image": {"repository": "registry.example:5000/team/flyball", "tag": "1.2.3"},
        "imagePullSecrets": [{"name": "registry"}],
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "infra", "operator": "Exists"}],
        "extraArgs": ["--window=2m"],
        "extraEnv": [{"name": "A", "value": "b"}],
        "replicas": 3,
    },
    "bare": {
        "webhook": {"enabled": False},
        "networkPolicy": {"enabled": False},
        "replicas": 1,
    },
}
"""Ways to install the chart."""

Objects = list[dict[str, Any]]


def kubectl() -> tuple[str, ...]:
    """That of the sandbox."""
    needed()
    return program("kubectl")


def run(*command: str, kubeconfig: Path | None = None, stdin: str | None = None) -> str:
    """What a command that succeeds says; it finds the sandbox's kubectl."""
    env = {**os.environ, "KUBECTL": shlex.join(kubectl()), "KUBECONFIG": str(kubeconfig or "/dev/null")}
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, env=env, cwd=ROOT, timeout=120
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


def shown(overlay: str, *components: str, image: str = "") -> str:
    """An overlay with components, as `make deploy` applies it."""
    words = [word for one in components for word in ("--with", one)]
    words += ["--image", image] if image else []
    return run(sys.executable, str(GENERATE), "show", overlay, *words)


@cache
def overlay(name: str, *components: str) -> Objects:
    """Its objects."""
    return read(shown(name, *components))


def helm() -> str:
    """The program; skips where it is not built, as a single test should not take minutes for that."""
    if not is_built(HELM):
        pytest.skip("Helm is not built here: make sandbox-tools")
    return str(built(HELM) / "helm")


def rendered(values: dict[str, Any], folder: Path, namespace: str = "flyball", *, crds: bool = False) -> str:
    """The chart with values."""
    file = folder / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    words = ["--namespace", namespace, "--values", str(file)]
    return run(helm(), "template", "flyball", str(CHART), *words, *(["--include-crds"] if crds else []))


def read(text: str) -> Objects:
    """The objects of a stream."""
    return [one for one in yaml.safe_load_all(text) if one]


def of_kind(objects: Objects, *kinds: str) -> Objects:
    """Those of these kinds."""
    return [one for one in objects if one["kind"] in kinds]


def container(objects: Objects) -> dict[str, Any]:
    """The one container that they run."""
    (deployment,) = of_kind(objects, "Deployment")
    (found,) = deployment["spec"]["template"]["spec"]["containers"]
    return dict(found)


def key(one: dict[str, Any]) -> tuple[str, str, str]:
    """Kind, namespace and name."""
    return one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]
