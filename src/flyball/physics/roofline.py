"""Roofline: what the data sheets of a card and a model say of the five parameters of an iteration's time.

Each parameter is a sum of features, seconds at efficiency one (bytes over bandwidth, operations over peak, a
fixed time per layer), each times an efficiency: how far engines are from it. Williams, Waterman, Patterson:
Roofline, CACM 52(4), 2009.

Efficiencies, covariance and residual are those of an empirical Bayes fit (EM with Laplace steps over
configurations) to the measured rows that the library of profiles is made of: `python -m benchmarks profiles`
makes them anew, and a slow test holds them to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flyball.spec.card import Card
from flyball.spec.model import BF16_BYTES, BYTES_PER_PARAMETER, Model, Precision

FloatArray = npt.NDArray[np.float64]

PARAMETERS = ("alpha", "beta", "kappa", "delta", "epsilon")
"""A dense model has the first four."""

EFFICIENCY: tuple[tuple[float, ...], ...] = (
    (1.258, 4.5703, 8.1934, 8.3857, 1.1476),
    (0.44074, 0.43699, 0.11186),
    (0.6592, 0.7064),
    (1.7232, 7.0463, 2.0326, 4.9268),
    (1.018,),
)
"""In the order of `Features`."""
COVARIANCE: FloatArray = np.array(
    (
        (0.070846, -0.010398, 0.14408, 0.025593, 0.037881),
        (-0.010398, 0.61193, -0.24448, -0.055654, -0.1343),
        (0.14408, -0.24448, 2.1113, -0.07168, -0.18032),
        (0.025593, -0.055654, -0.07168, 0.18128, -0.039097),
        (0.037881, -0.1343, -0.18032, -0.039097, 0.18474),
    )
)
"""Of the logarithms of measured parameters around the roofline's."""
RESIDUAL = 0.04669
"""Standard deviation of the logarithm of a measured time per token around its own parameters."""

MEMORY_SHARE = 0.9
"""Of a card's memory that engines take (vLLM's and TensorRT-LLM's default)."""
RUNTIME_BYTES = 3e9
"""Of each card: activations, graphs, communication buffers."""
MICROSECOND = 1e-6


class Features(NamedTuple):
    """Seconds at efficiency one, parameter by parameter."""

    alpha: tuple[float, ...]
    """To read what one token needs; per layer: dense, mixture of experts, MLA; per layer shared by cards."""
    beta: tuple[float, ...]
    """To compute a token; per layer; to exchange it between cards."""
    kappa: tuple[float, ...]
    """To read a KV token: as such, compressed (MLA)."""
    delta: tuple[float, ...]
    """To compute a prompt token: dense, mixture of experts; to exchange it; per layer."""
    epsilon: tuple[float, ...]
    """To read all routed experts."""


def features(model: Model, card: Card, tp: int, precision: Precision) -> Features:
    """What the parameters are sums of. ValueError: tp below 1, or a card without bandwidth or TFLOPS."""
    if tp < 1:
        raise ValueError(f"tp is {tp}: at least one card must hold the model; give 1 or more")
    for name in ("bandwidth_gbs", "tflops"):
        if getattr(card, name) <= 0:
            problem = f"{name} of {card.name} is {getattr(card, name):g}: the roofline needs it"
            raise ValueError(f"{problem}; add it to the card")
    core, experts = bytes_per_parameter(model, precision)
    bandwidth = card.bandwidth_gbs * 1e9 * tp
    moe, mla = model.experts > 0, model.attention == "mla"
    awake = model.experts_per_token / model.experts if moe else 0.0
    compute = 2.0 * (model.core_parameters + awake * model.expert_parameters) / (peak(card, precision) * tp)
    layers, many = float(model.layers), float(tp > 1)
    width = layers * hidden(model)
    link = card.link_one_way_gbs * 1e9 or math.inf
    overhead = 10 * MICROSECOND * layers
    read = BF16_BYTES * model.full_kv_elements / (card.bandwidth_gbs * 1e9 * _kv_split(model, tp))
    # Two all-reduces a layer, each a reduce-scatter and an all-gather of a bf16 vector.
    exchanged = many * 4.0 * BF16_BYTES * width * (tp - 1) / tp / link
    return Features(
        alpha=(
            (model.core_parameters * core + awake * model.expert_parameters * experts) / bandwidth,
            overhead * (not moe),
            overhead * (moe and not mla),
            overhead * (moe and mla),
            overhead * many,
        ),
        beta=(compute, MICROSECOND * layers, MICROSECOND * many * width * BF16_BYTES / 8192),
        kappa=(read * (not mla), read * mla),
        delta=(compute * (not moe), compute * moe, exchanged, 0.01 * MICROSECOND * layers),
        epsilon=(model.expert_parameters * experts / bandwidth,) if moe else (),
    )


def mean(features: Features, efficiency: Sequence[Sequence[float]] = EFFICIENCY) -> FloatArray:
    """(K,) logarithms of the parameters in seconds: K is 5 for a mixture of experts, else 4."""
    return np.log([float(np.dot(f, e)) for f, e in zip(features, efficiency, strict=True) if f])


def bytes_per_parameter(model: Model, precision: Precision) -> tuple[float, float]:
    """Of the core and of the routed experts. Four-bit mixtures of experts keep the core wider.

    As published: gpt-oss (mxfp4) and Kimi (int4) have the core in bf16, NVFP4 checkpoints mostly in fp8.
    """
    experts = BYTES_PER_PARAMETER[precision]
    core: dict[Precision, Precision] = {"mxfp4": "bf16", "int4": "bf16", "nvfp4": "fp8"}
    return BYTES_PER_PARAMETER[core.get(precision, precision) if model.experts else precision], experts


def peak(card: Card, precision: Precision) -> float:
    """Operations per second; a card without units for a precision computes at the next wider one it has."""
    fp8 = card.tflops_fp8 or card.tflops
    by_precision = {"fp8": fp8, "int8": fp8, "mxfp4": card.tflops_fp4 or fp8, "nvfp4": card.tflops_fp4 or fp8}
    return by_precision.get(precision, card.tflops) * 1e12


def hidden(model: Model) -> float:
    """Width of the residual stream; without a shape as in a plain transformer, whose layer has 12 h^2."""
    if model.shape is not None:
        return float(model.shape.hidden)
    return math.sqrt(model.active_parameters / (12.0 * model.layers))


def kv_tokens(model: Model, card: Card, tp: int, precision: Precision) -> int:
    """Tokens that the KV cache of one replica holds at bf16; 0: the weights do not fit.

    Layers that look back over a window only are passed over: they keep little of a long request.
    """
    core, experts = bytes_per_parameter(model, precision)
    beside = model.parameters - model.core_parameters - model.expert_parameters
    weights = model.core_parameters * core + model.expert_parameters * experts + max(0, beside) * BF16_BYTES
    free = (card.memory_bytes * MEMORY_SHARE - RUNTIME_BYTES) * tp - weights
    copies = tp / _kv_split(model, tp)
    token = BF16_BYTES * model.full_kv_elements * copies
    return max(0, int(free / token))


def _kv_split(model: Model, tp: int) -> int:
    """Parts that tensor parallelism splits the KV cache into: no more than KV heads, MLA into none."""
    return min(tp, model.kv_heads or tp)
