"""The control plane: keys, users, kubeconfigs, and the commands of etcd and Kubernetes' own programs."""

from __future__ import annotations

import base64
import secrets
import subprocess
from collections.abc import Mapping
from pathlib import Path

import msgspec

from flyball.sandbox.build import Watch, nobody, program
from flyball.sandbox.errors import SandboxError
from flyball.sandbox.network import HOST, answers, free_ports
from flyball.sandbox.processes import Process
from flyball.wire.text import encode_yaml

ETCD, API_SERVER = "etcd", "kube-apiserver"
CONTROLLERS, SCHEDULER = "kube-controller-manager", "kube-scheduler"

ADMIN = "admin"
USERS = {
    ADMIN: ("flyball:admin", "system:masters"),
    CONTROLLERS: ("system:kube-controller-manager", ""),
    SCHEDULER: ("system:kube-scheduler", ""),
    "kwok": ("flyball:kwok", "system:masters"),
}
"""Name and group of each; those of the control plane have the roles that Kubernetes ships for them."""

Arguments = Mapping[str, tuple[str, ...]]


class Plane(msgspec.Struct, frozen=True):
    """Where a control plane keeps its files, listens, and who it knows."""

    name: str
    folder: Path
    port: int
    etcd_port: int
    peer_port: int
    tokens: dict[str, str]

    @property
    def url(self) -> str:
        """Of the API server."""
        return f"https://{HOST}:{self.port}"

    @property
    def authority(self) -> Path:
        """The certificate to trust."""
        return self.folder / "keys" / "ca.crt"

    def kubeconfig(self, user: str = ADMIN) -> Path:
        """The file with which a user comes in."""
        return self.folder / ("kubeconfig" if user == ADMIN else f"keys/{user}.kubeconfig")


def prepare(name: str, folder: Path, watch: Watch = nobody) -> Plane:
    """Keys, tokens and kubeconfigs in a folder; or SandboxError."""
    keys = folder / "keys"
    keys.mkdir(mode=0o700)
    done = subprocess.run([*program("keys", watch), str(keys)], capture_output=True, text=True)
    if done.returncode:
        raise SandboxError(f"keys cannot be made: {done.stderr.strip()}")
    port, etcd_port, peer_port = free_ports(3)
    tokens = {user: secrets.token_hex(16) for user in USERS}
    plane = Plane(name, folder, port, etcd_port, peer_port, tokens)
    rows = (f'{tokens[user]},{who},{who},"{group}"\n' for user, (who, group) in USERS.items())
    _write(keys / "tokens.csv", "".join(rows))
    for user in USERS:
        write_kubeconfig(plane, plane.kubeconfig(user), user, tokens[user])
    return plane


def processes(plane: Plane, more: Arguments, watch: Watch = nobody) -> list[Process]:
    """The four programs in the order of their start; `more` has further arguments by program."""
    keys = plane.folder / "keys"
    etcd_url = f"http://{HOST}:{plane.etcd_port}"
    peer_url = f"http://{HOST}:{plane.peer_port}"
    etcd = (
        "--name=default",
        f"--data-dir={plane.folder / 'etcd'}",
        f"--listen-client-urls={etcd_url}",
        f"--advertise-client-urls={etcd_url}",
        f"--listen-peer-urls={peer_url}",
        f"--initial-advertise-peer-urls={peer_url}",
        f"--initial-cluster=default={peer_url}",
        "--unsafe-no-fsync=true",
        "--log-level=warn",
    )
    api_server = (
        f"--etcd-servers={etcd_url}",
        f"--bind-address={HOST}",
        f"--secure-port={plane.port}",
        f"--tls-cert-file={keys / 'apiserver.crt'}",
        f"--tls-private-key-file={keys / 'apiserver.key'}",
        f"--client-ca-file={plane.authority}",
        f"--token-auth-file={keys / 'tokens.csv'}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={keys / 'sa.pub'}",
        f"--service-account-signing-key-file={keys / 'sa.key'}",
        "--service-cluster-ip-range=10.0.0.0/16",
        "--authorization-mode=RBAC",
        "--allow-privileged=true",
        f"--requestheader-client-ca-file={keys / 'front-proxy-ca.crt'}",
        "--requestheader-allowed-names=front-proxy",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={keys / 'front-proxy.crt'}",
        f"--proxy-client-key-file={keys / 'front-proxy.key'}",
    )
    controllers = (
        f"--kubeconfig={plane.kubeconfig(CONTROLLERS)}",
        f"--service-account-private-key-file={keys / 'sa.key'}",
        f"--root-ca-file={plane.authority}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        "--secure-port=0",
        # Of 20 requests a second, the default, half its start would be waiting for its own turn.
        "--kube-api-qps=400",
        "--kube-api-burst=800",
    )
    scheduler = (
        f"--kubeconfig={plane.kubeconfig(SCHEDULER)}",
        "--leader-elect=false",
        "--secure-port=0",
    )

    def one(name: str, arguments: tuple[str, ...], port: int, path: str) -> Process:
        secure = port == plane.port

        def ready() -> bool:
            if secure:
                return answers(port, path, plane.authority, plane.tokens[ADMIN])
            return not port or answers(port, path)

        command = (*program(name, watch), *arguments, *more.get(name, ()))
        return Process(name, command, plane.folder / "logs" / f"{name}.log", {}, ready)

    return [
        one(ETCD, etcd, plane.etcd_port, "/health"),
        one(API_SERVER, api_server, plane.port, "/readyz"),
        one(CONTROLLERS, controllers, 0, ""),
        one(SCHEDULER, scheduler, 0, ""),
    ]


def write_kubeconfig(plane: Plane, path: Path, user: str, token: str, namespace: str = "default") -> None:
    """Write the file with which a bearer of this token comes in."""
    _write(path, encode_yaml(_kubeconfig(plane, token, user, namespace)))


def _kubeconfig(plane: Plane, token: str, user: str, namespace: str) -> dict[str, object]:
    name = f"flyball-{plane.name}"
    certificate = base64.b64encode(plane.authority.read_bytes()).decode()
    cluster = {"server": plane.url, "certificate-authority-data": certificate}
    context = {"cluster": name, "user": user, "namespace": namespace}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": name, "context": context}],
        "current-context": name,
    }


def _write(path: Path, text: str) -> None:
    """A file for our own eyes."""
    path.touch(mode=0o600)
    path.write_text(text)
