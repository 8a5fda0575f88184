"""Loopback: free ports, and whether something answers there."""

from __future__ import annotations

import http.client
import socket
import ssl
from pathlib import Path

HOST = "127.0.0.1"
TIMEOUT = 2.0


def free_ports(count: int) -> list[int]:
    """So many different ports that were free just now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def listens(port: int) -> bool:
    """Whether someone accepts connections there."""
    try:
        with socket.create_connection((HOST, port), TIMEOUT):
            return True
    except OSError:
        return False


def answers(port: int, path: str, authority: Path | None = None, token: str = "") -> bool:
    """Whether GET of a path gives 200; by TLS where there is an authority to trust."""
    return get(port, path, authority, token)[0] == 200


def get(port: int, path: str, authority: Path | None = None, token: str = "") -> tuple[int, bytes]:
    """Status and body of a GET; status 0 where nobody answers."""
    connection: http.client.HTTPConnection
    try:
        if authority is None:
            connection = http.client.HTTPConnection(HOST, port, timeout=TIMEOUT)
        else:
            trust = ssl.create_default_context(cafile=str(authority))
            connection = http.client.HTTPSConnection(HOST, port, timeout=TIMEOUT, context=trust)
        try:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()
    except (OSError, http.client.HTTPException):
        return 0, b""
