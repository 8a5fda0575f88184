"""What is known of models on accelerators: in words, and as curves over the batch."""

from __future__ import annotations

import math

import numpy as np

from flyball.calibrate.belief import FloatArray
from flyball.calibrate.learn import belief, surprise
from flyball.calibrate.over_batch import TENTH, itl_over
from flyball.decide.calibration import prior_of
from flyball.report.curves import Chart
from flyball.report.sentences import duration
from flyball.spec.decision import Decision, Step
from flyball.spec.fleet import Fleet
from flyball.spec.known import Known
from flyball.spec.learned import Learned
from flyball.spec.profile import Profile
from flyball.units import Seconds, to_ms

LEAST_BATCH = 16.0
BEYOND = 1.5
"""Times the heaviest batch that was seen or is to be taken: so far the plot goes."""
BATCHES = 40


def rests_on(known: Known, source: str = "") -> str:
    """A profile's standing in one sentence; `source` is where its figures come from."""
    at = f"itl at {known.running:.0f} requests {duration(known.itl)}"
    whose = f"profile: {source or 'as given'}"
    if not known.points:
        return f"{whose}; nothing seen yet, it holds; {at}, {_spread(known)}"
    return (
        f"{whose}, corrected by {_count(known.readings, 'reading')} at {_count(known.points, 'load')}; "
        f"{at} (the profile said {duration(known.profile_itl)}), {_spread(known)}"
    )


def _spread(known: Known) -> str:
    return f"±{known.sigma:.0%}".replace("%", " %")


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'s' * (n != 1)}"


def of_step(decision: Decision, step: Step, fleet: Fleet) -> list[str]:
    """What the profiles rest on of the accelerators that a server has or is to have, a sentence each."""
    model = next((s.model for s in fleet.servers if s.name == step.server), "")
    there = {o.accelerator for o in (*step.was, *step.orders) if o.replicas}
    return [
        f"on {one.accelerator}, {rests_on(one, source_of(fleet, one))}"
        for one in decision.known
        if one.model == model and one.accelerator in there
    ]


def source_of(fleet: Fleet, known: Known) -> str:
    """Where the figures of its profile come from."""
    profile = _profile(fleet, known)
    return profile.source if profile else ""


def _profile(fleet: Fleet, known: Known) -> Profile | None:
    pair = known.model, known.accelerator
    return next((p for p in fleet.profiles if (p.model, p.accelerator) == pair), None)


def remarks(known: Known) -> list[str]:
    """What happened to a profile that somebody should know."""
    said = []
    if known.changes:
        said.append(f"begun anew {_count(known.changes, 'time')}: it ran steadily unlike before")
    if known.strange:
        said.append(f"the last {_count(known.strange, 'reading')} {_are(known.strange)} far off")
    if known.outliers:
        said.append(f"{known.outliers:,} set aside in all")
    if known.kv_tokens:
        said.append(f"KV cache {known.kv_tokens:,} tokens, as used")
    return said


def _are(n: int) -> str:
    return "is" if n == 1 else "are"


def ends(known: Known) -> tuple[Seconds, Seconds]:
    """10th and 90th percentile of the time between tokens at its batch."""
    far = math.exp(TENTH * known.sigma)
    return known.itl / far, known.itl * far


def itl_chart(fleet: Fleet, known: Known, learned: Learned, now: Seconds) -> Chart | None:
    """Times between tokens over the batch at the account's lengths; None without a profile to draw.

    Readings were made at lengths of their own: each is drawn as far off the line as it was from what was
    foretold of it.
    """
    profile = _profile(fleet, known)
    if profile is None:
        return None
    prior = prior_of(profile)
    learnt = belief(prior, learned, now)
    heaviest = max((p.running for p in learned.points), default=0.0)
    most = max(BEYOND * max(heaviest, known.running), LEAST_BATCH)
    seen = {max(p.running, 1e-3): surprise(learnt, p)[0] for p in learned.points}
    batches = sorted({*np.geomspace(1.0, most, BATCHES).tolist(), *seen})
    before, band = (itl_over(one, batches, known.in_tokens, known.out_tokens) for one in (prior, learnt))
    dots = [
        _ms(itl * math.exp(seen[n])) if n in seen else None
        for n, itl in zip(batches, band.itl.tolist(), strict=True)
    ]
    lines = {"profile": _line(before.itl)}
    if learned.points:
        lines |= {"known": _line(band.itl), "10 %": _line(band.low), "90 %": _line(band.high), "seen": dots}
    else:
        lines |= {"10 %": _line(band.low), "90 %": _line(band.high)}
    return Chart(
        f"On {known.accelerator}",
        f"requests that decode, of {known.in_tokens:,.0f} + {known.out_tokens:,.0f} tokens",
        "ms between tokens",
        batches,
        dict(lines),
        marks={"to take": known.running},
        points=("seen",) if learned.points else (),
        band=("90 %", "10 %"),
    )


def _line(values: FloatArray) -> list[float | None]:
    return [_ms(v) for v in values.tolist()]


def _ms(seconds: Seconds) -> float:
    return float(f"{to_ms(seconds):.5g}")
