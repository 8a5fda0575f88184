"""The controller: /invoke, what was decided and why, and the page of the fleet that it governs."""

from __future__ import annotations

from collections.abc import Callable, Collection

from flyball.server.control import invoked
from flyball.server.guard import LOOPBACK
from flyball.server.page.live import Live
from flyball.server.page.routes import page_of
from flyball.server.page.told import told_of
from flyball.server.service.service import Service


def controller(
    live: Live,
    invoke: Callable[[], str],
    ready: Callable[[], str] = lambda: "",
    ledger: str = "",
    hosts: Collection[str] | None = LOOPBACK,
) -> Service:
    """GET /invoke runs a cycle; `invoke` says what went wrong, or "". GET /v1/servers tells what was decided.

    `hosts`: under which the page and what is told are served, None: any.
    """
    return Service(
        name="controller",
        title="Flyball: controller",
        about="Inferno's control loop, and the page of the fleet that it governs.",
        handlers=(invoked(invoke), told_of(live, hosts), page_of(live, ledger, hosts)),
        ready=ready,
    )
