"""The draw of a domain 1, 5, 15 and 60 minutes ahead: the members of `forecast`, fed with watts.

What is forecast is the mean over a minute; what rises faster is left to S(tau). Replicas that are asked for
and do not draw yet are not in the history: what they will draw comes on top.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flyball.forecast.history import LEVELS, ForecastSettings, History
from flyball.forecast.observe import coverage, observe
from flyball.forecast.predict import forecast
from flyball.spec.power_plan import Ahead
from flyball.units import Seconds, Watts

HORIZONS: tuple[Seconds, ...] = (60.0, 300.0, 900.0, 3600.0)
QUANTILES = (0.5, 0.9, 0.99)
SETTINGS = ForecastSettings(horizons=HORIZONS, spread=0.03)
"""A domain's draw is steadier than the rate of one server: much of it is idle draw."""


def seen(history: History | None, time: Seconds, watts: Watts | None) -> History | None:
    """The history after a reading; `watts` None: not known. None while nothing was ever seen. ValueError."""
    return observe(history, time, watts, settings=SETTINGS)


def ahead(
    history: History, planned: Mapping[Seconds, Watts] | None = None, horizons: Sequence[Seconds] = HORIZONS
) -> tuple[Ahead, ...]:
    """The draw ahead, with what is planned to come (or go, below 0) within each horizon. ValueError."""
    found = forecast(history, horizons, QUANTILES, SETTINGS)
    known = {c.horizon: c for c in coverage(history)}
    made = []
    for horizon, values in zip(horizons, found.plain, strict=True):
        more = (planned or {}).get(horizon, 0.0)
        at = min(known, key=lambda h: abs(h - horizon))
        shares = known[at].shares
        made.append(
            Ahead(
                horizon,
                tuple([max(v + more, 0.0) for v in values]),
                (shares[LEVELS.index(0.5)], shares[LEVELS.index(0.9)]),
                known[at].checks,
            )
        )
    return tuple(made)
