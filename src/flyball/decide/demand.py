"""How much load to provide for: the forecast at the end of a cold start, the backlog, and what measuring
says about the model."""

from __future__ import annotations

import math

from msgspec.structs import replace

from flyball.decide.memory import ServerMemory
from flyball.decide.seen import WINDOW, Seen
from flyball.forecast.history import ForecastSettings, History
from flyball.forecast.observe import observe, tokens
from flyball.forecast.predict import forecast
from flyball.spec.steering import Steering
from flyball.units import RequestsPerSecond, Seconds, Tokens

FORECAST = ForecastSettings(window=WINDOW, reading=WINDOW)
"""Sensors give means over a window already."""
JUST_OVER = 1.02
MOST_CROWDED, MOST_SLOW = 3.0, 1.5
"""No correction is above this where requests queue, or are only slow: beyond it something else is wrong, and
replicas may not be what helps."""
MOST_BACKLOG = 1.5
"""Times the load: a backlog that is larger takes longer."""
NOTHING = 1e-3
"""Requests per second: a level below, with none arriving, is no load."""
SLOW = 900.0
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


def smoothed(before: float | None, seen: float | None, steering: Steering) -> float | None:
    """A reading that changes slowly, followed slowly."""
    if before is None or seen is None or not 0.0 <= before <= 1e3:
        return before if seen is None else seen
    return before + (seen - before) * -math.expm1(-steering.period / SLOW)


def to_provide(
    memory: ServerMemory, seen: Seen, steering: Steering, lead: Seconds
) -> tuple[RequestsPerSecond, RequestsPerSecond]:
    """Requests per second to provide for: with the backlog, and without it, which is the load that lasts.

    Where nothing can be trusted now, both are the last known.
    """
    if seen.blind or memory.history is None:
        known = memory.demand or seen.server.load.arrival_rate
        return known, known
    now = offered = seen.offered or 0.0
    if steering.scale_to_zero and not offered and memory.history.level < NOTHING:
        return 0.0, 0.0
    if steering.forecast:
        ahead = forecast(memory.history, (lead,), (steering.quantile,), FORECAST)
        likely = max(now, ahead.rate, ahead.expected[0], ahead.plain[0][0])
        now = likely + steering.reserve * ahead.reserve[0]
    backlog = offered + seen.waiting / steering.drain if seen.crowded else 0.0
    lasting = now * memory.correction
    return max(lasting, min(backlog, MOST_BACKLOG * offered) * memory.correction), lasting


def present(memory: ServerMemory, seen: Seen) -> RequestsPerSecond:
    """Requests per second that come now, as the model is corrected; the last known where nothing is seen."""
    if seen.blind or seen.offered is None or memory.history is None:
        return memory.demand or seen.server.load.arrival_rate
    return max(seen.offered, memory.history.level) * memory.correction


def corrected(
    memory: ServerMemory, seen: Seen, now: Seconds, steering: Steering, lead: Seconds
) -> ServerMemory:
    """Learn from saturation that the model does not explain, and forget it slowly.

    A server that is saturated at a load that the model calls light says that this is its limit. Nothing is
    learned while replicas are pending or too new to show an effect: they may be what is missing.
    """
    correction = 1.0 + (memory.correction - 1.0) * math.exp(-steering.period / FORGET)
    if memory.corrected_on not in ("", seen.main):
        correction = 1.0
    if seen.blind:  # that a queue is not known does not make it empty
        return replace(memory, correction=correction)
    stuck = seen.saturated and not (seen.crowded and seen.waiting < memory.waiting)
    since = (now if memory.saturated_since is None else memory.saturated_since) if stuck else None
    memory = replace(memory, correction=correction, saturated_since=since, waiting=seen.waiting)
    if since is None or now - since < WINDOW:
        return memory
    goal, ready = memory.goal, seen.ready.get(seen.main, 0)
    rate, offered = memory.rates.get(seen.main, 0.0), seen.offered or 0.0
    if goal is None or rate <= 0 or offered <= 0 or not ready:
        return memory
    if seen.pending or goal.accelerator != seen.main or goal.replicas > ready:
        return memory
    recent = (memory.corrected_at, memory.grew_at, memory.moved_at)
    # Where nothing queues any more, who is late may have come before what is there now was.
    late = 0.0 if seen.crowded else seen.ttft or 0.0
    if any(at is not None and now - at < lead + WINDOW + late for at in recent):
        return memory
    most = MOST_CROWDED if seen.crowded else MOST_SLOW
    wanted = min(rate * ready / offered * JUST_OVER, most)
    if wanted <= correction:
        return memory
    return replace(memory, correction=wanted, corrected_at=now, corrected_on=seen.main)
