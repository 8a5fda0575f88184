"""What a user types: kubectl, manifests, and `flyball operator` as a process under an account of its own."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import yaml

from flyball.sandbox.build import program
from flyball.sandbox.cluster import Options, Sandbox
from flyball.sandbox.network import answers, free_ports
from flyball.sandbox.processes import Process
from tests.clusters import fleet

ROOT = Path(__file__).resolve().parents[2]
GROUP = "inferno.platform.ai"
Object = dict[str, Any]


class Desk:
    """A terminal in the root of the checkout, with a cluster."""

    def __init__(self, sandbox: Sandbox, folder: Path, spawner: ThreadPoolExecutor) -> None:
        self.sandbox, self.folder, self.spawner = sandbox, folder, spawner
        self._numbers = itertools.count(1)

    # ---- typed -----------------------------------------------------------------------------------

    def kubectl(self, *words: str, stdin: str = "", fails: bool = False, account: str = "") -> str:
        """What it says; `fails`: it is to refuse; `account`: NAMESPACE/NAME of a service account."""
        kubeconfig = self.sandbox.kubeconfig
        if account:
            kubeconfig = self.sandbox.kubeconfig_of(*account.split("/"))
        done = subprocess.run(
            [*program("kubectl"), *words],
            cwd=ROOT,
            env={**os.environ, "KUBECONFIG": str(kubeconfig), "KUBECACHEDIR": str(self.folder / "cache")},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
        )
        said = done.stdout + done.stderr
        assert bool(done.returncode) is fails, said
        return said

    def forget(self) -> None:
        """What kubectl remembers of the cluster's kinds."""
        shutil.rmtree(self.folder / "cache", ignore_errors=True)

    def make(self, *words: str) -> str:
        """A target of the Makefile, in the environment that the tests run in."""
        there = ("--no-print-directory", f"VENV={sys.prefix}", "-o", f"{sys.prefix}/.flyball")
        done = subprocess.run(
            ["make", *there, *words],
            cwd=ROOT,
            env={
                **os.environ,
                "KUBECONFIG": str(self.sandbox.kubeconfig),
                "KUBECTL": " ".join(program("kubectl")),
            },
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def apply(self, *objects: Object, namespace: str, fails: bool = False) -> str:
        """kubectl apply."""
        text = yaml.safe_dump_all(objects)
        return self.kubectl("apply", "-n", namespace, "-f", "-", stdin=text, fails=fails)

    def try_apply(self, *objects: Object, namespace: str = "default", dry: bool = False) -> str:
        """What it says, whether or not it is refused; `dry`: nothing is stored."""
        words = ("apply", "-n", namespace, "-f", "-", *(["--dry-run=server"] if dry else []))
        try:
            return self.kubectl(*words, stdin=yaml.safe_dump_all(objects))
        except AssertionError as refused:
            return str(refused)

    def get(self, kind: str, name: str, namespace: str = "default") -> Object:
        """One object."""
        found: Object = yaml.safe_load(self.kubectl("get", kind, name, "-n", namespace, "-o", "yaml"))
        return found

    def optimize(self, name: str = "inferno", namespace: str = "default") -> None:
        """Ask for a plan."""
        self.kubectl(
            *("patch", "optimizer", name, "-n", namespace, "--type", "merge"),
            *("-p", '{"spec": {"optimize": true}}'),
        )

    def events(self, namespace: str, kind: str) -> list[str]:
        """Reasons and messages of Events on a kind."""
        found = yaml.safe_load(
            self.kubectl(
                "get",
                "events",
                "-n",
                namespace,
                "-o",
                "yaml",
                "--field-selector",
                f"involvedObject.kind={kind}",
            )
        )
        return [f"{one['reason']}: {one['message']}" for one in found["items"]]

    def served(self, one: Running, path: str) -> str:
        """What a process answers."""
        with urlopen(f"{one.url}/{path}", timeout=30) as answer:
            return str(answer.read().decode())

    # ---- processes -------------------------------------------------------------------------------

    @contextmanager
    def running(
        self, *words: str, account: str = "", environment: dict[str, str] | None = None, path: str = "/readyz"
    ) -> Iterator[Running]:
        """A command of Flyball that serves, until the end; `account`: as `kubectl`."""
        one = self.prepared(*words, account=account, environment=environment, path=path)
        one.start()
        try:
            yield one
        finally:
            one.process.stop(15.0)

    def prepared(
        self, *words: str, account: str = "", environment: dict[str, str] | None = None, path: str = "/readyz"
    ) -> Running:
        """The same, not started yet."""
        (port,) = free_ports(1)
        kubeconfig = self.sandbox.kubeconfig
        if account:
            kubeconfig = self.sandbox.kubeconfig_of(*account.split("/"))
        given = {"KUBECONFIG": str(kubeconfig), **(environment or {})}
        log = self.folder / f"{next(self._numbers)}-{words[0]}.log"
        command = (str(Path(sys.prefix) / "bin" / "flyball"), *words, "--port", str(port))
        process = Process(words[0], command, log, given, lambda: answers(port, path))
        return Running(process, port, log, self.spawner)


class Running:
    """A process that serves."""

    def __init__(self, process: Process, port: int, log: Path, spawner: ThreadPoolExecutor) -> None:
        self.process, self.port, self.log, self._spawner = process, port, log, spawner
        self.url = f"http://127.0.0.1:{port}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.process.start(self._spawner)
        self.process.wait(60.0)

    @property
    def words(self) -> str:
        """What it said, requests left aside."""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(line for line in lines if '"event": "request"' not in line)


@contextmanager
def at_desk(folder: Path) -> Iterator[Desk]:
    """A terminal with a cluster of its own."""
    with (
        ThreadPoolExecutor(1) as spawner,
        Sandbox.start(Options(fleet=fleet(), cold_start=0.5)) as sandbox,
    ):
        yield Desk(sandbox, folder, spawner)


def condition(one: Object, kind: str) -> Object:
    """A condition of an object; empty: it has none of that kind."""
    found = one.get("status", {}).get("conditions") or []
    return next((each for each in found if each["type"] == kind), {})


def holds(one: Object, kind: str) -> str:
    """Status of a condition and its reason: "True Accepted"."""
    found = condition(one, kind)
    return f"{found['status']} {found['reason']}" if found else ""


def made(kind: str, name: str, /, **spec: Any) -> Object:
    """An object of Inferno's."""
    return {"apiVersion": f"{GROUP}/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def sample(rate: float = 40.0) -> list[Object]:
    """The objects of the document, with another load."""
    folder = ROOT / "manifests" / "yamls"
    names = ("accelerator", "model", "serviceclass", "server", "capacity", "optimizer")
    found = [yaml.safe_load((folder / f"{name}.yaml").read_text()) for name in names]
    found[3]["spec"]["currentAlloc"]["load"]["arrivalRate"] = rate
    return found
