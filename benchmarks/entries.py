"""The library of latency profiles, made from the recorded data beside the checkout."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace
from scipy.optimize import nnls

from benchmarks.hierarchy import alone
from benchmarks.measured import PACKED, Configuration, card_named, configurations, weights
from flyball.calibrate.belief import Belief, fitted
from flyball.calibrate.prior import GAMMA, GAMMA_ELSEWHERE, GAMMA_SIGMA, Experience, profile_of
from flyball.physics.roofline import kv_tokens
from flyball.profiles.library import find_model
from flyball.spec.library import Entry
from flyball.spec.profile import IterationTiming, Uncertainty
from flyball.wire.library import entries_to_csv

LEAST_POINTS = 7
"""Of a configuration that is shipped."""
MISFIT = 0.08
"""A residual beyond this is worth a word."""
ROWS_OF_PRIOR = 8
"""So many rows' weight draws a configuration's residual to the common one."""
LOW_LOAD = 16
"""Requests in the system, at which the time to first token says something of gamma."""
BURST_SHARE = 0.07
"""Of computing all others' prompts: what the first burst of a closed loop adds to a time to first token."""
KNOWN_GAMMA_SIGMA = 0.5

OP_SIGMA = {"alpha": 0.15, "beta": 0.8, "kappa": 0.5, "delta": 0.35, "epsilon": 0.35}
"""Of op-level figures around those of measured engines, where both are known."""
OP_RESIDUAL = 0.06
SUSPECT_FACTOR = 3.0
OP_SOURCE = "AIConfigurator 0.12 kernel measurements"
SOURCE = "AIConfigurator 0.12 end-to-end measurements"


def measured_entry(c: Configuration, known: Experience) -> Entry:
    """Fitted under the roofline as prior; a configuration that fits worse than most is less sure."""
    prior = alone(c, known)
    first = fitted(prior, c.design, c.tpot)
    own = _residual(first, c, known)
    after = fitted(prior, c.design, c.tpot, max(own, known.residual))
    gamma, sigma = _gamma(after, c)
    belief = Belief(
        after.mean,
        after.covariance,
        _residual(after, c, known),
        after.experts,
        after.experts_per_token,
        gamma,
        sigma,
    )
    profile = profile_of(belief, c.model.name, c.card.name)
    assert isinstance(profile.timing, IterationTiming)
    assert profile.uncertainty is not None
    return Entry(
        c.model.name, c.card.name, c.tp, c.engine, c.precision, "measured",
        profile.timing, profile.uncertainty, c.version,
        kv_tokens(c.model, c.card, c.tp, c.precision), len(c.shapes), len(c.tpot),
        _suspicion(c), _notes(c, belief), SOURCE,
    )  # fmt: skip


def _suspicion(c: Configuration) -> str:
    if c.cached:
        return "a prefix cache held prompts: more of them a second than the cards compute"
    return "" if c.tp in PACKED else "wide expert parallelism over a rack, one run"


def _residual(belief: Belief, c: Configuration, known: Experience) -> float:
    misfit = np.log(c.design @ belief.values / c.tpot)
    rows = len(misfit) + ROWS_OF_PRIOR
    return math.sqrt((float(misfit @ misfit) + ROWS_OF_PRIOR * known.residual**2) / rows)


def _gamma(belief: Belief, c: Configuration) -> tuple[float, float]:
    """Logarithm and its standard deviation: median over runs at low load; else what the engine mostly has."""
    low = c.concurrency <= LOW_LOAD
    prompt = belief.values[3] * c.in_tokens
    left = c.ttft - c.tpot - prompt - BURST_SHARE * (c.concurrency - 1) * prompt
    found = float(np.median(left[low])) if np.any(low) else 0.0
    if found > 0.0:
        return math.log(found), KNOWN_GAMMA_SIGMA
    return math.log(GAMMA.get(c.engine, GAMMA_ELSEWHERE)), GAMMA_SIGMA


def _notes(c: Configuration, belief: Belief) -> str:
    shapes = len(c.shapes)
    said = {
        "engine version not recorded": not c.version,
        f"experts split over {c.moe_ep} ranks": c.moe_ep > 1,
        f"recorded as {c.tp_recorded} cards, cards times expert ranks": c.tp_recorded != c.tp,
        f"{shapes} shape{'s' * (shapes > 1)}: kappa and delta rest on the prior": shapes < 3,
        f"fits within {belief.residual:.0%} only": belief.residual > MISFIT,
        "recorded as fp4; the published weights are int4": c.precision == "int4",
        "one concurrency per shape, chosen for a target of the time per token": len(c.tpot) <= shapes + 2
        and shapes >= 6,
    }
    return "; ".join(note for note, holds in said.items() if holds)


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
    entries = op_level_entries(profiles)
    seen: dict[tuple[object, ...], str] = {}
    for c in configurations:
        if len(c.tpot) < LEAST_POINTS:
            continue
        entry = measured_entry(c, known)
        name = f"{c.version or 'the unnamed version'} on {c.tp_recorded} cards, {c.moe_ep} expert ranks"
        if c.fingerprint in seen:
            same = f"the same runs as {seen[c.fingerprint]}"
            entry = replace(entry, notes="; ".join(filter(None, [entry.notes, same])))
        seen[c.fingerprint] = name
        entries.append(entry)
    return sorted(entries, key=_order)


def _order(e: Entry) -> tuple[object, ...]:
    return e.tier, e.model, e.card, e.tp, e.engine, e.precision, e.version, -e.points, e.timing.alpha


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
