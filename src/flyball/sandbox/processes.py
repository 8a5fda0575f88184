"""Processes of a sandbox: each in a group of its own, with a log, and gone when ours is gone.

The last is the kernel's doing (PR_SET_PDEATHSIG, by util-linux's `setpriv`): also where we end by SIGKILL,
nothing is left behind. It goes by the thread that started the process, so a thread that lives as long as the
sandbox starts them all.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from flyball.sandbox.errors import SandboxError
from flyball.units import Seconds

GRACE: Seconds = 5.0
"""After SIGTERM, before SIGKILL."""
POLL: Seconds = 0.05
TAIL = 8
"""Lines of a log that an error repeats."""

Ready = Callable[[], bool]


class Process:
    """One program with its arguments, that can be ended, stopped, continued and started again."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str],
        ready: Ready,
    ) -> None:
        self.name, self.log = name, log
        self._command, self._environment, self._ready = tuple(command), dict(environment), ready
        self._process: subprocess.Popen[bytes] | None = None
        self.wanted = False
        """It was started, and nobody has ended it."""

    @property
    def pid(self) -> int | None:
        """Its process id while it lives."""
        return self._process.pid if self._process is not None and self.alive else None

    @property
    def alive(self) -> bool:
        """It was started and has not ended; also while it is stopped by SIGSTOP."""
        return self._process is not None and self._process.poll() is None

    @property
    def is_ready(self) -> bool:
        """It lives and answers."""
        return self.alive and self._ready()

    def start(self, spawner: ThreadPoolExecutor) -> None:
        """Start it, unless it lives."""
        if not self.alive:
            self._process = spawner.submit(self._spawn).result()
        self.wanted = True

    def _spawn(self) -> subprocess.Popen[bytes]:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise SandboxError("there is no setpriv, which ends what we started: install util-linux")
        with self.log.open("ab") as log:
            try:
                return subprocess.Popen(
                    [setpriv, "--pdeathsig", "KILL", *self._command],
                    env={**os.environ, **self._environment},
                    cwd=self.log.parent,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            except OSError as error:
                raise SandboxError(f"{self.name} cannot be started: {error}") from None

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it lives."""
        if self._process is not None and self.alive:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once (SIGKILL); returns when it is gone."""
        self.wanted = False
        self._end()

    def stop(self, grace: Seconds = GRACE) -> None:
        """End it, first politely."""
        self.wanted = False
        self.send(signal.SIGTERM)
        self.send(signal.SIGCONT)
        try:
            if self._process is not None:
                self._process.wait(grace)
        except subprocess.TimeoutExpired:
            pass
        self._end()

    def _end(self) -> None:
        if self._process is not None:
            self.send(signal.SIGKILL)
            self._process.wait()

    def wait(self, limit: Seconds) -> None:
        """Wait until it answers; SandboxError with its last words where it ends, or not within the limit."""
        until = time.monotonic() + limit
        while not self.is_ready:
            if not self.alive:
                raise SandboxError(f"{self.name} has ended{self.last_words()}")
            if time.monotonic() > until:
                raise SandboxError(f"{self.name} did not answer within {limit:g} s{self.last_words()}")
            time.sleep(POLL)

    def last_words(self) -> str:
        """The end of its log, as errors repeat it."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()[-TAIL:]
        except OSError:
            return ""
        return f". The last of its log, {self.log}:\n" + "\n".join(lines) if lines else ""
