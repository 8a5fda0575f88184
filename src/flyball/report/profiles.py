"""The library of profiles, and what is believed of pairs: as tables, curves and in words."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from flyball.calibrate.over_batch import (
    BATCHES,
    TENTH,
    Band,
    belief_of_entry,
    itl_over,
    largest_batch,
    surely_faster,
)
from flyball.calibrate.pair import Pair
from flyball.physics.roofline import PARAMETERS
from flyball.report.curves import Chart
from flyball.report.sentences import duration, money, printable
from flyball.spec.library import Entry
from flyball.units import to_ms

LISTED_AT = (1, 64)
"""Requests in the batch, at which the list shows the time between tokens."""
IN_TOKENS, OUT_TOKENS = 1000.0, 300.0
COMPARED_AT = (1, 16, 64)
CURVE = tuple(float(n) for n in np.unique(np.round(np.geomspace(1.0, 256.0, 60))))
MEANING = {
    "alpha": "a step",
    "beta": "a request in it",
    "kappa": "a KV token read",
    "delta": "a prompt token",
    "epsilon": "all routed experts",
    "gamma": "a request once",
}
FIELDS = (
    *("model", "card", "cards", "engine", "version", "precision", "tier"),
    *(f"itl_{n}{end}" for n in LISTED_AT for end in ("_s", "_low_s", "_high_s")),
    *("residual", "shapes", "points", "kv_tokens", "suspect", "notes", "source"),
)
"""Of an entry as CSV and JSON; low and high are the 10th and the 90th percentile of what is believed."""


# ---- entries -----------------------------------------------------------------------------------


def entries_table(entries: Sequence[Entry]) -> Table:
    """One row for each entry; ± is a standard deviation of the time between tokens as it may be measured."""
    table = _table()
    for name in ("model", "cards", "engine", "weights", "rests on"):
        table.add_column(name, overflow="fold")
    for n in LISTED_AT:
        table.add_column(f"itl at {n}", justify="right")
    table.add_column("flags", overflow="fold")
    for e in entries:
        band = _of_entry(e)
        table.add_row(
            e.model,
            f"{e.tp} x {e.card}",
            f"{e.engine} {e.version}".rstrip(),
            e.precision,
            rests_on(e),
            *(_listed(e, band, i) for i in range(len(LISTED_AT))),
            flags(e),
            style="dim" if e.suspect else "",
        )
    return table


def rests_on(entry: Entry) -> str:
    """What an entry was made of, in a few words."""
    if entry.tier == "op-level":
        return f"{entry.points} kernel times"
    shapes = f"{entry.shapes} shape{'s' * (entry.shapes != 1)}"
    return f"{entry.points} runs, {shapes}"


def flags(entry: Entry) -> str:
    """What speaks against an entry, and what is to be known of it."""
    suspect = f"SUSPECT: {entry.suspect}" if entry.suspect else ""
    return "; ".join(filter(None, (suspect, entry.notes if entry.tier == "measured" else "")))


def _of_entry(entry: Entry) -> Band:
    return itl_over(belief_of_entry(entry), LISTED_AT, IN_TOKENS, OUT_TOKENS)


def _listed(entry: Entry, band: Band, i: int) -> str:
    if LISTED_AT[i] > largest_batch(entry.kv_tokens, IN_TOKENS, OUT_TOKENS):
        return "does not fit"
    return f"{duration(float(band.itl[i]))} ±{float(band.sigma[i]):.0%}"


def entries_summary(entries: Sequence[Entry], known: int, model: str | None = None) -> list[str]:
    """How many there are, what the columns say, and where to go on."""
    measured = sum(e.tier == "measured" for e in entries)
    suspect = sum(bool(e.suspect) for e in entries)
    count = f"{len(entries)} of {known} entries: {measured} measured, {len(entries) - measured} op-level"
    lines = [count + (f", {suspect} suspect" if suspect else "") + "."]
    if not entries:
        name = printable(model or "MODEL")
        lines.append(f"What is reckoned without measurements: flyball profiles show {name}")
        return lines
    lines.append(
        f"itl at N: time between tokens with N requests of {IN_TOKENS:,.0f} input and {OUT_TOKENS:,.0f} "
        "output tokens in the batch, ± a standard deviation."
    )
    one = next((e for e in entries if not e.suspect), entries[0])
    lines.append(
        f"More of one: flyball profiles show {printable(one.model)} --card {printable(one.card)} --plot"
    )
    return lines


def entries_document(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """An object for each entry, with the fields of FIELDS; times in seconds."""
    return [dict(zip(FIELDS, _values(e), strict=True)) for e in entries]


def entries_csv(entries: Sequence[Entry]) -> str:
    """A line for each entry, with the columns of FIELDS; times in seconds."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(FIELDS)
    writer.writerows(_values(e) for e in entries)
    return out.getvalue()


def _values(e: Entry) -> list[Any]:
    band = _of_entry(e)
    times = [float(f"{x[i]:.5g}") for i in range(len(LISTED_AT)) for x in (band.itl, band.low, band.high)]
    return [
        *(e.model, e.card, e.tp, e.engine, e.version, e.precision, e.tier),
        *times,
        *(e.uncertainty.residual, e.shapes, e.points, e.kv_tokens, e.suspect, e.notes, e.source),
    ]


# ---- pairs -------------------------------------------------------------------------------------


def headline(pair: Pair) -> str:
    """The model, and the requests that are meant."""
    m = pair.model
    active = f", {m.active_parameters / 1e9:,.3g} billion active" if m.experts else ""
    requests = f"requests of {pair.in_tokens:,.0f} input and {pair.out_tokens:,.0f} output tokens"
    billions = f"{m.parameters / 1e9:,.3g} billion parameters{active}"
    return f"{printable(m.name)}: {billions}, {pair.precision} weights, {pair.engine}; {requests}"


def place(pair: Pair) -> str:
    """2 x H100."""
    return f"{pair.count} x {pair.card.name}"


def units_table(pairs: Sequence[Pair]) -> Table:
    """One row for each pair: what fits, what it draws and costs."""
    table = _table()
    table.add_column("cards", overflow="fold")
    for name in ("KV tokens", "max batch", "output tokens/s", "idle W", "decoding W", "full W", "price"):
        table.add_column(name, justify="right", overflow="fold")
    table.add_column("per 1M output tokens", justify="right", overflow="fold")
    for pair in pairs:
        unit, power = pair.accelerator, pair.accelerator.power
        watts = (power.idle, power.mid_power, power.full) if power else ()
        price = pair.dollars_per_million
        table.add_row(
            place(pair),
            f"{pair.kv_tokens:,}" if pair.kv_tokens else "does not fit",
            f"{pair.batch}" if pair.batch else "-",
            f"{pair.tokens_per_second:,.0f}" if pair.batch else "-",
            *([f"{w:,.0f}" for w in watts] or ["-"] * 3),
            money(unit.cost) if unit.cost else "-",
            f"${price:,.3g}" if price else "-",
        )
    return table


def watts_from(pair: Pair) -> str:
    """Where the watts come from, in a sentence."""
    if not pair.card.tdp:
        return "Its watts are not known."
    estimated = f"estimated from the TDP ({pair.card.tdp:,.0f} W a card)"
    if pair.card.idle:
        return f"Its idle watts are measured, the others {estimated}."
    return f"Its watts are {estimated}."


def parameters_table(pairs: Sequence[Pair]) -> Table:
    """One row for each pair: parameters, and from the 10th to the 90th percentile of what they may be."""
    names = parameter_names(pairs)
    table = _table()
    table.add_column("cards", overflow="fold")
    for name in names:
        table.add_column(f"{name}\n{MEANING[name]}", justify="right", overflow="fold")
    for pair in pairs:
        table.add_row(place(pair), *(parameter(pair, name) for name in names))
    return table


def parameter_names(pairs: Sequence[Pair]) -> list[str]:
    """Those that any of the pairs has."""
    experts = any(pair.belief.experts for pair in pairs)
    return [*PARAMETERS[: 5 if experts else 4], "gamma"]


def parameter(pair: Pair, name: str) -> str:
    """5.9 ms (4.4 to 7.9)."""
    belief = pair.belief
    if name == "gamma":
        return spread(belief.gamma, belief.gamma_sigma)
    k = PARAMETERS.index(name)
    if k >= len(belief.mean):
        return "-"
    return spread(float(belief.mean[k]), float(belief.sigmas[k]))


def spread(log: float, sigma: float) -> str:
    """A parameter from its logarithm, in a readable unit, with its 10th and 90th percentile."""
    if not math.isfinite(log):
        return "none"
    value = math.exp(log)
    scale, unit = next(
        ((s, u) for s, u in ((1.0, "s"), (1e3, "ms"), (1e6, "us"), (1e9, "ns")) if value * s >= 1),
        (1e9, "ns"),
    )
    low, high = (value * scale * math.exp(z * sigma) for z in (-TENTH, TENTH))
    ends = f" ({_digits(low)} to {_digits(high)})" if sigma else ""
    return f"{_digits(value * scale)} {unit}{ends}"


def _digits(value: float) -> str:
    """Three digits, and no exponent where it is easily done without."""
    return f"{value:,.0f}" if 999.5 <= value < 1e6 else f"{value:.3g}"


def itl_table(pairs: Sequence[Pair]) -> Table:
    """The time between tokens over the batch, with its 10th and 90th percentile; up to what fits."""
    table = _table()
    table.add_column("batch", justify="right")
    for pair in pairs:
        table.add_column(f"itl on {place(pair)}", justify="right", overflow="fold")
        table.add_column("10 to 90 %", justify="right", overflow="fold")
    bands = [pair.itl(BATCHES) for pair in pairs]
    for i, n in enumerate(BATCHES):
        cells = []
        for pair, band in zip(pairs, bands, strict=True):
            fits = n <= pair.batch
            cells += [duration(float(band.itl[i])) if fits else "does not fit"]
            cells += [f"{duration(float(band.low[i]))} to {duration(float(band.high[i]))}" if fits else ""]
        table.add_row(f"{n}", *cells)
    return table


def sources(pairs: Sequence[Pair]) -> list[str]:
    """Where what is believed of each comes from, and its watts; a line each."""
    lines = []
    for pair in pairs:
        line = f"{place(pair)}: {printable(pair.belief.source)}. {watts_from(pair)}"
        if not pair.kv_tokens:
            line += " Its weights do not fit there: say more cards with --tp, or --precision fp8."
        lines.append(line)
    if any(pair.belief.tier == "roofline" for pair in pairs):
        lines.append(
            "Reckoned by the roofline: nothing of this model was measured; a few runs of one's own say more: "
            "flyball profiles fit --help"
        )
    lines.append("Prices are for planning; give your own to flyball plan with --prices.")
    return lines


def itl_chart(pair: Pair) -> Chart:
    """The time between tokens over the batch with its band, in ms, up to what fits."""
    batch = [n for n in CURVE if n <= max(pair.batch, 1)]
    band = pair.itl(batch)
    lines: dict[str, list[float | None]] = {
        "90 %": [to_ms(v) for v in band.high.tolist()],
        "median": [to_ms(v) for v in band.itl.tolist()],
        "10 %": [to_ms(v) for v in band.low.tolist()],
    }
    requests = f"{pair.in_tokens:,.0f} in, {pair.out_tokens:,.0f} out"
    title = f"Time between tokens over the batch on {place(pair)}, {requests}"
    return Chart(title, "requests in the batch", "ms", batch, lines)


# ---- comparison --------------------------------------------------------------------------------


def comparison_table(pairs: Sequence[Pair]) -> Table:
    """A column for each pair; ratios are to the first."""
    table = _table()
    table.add_column("")
    for pair in pairs:
        table.add_column(named(pair), justify="right", overflow="fold")
    table.add_row("weights, engine", *(f"{p.precision}, {p.engine}" for p in pairs))
    for name in parameter_names(pairs):
        table.add_row(f"{name}: {MEANING[name]}", *(parameter(p, name) for p in pairs))
    table.add_section()
    for n in COMPARED_AT:
        first = float(pairs[0].itl([n]).itl[0])
        cells = [
            "does not fit"
            if n > p.batch
            else f"{duration(float(p.itl([n]).itl[0]))}{_ratio(float(p.itl([n]).itl[0]), first, i)}"
            for i, p in enumerate(pairs)
        ]
        table.add_row(f"itl at a batch of {n}", *cells)
    table.add_section()
    table.add_row("KV tokens", *(f"{p.kv_tokens:,}" for p in pairs))
    table.add_row("max batch", *(f"{p.batch}" if p.batch else "does not fit" for p in pairs))
    rate = pairs[0].tokens_per_second
    table.add_row(
        "output tokens/s, full",
        *(f"{p.tokens_per_second:,.0f}{_ratio(p.tokens_per_second, rate, i)}" for i, p in enumerate(pairs)),
    )
    price = pairs[0].dollars_per_million
    table.add_row(
        "per 1M output tokens",
        *(
            f"${p.dollars_per_million:,.3g}{_ratio(p.dollars_per_million, price, i)}"
            if p.dollars_per_million
            else "-"
            for i, p in enumerate(pairs)
        ),
    )
    return table


def named(pair: Pair) -> str:
    """Llama-3.1-8B on 2 x H100."""
    return f"{pair.model.name.rpartition('/')[2]} on {place(pair)}"


def _ratio(value: float, first: float, i: int) -> str:
    return f" (x {value / first:.2f})" if i and first and value else ""


def comparison(pairs: Sequence[Pair]) -> list[str]:
    """Which is faster and how sure that is, and where each comes from; a sentence each."""
    first, lines = pairs[0], []
    for other in pairs[1:]:
        for n in COMPARED_AT[::2]:
            if n > min(first.batch, other.batch):
                continue
            sure = surely_faster(first.belief, other.belief, n, first.in_tokens, first.out_tokens)
            a, b, share = (first, other, sure) if sure >= 0.5 else (other, first, 1.0 - sure)
            lines.append(
                f"At a batch of {n} {named(a)} ({a.engine}) is faster than {named(b)} ({b.engine}) in "
                f"{'over 99%' if share > 0.99 else f'{share:.0%}'} of what is believed."
            )
    lines += [f"{named(p)}: {printable(p.belief.source)}." for p in pairs]
    requests = f"{first.in_tokens:,.0f} input and {first.out_tokens:,.0f} output tokens"
    lines.append(
        f"For requests of {requests}; x is to the first. What two have in common counts as not shared."
    )
    return lines


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
