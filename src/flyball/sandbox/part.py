"""What every part beside the control plane has in common."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from lightkube import Client

from flyball.sandbox.processes import Process
from flyball.units import Seconds

Start = Callable[[Process], None]
FASTEST = 1000.0
"""Speed of the engines."""
MOST_ERROR = 0.9


class Scrape(msgspec.Struct, frozen=True):
    """What Prometheus asks, and whom Alertmanager tells."""

    every: Seconds = 2.0
    """Between scrapes, and between evaluations of rules."""
    targets_url: str = ""
    """Of an HTTP service discovery; there is always prometheus-targets.json in the sandbox's folder too."""
    alerts_url: str = ""
    """Of a webhook that Alertmanager tells about alerts; none: it only keeps them."""


class Pretence(msgspec.Struct, frozen=True):
    """How the engines are played. Or ValueError."""

    speed: float = 1.0
    """Of their time: simulated seconds in one of ours."""
    seed: int = 0
    """Of their requests, and of how they differ from the library's profiles."""
    error: float | None = None
    """By how much of itself each parameter may differ, 0 to 0.9; None: as they choose."""

    def __post_init__(self) -> None:
        if not 0 < self.speed <= FASTEST:
            raise ValueError(f"--speed is {self.speed:g}: it is over 0, up to {FASTEST:g}")
        if self.seed < 0:
            raise ValueError(f"--seed is {self.seed}: a seed is 0 or more")
        if self.error is not None and not 0 <= self.error <= MOST_ERROR:
            raise ValueError(f"--error is {self.error:g}: it is a share from 0 to {MOST_ERROR:g}")


class Part:
    """Processes of one kind, and what must be done before and after they start."""

    name = ""
    url = ""
    processes: tuple[Process, ...] = ()

    def before(self, client: Client) -> None:
        """Make what they need of the API."""

    def after(self, client: Client, start: Start, limit: Seconds) -> None:
        """Do what only goes once they have started; or SandboxError."""
