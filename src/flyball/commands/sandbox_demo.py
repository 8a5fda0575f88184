"""`flyball sandbox demo`: a sandbox with engines under load, governed by the loop."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from flyball.commands.loop import run as govern
from flyball.commands.loop_parts import Request
from flyball.commands.output import say
from flyball.commands.sandbox import answered, building, interrupting, present, tend
from flyball.sandbox.errors import SandboxError

if TYPE_CHECKING:
    from flyball.sandbox.cluster import Options, Sandbox

DONE = 0
NAME = "demo"
COLD_START = 60.0
"""Of a pod, in simulated seconds."""


class Demo(msgspec.Struct, frozen=True):
    """What the command line asks for."""

    speed: float = 10.0
    period: float = 30.0
    seed: int = 0
    port: int = 3300


def run(asked: Demo) -> int:
    """Govern the samples in a sandbox until told to end; the exit code."""
    return answered(lambda: _run(asked))


def _run(asked: Demo) -> int:
    from flyball.sandbox.cluster import Sandbox
    from flyball.sandbox.samples import create_samples

    options = _options(asked)
    code = DONE
    with interrupting(NAME):
        with building() as watch:
            sandbox = Sandbox.start(options, watch)
        with sandbox:
            create_samples(sandbox.client())
            present(sandbox.state(), "Ctrl-C")
            with _tended(sandbox):
                code = govern(
                    Request(
                        period=asked.period,
                        kubeconfig=sandbox.kubeconfig,
                        prometheus=sandbox.urls.get("prometheus"),
                        speed=asked.speed,
                        listen={"port": asked.port, "grace": 2.0, "log": "off"},
                    )
                )
    if code == DONE:
        say(f"the sandbox {NAME} has ended")
    return code


def _options(asked: Demo) -> Options:
    """What is started. ValueError."""
    from flyball.sandbox.cluster import Options
    from flyball.sandbox.engines.part import ENGINES
    from flyball.sandbox.fleet import shipped_fleet
    from flyball.sandbox.monitoring import PROMETHEUS, find_program
    from flyball.sandbox.part import Pretence, Scrape

    if not 0 <= asked.port <= 65535:
        raise ValueError(f"--port is {asked.port}: a port is a number from 0 (any free one) to 65535")
    if not 0 < asked.period <= 86_400:
        raise ValueError(f"--period is {asked.period:g}: seconds between cycles, over 0, up to 86400")
    pretence = Pretence(asked.speed, asked.seed)
    parts = [ENGINES]
    try:
        find_program(PROMETHEUS)
        parts.append(PROMETHEUS)
    except SandboxError as error:
        say(f"flyball: {error}. Without it the load is what labels state")
    return Options(
        name=NAME,
        fleet=shipped_fleet(),
        cold_start=COLD_START / asked.speed,
        parts=tuple(parts),
        scrape=Scrape(1.0),
        pretence=pretence,
    )


@contextmanager
def _tended(sandbox: Sandbox) -> Iterator[None]:
    """Start again what ends by itself meanwhile; where that is in vain, end ourselves."""
    over = threading.Event()

    def work() -> None:
        try:
            tend(sandbox, over)
        except SandboxError as error:
            say(f"flyball: {error}")
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=work, name="flyball-sandbox-tend", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
