"""How true profiles and priors are: on request shapes, and on whole models, that they have not seen.

Everything that predicts a configuration was learnt without its model: efficiencies and covariances from the
other models; the library's entries of its model, when they serve as prior, are those of other configurations.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.entries import measured_entry, op_level_entries
from benchmarks.hierarchy import alone, learn, learn_tiers
from benchmarks.measured import Configuration, configurations, without_repeats
from flyball.calibrate.belief import Belief, FloatArray, fitted, predicted
from flyball.calibrate.near import TIERS, family, tier_of
from flyball.calibrate.prior import Experience, prior
from flyball.spec.library import Entry

SEEN = (0, 1, 2, 4, 8)
REPEATS = 4
INTERVALS = {50: 0.6745, 80: 1.2816, 95: 1.9600}
KINDS = ("dense", "moe", "mla")
MANY_SHAPES = 6
LEAST_ROWS, ROWS_FOR_FEW = 7, 12
WEAK = np.diag(np.full(5, 9.0))
"""Covariance of a prior that says nothing: a factor of 20 either way."""


class World(NamedTuple):
    """What is known when a model is new."""

    known: Experience
    entries: dict[Configuration, Entry]


def world(every: Sequence[Configuration], without: object = None) -> World:
    """Learnt from all configurations but those of a family; entries of all, fitted with what was learnt."""
    teachers = [c for c in every if c.teaches]
    others = [c for c in teachers if family(c.model) != without]
    known = learn(others)
    entries = {c: measured_entry(c, known) for c in teachers}
    none = known._replace(tiers={tier: np.zeros((5, 5)) for tier in TIERS})
    pairs: dict[str, list[tuple[Configuration, Belief]]] = {tier: [] for tier in TIERS}
    for c in others:
        kin = [e for o, e in entries.items() if o is not c and family(o.model) == family(c.model)]
        for tier in TIERS:
            near = [e for e in kin if tier_of(e, c.card, c.tp, c.engine, c.precision) == tier]
            if near:
                pairs[tier].append((c, prior_of(c, near, none)))
    return World(learn_tiers(pairs, known), entries)


def prior_of(c: Configuration, entries: Sequence[Entry], known: Experience) -> Belief:
    """The product's prior of a configuration; of the layout and version of the engine it is not told."""
    return prior(c.model, c.card, c.tp, c.engine, c.precision, entries, experience=known)


class Study:
    """The recorded configurations, and what is known of each without its model."""

    def __init__(self, data: Path) -> None:
        self.every = without_repeats(configurations(data / "measured_latency.csv"))
        self.op_level = op_level_entries(data / "profiles.json")
        self._worlds: dict[object, World] = {}

    def world(self, c: Configuration) -> World:
        if family(c.model) not in self._worlds:
            self._worlds[family(c.model)] = world(self.every, family(c.model))
        return self._worlds[family(c.model)]

    def prior(self, c: Configuration, library: bool = True) -> Belief:
        known, entries = self.world(c)
        if not library:
            return alone(c, known)
        return prior_of(c, [*self.op_level, *(e for o, e in entries.items() if o is not c)], known)


def unseen_shapes(c: Configuration, before: Belief) -> float:
    """Mean relative error of rows of one shape, predicted from all others'; over all shapes."""
    X, found = c.design, np.empty_like(c.tpot)
    for shape in c.shapes:
        held = (c.in_tokens == shape[0]) & (c.out_tokens == shape[1])
        found[held] = predicted(fitted(before, X[~held], c.tpot[~held]), X[held]).time
    return float(np.mean(np.abs(found / c.tpot - 1)))


def weak(c: Configuration, known: Experience) -> Belief:
    """A prior around the roofline that says next to nothing."""
    before = alone(c, known)
    k = len(before.mean)
    return replace(before, covariance=WEAK[:k, :k])


def few_seen(c: Configuration, before: Belief, seen: int, seed: int) -> tuple[float, FloatArray]:
    """Mean relative error of the rows not seen, and their standardised errors; seen are some of all loads."""
    rng = np.random.default_rng(seed)
    X, rows = c.design, np.arange(len(c.tpot))
    errors, scores = [], []
    for _ in range(REPEATS if seen else 1):
        by_load = np.lexsort((rng.random(len(rows)), c.concurrency))
        picked = np.array([rng.choice(part) for part in np.array_split(by_load, seen)] if seen else [], int)
        rest = np.setdiff1d(rows, picked)
        made = predicted(fitted(before, X[picked], c.tpot[picked]), X[rest])
        errors.append(float(np.mean(np.abs(made.time / c.tpot[rest] - 1))))
        scores.append(np.log(c.tpot[rest] / made.time) / made.sigma)
    return float(np.mean(errors)), np.concatenate(scores)


def summary(errors: Sequence[float], kinds: Sequence[str]) -> str:
    """Median and worst in percent, and medians by architecture."""
    e, k = 100 * np.array(errors), np.array(kinds)
    parts = "  ".join(f"{kind} {np.median(e[k == kind]):.1f}" for kind in KINDS if np.any(k == kind))
    return f"{len(e):>4} {np.median(e):>7.1f} {np.percentile(e, 75):>6.1f} {e.max():>6.1f}   {parts}"


HEAD = f"{'':<34} {'n':>4} {'median':>7} {'p75':>6} {'worst':>6}   median by architecture"


def main(runs: int = 1) -> None:
    """Print the table."""
    data = folder()
    if data is None:
        print("profiles: there is no recorded data beside this checkout; set FLYBALL_SHARED", file=sys.stderr)
        return
    study = Study(data)
    print("profiles: mean relative error, percent, of the time per output token\n" + HEAD)
    rows = [c for c in study.every if len(c.tpot) >= LEAST_ROWS]
    aside = [c for c in rows if c.cached and len(c.shapes) >= MANY_SHAPES]
    many = [c for c in rows if len(c.shapes) >= MANY_SHAPES and not c.cached]
    some = [c for c in rows if 2 <= len(c.shapes) < MANY_SHAPES and c.teaches]
    for name, cases in (("6 shapes and more", many), ("2 to 5 shapes", some)):
        kinds = [c.kind for c in cases]
        for how, before in (
            ("no prior", lambda c: weak(c, study.world(c).known)),
            ("roofline", lambda c: study.prior(c, library=False)),
            ("library", study.prior),
        ):
            errors = [unseen_shapes(c, before(c)) for c in cases]
            print(f"{name + ', one unseen, ' + how:<34} {summary(errors, kinds)}", flush=True)
    for c in aside:
        error = unseen_shapes(c, weak(c, study.world(c).known))
        place = f"{c.path} on {c.tp} {c.card.name}, {c.engine} {c.version}"
        print(
            f"left out: {place}: {100 * error:.1f}; its cards cannot have computed the prompts of some rows"
        )
    cases = [c for c in study.every if len(c.tpot) >= ROWS_FOR_FEW and c.teaches]
    print(HEAD + f"{'':<8} | within 50 80 95 %")
    for how in ("roofline", "library"):
        for seen in SEEN:
            made = [few_seen(c, study.prior(c, how == "library"), seen, 1) for c in cases]
            scores = np.abs(np.concatenate([s for _, s in made]))
            within = " ".join(f"{100 * np.mean(scores < z):.0f}" for z in INTERVALS.values())
            line = summary([e for e, _ in made], [c.kind for c in cases])
            print(f"{f'{seen} observations, {how}':<34} {line} | {within}", flush=True)


@cache
def folder() -> Path | None:
    """The recorded data beside the checkout, or in FLYBALL_SHARED."""
    given = os.environ.get("FLYBALL_SHARED")
    path = (Path(given) if given else Path(__file__).resolve().parents[2] / "shared") / "data"
    return path if (path / "measured_latency.csv").is_file() else None


if __name__ == "__main__":
    main()
