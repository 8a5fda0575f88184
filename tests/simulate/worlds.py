"""Small worlds to test the plant with."""

from __future__ import annotations

from typing import Any

from flyball.spec.accelerator import Accelerator
from flyball.spec.fleet import Fleet
from flyball.spec.scenario import Draw, Duration, Engine, Lengths, Node, Steady, Stream, World
from flyball.spec.server import Server

ENGINE = Engine("m", "H100", 0.012, 2e-4, 2.5e-7, 3e-5, kv_tokens=100_000)
NODES = (Node("n0", "H100", 4), Node("n1", "H100", 4), Node("old", "A100", 2))


def world(
    rate: float = 4.0, *, replicas: int = 2, servers: tuple[str, ...] = ("chat",), **more: Any
) -> World:
    """Servers of one model on two nodes with 4 H100 and one with 2 A100; starts with ready H100 replicas."""
    fleet = Fleet(
        accelerators=(Accelerator("H100", "H100", 1, 3.0), Accelerator("A100x2", "A100", 2, 4.0)),
        servers=tuple(Server(name, "m") for name in servers),
        capacity={"H100": 8, "A100": 2},
    )
    slow = Engine("m", "A100x2", 0.02, 4e-4, 5e-7, 6e-5, kv_tokens=50_000)
    given: dict[str, Any] = {
        "engines": (ENGINE, slow),
        "streams": tuple(Stream(s, Steady(rate), Lengths(500, 0.5), Lengths(100, 0.5)) for s in servers),
        "nodes": NODES,
        "draws": (Draw("H100", 100.0, 500.0, 700.0), Draw("A100", 60.0, 300.0, 400.0)),
        "cold_start": Duration(60.0),
        "start": {s: {"H100": replicas} for s in servers},
        **more,
    }
    return World(fleet, **given)
