"""How much load to provide for: the forecast at the end of a cold start, the backlog, and what measuring
says about the model."""

from __future__ import annotations

import math

from msgspec.structs import replace

from flyball.decide.memory import ServerMemory
from flyball.decide.seen import Seen
from flyball.forecast.history import ForecastSettings, History
from flyball.forecast.observe import observe, tokens
from flyball.forecast.predict import forecast
from flyball.spec.steering import Steering
from flyball.units import RequestsPerSecond, Seconds, Tokens

WINDOW = 60.0
FORECAST = ForecastSettings(window=WINDOW, reading=WINDOW)
"""Sensors give means over a window already."""
GROWTH = 0.1
"""A correction adds this share of the replicas, and at least one."""
ALMOST = 0.999
MOST = 3.0
"""No correction is above this: beyond it something else is wrong."""
FORGET = 1800.0
"""Time in which a correction falls to 1/e of what it was above 1."""
DEFAULT_IN, DEFAULT_OUT = 1000.0, 300.0
"""Tokens of a request of which nothing is known."""


def observed(history: History | None, now: Seconds, seen: Seen) -> History | None:
    """The history with this cycle's demand, where it can be trusted."""
    rate = None if seen.blind else seen.offered
    return observe(history, now, rate, seen.in_tokens, seen.out_tokens, FORECAST)


def request_tokens(history: History | None, seen: Seen) -> tuple[Tokens, Tokens]:
    """Mean tokens of a request: as remembered, as seen, as configured, or as requests usually are."""
    known = tokens(history) if history is not None else None
    if known is not None and known.out_tokens > 0:
        return known.in_tokens, known.out_tokens
    configured = seen.server.load
    if seen.in_tokens is not None and seen.out_tokens:
        return seen.in_tokens, seen.out_tokens
    if configured.out_tokens > 0:
        return configured.in_tokens, configured.out_tokens
    return DEFAULT_IN, DEFAULT_OUT


def to_provide(memory: ServerMemory, seen: Seen, steering: Steering, lead: Seconds) -> RequestsPerSecond:
    """Requests per second to provide for; the last known where nothing can be trusted now."""
    if seen.blind or memory.history is None:
        return memory.demand or seen.server.load.arrival_rate
    now = seen.offered or 0.0
    if steering.forecast:
        ahead = forecast(memory.history, (lead,), (steering.quantile,), FORECAST)
        now = max(now, ahead.provision[0][0])
    backlog = (seen.offered or 0.0) + seen.waiting / steering.drain if seen.crowded else 0.0
    return max(now, backlog) * memory.correction


def corrected(
    memory: ServerMemory, seen: Seen, now: Seconds, steering: Steering, lead: Seconds
) -> ServerMemory:
    """Learn from saturation that the model does not explain, and forget it slowly.

    Nothing is learned while replicas are pending or too new to show an effect: they may be what is missing.
    """
    correction = 1.0 + (memory.correction - 1.0) * math.exp(-steering.period / FORGET)
    if memory.corrected_on not in ("", seen.main):
        correction = 1.0
    memory = replace(memory, correction=correction)
    goal, asked = memory.goal, sum(seen.asked.values())
    if seen.blind or not seen.saturated or goal is None or goal.short or goal.max_rate <= 0:
        return memory
    waited = memory.corrected_at is None or now - memory.corrected_at >= lead + WINDOW
    settled = memory.grew_at is None or now - memory.grew_at >= lead + WINDOW
    if not waited or not settled or seen.pending or goal.replicas > asked:
        return memory
    demand = to_provide(replace(memory, correction=1.0), seen, steering, lead)
    if demand <= 0 or (seen.offered or 0.0) > asked * goal.max_rate:
        return memory
    more = asked + max(1, math.floor(GROWTH * asked))
    wanted = min((more - steering.spare) * goal.max_rate * ALMOST / demand, MOST)
    return replace(memory, correction=max(correction, wanted), corrected_at=now, corrected_on=seen.main)
