"""The engines as a part of a sandbox."""

from __future__ import annotations

from pathlib import Path

from flyball.sandbox.engines.process import command
from flyball.sandbox.network import HOST, answers, free_ports
from flyball.sandbox.part import Part, Pretence
from flyball.sandbox.plane import Plane
from flyball.sandbox.processes import Process

ENGINES = "engines"


class EnginesPart(Part):
    """The process that plays what would run in the pods; `targets`: its service discovery."""

    name = ENGINES

    def __init__(self, plane: Plane, pretence: Pretence, more: tuple[str, ...] = ()) -> None:
        (port,) = free_ports(1)
        self.url = f"http://{HOST}:{port}"
        self.targets = f"{self.url}/targets"
        words = command(
            plane.kubeconfig(),
            port=port,
            speed=pretence.speed,
            seed=pretence.seed,
            error=pretence.error,
            traces=Path.cwd(),
        )
        log = plane.folder / "logs" / f"{ENGINES}.log"
        self.processes = (Process(ENGINES, (*words, *more), log, {}, lambda: answers(port, "/targets")),)
