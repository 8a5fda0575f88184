"""Steering: how the loop moves towards its plans, and how far at once."""

from __future__ import annotations

import msgspec

from flyball.units import Seconds


class Steering(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the loop. The defaults are meant for replicas that take minutes to start."""

    period: Seconds = 15.0
    """Of a cycle; 0: only on demand."""
    plan_period: Seconds = 60.0
    """A new plan is made at least so often; sooner where a load outgrows its plan or the fleet changes."""
    stale: Seconds = 90.0
    """Readings older than this are as good as absent."""
    forecast: bool = True
    """Provide for the load at the end of a cold start; else for the present one."""
    quantile: float = 0.5
    """Of the forecast that is provided for, and never less than the present load."""
    reserve: float = 0.1
    """Beside it, this share of such a jump as the load has made lately within a cold start."""
    spare: float = 0.25
    """Replicas beside what the load needs, where the fleet's settings do not ask for more."""
    drain: Seconds = 300.0
    """Requests that wait are to be gone after this. They are late already: what comes now counts more."""
    queue: float = 2.0
    """Waiting requests per ready replica from which on a server is saturated."""
    dead_band: float = 0.05
    """Fewer replicas only if they would also do for so much more load."""
    stabilisation: Seconds = 60.0
    """Fewer replicas only if fewer were enough for so long."""
    patience: Seconds = 300.0
    """A move to another accelerator begins only if it would have paid for so long."""
    reversal: Seconds = 600.0
    """For so long after growing, fewer only if the load has really fallen."""
    fallen: float = 0.3
    """Really: by this share of what it had grown for."""
    step_up: float = 1.0
    """At most this share more replicas in one cycle, and at least four."""
    step_down: float = 0.5
    """At most this share fewer in one cycle, and at least one."""
    blast_radius: float = 0.25
    """At most this share of the servers shrinks or begins to move in one cycle, and at least one."""
    calibrate: bool = True
    """Learn from what servers show how fast their models are."""
    confidence: float = 0.8
    """With which replicas are to be enough, as far as parameters are known; a half: as likely as not."""
    scale_to_zero: bool = False
    """Only where demand can be seen without a replica."""
