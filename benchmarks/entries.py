"""The library of latency profiles, made from the recorded data beside the checkout."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from benchmarks.measured import Configuration, configurations
from flyball.calibrate.entry import in_order, measured_entries, measured_entry
from flyball.calibrate.measured import card_named, weights
from flyball.calibrate.prior import GAMMA, GAMMA_SIGMA, Experience
from flyball.physics.roofline import kv_tokens
from flyball.profiles.library import find_model
from flyball.spec.library import Entry
from flyball.spec.profile import IterationTiming, Uncertainty
from flyball.wire.library import entries_to_csv

OP_SIGMA = {"alpha": 0.15, "beta": 0.8, "kappa": 0.5, "delta": 0.35, "epsilon": 0.35}
"""Of op-level figures around those of measured engines, where both are known."""
OP_RESIDUAL = 0.06
SUSPECT_FACTOR = 3.0
OP_SOURCE = "AIConfigurator 0.12 kernel measurements"


def op_level_entries(file: Path) -> list[Entry]:
    """Of the op-level profiles of `profiles.json`."""
    return [_op_level(a) for a in json.loads(file.read_text())["source_A_profiles"]]


def _op_level(a: dict[str, Any]) -> Entry:
    model, card = find_model(a["model"]), card_named(a["system"])
    quant = a["quant"]["gemm"]
    recorded = {"bfloat16": "bf16", "fp8_static": "fp8", "fp8_block": "fp8"}[quant]
    precision = weights(model, "fp4" if model.precision == "mxfp4" else recorded)
    batch, context, decode = np.array(a["raw_decode_b_ctx_ms"]).T
    columns = [np.ones_like(batch), batch, batch * context]
    if model.experts:
        q = 1 - model.experts_per_token / model.experts
        columns.append(q - q**batch)
    alpha, beta, kappa, *epsilon = _relative(np.stack(columns, 1), decode / 1e3)
    b, n, prefill = np.array(a["raw_prefill_b_n_ms"]).T
    _, delta = _relative(np.stack([np.ones_like(n), b * n], 1), prefill / 1e3)
    suspect = "; ".join(
        words
        for words, holds in {
            "speed-of-light formula, not measured": a["database_mode"] != "SILICON",
            "its PCIe all-reduce table dominates": card.name == "L40S" and a["tp"] >= 4,
            "its block-FP8 kernels are 1.6 to 5 times slower than measured engines": quant == "fp8_block"
            and not model.experts,
        }.items()
        if holds
    )
    wide = SUSPECT_FACTOR if suspect else 1.0
    sigma = {name: round(wide * s, 3) for name, s in OP_SIGMA.items() if epsilon or name != "epsilon"}
    return Entry(
        model.name, card.name, a["tp"], a["backend"], precision, "op-level",
        IterationTiming(
            alpha, beta, kappa, delta, GAMMA[a["backend"]], *(epsilon or [0.0]),
            model.experts, model.experts_per_token,
        ),
        Uncertainty(**sigma, gamma=GAMMA_SIGMA, residual=OP_RESIDUAL),
        "" if a["backend_version"] == "estimate" else a["backend_version"],
        kv_tokens(model, card, a["tp"], precision), 0, len(decode) + len(prefill), suspect,
        "gamma is the engine's usual: kernels say nothing of it", OP_SOURCE,
    )  # fmt: skip


def _relative(X: np.ndarray, y: np.ndarray) -> list[float]:
    """Non-negative least squares of relative errors."""
    found, _ = nnls(X / y[:, None], np.ones_like(y))
    return [float(v) for v in found]


def library(configurations: Sequence[Configuration], profiles: Path, known: Experience) -> list[Entry]:
    """Every entry that is shipped: op-level ones, and the measured ones of configurations that say enough."""
    measured = measured_entries(configurations, lambda c: measured_entry(c, known))
    return in_order([*op_level_entries(profiles), *measured])


def main() -> None:
    """Write the shipped table anew, and print the constants of `physics.roofline` and `calibrate.prior`."""
    from benchmarks.profiles import Study, folder, world

    data = folder()
    assert data is not None, "there is no recorded data beside this checkout"
    known, _ = world(Study(data).every)
    entries = library(configurations(data / "measured_latency.csv"), data / "profiles.json", known)
    Path("src/flyball/profiles/latency.csv").write_text(entries_to_csv(entries))
    for name, rows in (
        ("efficiency", known.efficiency),
        ("covariance", known.covariance),
        *known.tiers.items(),
    ):
        print(name, "= (")
        for row in rows:
            print("    (" + ", ".join(f"{v:.5g}" for v in row) + ("," if len(row) == 1 else "") + "),")
        print(")")
    print("residual =", f"{known.residual:.4g}")


if __name__ == "__main__":
    main()
