"""What came of the power campaign: a table for each cap, the Reach beside it, and a plot."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from benchmarks.power_plant import LOOP, OURS, POLICIES, SHARES, Row
from benchmarks.power_plant_world import FIRST, SERVICES
from flyball.report.curves import Chart, ServerCurves
from flyball.report.terminal import draw

KEPT = dict(zip(SHARES, (0.99, 0.97, 0.92, 0.82), strict=True))
"""R2: SLO-meeting tokens by cap."""
FIRSTS = [one.name for one in SERVICES if one.priority == FIRST]
RESAMPLES, LEVEL = 2000, 0.95
POLCA = 0.79
"""Peak of a row over its budget, before servers are added."""
MORE = 1.4
"""R1: servers under the same budget."""

Figure = Callable[[Row, Row], float]
"""Of a row and that of the loop without a cap, of the same seed."""
FIGURES: Mapping[str, tuple[Figure, str, float]] = {
    "tokens kept, %": (lambda r, b: r.tokens / b.tokens, "{:.1f}", 100.0),
    "requests, %": (lambda r, b: r.requests / b.requests, "{:.1f}", 100.0),
    "s above": (lambda r, b: r.above, "{:.0f}", 1.0),
    "longest": (lambda r, b: r.longest, "{:.0f}", 1.0),
    "kJ above": (lambda r, b: r.joules, "{:.0f}", 1e-3),
    "J/token, x": (lambda r, b: energy(r) / energy(b), "{:.2f}", 1.0),
    "ttft, x": (lambda r, b: tail(r.ttft, b.ttft), "{:.2f}", 1.0),
    "itl, x": (lambda r, b: tail(r.itl, b.itl), "{:.2f}", 1.0),
}


def energy(row: Row) -> float:
    """Joules of the hall for a token within its targets."""
    return row.energy / max(row.tokens, 1)


def tail(now: Mapping[str, float], before: Mapping[str, float]) -> float:
    """p99 of the first priority over what it was, the geometric mean of its services."""
    return float(np.exp(np.mean([np.log(max(now[n], 1e-9) / max(before[n], 1e-9)) for n in FIRSTS])))


def middle(values: Sequence[float]) -> tuple[float, float, float]:
    """The median with its bootstrap interval."""
    found = np.array(values)
    rng = np.random.default_rng(0)
    medians = np.median(found[rng.integers(0, found.size, (RESAMPLES, found.size))], axis=1)
    low, high = np.quantile(medians, [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0])
    return float(np.median(found)), float(low), float(high)


class Paired:
    """Rows beside that of the loop without a cap, seed by seed."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = {(r.policy, r.share, r.seed): r for r in rows}

    def of(self, policy: str, share: float) -> list[tuple[Row, Row]]:
        """By seed; a seed without its loop is left out."""
        return [
            (row, self._rows[LOOP, share, seed])
            for (name, cap, seed), row in sorted(self._rows.items())
            if (name, cap) == (policy, share) and (LOOP, share, seed) in self._rows
        ]

    def values(self, policy: str, share: float, figure: Figure) -> list[float]:
        """One figure, by seed."""
        return [figure(row, loop) for row, loop in self.of(policy, share)]


def tables(rows: Sequence[Row]) -> str:
    """A table for each cap, the Reach, and a plot."""
    paired, lines = Paired(rows), []
    head = " ".join(f"{name:>14}" for name in FIGURES)
    for share in SHARES:
        lines.append(f"cap at {share:.0%} of the peak of the loop without one; medians")
        lines.append(f"{'policy':<14} {'seeds':>5} {head}")
        for policy in POLICIES:
            pairs = paired.of(policy, share)
            if pairs:
                found = (
                    (np.median(paired.values(policy, share, f)), form, k) for f, form, k in FIGURES.values()
                )
                cells = " ".join(f"{form.format(k * value):>14}" for value, form, k in found)
                lines.append(f"{policy:<14} {len(pairs):>5} {cells}")
        lines.append("")
    return "\n".join([*lines, *reach(paired), "", plot(paired)])


def _cell(values: Sequence[float], form: str, scale: float) -> str:
    """The median and its interval."""
    at, low, high = (form.format(scale * v) for v in middle(values))
    return f"{at} [{low}, {high}]"


def reach(paired: Paired) -> Iterator[str]:
    """What was aimed at, beside what came of it."""
    ours = {share: paired.of(OURS, share) for share in SHARES}
    loop = next(([row for row, _ in pairs] for s in SHARES if (pairs := paired.of(LOOP, s))), [])
    if not loop or not any(ours.values()):
        return
    needed = POLCA * MORE
    hp = [paired.values(OURS, SHARES[0], FIGURES[name][0]) for name in ("ttft, x", "itl, x")]
    if ours[SHARES[0]]:
        yield (
            f"R1 {MORE:.0%} of the servers in a budget of which they had {POLCA:.0%} at the peak: a cap at "
            f"{1 / needed:.0%} of the peak. p99 of the first priority at {SHARES[0]:.0%}: "
            f"ttft {_cell(hp[0], '{:.2f}', 1.0)}, itl {_cell(hp[1], '{:.2f}', 1.0)} (asked: 1.05)"
        )
    for share in SHARES:
        if ours[share]:
            beside = (
                f"{name} {np.median(paired.values(name, share, FIGURES['tokens kept, %'][0])):.1%}"
                for name in POLICIES
                if name not in (OURS, LOOP, "none") and paired.of(name, share)
            )
            got = _cell(paired.values(OURS, share, FIGURES["tokens kept, %"][0]), "{:.1f}", 100.0)
            whole = ""
            if most := [row.most for row, _ in paired.of(LOOP, share) if row.most]:
                in_order, in_any = np.median(most, axis=0)
                whole = f", {in_order:.1%} are in whole services that fit, the least important gone first"
                whole += f" ({in_any:.1%} whoever goes)"
            yield f"R2 cap {share:.0%}: {got} % kept (asked: {KEPT[share]:.0%}{whole}); {', '.join(beside)}"
    saved = {
        s: _cell(paired.values(OURS, s, FIGURES["J/token, x"][0]), "{:.2f}", 1.0) for s in SHARES if ours[s]
    }
    text = ", ".join(f"{value} at {share:.0%}" for share, value in saved.items())
    yield f"R3 joules for a token within targets, over the loop without a cap: {text} (asked: 0.85)"
    capped = [row for pairs in ours.values() for row, _ in pairs]
    for name, told in (("without a cap", loop), ("under caps", capped)):
        told = [row for row in told if row.foretold]
        if told:
            covers = " and ".join(f"{np.mean([r.cover[i] for r in told]):.1%}" for i in (0, 1))
            error = _cell([row.error for row in told], "{:.1f}", 100.0)
            yield f"R4 five minutes ahead, {name}: off by {error} % (asked: 5); under its 90, 99 %: {covers}"


def plot(paired: Paired) -> str:
    """Tokens kept over the cap, a line for each policy."""
    kept = FIGURES["tokens kept, %"][0]
    lines = {
        name: [100.0 * float(np.median(v)) if (v := paired.values(name, s, kept)) else None for s in SHARES]
        for name in POLICIES
        if name not in (LOOP, "none") and any(paired.of(name, s) for s in SHARES)
    }
    lines = {"asked": [100.0 * KEPT[s] for s in SHARES], **lines}
    chart = Chart(
        "SLO-meeting tokens kept, %",
        "cap, % of the peak without one",
        "%",
        [100.0 * s for s in SHARES],
        lines,
        points=("asked",),
    )
    return draw(ServerCurves("", "", [chart]), color=sys.stdout.isatty())


# ---- while it runs -------------------------------------------------------------------------------


@contextmanager
def progress(total: int) -> Iterator[Callable[[Row], None]]:
    """A bar on a terminal, else a line for each row; both on standard error."""
    if not sys.stderr.isatty():
        yield lambda row: print(
            f"{row.policy} at {row.share:.0%}, seed {row.seed}: "
            f"{row.tokens / max(row.asked, 1):.1%} within targets, {row.above:.0f} s above",
            file=sys.stderr,
            flush=True,
        )
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("power plant", total=total)
        yield lambda row: shown.advance(task)
