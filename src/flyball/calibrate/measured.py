"""Measured runs as configurations of known models and cards, their operating points in arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self, cast

import numpy as np

from flyball.calibrate.design import FloatArray, design, running
from flyball.physics.roofline import Features, features, peak
from flyball.profiles.library import find_card, find_model
from flyball.spec.card import Card
from flyball.spec.measurement import Run
from flyball.spec.model import Model, Precision

PEAK_SHARE_LIMIT = 0.7
"""Of the cards' operations per second. Five rows of Llama-3.1-8B at FP8 on H200 with 100 output tokens would
be at 0.73 to 0.96 while they decode, of all other models none beyond 0.4: a prefix cache held prompts."""
PACKED = (1, 2, 4, 8)
"""Cards of one server; more are racks with wide expert parallelism."""
CARDS = {"rtx_pro_6000_server": "RTXPRO6000"}


@dataclass(frozen=True, eq=False)
class Configuration:
    """A model on cards of one kind under one engine, at one layout, and what was measured there."""

    path: str
    """Of the model, as recorded."""
    model: Model
    card: Card
    engine: str
    version: str
    precision: Precision
    tp: int
    tp_recorded: int
    moe_tp: int
    moe_ep: int
    concurrency: FloatArray
    in_tokens: FloatArray
    out_tokens: FloatArray
    ttft: FloatArray
    tpot: FloatArray

    @classmethod
    def of(cls, run: Run) -> Self:
        """Of a run whose model and card are known; or WireError."""
        model, card = find_model(run.path), card_named(run.system)
        columns = [
            (p.concurrency, p.in_tokens, p.out_tokens, p.ttft if p.ttft is not None else np.nan, p.tpot)
            for p in run.points
        ]
        # Some rows multiply the cards by the expert ranks that share them: 16 for 4 x 4.
        squared = bool(model.experts) and run.moe_ep > 1 and run.tp == run.moe_ep**2
        return cls(
            run.path, model, card, run.engine, run.version, weights(model, run.precision),
            run.moe_ep if squared else run.tp, run.tp, run.moe_tp, run.moe_ep,
            *np.array(columns, np.float64).reshape(-1, 5).T,
        )  # fmt: skip

    @property
    def design(self) -> FloatArray:
        """(points, K)"""
        n = running(self.concurrency, self.ttft, self.tpot, self.out_tokens)
        m = self.model
        return design(n, self.in_tokens, self.out_tokens, m.experts, m.experts_per_token)

    @property
    def features(self) -> Features:
        return features(self.model, self.card, self.tp, self.precision)

    @property
    def peak_share(self) -> FloatArray:
        """(points,) of what the cards can compute: parameters times tokens, and attention over the prompt."""
        m = self.model
        awake = m.experts_per_token / m.experts if m.experts else 0.0
        per_token = 2.0 * (m.core_parameters + awake * m.expert_parameters)
        work = per_token * (self.in_tokens + self.out_tokens) + 2.0 * m.query_width * self.in_tokens**2
        rate = self.concurrency / (self.ttft + self.out_tokens * self.tpot)
        return rate * work / (peak(self.card, self.precision) * self.tp)

    @property
    def shapes(self) -> list[tuple[float, float]]:
        return sorted(set(zip(self.in_tokens.tolist(), self.out_tokens.tolist(), strict=True)))

    @property
    def cached(self) -> bool:
        """Whether its cards cannot have computed the prompts of some rows, and so maybe not of others."""
        return bool(np.any(self.peak_share > PEAK_SHARE_LIMIT))

    @property
    def fingerprint(self) -> tuple[object, ...]:
        """The same for the same runs under another name."""
        return (
            self.model.name,
            self.card.name,
            self.engine,
            self.precision,
            *np.round(self.tpot[:4] * 1e3, 2),
        )


def card_named(system: str) -> Card:
    """The card of a recorded system: h100_sxm. Or WireError."""
    return find_card(CARDS.get(system, system.partition("_")[0]))


def weights(model: Model, recorded: str) -> Precision:
    """The precision of the weights: `fp4` is what the model is published in, else NVFP4; blank is bf16."""
    if recorded == "fp4":
        return model.precision if model.precision in ("mxfp4", "int4") else "nvfp4"
    return cast(Precision, recorded or "bf16")
