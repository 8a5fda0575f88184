"""A service in a process of its own, as an operator starts it."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

LONG = 60.0


class Process:
    """`flyball serve` with options on any free port; `url` is None where it ended before it served."""

    def __init__(self, *options: str, before: Callable[[], None] | None = None) -> None:
        command = [sys.executable, "-m", "flyball", "serve", *options, "--port", "0", "--log", "off"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=before
        )
        assert self.process.stdout is not None
        words = self.process.stdout.readline().split()
        self.url = next((word.rstrip("/") for word in words if word.startswith("http")), None)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def client(self) -> Client:
        assert self.url is not None, self.ended()
        return Client(self.url)

    def kill(self) -> None:
        """kill -9, and wait for the end."""
        self.process.kill()
        self.ended()

    def ended(self) -> tuple[int, str]:
        """The exit code and what was said; of one that ends by itself."""
        _, said = self.process.communicate(timeout=LONG)
        return self.process.returncode, said

    def status(self, name: str) -> int:
        """A number in /proc/PID/status: VmRSS (kB), Threads."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in text.splitlines() if line.startswith(f"{name}:")))

    def open_files(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))


class Client:
    """One kept connection that sends paths and bodies as they are."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=LONG)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def ask(
        self, method: str, path: str, body: object = None, **options: Any
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Status, headers, bytes; a body that is not bytes is sent as JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        self.connection.request(method, path, data, **options)
        answer = self.connection.getresponse()
        return answer.status, answer.headers, answer.read()

    def get(self, path: str) -> Any:
        status, _, data = self.ask("GET", path)
        assert status == 200, data
        return json.loads(data)

    def post(self, path: str, body: object) -> Any:
        status, _, data = self.ask("POST", path, body)
        assert status == 200, data
        return json.loads(data)
