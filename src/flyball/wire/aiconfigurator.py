"""AIConfigurator's table of measured runs (`silicon_sample.csv`): rows to operating points."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator
from statistics import median

from flyball.spec.measurement import Point, Run
from flyball.units import Seconds, from_ms
from flyball.wire.errors import WireError

TTFT_LIMIT: Seconds = 3.0
"""Beyond it requests waited, and the concurrency is not the batch."""
KEY = ("model_path", "system", "backend", "backend_version", "precision")
LAYOUT = ("tp_size", "moe_tp_size", "moe_ep_size")
LOAD = ("batch_size", "isl", "osl")
ONE = ("pp_size", "attention_dp_size")
TIMES = ("silicon_ttft_ms", "silicon_tpot_ms")
COLUMNS = (*KEY, *LAYOUT, *LOAD, *ONE, *TIMES)


def runs_from_csv(text: str, where: str) -> tuple[Run, ...]:
    """Configurations of one pipeline stage and one attention rank; repeated rows as medians. Or WireError.

    Rows that are disaggregated, or whose first token came late, are passed over.
    """
    lines = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    cells: dict[tuple[str, ...], dict[tuple[int, int, int], list[tuple[Seconds, Seconds]]]]
    cells = defaultdict(lambda: defaultdict(list))
    try:
        missing = [name for name in COLUMNS if name not in (lines.fieldnames or ())]
        if missing:
            problem = f"lacks {', '.join(missing)}"
            raise WireError(where, problem, path="line 1", mend="Give AIConfigurator's silicon_sample.csv")
        for row in lines:
            if None in row or None in row.values():
                problem = f"has not as many cells as its header, {len(lines.fieldnames or ())}"
                raise WireError(where, problem, path=f"line {lines.line_num}", mend="Correct the line")
            _add(row, cells, where, lines.line_num)
    except csv.Error as error:
        problem = f"is not CSV ({error})"
        raise WireError(
            where, problem, path=f"line {lines.line_num}", mend="Quote cells with commas"
        ) from None
    return tuple(_run(key, points) for key, points in cells.items())


def _add(
    row: dict[str, str],
    cells: dict[tuple[str, ...], dict[tuple[int, int, int], list[tuple[Seconds, Seconds]]]],
    where: str,
    line: int,
) -> None:
    if not row["batch_size"] or not row["tp_size"]:  # disaggregated: neither is one number
        return

    def number(name: str, least: float = 0.0) -> float:
        try:
            found = float(row[name] or 1)
        except ValueError:
            found = -1.0
        if not least <= found < 1e12:
            problem = f"allowed is a number from {least:g}"
            mend = "Correct it, or leave the row out"
            raise WireError(where, problem, path=f"line {line}, {name}", value=row[name], mend=mend)
        return found

    ttft, tpot = (from_ms(number(name)) for name in TIMES)
    if any(number(name) != 1 for name in ONE) or ttft > TTFT_LIMIT:
        return
    key = tuple(row[name] for name in KEY) + tuple(str(int(number(name))) for name in LAYOUT)
    batch, tokens_in, tokens_out = (int(number(name, 1.0)) for name in LOAD)
    cells[key][batch, tokens_in, tokens_out].append((ttft, tpot))


def _run(key: tuple[str, ...], points: dict[tuple[int, int, int], list[tuple[Seconds, Seconds]]]) -> Run:
    path, system, engine, version, precision, *layout = key
    tp, moe_tp, moe_ep = map(int, layout)
    return Run(path, system, engine, version, precision, tp, moe_tp, moe_ep, tuple(_points(points)))


def _points(points: dict[tuple[int, int, int], list[tuple[Seconds, Seconds]]]) -> Iterator[Point]:
    for (batch, tokens_in, tokens_out), times in sorted(points.items()):
        ttft, tpot = (median(column) for column in zip(*times, strict=True))
        yield Point(float(tokens_in), float(tokens_out), tpot, concurrency=float(batch), ttft=ttft)


def chosen(
    runs: Iterable[Run], model: str | None = None, system: str | None = None, engine: str | None = None
) -> tuple[Run, ...]:
    """The runs whose model, system and engine have these words in their names, in any case."""

    def has(name: str, word: str | None) -> bool:
        return word is None or word.casefold() in name.casefold()

    return tuple(
        run for run in runs if has(run.path, model) and has(run.system, system) and has(run.engine, engine)
    )
