"""The measured rows that lie beside the checkout: configurations of model, cards and engine, and points."""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from flyball.calibrate.design import FloatArray, design, running
from flyball.physics.roofline import Features, features, peak
from flyball.profiles.library import find_card, find_model
from flyball.spec.card import Card
from flyball.spec.model import Model, Precision

TTFT_LIMIT = 3.0
"""Seconds; beyond it requests waited, and the concurrency is not the batch."""
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
    def kind(self) -> str:
        """Of architecture: dense, moe or mla."""
        return "mla" if self.model.attention == "mla" else "moe" if self.model.experts else "dense"

    @property
    def cached(self) -> bool:
        """Whether its cards cannot have computed the prompts of some rows, and so maybe not of others."""
        return bool(np.any(self.peak_share > PEAK_SHARE_LIMIT))

    @property
    def teaches(self) -> bool:
        """Whether others may learn from it: one server, a known layout, three points, prompts computed."""
        return self.tp in PACKED and self.moe_tp > 0 and len(self.tpot) >= 3 and not self.cached

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


def configurations(file: Path) -> list[Configuration]:
    """Every configuration of the file: not disaggregated, one pipeline stage, one attention rank; medians."""
    cells: dict[tuple[str, ...], dict[tuple[int, int, int], list[tuple[float, float]]]]
    cells = defaultdict(lambda: defaultdict(list))
    with file.open(newline="") as lines:
        for row in csv.DictReader(lines):
            ranks = (_whole(row["pp_size"]), _whole(row["attention_dp_size"]))
            ttft = float(row["silicon_ttft_ms"]) / 1e3
            if not row["batch_size"] or not row["tp_size"] or ranks != (1, 1) or ttft > TTFT_LIMIT:
                continue
            key = tuple(row[k] for k in ("model_path", "system", "backend", "backend_version", "precision"))
            layout = tuple(str(_whole(row[k])) for k in ("tp_size", "moe_tp_size", "moe_ep_size"))
            point = int(float(row["batch_size"])), int(row["isl"]), int(row["osl"])
            cells[key + layout][point].append((ttft, float(row["silicon_tpot_ms"]) / 1e3))
    return [_configuration(key, points) for key, points in cells.items()]


def without_repeats(every: list[Configuration]) -> list[Configuration]:
    """Those whose runs are not there already under another name."""
    seen: set[tuple[object, ...]] = set()
    kept = []
    for c in every:
        if len(c.tpot) < 4 or c.fingerprint not in seen:
            kept.append(c)
        seen.add(c.fingerprint)
    return kept


def _configuration(
    key: tuple[str, ...], points: dict[tuple[int, int, int], list[tuple[float, float]]]
) -> Configuration:
    path, system, engine, version, precision, *layout = key
    model, card = find_model(path), card_named(system)
    tp, moe_tp, moe_ep = map(int, layout)
    order = sorted(points)
    at = np.array(order, np.float64)
    times = np.array([np.median(points[p], axis=0) for p in order])
    return Configuration(
        path, model, card, engine, version, weights(model, precision),
        # Some rows multiply the cards by the expert ranks that share them: 16 for 4 x 4.
        moe_ep if model.experts and moe_ep > 1 and tp == moe_ep**2 else tp,
        tp, moe_tp, moe_ep, at[:, 0], at[:, 1], at[:, 2], times[:, 0], times[:, 1],
    )  # fmt: skip


def card_named(system: str) -> Card:
    """The card of a recorded system: h100_sxm."""
    return find_card(CARDS.get(system, system.partition("_")[0]))


def weights(model: Model, recorded: str) -> Precision:
    """The precision of the weights: `fp4` is what the model is published in, else NVFP4; blank is bf16."""
    if recorded == "fp4":
        return model.precision if model.precision in ("mxfp4", "int4") else "nvfp4"
    return cast(Precision, recorded or "bf16")


def _whole(text: str) -> int:
    return int(float(text or 1))
