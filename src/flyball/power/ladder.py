"""The level of a domain, and what it asks for. Pure: (state, signal, now) to (state, act).

    normal     below all of it
    warn       near: it is told
    hold       nothing grows; also at once where watts are not known
    shed       above the threshold C (1 - e) - S(tau): replicas go in steps, the least important first
    emergency  above the breaker, or above the budget for too long: replicas go at once

Up at once, down only `recover` below where a level begins and no sooner than `hold` after the last change,
so levels never chatter faster than that. Where watts are not all known the domain is on hold, and sheds only
for what is measured alone, or when the model's upper bound was above the budget for `blind` seconds.
"""

from __future__ import annotations

import msgspec

from flyball.power.rise import threshold
from flyball.spec.power import LEVELS, Known, Level
from flyball.units import Seconds, Watts


class LadderSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where levels begin, as shares of the budget below the threshold, and how they end."""

    warn: float = 0.07
    hold: float = 0.02
    recover: float = 0.03
    """So far below its beginning a level ends."""
    hold_time: Seconds = 60.0
    blind: Seconds = 30.0

    def __post_init__(self) -> None:
        if not self.warn >= self.hold >= 0 or not self.recover > 0:
            raise ValueError(
                f"warn {self.warn:g}, hold {self.hold:g}, recover {self.recover:g}: "
                "write warn >= hold >= 0 and recover above 0"
            )


DEFAULTS = LadderSettings()


class Signal(msgspec.Struct, frozen=True, gc=False):
    """What a level is decided from."""

    known: Known
    budget: Watts
    rise: Watts
    """S(tau), above the level."""
    breaker: Watts | None = None
    max_exceedance: Seconds = 10.0
    ahead: Watts | None = None
    """Foretold (p99, five minutes); it can warn only."""
    level: Watts | None = None
    """The draw without its noise; None: the reading is taken as it is."""
    believed: Watts | None = None
    """Where not all is known: what it draws by the models of its pods and what else drew there lately."""


class LadderState(msgspec.Struct, frozen=True, gc=False):
    """What is remembered of a domain."""

    level: Level = "normal"
    since: Seconds | None = None
    """Of the last change; None: there was none."""
    over_since: Seconds | None = None
    """Above the budget without a break."""
    blind_since: Seconds | None = None
    """Not all known, and the upper bound above the budget, without a break."""


class Act(msgspec.Struct, frozen=True, gc=False):
    """What a level asks for, in watts of the whole domain."""

    level: Level
    frozen: bool
    """Nothing grows."""
    ceiling: Watts | None
    """Replicas go until the model says that it draws this at most; None: none goes."""
    grow_to: Watts
    """Growth may go so far."""
    at_once: bool
    """Step limits do not hold."""
    shed: Watts
    """So much is above the ceiling."""
    reason: str
    changed: bool
    by_model: bool = False
    """What is believed is above the budget, and that is what goes."""


def step(
    state: LadderState, signal: Signal, now: Seconds, settings: LadderSettings = DEFAULTS
) -> tuple[LadderState, Act]:
    """One look at a domain."""
    known, budget = signal.known, signal.budget
    theta = threshold(budget, known.error, signal.rise)
    sure = known.watts if known.complete else known.least
    over = _since(state.over_since, sure > budget, now)
    # Rises count from the level: what is noise in a reading is in S(tau) already. Above the budget it counts.
    if known.complete and signal.level is not None and sure <= budget:
        sure = min(sure, signal.level)
    blind = _since(state.blind_since, not known.complete and known.most > budget, now)
    dark = blind is not None and now - blind >= settings.blind
    # A budget that was cut below what is believed is no gap in the readings that can be waited for.
    believed = signal.believed or 0.0
    by_model = not (known.complete or dark) and believed > budget
    if by_model:
        sure = max(sure, believed)
    reached, reason = _reached(signal, sure, theta, over, dark, now, settings)
    level = _settled(state, reached, sure, theta, signal, known.complete, dark, now, settings)
    if level != reached:
        reason = f"still at {level}: it ends {settings.recover:.0%} below its threshold"
    changed = level != state.level
    shedding = level in ("shed", "emergency")
    # Blind, the upper bound is what is held under the budget; its own error and rises are in it.
    ceiling = None if not shedding else budget if dark and sure <= theta else theta
    draws = known.most if dark and sure <= theta else sure
    act = Act(
        level=level,
        frozen=LEVELS.index(level) >= LEVELS.index("hold"),
        ceiling=ceiling,
        grow_to=max(theta - settings.hold * budget, 0.0),
        at_once=level == "emergency",
        shed=0.0 if ceiling is None else max(draws - ceiling, 0.0),
        reason=reason,
        changed=changed,
        by_model=by_model,
    )
    return LadderState(level, now if changed else state.since, over, blind), act


def _reached(
    signal: Signal,
    sure: Watts,
    theta: Watts,
    over: Seconds | None,
    dark: bool,
    now: Seconds,
    settings: LadderSettings,
) -> tuple[Level, str]:
    """The level that the signal asks for by itself, and why."""
    budget = signal.budget
    if signal.breaker is not None and sure > signal.breaker:
        return "emergency", f"{sure:,.0f} W are above the breaker's {signal.breaker:,.0f} W"
    if over is not None and now - over >= signal.max_exceedance:
        return "emergency", f"above the budget of {budget:,.0f} W for {now - over:,.0f} s"
    if sure > theta:
        how = "" if sure <= signal.known.least or signal.known.complete else ", by the models,"
        return "shed", f"{sure:,.0f} W{how} are above the threshold of {theta:,.0f} W"
    if dark:
        most = signal.known.most
        return "shed", f"watts are not known, and may be {most:,.0f} of {budget:,.0f} W"
    if not signal.known.complete:
        return "hold", "watts are not all known"
    if sure > theta - settings.hold * budget:
        return "hold", f"{sure:,.0f} W are near the threshold of {theta:,.0f} W"
    if sure > theta - settings.warn * budget:
        return "warn", f"{sure:,.0f} W come near the threshold of {theta:,.0f} W"
    if signal.ahead is not None and signal.ahead > theta:
        return "warn", f"{signal.ahead:,.0f} W are foretold, the threshold is {theta:,.0f} W"
    return "normal", ""


def _settled(
    state: LadderState,
    reached: Level,
    sure: Watts,
    theta: Watts,
    signal: Signal,
    complete: bool,
    dark: bool,
    now: Seconds,
    settings: LadderSettings,
) -> Level:
    """The level with its hysteresis: down one rung at a time."""
    here, there = LEVELS.index(state.level), LEVELS.index(reached)
    if there >= here:
        return reached
    if state.since is not None and now - state.since < settings.hold_time:
        return state.level
    budget = signal.budget
    begins = {
        "warn": theta - settings.warn * budget,
        "hold": theta - settings.hold * budget,
        "shed": theta,
        "emergency": budget,
    }
    blocked = sure > begins[state.level] - settings.recover * budget
    blocked |= state.level == "hold" and not complete
    blocked |= state.level in ("shed", "emergency") and dark
    return state.level if blocked else LEVELS[here - 1]


def _since(before: Seconds | None, holds: bool, now: Seconds) -> Seconds | None:
    return None if not holds else now if before is None else before
