"""Entries of the library of profiles from measured configurations, fitted under the roofline as prior."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

import msgspec
import numpy as np

from flyball.calibrate.belief import Belief, FloatArray, fitted
from flyball.calibrate.measured import PACKED, Configuration
from flyball.calibrate.prior import (
    EXPERIENCE,
    GAMMA,
    GAMMA_ELSEWHERE,
    GAMMA_SIGMA,
    Experience,
    prior,
    profile_of,
)
from flyball.physics.roofline import kv_tokens
from flyball.spec.library import Entry
from flyball.spec.profile import IterationTiming
from flyball.units import Seconds

LEAST_POINTS = 7
"""Of a configuration that is an entry."""
MISFIT = 0.08
"""A residual beyond this is worth a word."""
ROWS_OF_PRIOR = 8
"""So many rows' weight draws a configuration's residual to the common one."""
LOW_LOAD = 16
"""Requests in the system, at which the time to first token says something of gamma."""
BURST_SHARE = 0.07
"""Of computing all others' prompts: what the first burst of a closed loop adds to a time to first token."""
KNOWN_GAMMA_SIGMA = 0.5
SOURCE = "AIConfigurator 0.12 end-to-end measurements"


def measured_entry(c: Configuration, known: Experience = EXPERIENCE, source: str = SOURCE) -> Entry:
    """Fitted under the roofline as prior; a configuration that fits worse than most is less sure."""
    before = prior(c.model, c.card, c.tp, c.engine, c.precision, experience=known)
    first = fitted(before, c.design, c.tpot)
    own = residual(_misfit(first, c), known.residual)
    after = fitted(before, c.design, c.tpot, max(own, known.residual))
    gamma = measured_gamma(after.values[3], c.concurrency, c.in_tokens, c.ttft, c.tpot)
    usual = math.log(GAMMA.get(c.engine, GAMMA_ELSEWHERE)), GAMMA_SIGMA
    found = usual if gamma is None else (math.log(gamma), KNOWN_GAMMA_SIGMA)
    misfit = residual(_misfit(after, c), known.residual)
    belief = replace(after, residual=misfit, gamma=found[0], gamma_sigma=found[1])
    profile = profile_of(belief, c.model.name, c.card.name)
    assert isinstance(profile.timing, IterationTiming)
    assert profile.uncertainty is not None
    return Entry(
        c.model.name, c.card.name, c.tp, c.engine, c.precision, "measured",
        profile.timing, profile.uncertainty, c.version,
        kv_tokens(c.model, c.card, c.tp, c.precision), len(c.shapes), len(c.tpot),
        _suspicion(c), _notes(c, belief), source,
    )  # fmt: skip


def measured_entries(
    configurations: Iterable[Configuration], fit: Callable[[Configuration], Entry] = measured_entry
) -> list[Entry]:
    """Entries of the configurations that say enough; of the same runs under two names the second says so."""
    entries = []
    seen: dict[tuple[object, ...], str] = {}
    for c in configurations:
        if len(c.tpot) < LEAST_POINTS:
            continue
        entry = fit(c)
        name = f"{c.version or 'the unnamed version'} on {c.tp_recorded} cards, {c.moe_ep} expert ranks"
        if c.fingerprint in seen:
            same = f"the same runs as {seen[c.fingerprint]}"
            entry = msgspec.structs.replace(entry, notes="; ".join(filter(None, [entry.notes, same])))
        seen[c.fingerprint] = name
        entries.append(entry)
    return entries


def in_order(entries: Iterable[Entry]) -> list[Entry]:
    """As they stand in the library."""
    return sorted(
        entries,
        key=lambda e: (
            *(e.tier, e.model, e.card, e.tp, e.engine, e.precision, e.version),
            -e.points,
            e.timing.alpha,
        ),
    )


def residual(misfit: FloatArray, common: float) -> float:
    """Standard deviation of the logarithm of a time around its own parameters, drawn to the common one."""
    rows = len(misfit) + ROWS_OF_PRIOR
    return math.sqrt((float(misfit @ misfit) + ROWS_OF_PRIOR * common**2) / rows)


def measured_gamma(
    delta: Seconds, concurrency: FloatArray, in_tokens: FloatArray, ttft: FloatArray, tpot: FloatArray
) -> Seconds | None:
    """Time of a request outside the iterations: median over runs at low load; None where they say nothing."""
    low = (concurrency <= LOW_LOAD) & np.isfinite(ttft)
    prompt = delta * in_tokens
    left = ttft - tpot - prompt - BURST_SHARE * (concurrency - 1) * prompt
    found = float(np.median(left[low])) if np.any(low) else 0.0
    return found if found > 0.0 else None


def _misfit(belief: Belief, c: Configuration) -> FloatArray:
    return np.asarray(np.log(c.design @ belief.values / c.tpot), np.float64)


def _suspicion(c: Configuration) -> str:
    if c.cached:
        return "a prefix cache held prompts: more of them a second than the cards compute"
    return "" if c.tp in PACKED else "wide expert parallelism over a rack, one run"


def _notes(c: Configuration, belief: Belief) -> str:
    shapes = len(c.shapes)
    said = {
        "engine version not recorded": not c.version,
        f"experts split over {c.moe_ep} ranks": c.moe_ep > 1,
        f"recorded as {c.tp_recorded} cards, cards times expert ranks": c.tp_recorded != c.tp,
        f"{shapes} shape{'s' * (shapes > 1)}: kappa and delta rest on the prior": shapes < 3,
        f"fits within {belief.residual:.0%} only": belief.residual > MISFIT,
        "recorded as fp4; the published weights are int4": c.precision == "int4",
        "one concurrency per shape, chosen for a target of the time per token": len(c.tpot) <= shapes + 2
        and shapes >= 6,
    }
    return "; ".join(note for note, holds in said.items() if holds)
