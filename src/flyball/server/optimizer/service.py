"""The optimizer's routes as a service."""

from __future__ import annotations

from flyball.server.optimizer.own import planning
from flyball.server.optimizer.planning import Ask
from flyball.server.optimizer.routes import optimizing, reading
from flyball.server.optimizer.stateful import changing
from flyball.server.optimizer.store import Keep, Store
from flyball.server.service.service import Limits, Service
from flyball.wire.inferno_system import System

ABOUT = (
    "Which accelerator, how many replicas and which batch for each model server: the routes of Inferno's "
    "optimizer in its three generations (milliseconds, requests per minute, cents per hour), and Flyball's "
    "own /v1/plan (seconds, requests per second, dollars per hour)."
)


def service(
    *,
    stateful: bool = False,
    system: System | None = None,
    keep: Keep | None = None,
    usual: Ask | None = None,
    limits: Limits | None = None,
) -> Service:
    """The stateless service, or the stateful one: it begins with `system`, and `keep` writes each change."""
    usual = usual or Ask()
    store = Store(system or System(), keep if stateful else None)
    more = changing(store, usual) if stateful else ()
    return Service(
        name="optimizer",
        title="The optimizer",
        about=ABOUT,
        handlers=(optimizing(store, usual), *reading(store), *more, planning(usual)),
        limits=limits or Limits(),
    )
