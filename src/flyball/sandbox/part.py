"""What every part beside the control plane has in common."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from lightkube import Client

from flyball.sandbox.processes import Process
from flyball.units import Seconds

Start = Callable[[Process], None]


class Scrape(msgspec.Struct, frozen=True):
    """What Prometheus asks, and whom Alertmanager tells."""

    every: Seconds = 2.0
    """Between scrapes, and between evaluations of rules."""
    targets_url: str = ""
    """Of an HTTP service discovery; there is always prometheus-targets.json in the sandbox's folder too."""
    alerts_url: str = ""
    """Of a webhook that Alertmanager tells about alerts; none: it only keeps them."""


class Part:
    """Processes of one kind, and what must be done before and after they start."""

    name = ""
    url = ""
    processes: tuple[Process, ...] = ()

    def before(self, client: Client) -> None:
        """Make what they need of the API."""

    def after(self, client: Client, start: Start, limit: Seconds) -> None:
        """Do what only goes once they have started; or SandboxError."""
