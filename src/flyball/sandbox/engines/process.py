"""The engines as a child process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from flyball.units import Seconds


class EngineProcess(NamedTuple):
    """A process that serves the engines' pages, and where."""

    process: subprocess.Popen[str]
    url: str

    def stop(self, within: Seconds = 5.0) -> None:
        """End it: asked, then killed."""
        self.process.terminate()
        try:
            self.process.wait(within)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def command(
    kubeconfig: Path,
    *,
    port: int = 0,
    speed: float = 1.0,
    seed: int = 0,
    error: float | None = None,
    profiles: Path | None = None,
    traces: Path | None = None,
) -> tuple[str, ...]:
    """What starts the engines of a cluster as a child of this process; their first line is their URL."""
    options = {
        "--kubeconfig": kubeconfig.absolute(),
        "--parent": os.getpid(),
        "--port": port,
        "--speed": speed,
        "--seed": seed,
        "--error": error,
        "--profiles": profiles and profiles.absolute(),
        "--traces": traces and traces.absolute(),
    }
    words = (str(word) for key, value in options.items() if value is not None for word in (key, value))
    return sys.executable, "-m", "flyball.sandbox.engines", *words


def start(words: Sequence[str], log: Path) -> EngineProcess:
    """Start a `command`; what it complains of goes to `log`. ValueError: it did not start."""
    with log.open("w") as errors:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    assert process.stdout is not None
    url = process.stdout.readline().strip()  # ends with the process, where that fails
    started = EngineProcess(process, url)
    if not url:
        started.stop()
        said = log.read_text(errors="replace").strip().splitlines()
        raise ValueError(f"the engines did not start: {said[-1] if said else 'they said nothing'}")
    return started
