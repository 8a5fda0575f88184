"""The controller: /invoke, and the page of the fleet that it governs."""

from __future__ import annotations

from collections.abc import Callable, Collection

from flyball.server.control import invoked
from flyball.server.guard import LOOPBACK
from flyball.server.page.live import Live
from flyball.server.page.routes import page_of
from flyball.server.service.service import Service


def controller(
    live: Live,
    invoke: Callable[[], str],
    ready: Callable[[], str] = lambda: "",
    ledger: str = "",
    hosts: Collection[str] | None = LOOPBACK,
) -> Service:
    """GET /invoke runs a cycle; `invoke` says what went wrong, or "". `hosts`: of the page, None: any."""
    return Service(
        name="controller",
        title="Flyball: controller",
        about="Inferno's control loop, and the page of the fleet that it governs.",
        handlers=(invoked(invoke), page_of(live, ledger, hosts)),
        ready=ready,
    )
