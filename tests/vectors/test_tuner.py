"""The estimators against the recorded steps and fits of the originals."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest

from flyball.calibrate.inferno.fit import fit
from flyball.calibrate.inferno.guess import guess_from
from flyball.calibrate.inferno.kalman import filter_around, fresh_estimate, step
from flyball.calibrate.inferno.model import vector_of
from flyball.calibrate.inferno.sliding_window import fit_without_outlier
from flyball.spec.calibration import Observation, Tuning
from flyball.spec.profile import ChunkedTiming
from flyball.units import from_ms, from_per_minute
from flyball.wire.inferno_tuner import read_prior
from tests.conftest import shared_dir

KIND = "model tuner"
STEP = 3e-5
"""Relative: there h(x) is in single precision, and the Jacobian a small difference of its values."""
FITTED = 1e-3
PARAMETERS = ("alpha", "beta", "gamma")


def recorded() -> dict[str, Any]:
    shared = shared_dir()
    assert shared
    return json.loads((shared / "vectors" / "inferno" / "tuner-ekf-nm.json").read_text())  # type: ignore[no-any-return]


def observation(row: dict[str, Any]) -> Observation:
    at = row["op"]
    return Observation(
        from_per_minute(at["RPM"]),
        at["In"],
        at["Out"],
        at["N"],
        from_ms(row["ttft"]),
        from_ms(row["itl"]),
        at["Q"],
    )


def timing(values: list[float]) -> ChunkedTiming:
    return ChunkedTiming(*map(from_ms, values))


def milliseconds(found: ChunkedTiming) -> Any:
    return vector_of(found) * 1000


@pytest.mark.parametrize("number", range(len(recorded()["ekf"])))
def test_filter(number: int, compared: Counter[str]) -> None:
    run = recorded()["ekf"][number]
    prior = read_prior(json.dumps(run["config"]).encode(), "config")
    start = timing(run["initState"])
    assert prior.timing == start
    made = filter_around(start, prior)
    assert made.low * 1000 == pytest.approx(run["config"]["modelData"]["minState"])
    assert made.high * 1000 == pytest.approx(run["config"]["modelData"]["maxState"])
    estimate = fresh_estimate(start, made)
    for row in run["steps"]:
        found = step(made, estimate, observation(row), gate=not row["skipNIS"])
        estimate = found.estimate
        assert found.accepted is not row["validationFailed"]
        assert estimate.x * 1000 == pytest.approx([row[name] for name in PARAMETERS], rel=STEP)
        covariance = np.reshape(row["covariance"], (3, 3))
        spread = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
        assert estimate.covariance * 1e6 / spread == pytest.approx(covariance / spread, abs=STEP)
        noise = 1e-6 * row["ttft"]
        assert found.innovation * 1000 == pytest.approx(row["innovation"], rel=STEP, abs=noise)
        if not row["skipNIS"]:  # recorded as 0 else
            assert found.nis == pytest.approx(row["nis"], rel=1e-4, abs=1e-6)
        compared[KIND] += 1 + 3 + 9 + 2 + (not row["skipNIS"])


@pytest.mark.parametrize("row", recorded()["guessInitState"], ids=lambda row: f"{row['op']['RPM']}")
def test_guesses(row: dict[str, Any], compared: Counter[str]) -> None:
    shown = observation(row)
    assert milliseconds(guess_from(timing(row["seed"]), shown)) == pytest.approx(
        row["guessWithSeed"], rel=1e-6
    )
    compared[KIND] += 3


@pytest.mark.parametrize("row", recorded()["initEstimator"], ids=lambda row: row["label"])
def test_first_fits(row: dict[str, Any], compared: Counter[str]) -> None:
    points = [observation(each) for each in row["observations"]]
    guessed = guess_from(timing(row["seed"]), points[0])
    found = fit(points, guessed)
    degenerate = row["conditionNumber"] > row["maxConditionNumber"] > 0
    assert (found.condition_number > row["maxConditionNumber"] > 0) is degenerate
    compared[KIND] += 1
    if degenerate:  # not taken: the guess stands in
        assert milliseconds(guessed) == pytest.approx(row["fit"], rel=1e-6)
    else:
        assert milliseconds(found.timing) == pytest.approx(row["fit"], rel=FITTED)
        assert found.loss == pytest.approx(row["funcValue"], rel=FITTED, abs=1e-9)
        assert found.condition_number == pytest.approx(row["conditionNumber"], rel=FITTED)
        compared[KIND] += 2
    compared[KIND] += 3


def test_the_outlier_is_left_out(compared: Counter[str]) -> None:
    """The window is that of the diverse points; the outlier comes when it has been fitted."""
    data = recorded()
    diverse = next(row for row in data["initEstimator"] if row["label"] == "diverse")
    window = [observation(each) for each in diverse["observations"]]
    start = guess_from(timing(diverse["seed"]), window[-1])
    threshold = Tuning().residual_threshold
    clean = fit_without_outlier(window, start, threshold)
    assert milliseconds(clean.timing) == pytest.approx(data["slidingWindow"]["fitClean"], rel=FITTED)
    spoiled = [*window, observation(data["slidingWindow"]["outlier"])]
    found = fit_without_outlier(spoiled, clean.timing, threshold)
    assert milliseconds(found.timing) == pytest.approx(data["slidingWindow"]["fitWithOutlier"], rel=FITTED)
    assert milliseconds(fit(spoiled, clean.timing).timing) != pytest.approx(data["trueParams"], rel=0.05)
    compared[KIND] += 6
