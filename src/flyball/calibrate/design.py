"""Columns of the time per output token: what an operating point multiplies each parameter with."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def design(
    running: npt.ArrayLike,
    in_tokens: npt.ArrayLike,
    out_tokens: npt.ArrayLike,
    experts: int = 0,
    experts_per_token: int = 0,
) -> FloatArray:
    """(points, K) columns of alpha, beta, kappa, delta and, of a mixture of experts, epsilon.

    The time per output token is their sum: alpha + beta n + kappa n (in + out / 2) + delta n in / out +
    epsilon (q - q^n), n = requests that decode. While one answer comes out, n x in / out prompt tokens per
    token of it are computed in the same iterations.
    """
    n, tokens_in, tokens_out = np.broadcast_arrays(
        *(np.atleast_1d(np.asarray(a, np.float64)) for a in (running, in_tokens, out_tokens))
    )
    if not (np.all(n > 0) and np.all(tokens_in >= 0) and np.all(tokens_out > 0)):
        raise ValueError("an operating point has no requests or no output tokens: leave it out")
    columns = [np.ones_like(n), n, n * (tokens_in + tokens_out / 2), n * tokens_in / tokens_out]
    if experts:
        q = 1.0 - experts_per_token / experts
        columns.append(q - q ** np.maximum(n, 1.0))
    return np.stack(columns, axis=1)


def running(
    concurrency: npt.ArrayLike, ttft: npt.ArrayLike, tpot: npt.ArrayLike, out_tokens: npt.ArrayLike
) -> FloatArray:
    """Requests that decode, of those in the system, by Little's law: the share of their time that they do."""
    decoding = np.asarray(out_tokens, np.float64) * np.asarray(tpot, np.float64)
    return np.asarray(concurrency, np.float64) * decoding / (np.asarray(ttft, np.float64) + decoding)
