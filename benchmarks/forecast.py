"""Forecasts against what came: series with known law and recorded ones, coverage, error, microseconds."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flyball.forecast.history import DEFAULTS, ForecastSettings, History
from flyball.forecast.observe import observe
from flyball.forecast.predict import forecast

Series = NDArray[np.float64]
"""Measured rates, one each `STEP`."""

STEP = 15.0
DAY_STEPS = 5760
HORIZONS = (60.0, 115.0, 300.0, 900.0, 3600.0)
LEVELS = (0.5, 0.8, 0.9, 0.95)
STAIRCASE = ((2, 330), (4, 360), (6, 360), (8, 360), (10, 360), (4, 360), (1, 300))
"""Requests/s and seconds of the llm-d SLO-aware episode."""


def poisson(rng: np.random.Generator, rates: Series) -> Series:
    """What is measured of Poisson arrivals at these rates."""
    return rng.poisson(rates * STEP) / STEP


def constant(rng: np.random.Generator, rate: float, steps: int = DAY_STEPS) -> Series:
    """Poisson arrivals at one rate."""
    return poisson(rng, np.full(steps, rate))


def staircase(rng: np.random.Generator) -> Series:
    """The steps of the llm-d episode."""
    return poisson(rng, np.concatenate([np.full(s // int(STEP), float(r)) for r, s in STAIRCASE]))


def diurnal(rng: np.random.Generator, days: int = 3, mean: float = 20.0) -> Series:
    """Days from 0.2 to 1.8 of the mean, log noise that fades in half an hour, and four bursts a day."""
    at = np.arange(0.0, days * 86400.0, STEP)
    rates = mean * (1.0 + 0.8 * np.sin(2.0 * np.pi * (at / 86400.0 - 0.35)))
    kept = np.exp(-STEP / 1800.0)
    shocks = rng.normal(0.0, 0.08 * np.sqrt(1.0 - kept * kept), at.size)
    noise = 0.0
    for i, shock in enumerate(shocks):
        noise = kept * noise + shock
        rates[i] *= np.exp(noise)
    for start in rng.uniform(0.0, at[-1], 4 * days):
        rates[(at >= start) & (at < start + rng.uniform(300.0, 900.0))] *= rng.uniform(1.3, 1.8)
    return poisson(rng, rates)


def traces() -> Path | None:
    """The folder of recorded traces, where it is present."""
    given = os.environ.get("FLYBALL_SHARED")
    shared = Path(given) if given else Path(__file__).resolve().parents[2] / "shared"
    path = shared / "data" / "traces"
    return path if path.is_dir() else None


def recorded(path: Path) -> Series:
    """The rates of a trace of the Azure LLM inference data set of 2023."""
    with path.open() as file:
        at = [datetime.fromisoformat(row["TIMESTAMP"][:26]) for row in csv.DictReader(file)]
    seconds = np.array([(t - at[0]).total_seconds() for t in at])
    return np.bincount((seconds // STEP).astype(int))[:-1] / STEP  # the last bin is not whole


def histories(series: Series, settings: ForecastSettings = DEFAULTS) -> Iterator[History]:
    """The history after each reading."""
    history: History | None = None
    for i, rate in enumerate(series.tolist()):
        history = observe(history, i * STEP, rate, settings=settings)
        assert history is not None
        yield history


@dataclass(frozen=True, eq=False)
class Score:
    """How forecasts at `HORIZONS` did, (H,) each unless said."""

    covered: Series
    """(H, Q): share of measured rates at or below the plain quantile."""
    error: Series
    """Root mean square of expected against measured."""
    ratio: Series
    """The same over that of persistence: the measured rate stays as it is."""
    provided: Series
    """(H, Q): share of measured rates at or below what was provided for."""
    provision: Series
    """(H, Q): what was provided for, over the measured rate, in the mean."""


def score(series: Series, warm: int, every: int = 1, settings: ForecastSettings = DEFAULTS) -> Score:
    """Forecast from each `every`th reading after `warm` readings, and compare."""
    ahead = [round(h / STEP) for h in HORIZONS]
    shape = (len(HORIZONS), len(LEVELS))
    covered, provided, provision = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    squares, still, count, came = (np.zeros(len(HORIZONS)) for _ in range(4))
    width = max(1, round(settings.window / STEP))
    measured = np.convolve(series, np.full(width, 1.0 / width))[: series.size]
    for i, history in enumerate(histories(series, settings)):
        if i < warm or i % every:
            continue
        made = forecast(history, HORIZONS, LEVELS, settings)
        for h, j in enumerate(ahead):
            if i + j >= series.size:
                break
            rate = measured[i + j]
            count[h] += 1.0
            came[h] += rate
            covered[h] += rate <= np.array(made.plain[h]) + 1e-9
            provided[h] += rate <= np.array(made.provision[h]) + 1e-9
            provision[h] += made.provision[h]
            squares[h] += (rate - made.expected[h]) ** 2
            still[h] += (rate - history.rate) ** 2
    n = np.maximum(count, 1.0)
    return Score(
        covered / n[:, None],
        np.sqrt(squares / n),
        np.sqrt(squares / np.maximum(still, 1e-12)),
        provided / n[:, None],
        provision / np.maximum(came, 1e-12)[:, None],
    )


def bench_forecast(runs: int) -> None:
    """Coverage and error by horizon, and microseconds of a call."""
    rng = np.random.default_rng(1)
    cases: dict[str, tuple[Series, int, int]] = {
        "constant 0.1/s": (constant(rng, 0.1), 960, 2),
        "constant 5/s": (constant(rng, 5.0), 960, 2),
        "constant 200/s": (constant(rng, 200.0), 960, 2),
        "ramp 5-50/s, 4 h": (poisson(rng, np.linspace(5.0, 50.0, 960)), 120, 1),
        "staircase": (staircase(rng), 20, 1),
        "days, with bursts": (diurnal(rng, days=4), DAY_STEPS, 4),
    }
    folder = traces()
    for name in ("conv", "code") if folder else ():
        assert folder is not None
        cases[f"Azure {name}"] = (recorded(folder / f"azure_llm_2023_{name}.csv"), 40, 1)
    print("forecast: share of measured rates at or below the quantile; error over that of persistence;")
    print("provision at the 90 % quantile over the measured rate, and how often it sufficed")
    print(
        "{:<18} {:>8} {:>6} {:>6} {:>6} {:>6} {:>7} {:>10} {:>9}".format(
            "series", "ahead", "50%", "80%", "90%", "95%", "error", "provision", "suffices"
        )
    )
    for name, (series, warm, every) in cases.items():
        found = score(series, warm, every)
        for h, horizon in enumerate(HORIZONS):
            if warm + horizon / STEP >= series.size:
                continue
            shares = " ".join(f"{100 * share:>6.1f}" for share in found.covered[h])
            print(
                f"{name:<18} {horizon:>6.0f} s {shares} {found.ratio[h]:>7.2f} "
                f"{found.provision[h, 2]:>10.2f} {100 * found.provided[h, 2]:>9.1f}",
                flush=True,
            )
    series = diurnal(rng, days=2)
    times = []
    for _ in range(max(1, runs)):
        began = time.perf_counter()
        for history in histories(series):
            last = history
        times.append((time.perf_counter() - began) / series.size * 1e6)
    began = time.perf_counter()
    for _ in range(1000):
        forecast(last, (115.0,), (0.9,))
    once = (time.perf_counter() - began) * 1e3
    print(
        f"observe: {sorted(times)[len(times) // 2]:.1f} us; forecast, one horizon and quantile: {once:.1f} us"
    )
