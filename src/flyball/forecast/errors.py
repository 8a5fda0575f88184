"""Errors of earlier forecasts: quantiles that correct themselves, their coverage, and jumps.

A forecast f at horizon h is compared with the measured rate y when its time has come. The error is taken in
units of

    s = sqrt(f/w + 1/w^2 + (c f)^2),    c = spread (h/60)^(1/4),

w the seconds over which y was counted: counting alone gives sqrt(f/w), which rules small rates, and what is
not counting noise grows with the rate. So an error learned at night holds by day. (The one request of 1/w^2
keeps s above zero at f = 0.) Before any error is measured it counts as normal with s.

Errors are counted in their own mean size too: with e = (y - f)/s, sigma the spread of e (exponential mean of
1.2533 |e - median|, each at most eight times sigma), the quantile q of level p follows

    q' = q + g (p - [e <= q sigma]) / phi(z),    g = max(1/(n + 20), 1/100),

phi(z) the normal density at the quantile (Robbins and Monro 1951). With a gain that stays above zero this is
the quantile tracker of adaptive conformal inference (Gibbs and Candes 2021; Angelopoulos, Candes and
Tibshirani 2023): whatever the errors are, in the long run a share 1 - p of them is above. A quantile as it is
used is never below that of counting noise, z sqrt(f/w), nor below that of a lower level.

A jump is a rise by `burst_least` and by four standard deviations of counting noise above what was the larger
of expected and measured. The largest is remembered, in requests/s and as a share, and forgotten with a
half-life.
"""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist

from flyball.forecast.history import LEVELS, UNSEEN, ForecastSettings, History, Pending, Track
from flyball.forecast.members import combined, members
from flyball.units import RequestsPerSecond, Seconds

NORMAL = NormalDist()
NORMAL_LEVELS = tuple(NORMAL.inv_cdf(p) for p in LEVELS)
_STEPS = tuple(1.0 / NORMAL.pdf(z) for z in NORMAL_LEVELS)

MEMORY = 100.0
"""Checks after which errors fade from quantiles and weights."""
COUNTED_CHECKS = 400.0
"""The same for the measured coverage."""
FIRST = 20.0
FIRST_SPREAD = 5.0
"""For how many checks the figures of the start count, in quantiles and in their spread."""
LARGEST_ERROR = 8.0
PER_HORIZON = 4.0
LONGEST_PAUSE = 450.0
"""A forecast to check is made four times within its horizon, and at least so often."""
MEAN_TO_DEVIATION = 1.2533
LEAST_SPREAD = 1e-3
JUMP_DEVIATIONS = 4.0


def new_track(horizon: Seconds, time: Seconds, settings: ForecastSettings) -> Track:
    """A track that has seen nothing. Its first forecast is made when a whole window has been measured."""
    made = time + settings.counted - _pause(horizon)
    return Track(horizon, made, pending=(), quantiles=NORMAL_LEVELS, jump_time=time)


def _pause(horizon: Seconds) -> Seconds:
    return min(horizon / PER_HORIZON, LONGEST_PAUSE)


def scale(rate: RequestsPerSecond, ahead: Seconds, settings: ForecastSettings) -> RequestsPerSecond:
    """The unit of errors of forecasts `ahead` seconds ahead."""
    w = settings.counted
    relative = settings.spread * rate
    return sqrt((rate + 1.0 / w) / w + relative * relative * sqrt(ahead / 60.0))


def above(
    learned: tuple[float, ...],
    spread: float,
    rate: RequestsPerSecond,
    unit: RequestsPerSecond,
    settings: ForecastSettings,
) -> tuple[float, ...]:
    """The quantiles as they are used, in units of the scale: not below counting noise, and ascending."""
    noise = sqrt(rate / settings.counted) / unit
    a, b, c, d = [spread * q for q in learned]
    _, y, z, x = NORMAL_LEVELS
    b = max(a, b, y * noise)
    c = max(b, c, z * noise)
    return a, b, c, max(c, d, x * noise)


def follow(track: Track, history: History, settings: ForecastSettings) -> Track:
    """The track after a reading: forecasts whose time has come are checked, and a new one is made."""
    time = history.seen
    pending = track.pending
    if pending and pending[0].due <= time:
        late = max(settings.counted / 2.0, track.horizon / PER_HORIZON)
        while pending and pending[0].due <= time:
            if time - pending[0].due <= late:
                track = _check(track, pending[0], history, settings)
            pending = pending[1:]
        track = _with_pending(track, pending, track.made)
    horizon = track.horizon
    if time - track.made < _pause(horizon) - 1e-6:
        return track
    values = members(history, horizon, settings)
    expected = combined(values, track.squares)
    unit = scale(expected, horizon, settings)
    if len(values) == 2:
        values = (*values, UNSEEN)
    made = Pending(
        time + horizon,
        values,
        expected,
        unit,
        max(expected, history.rate),
        above(track.quantiles, track.spread, expected, unit, settings),
    )
    return _with_pending(track, (*pending, made), time)


def _with_pending(track: Track, pending: tuple[Pending, ...], made: Seconds) -> Track:
    return Track(
        track.horizon,
        made,
        pending,
        track.quantiles,
        track.spread,
        track.squares,
        track.checks,
        track.below,
        track.jump,
        track.jump_share,
        track.jump_time,
        track.season_checks,
    )


def _check(track: Track, made: Pending, history: History, settings: ForecastSettings) -> Track:
    """The track after one forecast met the measured rate."""
    rate, unit = history.rate, made.scale
    error = (rate - made.expected) / unit
    gain = max(1.0 / MEMORY, 1.0 / (track.checks + FIRST))
    slow_gain = max(1.0 / COUNTED_CHECKS, 1.0 / (track.checks + 1.0))
    spread = track.spread
    quantiles: list[float] = []
    below = []
    for p, width, q, was, share in zip(
        LEVELS, _STEPS, track.quantiles, made.quantiles, track.below, strict=True
    ):
        q += gain * width * (p - 1.0 if error <= q * spread else p)
        quantiles.append(max(quantiles[-1], q) if quantiles else q)
        # The tolerance: a rate that equals its forecast counts as below.
        below.append(share + slow_gain * ((rate <= made.expected + was * unit + 1e-12) - share))
    squares = []
    known = made.members[-1] != UNSEEN
    counts = (track.checks, track.checks, track.season_checks)
    for value, square, count in zip(made.members, track.squares, counts, strict=True):
        if value != UNSEEN:
            off = max(-LARGEST_ERROR, min(LARGEST_ERROR, (rate - value) / unit))
            square += max(2.0 / MEMORY, 1.0 / (count + 1.0)) * (off * off - square)
        squares.append(square)
    off = MEAN_TO_DEVIATION * abs(error - track.quantiles[0] * spread)
    gain = max(1.0 / MEMORY, 1.0 / (track.checks + FIRST_SPREAD))
    spread = max(LEAST_SPREAD, spread + gain * (min(off, LARGEST_ERROR * spread) - spread))
    jump, jump_share, jump_time = track.jump, track.jump_share, track.jump_time
    rise, base = rate - made.base, made.base
    w = settings.counted
    if rise > settings.burst_least * base and rise > JUMP_DEVIATIONS * sqrt((2.0 * base + 1.0 / w) / w):
        kept = fading(history.seen - jump_time, settings)
        jump, jump_share = max(rise, jump * kept), max(rise / max(base, 1.0 / w), jump_share * kept)
        jump_time = history.seen
    return Track(
        track.horizon,
        track.made,
        track.pending,
        tuple(quantiles),
        spread,
        tuple(squares),
        track.checks + 1,
        tuple(below),
        jump,
        jump_share,
        jump_time,
        track.season_checks + known,
    )


def fading(age: Seconds, settings: ForecastSettings) -> float:
    """What is left of a jump so many seconds later."""
    return float(0.5 ** (age / settings.burst_half_life))
