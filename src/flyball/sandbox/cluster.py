"""The sandbox: start it, disturb its processes, end it without a trace."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import msgspec
from lightkube import Client, KubeConfig

from flyball.sandbox import objects
from flyball.sandbox.build import Watch, nobody
from flyball.sandbox.errors import SandboxError
from flyball.sandbox.fleet import Fleet, nodes_of
from flyball.sandbox.part import Part, Pretence, Scrape
from flyball.sandbox.parts import PARTS, parts_of
from flyball.sandbox.plane import ADMIN, Plane, prepare, processes, write_kubeconfig
from flyball.sandbox.played import kwok
from flyball.sandbox.processes import Process
from flyball.sandbox.state import Place, Running, State, take
from flyball.units import Seconds

LIMIT: Seconds = 60.0
"""For each process to answer."""


class Options(msgspec.Struct, frozen=True):
    """What a sandbox is made of."""

    name: str | None = None
    """Known to `flyball sandbox status`; None: a nameless one in a temporary folder, as for tests."""
    fleet: Fleet = Fleet()
    cold_start: Seconds = 30.0
    """From scheduled to Ready, for pods that do not say it (sandbox.flyball.dev/cold-start)."""
    jitter: float = 0.1
    """Up to this share longer, by chance."""
    parts: tuple[str, ...] = ()
    """Of engines, prometheus, alertmanager, keda."""
    scrape: Scrape = Scrape()
    pretence: Pretence = Pretence()
    arguments: Mapping[str, tuple[str, ...]] = {}
    """Further arguments by process: {"kube-apiserver": ("--etcd-compaction-interval=5s",)}."""


class Sandbox:
    """A Kubernetes that runs; as a context manager it ends with the block."""

    def __init__(self, options: Options, place: Place, plane: Plane, parts: list[Part], watch: Watch) -> None:
        self.options, self.plane = options, plane
        self._place, self._parts = place, parts
        more = options.arguments
        self._open = ExitStack()
        self._spawner = ThreadPoolExecutor(1, "flyball-sandbox")
        played = kwok(plane, options.cold_start, options.jitter, more.get("kwok", ()), watch)
        all_of = [*processes(plane, more, watch), played, *(one for part in parts for one in part.processes)]
        self._processes = {one.name: one for one in all_of}
        unknown = set(more) - set(self._processes)
        if unknown:
            raise ValueError(f"there are no processes {', '.join(sorted(unknown))} to give arguments to")

    @classmethod
    def start(cls, options: Options | None = None, watch: Watch = nobody) -> Sandbox:
        """Build what is not built yet, start everything, wait until it is ready; or SandboxError.

        Options that make no sense are a ValueError.
        """
        options = options or Options()
        unknown = set(options.parts) - set(PARTS)
        if unknown:
            raise ValueError(f"there is no part {', '.join(sorted(unknown))}. Known: {', '.join(PARTS)}")
        place = take(options.name)
        sandbox = None
        try:
            plane = prepare(options.name or "sandbox", place.folder, watch)
            parts = parts_of(options.parts, plane, options.scrape, options.pretence, options.arguments, watch)
            sandbox = cls(options, place, plane, parts, watch)
            sandbox._start()
        except BaseException:
            if sandbox is not None:
                sandbox.stop()
            place.remove()
            raise
        return sandbox

    def _start(self) -> None:
        plane_and_kwok = list(self._processes.values())[:5]
        etcd, api_server, *others = plane_and_kwok
        for process in (etcd, api_server):  # the second waits for the first by itself
            process.start(self._spawner)
        api_server.wait(LIMIT)
        for process in others:
            process.start(self._spawner)
        client = self.client()
        objects.create_all(client, nodes_of(self.options.fleet))
        for process in others:
            process.wait(LIMIT)
        objects.wait_ready(client, len(nodes_of(self.options.fleet)), LIMIT)
        for part in self._parts:
            part.before(client)
            for process in part.processes:
                process.start(self._spawner)
            part.after(client, lambda process: process.start(self._spawner), LIMIT)
            for process in part.processes:
                process.wait(LIMIT)
        self._place.write(self.state())

    # ---- what it is ----------------------------------------------------------------------------

    @property
    def folder(self) -> Path:
        """Of its files: logs/, kubeconfig, rules/, prometheus-targets.json."""
        return self.plane.folder

    @property
    def kubeconfig(self) -> Path:
        """The file with which an administrator comes in."""
        return self.plane.kubeconfig()

    @property
    def url(self) -> str:
        """Of the API server."""
        return self.plane.url

    @property
    def token(self) -> str:
        """The administrator's bearer token."""
        return self.plane.tokens[ADMIN]

    @property
    def authority(self) -> Path:
        """The certificate of the authority that signed the API server's."""
        return self.plane.authority

    @property
    def urls(self) -> dict[str, str]:
        """Of the parts that have one: engines, prometheus, alertmanager."""
        return {part.name: part.url for part in self._parts if part.url}

    @property
    def names(self) -> tuple[str, ...]:
        """Of its processes."""
        return tuple(self._processes)

    def client(self, namespace: str | None = None) -> Client:
        """A client of the administrator's, closed with the sandbox at the latest."""
        made = Client(KubeConfig.from_file(str(self.kubeconfig)), namespace=namespace, trust_env=False)
        self._open.callback(made.close)
        return made

    def kubeconfig_of(self, namespace: str, account: str) -> Path:
        """A kubeconfig with a new token of a service account, good for an hour, as its pods would have it."""
        path = self.folder / "keys" / f"{namespace}.{account}.kubeconfig"
        token = objects.token_of(self.client(), namespace, account)
        write_kubeconfig(self.plane, path, account, token, namespace)
        return path

    def state(self) -> State:
        """What it says of itself."""
        groups = self.options.fleet.groups
        urls = {**self.urls, "kube-apiserver": self.url}
        return State(
            name=self.options.name or "",
            pid=os.getpid(),
            url=self.url,
            kubeconfig=str(self.kubeconfig),
            started=time.time(),
            nodes=sum(group.count for group in groups),
            cards=sum(group.count * group.cards for group in groups),
            processes=tuple(
                Running(one.name, one.pid, str(one.log), urls.get(one.name, ""))
                for one in self._processes.values()
                if one.pid is not None
            ),
        )

    # ---- what can be done to it ----------------------------------------------------------------

    def process(self, name: str) -> Process:
        """One of its processes by name; or SandboxError."""
        if name not in self._processes:
            raise SandboxError(f"there is no process {name}. Known: {', '.join(self._processes)}")
        return self._processes[name]

    def kill(self, name: str) -> None:
        """End a process at once (SIGKILL)."""
        self.process(name).kill()

    def pause(self, name: str) -> None:
        """Stop a process where it is (SIGSTOP): it keeps its connections and answers nobody."""
        self.process(name).send(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Let a paused process go on (SIGCONT)."""
        self.process(name).send(signal.SIGCONT)

    def restart(self, name: str, limit: Seconds = LIMIT) -> None:
        """Start a process, ended before if it lives, and wait until it answers; or SandboxError."""
        process = self.process(name)
        process.stop()
        process.start(self._spawner)
        process.wait(limit)
        self._place.write(self.state())

    def reload(self, name: str) -> None:
        """Have a process read its configuration again (SIGHUP: prometheus, alertmanager)."""
        self.process(name).send(signal.SIGHUP)

    def lose_node(self, name: str) -> None:
        """Have a node, and the pods that run on it, not ready; they are evicted as they tolerate."""
        objects.mark_lost(self.client(), name, True)

    def return_node(self, name: str) -> None:
        """Have a lost node ready again, with those of its pods that are still there."""
        objects.mark_lost(self.client(), name, False)

    def tend(self) -> list[str]:
        """Start again what has ended by itself; the names of what had."""
        ended = [one for one in self._processes.values() if one.wanted and not one.alive]
        for process in ended:
            process.start(self._spawner)
        if ended:
            self._place.write(self.state())
        return [process.name for process in ended]

    def stop(self) -> None:
        """End all processes and remove all files."""
        self._open.close()
        for process in reversed(self._processes.values()):
            process.kill()  # nothing here is worth a farewell
        self._spawner.shutdown()
        self._place.remove()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
