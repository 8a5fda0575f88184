"""A belief fitted to one's own measurements: what was set aside, what was learnt, and how well it holds.

Outliers count by their distance (Huber); those that remain far beyond the others are then set aside, and
the rest is fitted again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flyball.calibrate.belief import Belief, FloatArray, fitted, predicted
from flyball.calibrate.design import design, running
from flyball.calibrate.entry import KNOWN_GAMMA_SIGMA, measured_gamma, residual
from flyball.calibrate.prior import GAMMA_ELSEWHERE, GAMMA_SIGMA
from flyball.physics import roofline
from flyball.spec.measurement import Point
from flyball.spec.model import Model

FAR = 4.0
"""Standard deviations beyond which a point is set aside."""
ASIDE_SHARE = 0.34
"""Of the points, at most; more are no outliers."""
LEAST_TO_JUDGE = 5
"""Points, below which none is set aside."""
NOT_LEARNT = 0.9
"""Of a parameter's standard deviation before: what is left of it afterwards if points say nothing of it."""
UNKNOWN = 1.0
"""A standard deviation beyond this, a factor of e, is no knowledge, whatever came before."""
WEAK_SIGMA = 3.0
"""Of a prior that says next to nothing: a factor of 20 either way."""
ANYWHERE = (0.01, 5e-5, 2e-8, 3e-5, 0.01)
"""Seconds: alpha, beta, kappa, delta, epsilon of a model and card that are not known."""
SURPRISE = {4: 13.28, 5: 15.09}
"""What the squared distance from the prior exceeds in 1 % of cases where the prior is right: chi squared."""


class Fit(NamedTuple):
    """A belief before and after, and each point against it."""

    before: Belief
    after: Belief
    running: FloatArray
    """(points,) requests that decode."""
    foretold: FloatArray
    """(points,) seconds, of the belief before."""
    time: FloatArray
    """(points,) seconds, fitted."""
    aside: npt.NDArray[np.bool_]
    """(points,) set aside."""
    error: float
    """Mean relative error over points that are not set aside."""
    unseen: float | None
    """The same of points of one shape, fitted from all others; None: there is one shape."""
    gamma_points: bool
    """Whether gamma was learnt."""

    @property
    def learnt(self) -> npt.NDArray[np.bool_]:
        """(K,) whether the points say anything of a parameter."""
        left = self.after.sigmas
        return np.asarray((left < NOT_LEARNT * self.before.sigmas) & (left < UNKNOWN))

    @property
    def surprising(self) -> bool:
        """Whether the points lie outside of what was believed."""
        far = self.after.mean - self.before.mean
        distance = float(far @ np.linalg.solve(self.before.covariance, far))
        return distance > SURPRISE[len(far)]


def weak(belief: Belief) -> Belief:
    """The same place, known to a factor of 20."""
    return replace(
        belief,
        covariance=np.diag(np.full(len(belief.mean), WEAK_SIGMA**2)),
        tier="none",
        source="next to nothing",
    )


def anywhere(model: Model | None = None) -> Belief:
    """Next to nothing: of a model that may have experts, on cards of which nothing is known."""
    experts = model.experts if model is not None else 0
    return weak(
        Belief(
            np.log(ANYWHERE[: 5 if experts else 4]),
            np.eye(5 if experts else 4),
            roofline.RESIDUAL,
            experts,
            model.experts_per_token if model is not None else 0,
            math.log(GAMMA_ELSEWHERE),
            GAMMA_SIGMA,
        )
    )


def fit(before: Belief, points: Sequence[Point]) -> Fit:
    """Fit a belief to points. ValueError: there are none."""
    if not points:
        raise ValueError("there are no points to fit to: give at least one")
    n, tpot = decoding(points), _column(points, "tpot")
    tokens_in, tokens_out = _column(points, "in_tokens"), _column(points, "out_tokens")
    X = design(n, tokens_in, tokens_out, before.experts, before.experts_per_token)
    aside = _outliers(before, X, tpot)
    kept = ~aside
    after = _fitted(before, X[kept], tpot[kept])
    ttft = np.array([np.nan if p.ttft is None else p.ttft for p in points])
    load = np.array([p.concurrency or p.running for p in points])
    gamma = measured_gamma(after.values[3], load[kept], tokens_in[kept], ttft[kept], tpot[kept])
    if gamma is not None:
        after = replace(after, gamma=math.log(gamma), gamma_sigma=KNOWN_GAMMA_SIGMA)
    time = predicted(after, X).time
    return Fit(
        before,
        after,
        n,
        predicted(before, X).time,
        time,
        aside,
        _error(time[kept], tpot[kept]),
        _unseen(before, X[kept], tpot[kept], tokens_in[kept], tokens_out[kept]),
        gamma is not None,
    )


def decoding(points: Sequence[Point]) -> FloatArray:
    """(points,) requests that decode: as measured, else of those in the system, by Little's law."""
    load = _column(points, "concurrency")
    ttft = np.array([p.ttft or 0.0 for p in points])
    of_load = running(load, ttft, _column(points, "tpot"), _column(points, "out_tokens"))
    own = _column(points, "running")
    return np.where(own > 0, own, of_load)


def _fitted(before: Belief, X: FloatArray, tpot: FloatArray, *, robust: bool = True) -> Belief:
    """Fitted, and again with the residual that the points have around the first fit."""
    first = fitted(before, X, tpot, robust=robust)
    own = residual(np.log(predicted(first, X).time / tpot), before.residual)
    after = fitted(before, X, tpot, max(own, before.residual), robust)
    misfit = np.log(predicted(after, X).time / tpot)
    return replace(after, residual=residual(misfit, before.residual))


def _outliers(before: Belief, X: FloatArray, tpot: FloatArray) -> npt.NDArray[np.bool_]:
    """Points far beyond what the middle ones are off; none where there are few points, or many such."""
    none = np.zeros(len(tpot), bool)
    if len(tpot) < LEAST_TO_JUDGE:
        return none
    misfit = np.log(predicted(fitted(before, X, tpot, robust=True), X).time / tpot)
    spread = max(1.4826 * float(np.median(np.abs(misfit))), before.residual)
    far = np.abs(misfit) > FAR * spread
    return np.asarray(far) if far.sum() <= ASIDE_SHARE * len(tpot) else none


def _unseen(
    before: Belief, X: FloatArray, tpot: FloatArray, tokens_in: FloatArray, tokens_out: FloatArray
) -> float | None:
    shapes = sorted(set(zip(tokens_in.tolist(), tokens_out.tolist(), strict=True)))
    if len(shapes) < 2:
        return None
    found = np.empty_like(tpot)
    for shape in shapes:
        held = (tokens_in == shape[0]) & (tokens_out == shape[1])
        found[held] = predicted(_fitted(before, X[~held], tpot[~held]), X[held]).time
    return _error(found, tpot)


def _error(found: FloatArray, measured: FloatArray) -> float:
    return float(np.mean(np.abs(found / measured - 1.0)))


def _column(points: Sequence[Point], name: str) -> FloatArray:
    return np.array([getattr(p, name) for p in points], np.float64)
