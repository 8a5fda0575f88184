"""A tiny HTTP service that answers as it is told, byte by byte if need be."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

END = b"\r\n\r\n"


class Heard(NamedTuple):
    """A request as it came."""

    line: str
    headers: dict[str, str]
    body: bytes


class Script:
    """Answers one after the other, the last one again and again; what was asked is in `heard`."""

    def __init__(self, answers: Sequence[bytes | None]) -> None:
        self._answers = list(answers)
        self.heard: list[Heard] = []
        self.over = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                with connection, suppress(OSError):
                    self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        data = b""
        while END not in data:
            more = connection.recv(65536)
            if not more:
                return
            data += more
        head, _, body = data.partition(END)
        line, *rest = head.decode("latin-1").split("\r\n")
        headers = {k.lower(): v for k, _, v in (each.partition(": ") for each in rest)}
        while len(body) < int(headers.get("content-length", 0)):
            body += connection.recv(65536)
        self.heard.append(Heard(line, headers, body))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if answer is None:  # silence, until the test is over
            self.over.wait(60)
            return
        connection.sendall(answer)

    def end(self) -> None:
        self.over.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def reply(
    status: int, body: str | bytes = b"", kind: str | None = None, headers: Mapping[str, str] | None = None
) -> bytes:
    """An answer after which the connection ends."""
    data = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} Words", "Connection: close", f"Content-Length: {len(data)}"]
    lines += [f"Content-Type: {kind}"] if kind else []
    lines += [f"{k}: {v}" for k, v in (headers or {}).items()]
    return "\r\n".join(lines).encode() + END + data


def said(body: str, status: int = 200) -> bytes:
    """An answer in JSON."""
    return reply(status, body, "application/json; charset=utf-8")


@contextmanager
def scripted(*answers: bytes | None) -> Iterator[Script]:
    """A service with these answers; None is silence."""
    script = Script(answers)
    thread = threading.Thread(target=script.serve, daemon=True)
    thread.start()
    try:
        yield script
    finally:
        script.end()
        thread.join(60)
        assert not thread.is_alive()
