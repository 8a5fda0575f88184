"""Empirical Bayes: the efficiencies and covariances that the product's priors rest on, from measured rows.

Logarithms of a configuration's parameters are those of its roofline plus a deviation, normal with one
covariance for all. EM: each configuration's mode and Laplace covariance, then efficiencies, covariance and
residual from all of them. A gamma-like prior keeps an efficiency that the rows say little of where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from benchmarks.measured import Configuration
from flyball.calibrate.belief import Belief, FloatArray, fitted
from flyball.calibrate.prior import Experience
from flyball.physics import roofline

START = ((1.2, 3.0, 8.0, 8.0, 1.0), (3.0, 0.3, 0.5), (1.5, 3.0), (2.0, 6.0, 2.0, 10.0), (1.3,))
"""Efficiencies before any row is seen, and the variances of their logarithms."""
VARIANCE = ((0.01, 1.0, 1.0, 1.0, 1.0), (1.0, 1.0, 1.0), (0.3, 1.0), (0.5, 1.0, 1.0, 1.0), (0.3,))
FIRST_COVARIANCE = np.diag([0.1, 0.6, 0.4, 0.2, 0.2])
FIRST_RESIDUAL = 0.03
STEPS = 25
PAIR_STEPS = 12
NEAR_PRIOR = np.diag([0.02, 0.1, 0.1, 0.05, 0.05])
"""Covariance of a pair, with the weight of two pairs."""
LEAST_PAIRS = 3
MISFIT_LIMIT = 0.15
"""A residual counts as this at most."""
EIGENVALUE_LIMIT = 1e-3
CORRELATION_LIMIT = 0.05
FURTHEST = 4.0
"""Below its roofline a parameter is not followed further: e^-4 of it is nothing."""


def alone(c: Configuration, known: Experience) -> Belief:
    """What the roofline alone says of a configuration."""
    mean = roofline.mean(c.features, known.efficiency)
    k = len(mean)
    return Belief(mean, known.covariance[:k, :k], known.residual, c.model.experts, c.model.experts_per_token)


def learn(configurations: Sequence[Configuration], steps: int = STEPS) -> Experience:
    """Efficiencies, covariance around the roofline and residual."""
    found = Experience(START, FIRST_COVARIANCE, FIRST_RESIDUAL, {})
    designs = [c.design for c in configurations]
    features = [c.features for c in configurations]
    for _ in range(steps):
        scatter, count, misfit, rows = np.zeros((5, 5)), np.zeros((5, 5)), 0.0, 0
        beliefs = []
        for c, X in zip(configurations, designs, strict=True):
            prior = alone(c, found)
            after = fitted(prior, X, c.tpot)
            z, k = np.maximum(after.mean, prior.mean - FURTHEST), len(prior.mean)
            beliefs.append((z, after.covariance))
            scatter[:k, :k] += np.outer(z - prior.mean, z - prior.mean) + after.covariance
            count[:k, :k] += 1
            parts = X * np.exp(z)
            total = parts.sum(axis=1)
            J, r = parts / total[:, None], np.log(total / c.tpot)
            misfit += float(np.minimum(r * r, MISFIT_LIMIT**2).sum() + np.trace(J @ after.covariance @ J.T))
            rows += len(r)
        found = Experience(
            tuple(
                _efficiency(p, features, beliefs, found.covariance[p, p])
                for p in range(len(roofline.PARAMETERS))
            ),
            _bounded(scatter / np.maximum(count, 1)),
            float(np.sqrt(misfit / rows)),
            {},
        )
    return found


def _efficiency(
    p: int,
    features: Sequence[roofline.Features],
    beliefs: Sequence[tuple[FloatArray, FloatArray]],
    spread: float,
) -> tuple[float, ...]:
    """Of one parameter: configurations weigh by how well they know it."""
    has = [i for i, f in enumerate(features) if f[p]]
    if not has:
        return START[p]
    A = np.array([features[i][p] for i in has])
    z = np.array([beliefs[i][0][p] for i in has])
    sigma = np.sqrt([beliefs[i][1][p, p] + spread for i in has])
    start = Belief(np.log(START[p]), np.diag(VARIANCE[p]), 1.0)
    return tuple(fitted(start, A, np.exp(z), sigma).values.tolist())


def _bounded(raw: FloatArray) -> FloatArray:
    """A covariance whose correlations stay away from 1."""
    scale = np.sqrt(np.diag(raw))
    values, vectors = np.linalg.eigh(raw / np.outer(scale, scale))
    correlation = (vectors * np.maximum(values, CORRELATION_LIMIT)) @ vectors.T
    unit = np.sqrt(np.diag(correlation))
    return np.asarray(correlation * np.outer(scale / unit, scale / unit))


def learn_tiers(pairs: dict[str, list[tuple[Configuration, Belief]]], known: Experience) -> Experience:
    """The same with a covariance for each tier, from pairs of a configuration and an entry carried over."""
    return known._replace(tiers={tier: _near(of_tier, known) for tier, of_tier in pairs.items()})


def _near(pairs: list[tuple[Configuration, Belief]], known: Experience) -> FloatArray:
    """EM of the covariance that lies between the two of a pair; too few pairs: the roofline's."""
    if len(pairs) < LEAST_PAIRS:
        return known.covariance
    between = 0.3 * known.covariance
    for _ in range(PAIR_STEPS):
        scatter, count = np.zeros((5, 5)), np.zeros((5, 5))
        for c, carried in pairs:
            k = len(carried.mean)
            S = between[:k, :k]
            whole = carried.covariance + S
            after = fitted(replace(carried, covariance=whole, residual=known.residual), c.design, c.tpot)
            gain = S @ np.linalg.inv(whole)
            moved = gain @ (after.mean - carried.mean)
            left = S - gain @ (whole - after.covariance) @ gain.T
            scatter[:k, :k] += np.outer(moved, moved) + left
            count[:k, :k] += 1
        raw = (scatter + 2 * NEAR_PRIOR) / (count + 2)
        values, vectors = np.linalg.eigh((raw + raw.T) / 2)
        between = (vectors * np.maximum(values, EIGENVALUE_LIMIT)) @ vectors.T
    return between
