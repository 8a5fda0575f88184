"""Priors: what is believed of a model on cards under an engine before anything is profiled there.

The nearest entry of the library is carried over by the ratio of the two rooflines, with the covariance
that pairs of measured configurations so near to each other have shown; without one the roofline alone is
believed. The covariances are those of an empirical Bayes fit to the library's measured rows: `python -m
benchmarks profiles` makes them anew, and a slow test holds them to it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from flyball.calibrate.belief import Belief, FloatArray
from flyball.calibrate.near import known_card, nearest, sentence
from flyball.physics import roofline
from flyball.spec.card import Card
from flyball.spec.library import Entry
from flyball.spec.model import Model, Precision
from flyball.spec.profile import IterationTiming, Profile, Uncertainty

FLOOR = 1e-12
"""Seconds: a parameter of 0 counts as this, whose logarithm exists."""

TIER_COVARIANCE: dict[str, FloatArray] = {
    "version": np.array(
        (
            (0.10417, -0.051966, 0.28265, 0.0035238, 0.040322),
            (-0.051966, 0.46399, -0.2619, -0.042365, -0.1236),
            (0.28265, -0.2619, 1.1174, 0.048656, 0.072221),
            (0.0035238, -0.042365, 0.048656, 0.090748, -0.04289),
            (0.040322, -0.1236, 0.072221, -0.04289, 0.11513),
        )
    ),
    "engine": np.array(
        (
            (0.06213, 0.039708, 0.033581, 0.030109, 0.11288),
            (0.039708, 0.4602, -0.37261, 0.14353, -0.053646),
            (0.033581, -0.37261, 1.104, -0.11395, 0.083126),
            (0.030109, 0.14353, -0.11395, 0.12964, -0.0098769),
            (0.11288, -0.053646, 0.083126, -0.0098769, 0.27164),
        )
    ),
    "tp": np.array(
        (
            (0.029399, -0.0089647, 0.036341, -0.00090169, 0.021191),
            (-0.0089647, 0.27176, -0.047239, -0.019023, -0.14649),
            (0.036341, -0.047239, 0.15758, 0.018061, -0.0016532),
            (-0.00090169, -0.019023, 0.018061, 0.048792, -0.070987),
            (0.021191, -0.14649, -0.0016532, -0.070987, 0.23259),
        )
    ),
    "card": np.array(
        (
            (0.11574, -0.075036, 0.16134, -0.0035836, 0.015985),
            (-0.075036, 0.27432, -0.55173, 0.0038402, 0.17045),
            (0.16134, -0.55173, 3.3071, -0.28205, -1.1011),
            (-0.0035836, 0.0038402, -0.28205, 0.21746, -0.069237),
            (0.015985, 0.17045, -1.1011, -0.069237, 0.56559),
        )
    ),
    "precision": np.array(
        (
            (0.059647, -0.057282, -0.017734, 0.030552, 0.0033652),
            (-0.057282, 0.22534, 0.027277, -0.018504, -0.090523),
            (-0.017734, 0.027277, 0.85975, -0.15449, 0.29207),
            (0.030552, -0.018504, -0.15449, 0.18213, -0.2392),
            (0.0033652, -0.090523, 0.29207, -0.2392, 0.39354),
        )
    ),
}
"""Of the logarithms of parameters around those of an entry so near, carried over."""

GAMMA = {"vllm": 0.032, "trtllm": 0.036, "sglang": 0.21}
"""Seconds of a request outside the iterations: medians of the measured configurations of an engine.

From runs at 16 requests in the system and fewer: time to first token less an iteration and the prompt's own
computation, less 7 % of computing all others' prompts, which is what the first burst of a closed loop leaves.
"""
GAMMA_ELSEWHERE = 0.040
GAMMA_SIGMA = 0.7

TAUGHT = ("NVIDIA",)
"""Vendors on whose cards efficiencies were measured."""
OTHER_VENDOR = 0.3
"""Standard deviation of the logarithm of a factor on all of an iteration, on cards of another vendor: their
kernels are others. An assumption, as nothing was measured there."""

MAX_BATCH_SIZE = 256


class Experience(NamedTuple):
    """What measured configurations teach of those that were not measured."""

    efficiency: tuple[tuple[float, ...], ...]
    """Of the roofline's features."""
    covariance: FloatArray
    """(5, 5) of the logarithms of parameters around the roofline's."""
    residual: float
    tiers: dict[str, FloatArray]
    """(5, 5) by tier: around a near entry's, carried over."""

    def roofline(self, model: Model, card: Card, tp: int, precision: Precision) -> FloatArray:
        """(K,) logarithms of the parameters."""
        return roofline.mean(roofline.features(model, card, tp, precision), self.efficiency)


EXPERIENCE = Experience(roofline.EFFICIENCY, roofline.COVARIANCE, roofline.RESIDUAL, TIER_COVARIANCE)


def prior(
    model: Model,
    card: Card,
    tp: int,
    engine: str,
    precision: Precision | None = None,
    entries: Iterable[Entry] = (),
    version: str = "",
    experience: Experience = EXPERIENCE,
) -> Belief:
    """What is believed of a model on `tp` cards under an engine; weights as published where not said.

    Versions of an engine differ: an entry's own figures and uncertainty hold for its version only; where
    the version is not said, its figures with the uncertainty of another version. ValueError: the roofline
    needs a figure that the card does not give.
    """
    belief = _prior(model, card, tp, engine, precision or model.precision, entries, version, experience)
    if card.vendor in TAUGHT or belief.tier == "exact":
        return belief
    return replace(
        belief,
        covariance=belief.covariance + OTHER_VENDOR**2,
        source=f"{belief.source}; nothing was measured on cards of {card.vendor or 'its vendor'}",
    )


def _prior(
    model: Model,
    card: Card,
    tp: int,
    engine: str,
    weights: Precision,
    entries: Iterable[Entry],
    version: str,
    experience: Experience,
) -> Belief:
    here = experience.roofline(model, card, tp, weights)
    gamma = math.log(GAMMA.get(engine, GAMMA_ELSEWHERE))
    near = nearest(model, card, tp, engine, weights, entries, version)
    if near is None:
        k = len(here)
        source = f"reckoned by the roofline of {tp} {card.name}, not measured"
        return Belief(
            here, experience.covariance[:k, :k], experience.residual, model.experts, model.experts_per_token,
            gamma, GAMMA_SIGMA, "roofline", source,
        )  # fmt: skip
    entry = near.entry
    own = _belief(entry.timing, entry.uncertainty)
    cards = card if entry.card == card.name else known_card(entry.card)
    assert cards is not None, "only entries of this card and of the library's are near"
    there = experience.roofline(model, cards, entry.tp, entry.precision)
    extra = np.zeros_like(own.covariance)
    # What op-level figures are uncertain by was found against measured engines of any version and make.
    if near.tier != "exact" and (entry.tier, near.tier) not in (
        ("op-level", "version"),
        ("op-level", "engine"),
    ):
        extra = experience.tiers[near.tier][: len(here), : len(here)]
    same = entry.engine == engine and own.gamma > -math.inf
    return Belief(
        own.mean + here - there,
        own.covariance + extra,
        max(own.residual, experience.residual) if near.tier != "exact" else own.residual,
        model.experts,
        model.experts_per_token,
        own.gamma if same else gamma,
        own.gamma_sigma if same else GAMMA_SIGMA,
        near.tier,
        sentence(near, model, card, tp, engine, weights),
    )


def profile_of(
    belief: Belief,
    model: str,
    accelerator: str,
    *,
    accelerator_count: int = 1,
    kv_tokens: int = 0,
    max_batch_size: int = MAX_BATCH_SIZE,
) -> Profile:
    """The medians of a belief as a profile, its standard deviations as uncertainty; correlations are lost."""
    alpha, beta, kappa, delta, *epsilon = belief.values.tolist()
    sigma = belief.sigmas.tolist()
    return Profile(
        model=model,
        accelerator=accelerator,
        timing=IterationTiming(
            alpha=alpha,
            beta=beta,
            kappa=kappa,
            delta=delta,
            gamma=math.exp(belief.gamma),
            epsilon=epsilon[0] if epsilon else 0.0,
            experts=belief.experts,
            experts_per_token=belief.experts_per_token,
        ),
        accelerator_count=accelerator_count,
        max_batch_size=max_batch_size,
        kv_tokens=kv_tokens,
        source=belief.source,
        uncertainty=Uncertainty(
            **dict(zip(roofline.PARAMETERS, sigma, strict=False)),
            gamma=belief.gamma_sigma,
            residual=belief.residual,
        ),
    )


def belief_of(profile: Profile) -> Belief:
    """The belief of a profile in Flyball's own form with its uncertainty; or ValueError."""
    name = f"the profile of {profile.model} on {profile.accelerator}"
    if not isinstance(profile.timing, IterationTiming):
        raise ValueError(f"{name} is not in the form of iterations: give alpha, beta, kappa and delta")
    if profile.uncertainty is None:
        raise ValueError(f"{name} has no uncertainty: give its parameters' standard deviations")
    return _belief(profile.timing, profile.uncertainty, profile.source)


def _belief(timing: IterationTiming, uncertainty: Uncertainty, source: str = "") -> Belief:
    names = roofline.PARAMETERS[: 5 if timing.experts else 4]
    values = np.array([getattr(timing, name) for name in names])
    sigma = np.array([getattr(uncertainty, name) for name in names])
    return Belief(
        np.log(np.maximum(values, FLOOR)),
        np.diag(sigma**2) + uncertainty.common**2,
        uncertainty.residual or roofline.RESIDUAL,
        timing.experts,
        timing.experts_per_token,
        math.log(timing.gamma) if timing.gamma else -math.inf,
        uncertainty.gamma,
        "",
        source,
    )
