"""An iteration's time in the fewer words of the Inferno family, for requests of one length, and what is lost.

Over the batch, times are a straight line but for the experts that a batch wakes; the line is the one of least
relative error. What a prompt costs others is a part of it in generations 1 and 3; generation 2 has prefills.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from flyball.calibrate.belief import FloatArray
from flyball.calibrate.design import design
from flyball.spec.fleet import Generation
from flyball.spec.profile import ChunkedTiming, FlatTiming, IterationTiming, PhaseTiming
from flyball.units import Tokens

GRID = 60
"""Batches, evenly by their logarithm: small ones count as much as large ones."""


class Simpler(NamedTuple):
    """A timing of another generation, and how far its time between tokens is off at most over the batch."""

    timing: FlatTiming | PhaseTiming | ChunkedTiming
    here: float
    """For requests of the given length."""
    elsewhere: float
    """For prompts and answers half and twice as long."""


def simpler(
    timing: IterationTiming, generation: Generation, in_tokens: Tokens, out_tokens: Tokens, batch: int
) -> Simpler:
    """The timing of a generation that is nearest for such requests, up to a batch of so many.

    ValueError: the generation has no timing of its own.
    """
    n = np.unique(np.round(np.geomspace(1.0, max(batch, 2), GRID)))
    whole = _itl(timing, n, in_tokens, out_tokens)
    made: FlatTiming | PhaseTiming | ChunkedTiming
    if generation == "G1":
        made = FlatTiming(*_line(n, whole))
    elif generation == "G2":
        prompt = timing.delta * in_tokens / out_tokens
        alpha, beta = _line(n, whole - prompt * n)
        made = PhaseTiming(alpha, beta, gamma=timing.gamma + alpha, delta=timing.delta)
    elif generation == "G3":
        alpha, slope = _line(n, whole)
        tokens = 1.0 + in_tokens / out_tokens
        read = in_tokens + out_tokens / 2.0 + in_tokens / out_tokens
        kappa = min(timing.kappa, slope / read)
        made = ChunkedTiming(alpha, (slope - kappa * read) / tokens, kappa)
    else:
        raise ValueError(f"{generation} is no generation of Inferno's: take G1, G2 or G3")
    lengths = [(f * in_tokens, g * out_tokens) for f in (0.5, 1.0, 2.0) for g in (0.5, 1.0, 2.0)]
    off = [_off(made, timing, n, *length) for length in lengths]
    return Simpler(made, _off(made, timing, n, in_tokens, out_tokens), max(off))


def _line(n: FloatArray, time: FloatArray) -> tuple[float, float]:
    """Intercept and slope, not negative, of least squared relative error."""
    X = np.stack([np.ones_like(n), n], axis=1) / time[:, None]
    alpha, beta = np.linalg.lstsq(X, np.ones_like(n), rcond=None)[0].tolist()
    if beta < 0:
        return float(1.0 / np.mean(1.0 / time)), 0.0
    return (alpha, beta) if alpha > 0 else (0.0, float(np.mean(n / time) / np.mean((n / time) ** 2)))


def _itl(timing: IterationTiming, n: FloatArray, in_tokens: Tokens, out_tokens: Tokens) -> FloatArray:
    X = design(n, in_tokens, out_tokens, timing.experts, timing.experts_per_token)
    values = [timing.alpha, timing.beta, timing.kappa, timing.delta, timing.epsilon]
    return np.asarray(X @ np.array(values[: X.shape[1]]), np.float64)


def _off(
    made: FlatTiming | PhaseTiming | ChunkedTiming,
    timing: IterationTiming,
    n: FloatArray,
    in_tokens: Tokens,
    out_tokens: Tokens,
) -> float:
    if isinstance(made, FlatTiming):
        slope = made.beta
    elif isinstance(made, PhaseTiming):
        slope = made.beta + made.delta * in_tokens / out_tokens
    else:
        per_token = in_tokens / out_tokens
        slope = made.beta * (1.0 + per_token) + made.gamma * (in_tokens + out_tokens / 2.0 + per_token)
    found = made.alpha + slope * n
    return float(np.max(np.abs(found / _itl(timing, n, in_tokens, out_tokens) - 1.0)))
