"""The library of latency profiles as CSV: one entry a line, units in the header."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple, get_args

from flyball.spec.library import Entry, EntryTier
from flyball.spec.model import Precision
from flyball.spec.profile import IterationTiming, Uncertainty
from flyball.wire.errors import WireError

PARAMETERS = {
    "alpha": ("alpha_ms", 1e-3),
    "beta": ("beta_us", 1e-6),
    "kappa": ("kappa_ns", 1e-9),
    "delta": ("delta_us", 1e-6),
    "gamma": ("gamma_ms", 1e-3),
    "epsilon": ("epsilon_ms", 1e-3),
}
"""Columns of the parameters, and what one of each is in seconds: of a step, a request, a KV token, a prompt
token, a request once, all routed experts."""
POSITIVE = ("alpha", "beta", "kappa", "delta")
SIGMAS = {name: f"sigma_{name}" for name in PARAMETERS} | {"residual": "residual"}
COLUMNS = (
    *("model", "card", "tp", "engine", "version", "precision", "tier"),
    *(column for column, _ in PARAMETERS.values()),
    *("experts", "experts_per_token", "kv_tokens"),
    *SIGMAS.values(),
    *("shapes", "points", "suspect", "notes", "source"),
)
DIGITS = 5
SIGMA_LIMIT = 10.0
COUNT_LIMIT = 10**12
VALUE_LIMIT = 1e9

_COUNT = re.compile(r"[0-9]{1,13}")
_NUMBER = re.compile(r"(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?")


def entries_from_csv(text: str, where: str) -> tuple[Entry, ...]:
    """The entries of a table with the columns of COLUMNS, in any order; or WireError with line and column."""
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    found = []
    try:
        for cells in lines:
            if not cells:
                continue
            if header is None:
                header = _header(cells, where)
            else:
                found.append(_entry(_Line(header, cells, where, lines.line_num)))
    except csv.Error as error:
        problem = f"is not CSV ({error})"
        raise WireError(
            where, problem, path=f"line {lines.line_num}", mend="Quote cells with commas"
        ) from None
    if header is None:
        raise WireError(where, "holds nothing; expected a line of column names", mend="Write one")
    return tuple(found)


def entries_to_csv(entries: Iterable[Entry]) -> str:
    """The table that `entries_from_csv` reads, figures to five digits."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_cells(entry) for entry in entries)
    return out.getvalue()


class _Line(NamedTuple):
    header: list[str]
    cells: list[str]
    where: str
    number: int

    def text(self, column: str, required: bool = False) -> str:
        value = self.cells[self.header.index(column)].strip()
        if required and not value:
            raise self.error(column, "is missing", f"Fill in {column}")
        return value

    def one_of(self, column: str, allowed: tuple[str, ...]) -> str:
        value = self.text(column, required=True)
        if value not in allowed:
            raise self.error(column, f"allowed are {', '.join(allowed)}", "Write one of them", value)
        return value

    def count(self, column: str, least: int = 0) -> int:
        """A whole number; empty is 0."""
        value = self.text(column, required=least > 0)
        if not _COUNT.fullmatch(value or "0") or not least <= int(value or 0) <= COUNT_LIMIT:
            problem = f"allowed is a whole number from {least} to {COUNT_LIMIT:,}"
            raise self.error(column, problem, "Write it in digits", value)
        return int(value or 0)

    def number_of(self, column: str, limit: float, positive: bool = False) -> float:
        """A number from 0 to the limit, or above 0 where it must be; empty is 0."""
        value = self.text(column, required=positive)
        if not _NUMBER.fullmatch(value or "0"):
            raise self.error(column, "allowed is a decimal number, not negative", "Write one", value)
        number = float(value or 0)
        if number > limit or (positive and number == 0.0):
            least = "above 0" if positive else "from 0"
            raise self.error(column, f"allowed is a number {least} to {limit:g}", "See its unit", value)
        return number

    def error(self, column: str, problem: str, mend: str, value: str = "") -> WireError:
        path = f"line {self.number}, {column}"
        return WireError(self.where, problem, path=path, value=value, mend=mend)


def _header(cells: list[str], where: str) -> list[str]:
    header = [cell.strip().removeprefix("\ufeff") for cell in cells]
    missing = [name for name in COLUMNS if name not in header]
    unknown = [name for name in header if name not in COLUMNS]
    if missing or unknown or len(set(header)) < len(header):
        wrong = f"lacks {', '.join(missing)}" if missing else f"repeats or has unknown columns: {header}"
        if unknown and not missing:
            wrong = f"has {', '.join(unknown)[:80]}, which nothing reads"
        raise WireError(where, wrong, path="line 1", mend=f"The columns are {', '.join(COLUMNS)}")
    return header


def _entry(line: _Line) -> Entry:
    if len(line.cells) != len(line.header):
        problem = f"has {len(line.cells)} cells; its header has {len(line.header)}"
        raise WireError(line.where, problem, path=f"line {line.number}", mend="Quote cells with commas")
    experts = line.count("experts")
    per_token = line.count("experts_per_token", least=1 if experts else 0)
    if per_token > experts:
        problem = f"there are {experts} experts only"
        raise line.error("experts_per_token", problem, "Write both, or neither", str(per_token))
    positive = (*POSITIVE, "epsilon") if experts else POSITIVE
    values = {
        name: scale * line.number_of(column, VALUE_LIMIT, name in positive)
        for name, (column, scale) in PARAMETERS.items()
    }
    sigmas = {
        name: line.number_of(column, SIGMA_LIMIT, name in (*positive, "residual"))
        for name, column in SIGMAS.items()
    }
    precision: Precision = line.one_of("precision", get_args(Precision))  # type: ignore[assignment]
    tier: EntryTier = line.one_of("tier", get_args(EntryTier))  # type: ignore[assignment]
    return Entry(
        model=line.text("model", required=True),
        card=line.text("card", required=True),
        tp=line.count("tp", least=1),
        engine=line.text("engine", required=True),
        version=line.text("version"),
        precision=precision,
        tier=tier,
        timing=IterationTiming(**values, experts=experts, experts_per_token=per_token),
        uncertainty=Uncertainty(**sigmas),
        kv_tokens=line.count("kv_tokens"),
        shapes=line.count("shapes"),
        points=line.count("points"),
        suspect=line.text("suspect"),
        notes=line.text("notes"),
        source=line.text("source"),
    )


def _cells(entry: Entry) -> Iterator[object]:
    t, u = entry.timing, entry.uncertainty
    yield from (entry.model, entry.card, entry.tp, entry.engine, entry.version, entry.precision, entry.tier)
    yield from (_short(getattr(t, name) / scale) for name, (_, scale) in PARAMETERS.items())
    yield from (t.experts or "", t.experts_per_token or "", entry.kv_tokens)
    yield from (_short(getattr(u, name), 3) for name in SIGMAS)
    yield from (entry.shapes or "", entry.points, entry.suspect, entry.notes, entry.source)


def _short(value: float, digits: int = DIGITS) -> str:
    """Plain decimals, as few as so many digits take; 0 is empty."""
    if not value:
        return ""
    decimals = max(0, digits - 1 - math.floor(math.log10(value)))
    shown = f"{value:.{decimals}f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown
