"""A fit to one's own measurements: parameters against the prior, points, curves, and what to make of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from rich import box
from rich.table import Table

from flyball.calibrate.belief import FloatArray, predicted
from flyball.calibrate.design import design
from flyball.calibrate.fit import UNKNOWN, Fit
from flyball.physics.roofline import PARAMETERS
from flyball.report.curves import Chart, Series
from flyball.report.profiles import MEANING, spread
from flyball.report.sentences import duration, printable
from flyball.spec.measurement import Point
from flyball.units import to_ms

MOST_ROWS = 40
MOST_SHAPES = 5
"""Drawn with a line of their own, those with most points first."""
GRID = 60


def lead(model: str, accelerator: str, fit: Fit) -> str:
    """What was fitted to what, from which prior."""
    kept, points = len(fit.time) - int(fit.aside.sum()), len(fit.time)
    aside = f", {points - kept} of {points} set aside" if points > kept else ""
    runs = f"{kept} measurement{'s' * (kept != 1)}"
    where = f"{printable(model)} on {printable(accelerator)}"
    return f"{where}, fitted to {runs}{aside}. Prior: {printable(fit.before.source)}."


def parameter_rows(fit: Fit) -> list[tuple[str, str, str, str, str]]:
    """Name and meaning, before, after, change, and whether the points say anything of it."""
    rows = []
    learnt = fit.learnt
    for k, name in enumerate(PARAMETERS[: len(fit.after.mean)]):
        change = float(np.exp(fit.after.mean[k] - fit.before.mean[k]))
        before, after = (spread(float(b.mean[k]), float(b.sigmas[k])) for b in (fit.before, fit.after))
        rows.append(
            (f"{name}: {MEANING[name]}", before, after, f"x {change:.2f}", verdict(fit, k, bool(learnt[k])))
        )
    before, after = (spread(b.gamma, b.gamma_sigma) for b in (fit.before, fit.after))
    change = float(np.exp(fit.after.gamma - fit.before.gamma))
    said = "learnt from the time to first token" if fit.gamma_points else "not measured: rests on the prior"
    rows.append((f"gamma: {MEANING['gamma']}", before, after, f"x {change:.2f}", said))
    return rows


def verdict(fit: Fit, k: int, learnt: bool) -> str:
    """What the points say of one parameter."""
    before, after = float(fit.before.sigmas[k]), float(fit.after.sigmas[k])
    if learnt:
        return f"learnt: {1 - after / before:.0%} less uncertain"
    return "NOT IDENTIFIED" if after >= UNKNOWN else "NOT IDENTIFIED: rests on the prior"


def parameters_table(fit: Fit) -> Table:
    """What each parameter became; in parentheses from the 10th to the 90th percentile."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("parameter", overflow="fold")
    for name in ("before", "fitted", "change"):
        table.add_column(name, justify="right", overflow="fold")
    table.add_column("measurements say", overflow="fold")
    for row in parameter_rows(fit):
        table.add_row(*row, style="yellow" if row[-1].startswith("NOT") else "")
    return table


def point_rows(points: Sequence[Point], fit: Fit) -> list[tuple[str, ...]]:
    """Line, requests that decode, tokens, measured, foretold before, fitted, residual, whether it counts."""
    return [
        (
            f"{p.line}" if p.line else "",
            f"{n:,.3g}",
            f"{p.in_tokens:,.0f}",
            f"{p.out_tokens:,.0f}",
            duration(p.tpot),
            duration(before),
            duration(time),
            f"{p.tpot / time - 1:+.1%}",
            "set aside" if aside else "",
        )
        for p, n, before, time, aside in zip(
            points,
            fit.running.tolist(),
            fit.foretold.tolist(),
            fit.time.tolist(),
            fit.aside.tolist(),
            strict=True,
        )
    ]


POINT_NAMES = ("line", "decoding", "in", "out", "measured", "prior said", "fitted", "residual", "")


def points_table(points: Sequence[Point], fit: Fit) -> Table:
    """A row for each point; of very many those that are most off."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in POINT_NAMES:
        table.add_column(name, justify="right" if name else "left")
    rows = point_rows(points, fit)
    measured = np.array([p.tpot for p in points])
    worst = np.argsort(-np.abs(np.log(fit.time / measured)), kind="stable")[:MOST_ROWS]
    for i in sorted(worst.tolist()):
        table.add_row(*rows[i], style="yellow" if fit.aside[i] else "")
    return table


def summary(points: Sequence[Point], fit: Fit) -> list[str]:
    """How well it fits, what is to be known of it; a sentence each."""
    kept = ~fit.aside
    measured = np.array([p.tpot for p in points])
    before = float(np.mean(np.abs(fit.foretold[kept] / measured[kept] - 1)))
    fitted = f"{fit.error:.1%}"
    prior = f"{before:.1%}" if before < 9.995 else "out of all proportion"
    lines = [f"Mean error: {fitted} fitted, where the prior was off by {prior}."]
    if fit.unseen is not None:
        lines.append(f"Of a shape that was left out of the fit: {fit.unseen:.1%} (mean over shapes).")
    else:
        lines.append(
            "All have one length of prompt and answer: what other lengths cost rests on the prior. "
            "Measure a second one, three times as long."
        )
    aside = [f"{p.line}" for p, far in zip(points, fit.aside.tolist(), strict=True) if far]
    if aside:
        many = len(aside) > 1
        few = f"line{'s' * many} {', '.join(aside)}"
        lie, them = ("lie", "them") if many else ("lies", "it")
        lines.append(f"Set aside: {few} {lie} far from all others. Measure {them} again.")
    if fit.surprising and fit.before.tier != "none":
        lines.append(
            "The measurements lie outside of what was believed: are model, card, number of cards and "
            "precision those that were measured?"
        )
    if any(not p.running and p.ttft is None for p in points):
        lines.append(
            "Without a time to first token, all requests in the system are taken to decode: with ttft_ms the "
            "fit is truer."
        )
    unknown = [name for name, known in zip(PARAMETERS, fit.learnt.tolist(), strict=False) if not known]
    if unknown:
        what = [HELP[name] for name in unknown]
        lines.append(
            f"Not identified: {', '.join(unknown)}. To learn more: {'; '.join(dict.fromkeys(what))}."
        )
    return lines


HELP = {
    "alpha": "measure at a concurrency of 1",
    "beta": "measure at several concurrencies, up to the largest batch",
    "kappa": "measure long prompts and answers at a high concurrency",
    "delta": "measure prompts that are long against their answers",
    "epsilon": "measure at concurrencies of 1, 4, 16 and 64",
}


# ---- curves ------------------------------------------------------------------------------------


def charts(points: Sequence[Point], fit: Fit) -> list[Chart]:
    """The fit and its residuals over the requests that decode, by shape."""
    shapes = _shapes(points)
    n = fit.running
    residuals = 100 * (_measured(points) / fit.time - 1)
    high = max(10.0, 2.0 * float(np.max(np.abs(residuals[~fit.aside]), initial=0.0)))
    residuals = np.clip(residuals, -0.97 * high, 0.97 * high)  # what was set aside stands at the edge
    top = float(n.max()) * 1.05
    x = np.unique(np.concatenate([np.geomspace(max(min(float(n.min()), 1.0), 1e-3), top, GRID), n]))
    fitted: dict[str, Series] = {}
    off: dict[str, Series] = {}
    dots = []
    for shape in shapes:
        name = f"{shape[0]:,.0f} in, {shape[1]:,.0f} out"
        columns = design(x, *shape, fit.after.experts, fit.after.experts_per_token)
        fitted[name] = [to_ms(v) for v in predicted(fit.after, columns).time.tolist()]
        mine = np.array([(p.in_tokens, p.out_tokens) == shape for p in points])
        fitted[f"{name}, measured"] = _at(x, n, to_ms(1.0) * _measured(points), mine & ~fit.aside)
        off[name] = _at(x, n, residuals, mine & ~fit.aside)
        dots.append(f"{name}, measured")
    rest = np.array([(p.in_tokens, p.out_tokens) not in shapes for p in points])
    others = {"other shapes": rest & ~fit.aside, "set aside": fit.aside}
    for name, mine in others.items():
        if mine.any():
            off[name] = _at(x, n, residuals, mine)
    if fit.aside.any():
        fitted["set aside"] = _at(x, n, to_ms(1.0) * _measured(points), fit.aside)
        dots.append("set aside")
    return [
        Chart(
            "Time between tokens: measured and fitted",
            "requests that decode",
            "ms",
            x.tolist(),
            fitted,
            points=tuple(dots),
        ),
        Chart(
            "Residuals: measured over fitted",
            "requests that decode",
            "%",
            x.tolist(),
            off,
            {"0": 0.0},
            points=tuple(off),
            range=(-high, high),
        ),
    ]


def _shapes(points: Sequence[Point]) -> list[tuple[float, float]]:
    count: dict[tuple[float, float], int] = {}
    for p in points:
        count[p.in_tokens, p.out_tokens] = count.get((p.in_tokens, p.out_tokens), 0) + 1
    return sorted(sorted(count, key=lambda shape: (-count[shape], shape))[:MOST_SHAPES])


def _measured(points: Sequence[Point]) -> FloatArray:
    return np.array([p.tpot for p in points])


def _at(x: FloatArray, n: FloatArray, y: FloatArray, which: npt.NDArray[np.bool_]) -> Series:
    """Values where points are, nothing elsewhere; of several at one place the last."""
    found: Series = [None] * len(x)
    for i in np.flatnonzero(which):
        found[int(np.searchsorted(x, n[i]))] = float(y[i])
    return found
