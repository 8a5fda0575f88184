"""The algorithms that come with Flyball."""

from __future__ import annotations

from flyball.power.algorithms.fill import fill, nameplate
from flyball.power.view import ServerView, View


def static_cap(view: View, *, margin: float = 0.0) -> dict[str, int]:
    """Nameplate watts within the room, shared out in proportion to what servers want; needs no sensors."""
    return fill(view, lambda s, n: (n / max(s.ceiling, 1),), nameplate, margin)


def oversubscription(view: View, *, margin: float = 0.0) -> dict[str, int]:
    """Watts as modelled at the present load within the room; the important first, in proportion within.

    The room is that below the threshold learned from rises, where POLCA has fixed shares of the budget.
    """
    return fill(view, lambda s, n: (s.priority, n / max(s.ceiling, 1)), margin=margin)


def perf_per_watt(view: View, *, margin: float = 0.0) -> dict[str, int]:
    """Most tokens per watt first, replica by replica, whatever the priority."""
    return fill(view, lambda s, n: (-_tokens_per_watt(s),), margin=margin)


def maximize_replicas(view: View, *, margin: float = 0.0) -> dict[str, int]:
    """As many replicas as can be: those that draw least first."""
    return fill(view, lambda s, n: (s.full, s.idle), nameplate, margin)


def prioritize_high_replica(view: View, *, margin: float = 0.0) -> dict[str, int]:
    """Servers with the most replicas first: they carry the most load."""
    return fill(view, lambda s, n: (-float(s.replicas),), nameplate, margin)


def _tokens_per_watt(server: ServerView) -> float:
    watts = server.watts(server.ceiling)
    return server.tokens / watts if watts > 0 else 0.0
