"""One's own measurements as CSV: a run a line, under plain names or as load generators write them.

A name is taken without case, punctuation and the statistic before or behind it: `Mean TPOT (ms)`,
`mean_tpot_ms` and `tpot_ms` are one. Of several statistics the mean counts, then the median. The unit of a
time stands in its name; the flattened reports of inference-perf (`successes.latency...`) are in seconds.
"""

from __future__ import annotations

import csv
import difflib
import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from flyball.spec.measurement import Point
from flyball.units import from_ms, to_ms
from flyball.wire.errors import WireError

NAMES: dict[str, tuple[str, ...]] = {
    "running": ("running", "batch", "batch_size", "num_requests_running", "decoding"),
    "concurrency": ("concurrency", "max_concurrency", "concurrent_requests", "requests_in_system"),
    "throughput": (*("request_throughput", "requests_per_sec", "requests_per_second", "throughput_rps"),),
    "in": (
        *("input_tokens", "in_tokens", "input", "in", "isl", "input_sequence_length", "input_length"),
        *("input_len", "prompt_len", "prompt_tokens", "random_input_len"),
    ),
    "out": (
        *("output_tokens", "out_tokens", "output", "out", "osl", "output_sequence_length"),
        *("output_length", "output_len", "generated_tokens", "completion_tokens", "output_token_count"),
        "random_output_len",
    ),
    "tpot": (*("tpot", "time_per_output_token", "itl", "inter_token_latency", "time_between_tokens", "tbt"),),
    "ttft": ("ttft", "time_to_first_token"),
    "total in": ("total_input_tokens", "total_input"),
    "total out": ("total_output_tokens", "total_output", "total_generated_tokens"),
    "completed": ("completed", "successful_requests"),
}
"""What columns are called, plain names first: Flyball's own, `vllm bench serve`, AIPerf and GenAI-Perf,
inference-perf. The first that is there counts."""
KNOWN = tuple(sorted((name for names in NAMES.values() for name in names), key=len, reverse=True))
UNITS = {"ms": "ms", "milliseconds": "ms", "s": "s", "sec": "s", "seconds": "s", "tokens": ""}
TIMES = ("tpot", "ttft")
MEAN, MEDIAN = ("mean", "avg", "average"), ("median", "p50")
NESTED, IN_SECONDS = "successes.", "successes.latency."
"""How the names of inference-perf's reports begin, once flattened; and those of its times."""
MOST_POINTS = 20_000
LONGEST: float = 1e4
"""Seconds; a time beyond is taken for one in other units than its name says."""
TYPO = 0.75
"""A name as near as this to a known one, and about as long, is a slip and no column for somebody else."""

_STATISTIC = re.compile(r"p\d+(\.\d+)?|std|stddev|std_dev|min|max|sum|count|median|mean|avg|average")


class Measurements(NamedTuple):
    """Points, and the columns that nobody reads."""

    points: tuple[Point, ...]
    left_out: tuple[str, ...]


class _Column(NamedTuple):
    at: int
    name: str
    """As written."""
    ms: bool
    """Its times are in milliseconds."""


def measurements_from_csv(text: str, where: str) -> Measurements:
    """Read a table of runs. WireError: a column is missing or unknown, a cell is no number; with its line."""
    lines = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    header: list[str] = []
    found: list[Point] = []
    columns: dict[str, _Column] = {}
    left_out: tuple[str, ...] = ()
    try:
        for cells in lines:
            if not any(cell.strip() for cell in cells) or cells[0].lstrip().startswith("#"):
                continue
            if not header:
                header = [cell.strip() for cell in cells]
                columns, left_out = _columns(header, where, lines.line_num)
                continue
            place = f"line {lines.line_num}"
            if len(cells) != len(header):
                problem = f"has {len(cells)} cells, and the header {len(header)}"
                raise WireError(where, problem, path=place, mend="Correct the line")
            if len(found) == MOST_POINTS:
                raise WireError(where, f"has more than {MOST_POINTS:,} lines", mend="Give means of runs")
            found.append(_point(cells, columns, where, place, lines.line_num))
    except csv.Error as error:
        raise WireError(
            where, f"is not CSV ({error})", path=f"line {lines.line_num}", mend="Quote cells with commas"
        ) from None
    if not found:
        mend = "Write a line for each run: concurrency,input_tokens,output_tokens,tpot_ms"
        raise WireError(where, "holds no measurements", mend=mend)
    return Measurements(tuple(found), left_out)


# ---- the header --------------------------------------------------------------------------------


class _Name(NamedTuple):
    bare: str
    statistic: str
    unit: str


def _name(written: str) -> _Name:
    """`successes.latency.time_per_output_token.mean` is time_per_output_token, mean, s."""
    folded = written.casefold()
    unit = "s" if folded.startswith(IN_SECONDS) else ""
    if folded.startswith(NESTED):
        *_, last, statistic = folded.split(".")
        return _Name(*((last, statistic) if _STATISTIC.fullmatch(statistic) else (statistic, "")), unit)
    words = [word for word in re.split(r"[^a-z0-9.]+", folded) if word]
    statistic = ""
    for at in (0, -1):
        if len(words) > 1 and _STATISTIC.fullmatch(words[at]) and "_".join(words) not in KNOWN:
            statistic = words.pop(at)
        if len(words) > 1 and words[-1] in UNITS and "_".join(words) not in KNOWN:
            unit = UNITS[words.pop()]
    return _Name("_".join(words), statistic, unit)


def _columns(header: Sequence[str], where: str, line: int) -> tuple[dict[str, _Column], tuple[str, ...]]:
    place = f"line {line}"
    repeated = sorted({name for name in header if name and header.count(name) > 1})
    if repeated:
        raise WireError(where, f"has {repeated[0]} twice", path=place, mend="Keep one of the columns")
    names = [_name(written) for written in header]
    found: dict[str, _Column] = {}
    for key, known in NAMES.items():
        best = min(
            (i for i, name in enumerate(names) if name.bare in known and _rank(name) < 2),
            key=lambda i: (known.index(names[i].bare), _rank(names[i])),
            default=None,
        )
        if best is not None:
            found[key] = _Column(best, header[best], _in_ms(key, names[best], header[best], where, place))
    used = {column.at for column in found.values()}
    for i, name in enumerate(names):
        if name.bare not in KNOWN and not name.statistic:
            _check_slip(header[i], name, where, place)
    _check_needed(found, header, where, place)
    return found, tuple(header[i] for i in range(len(header)) if i not in used)


def _rank(name: _Name) -> int:
    return 0 if not name.statistic or name.statistic in MEAN else 1 if name.statistic in MEDIAN else 2


def _in_ms(key: str, name: _Name, written: str, where: str, place: str) -> bool:
    if key not in TIMES:
        return False
    if not name.unit:
        mend = f"Name it {name.bare}_ms or {name.bare}_s"
        raise WireError(where, f"the column {written} does not say its unit", path=place, mend=mend)
    return name.unit == "ms"


def _check_slip(written: str, name: _Name, where: str, place: str) -> None:
    """Refuse what is nearly a known name: its author means it to be read."""
    if written.casefold().startswith(NESTED) or name.bare.removesuffix("s") in KNOWN:
        return
    alike = [known for known in KNOWN if abs(len(known) - len(name.bare)) <= 1]
    near = difflib.get_close_matches(name.bare, alike, n=1, cutoff=TYPO)
    if near:
        unit = f"_{name.unit}" if name.unit else ""
        mend = f"Near: {near[0]}{unit}. Correct it, or take the column out"
        raise WireError(where, f"there is no column {written}", path=place, mend=mend)


def _check_needed(found: Mapping[str, _Column], header: Sequence[str], where: str, place: str) -> None:
    loads = ("running", "concurrency", "throughput")
    wanted = {
        "in": ("in" in found or {"total in", "completed"} <= found.keys(), "input_tokens"),
        "out": ("out" in found or {"total out", "completed"} <= found.keys(), "output_tokens"),
        "tpot": ("tpot" in found, "tpot_ms or itl_ms (_s for seconds)"),
        "load": (any(key in found for key in loads), "concurrency or running"),
    }
    missing = [name for there, name in wanted.values() if not there]
    if missing:
        has = ", ".join(header[:12]) + (", ..." if len(header) > 12 else "")
        problem = f"the columns lack {' and '.join(missing)}; there are {has[:300]}"
        raise WireError(where, problem, path=place, mend="Add a column, or name the one that has it so")


# ---- a line ------------------------------------------------------------------------------------


def _point(cells: Sequence[str], columns: Mapping[str, _Column], where: str, place: str, line: int) -> Point:
    def number(key: str, *, needed: bool = False, positive: bool = True, most: float = 1e9) -> float | None:
        column = columns.get(key)
        text = "" if column is None else cells[column.at].strip()
        if column is None or (not needed and text.casefold() in ("", "none", "null", "nan", "inf")):
            return None
        try:
            value = from_ms(float(text)) if column.ms else float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or value < 0 or value > most or (positive and value == 0):
            least = "above 0" if positive else "from 0"
            unit = f" to {to_ms(most) if column.ms else most:g}"
            raise WireError(
                where,
                f"allowed is a number {least}{unit}",
                path=f"{place}, {column.name}",
                value=text,
                mend="Correct it, or take the line out",
            )
        return value

    def tokens(key: str, positive: bool) -> float:
        own = number(key, needed=f"total {key}" not in columns, positive=positive)
        if own is not None:
            return own
        total = number(f"total {key}", needed=True, positive=positive)
        count = number("completed", needed=True)
        assert total is not None
        assert count is not None
        return total / count

    tpot = number("tpot", needed=True, most=LONGEST)
    assert tpot is not None
    out_tokens = tokens("out", positive=True)
    running, concurrency, rate = number("running"), number("concurrency"), number("throughput")
    if running is None and concurrency is None:
        if rate is None:
            names = " and ".join(columns[k].name for k in ("running", "concurrency") if k in columns)
            mend = "Fill it in, or take the line out"
            raise WireError(where, f"{names or 'the load'} is empty", path=place, mend=mend)
        running = rate * out_tokens * tpot  # Little's law
    return Point(
        tokens("in", positive=False),
        out_tokens,
        tpot,
        concurrency=concurrency or 0.0,
        running=running or 0.0,
        ttft=number("ttft", positive=False, most=LONGEST),
        line=line,
    )
