"""Two replicas of the operator as `make deploy` allows them, each behind a connection that is recorded."""

from __future__ import annotations

import http.client
import re
import selectors
import signal
import socket
import ssl
import sys
import threading
import time
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

import msgspec

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.errors import ClusterError, NotFound
from flyball.operator.kinds import KINDS
from flyball.sandbox.cluster import Sandbox
from flyball.sandbox.network import answers, free_ports
from flyball.sandbox.processes import Process
from tests.clusters import eventually
from tests.kubernetes_faults.proxy import DROPPED, Fault, Passed, Proxy
from tests.operator_cluster.desk import GROUP, Desk, Object

HOME = "flyball"
ACCOUNT = "flyball/flyball"
LOOK = 1.0
"""Seconds between looks at the certificate."""
START = "import runpy; runpy.run_module('flyball', run_name='__main__', alter_sys=True)"
CODE = f"""
from flyball.operator.trust import Trust
Trust.__init__.__kwdefaults__["every"] = {LOOK}
{START}
"""
ANYBODY = re.compile(r"/leases|/events|/namespaces$|/secrets|/validatingwebhookconfigurations|/selfsubject")
"""Written by those that do not lead, too; events are told later, by a thread of their own."""
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{HOME}/leases/flyball"
SILENCE = 300.0


class Line(Proxy):
    """A proxy that watches pass through, too, and that can be cut."""

    def __init__(self, upstream: str, authority: Path) -> None:
        self.down = False
        self._streams: set[socket.socket] = set()
        super().__init__(upstream, authority)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """One request."""
        if self.down:
            handler.close_connection = True
        elif "watch=true" in handler.path:
            self._stream(handler)
        else:
            super().answer(handler)

    def cut(self) -> int:
        """End all watches; how many there were."""
        streams = list(self._streams)
        for one in streams:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        return len(streams)

    def _stream(self, handler: BaseHTTPRequestHandler) -> None:
        fault = self.plan(handler.command, handler.path) or Fault()
        if fault.delay:
            time.sleep(fault.delay)
        handler.close_connection = True
        if fault.status:
            self._send(handler, fault.status, fault.headers, fault.body, 0.0)
        if fault.status or fault.cut:
            return
        host, port = str(self._host.hostname), self._host.port
        upstream = http.client.HTTPSConnection(host, port, timeout=SILENCE, context=self._trust)
        headers = {key: value for key, value in handler.headers.items() if key.lower() not in DROPPED}
        self._streams.add(handler.connection)
        try:
            at = time.monotonic()
            upstream.request("GET", handler.path, None, headers)
            answer = upstream.getresponse()
            self.passed.append(Passed(at, "GET", handler.path, None, answer.status, None))
            handler.send_response_only(answer.status)
            handler.send_header("Content-Type", "application/json")
            handler.end_headers()
            while data := answer.read1(1 << 16):
                handler.wfile.write(data)
        except (OSError, http.client.HTTPException):
            return  # either side has gone
        finally:
            self._streams.discard(handler.connection)
            upstream.close()


class Replica:
    """`flyball operator` under the account that was deployed, with webhooks."""

    def __init__(self, desk: Desk, name: str, *words: str) -> None:
        self.name, self._desk = name, desk
        self.line = Line(desk.sandbox.url, desk.sandbox.authority)
        self.port, self.webhooks = free_ports(2)
        self.url = f"http://127.0.0.1:{self.port}"
        self.kubeconfig = desk.folder / f"replica-{name}.kubeconfig"
        self.log = desk.folder / f"replica-{name}.log"
        command = (
            *(sys.executable, "-c", CODE, "operator", *words, "--namespace", HOME),
            *("--webhook-host", "0.0.0.0", "--webhook-port", str(self.webhooks), "--port", str(self.port)),
        )
        environment = {"KUBECONFIG": str(self.kubeconfig)}
        self.process = Process(name, command, self.log, environment, lambda: answers(self.port, "/readyz"))

    def start(self) -> None:
        """Start it with a new token, and wait until it answers."""
        sandbox: Sandbox = self._desk.sandbox
        text = sandbox.kubeconfig_of(*ACCOUNT.split("/")).read_text()
        self.kubeconfig.write_text(text.replace(sandbox.url, self.line.url))
        self.process.start(self._desk.spawner)
        self.process.wait(60.0)

    def pause(self) -> None:
        """SIGSTOP."""
        self.process.send(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.process.send(signal.SIGCONT)

    def close(self) -> None:
        """End it and its connection."""
        self.process.stop(15.0)
        self.line.close()

    @property
    def words(self) -> str:
        """What it said, requests left aside."""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(line for line in lines if '"event": "request"' not in line)

    def figure(self, name: str) -> float:
        """One of its metrics."""
        with urlopen(f"{self.url}/metrics", timeout=30) as answer:
            found = re.search(rf"^{name} (\S+)$", answer.read().decode(), re.MULTILINE)
        assert found, name
        return float(found[1])

    @property
    def certificate(self) -> str:
        """Which its webhooks show."""
        return ssl.get_server_certificate(("127.0.0.1", self.webhooks), timeout=10.0)

    def writes(self) -> list[Passed]:
        """All that it wrote, the Lease and Events aside."""
        return [one for one in list(self.line.passed) if one.wrote and not ANYBODY.search(_path(one))]


class Door:
    """A port that leads to whichever replica takes connections, as a Service does."""

    def __init__(self, ports: list[int]) -> None:
        self._ports = ports
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        """Take no more."""
        self._server.close()

    def _run(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._join, args=(client,), daemon=True).start()

    def _join(self, client: socket.socket) -> None:
        with client:
            for port in self._ports:
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0) as there:
                    _pump(client, there)
                    return


def _pump(one: socket.socket, other: socket.socket) -> None:
    ends = {one: other, other: one}
    with selectors.DefaultSelector() as selector:
        for end in ends:
            selector.register(end, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                end: Any = key.fileobj
                data = end.recv(1 << 16)
                if not data:
                    return
                ends[end].sendall(data)


class Pair:
    """Two replicas, and what an administrator sees of them."""

    def __init__(self, desk: Desk, api: Api, a: Replica, b: Replica) -> None:
        self.desk, self.api, self.replicas = desk, api, (a, b)

    def leader(self) -> Replica | None:
        """Whom the Lease names; None: nobody who lives."""
        try:
            name = str(self.api.get(LEASE, dict)["spec"].get("holderIdentity") or "")
        except (NotFound, ClusterError):
            return None
        return next((r for r in self.replicas if r.process.pid and f"_{r.process.pid}_" in name), None)

    def led(self) -> tuple[Replica, Replica]:
        """Who leads and who does not, once somebody does."""
        leads = eventually(self.leader)
        assert leads is not None
        return leads, next(one for one in self.replicas if one is not leads)

    def get(self, kind: str, name: str, namespace: str) -> Object:
        """An object of our kinds."""
        found: Object = self.api.get(KINDS[kind].path(namespace, name), dict)
        return found

    def all(self, kind: str, namespace: str) -> list[Object]:
        """All of a kind."""
        return self.api.items(KINDS[kind].path(namespace), dict)

    def optimize(self, namespace: str, name: str = "inferno") -> None:
        """Ask for a plan."""
        self.change("Optimizer", name, namespace, optimize=True)

    def change(self, kind: str, name: str, namespace: str, **spec: Any) -> Object:
        """Set fields."""
        found: Object = self.api.patch(KINDS[kind].path(namespace, name), {"spec": spec}, dict)
        return found

    def told(self, kind: str, name: str, namespace: str) -> bool:
        """Whether its status is of what it is now."""
        one = self.get(kind, name, namespace)
        said = one.get("status", {}).get("observedGeneration")
        return bool(said == one["metadata"]["generation"])


class Write(NamedTuple):
    """A write of what only the leader writes."""

    revision: int
    replica: str
    path: str


def strangers(replicas: tuple[Replica, ...]) -> list[tuple[Write, str]]:
    """Writes that were done while, by the order of the API server, another one held the Lease."""
    held, done = [], []
    for replica in replicas:
        for one in list(replica.line.passed):
            if not one.wrote or not isinstance(one.body, dict):
                continue
            if "/leases" in one.path and one.body.get("spec"):
                holder = one.body["spec"].get("holderIdentity")
                held.append((_revision(one), replica.name if holder else ""))
            elif not ANYBODY.search(_path(one)) and one.method != "DELETE" and _changed(one):
                done.append(Write(_revision(one), replica.name, _path(one)))
    held.sort()
    revisions, found = [revision for revision, _ in held], []
    for write in done:
        place = bisect_right(revisions, write.revision)
        holder = held[place - 1][1] if place else ""
        if holder != write.replica:
            found.append((write, holder))
    return found


def _path(one: Passed) -> str:
    return one.path.partition("?")[0]


def _revision(one: Passed) -> int:
    """Where in the order of all writes it is; etcd counts them."""
    return int(one.body["metadata"]["resourceVersion"])


def _changed(one: Passed) -> bool:
    """Not where all was so already: the answer has an old version then."""
    sent = one.sent.get("metadata") if isinstance(one.sent, dict) else None
    return not sent or sent.get("resourceVersion") != one.body["metadata"]["resourceVersion"]


def taken_back(replicas: tuple[Replica, ...], namespace: str) -> int:
    """How often a request of a namespace's Optimizers was answered."""
    there = f"/apis/{GROUP}/v1alpha1/namespaces/{namespace}/optimizers/"
    return sum(
        one.method == "PATCH" and one.path.startswith(there) and one.sent["spec"] == {"optimize": False}
        for replica in replicas
        for one in replica.writes()
    )


@contextmanager
def deployed(desk: Desk, overlay: str = "recommend-only") -> Iterator[None]:
    """Our kinds, roles and webhooks, as a user installs them; gone at the end."""
    desk.make("install")
    try:
        desk.make("deploy", "IMG=flyball:test", f"OVERLAY={overlay}")
        yield
    finally:
        desk.make("undeploy", "IMG=flyball:test", f"OVERLAY={overlay}")
        desk.make("uninstall")


@contextmanager
def paired(desk: Desk, *words: str) -> Iterator[Pair]:
    """Two replicas that run, and a Service before their webhooks."""
    a, b = (Replica(desk, name, *words) for name in "ab")
    with closing(Door([a.webhooks, b.webhooks])) as door, closing(Api(desk.sandbox.kubeconfig)) as api:
        _reachable(desk, door.port)
        try:
            for one in (a, b):
                one.start()
            yield Pair(desk, api, a, b)
        finally:
            a.close()
            b.close()


def _reachable(desk: Desk, port: int) -> None:
    """The Service leads to this machine, as the API server of a sandbox is in no cluster network."""
    desk.kubectl("delete", "service", "flyball-webhook", "-n", HOME)
    body = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "flyball-webhook"},
        "spec": {"type": "ExternalName", "externalName": "localhost"},
    }
    desk.apply(body, namespace=HOME)
    where = [{"op": "replace", "path": "/webhooks/0/clientConfig/service/port", "value": port}]
    words = ("patch", "validatingwebhookconfiguration", "flyball", "--type", "json", "-p")
    desk.kubectl(*words, msgspec.json.encode(where).decode())
