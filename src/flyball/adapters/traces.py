"""Recorded requests from files, in the forms in which they are published.

The form is told from the names in the file:

* CSV with a header: Azure's `TIMESTAMP,ContextTokens,GeneratedTokens`, and the like under the usual names
  (`arrived_at,num_prefill_tokens,num_decode_tokens`; `time,input,output`); times in seconds or as dates.
* JSON lines or a JSON list of records: Mooncake's `timestamp, input_length, output_length, hash_ids`, its
  times in milliseconds; the usual names with times in seconds, tokens also in a record `info` in it.
* A JSON object of lists, `start_times, input_lens, output_lens`: a result of `vllm bench serve`, in detail.

Of Mooncake's hash ids, which stand for 512 prompt tokens each with all before them, those at the beginning
that were seen before count as cached: a prefix cache without end.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from flyball.spec.scenario import Trace
from flyball.units import Seconds, from_ms
from flyball.wire.errors import WireError, child
from flyball.wire.text import NUMBER_LIMIT, SIZE_LIMIT, decode

REQUEST_LIMIT = 5_000_000
TOKEN_LIMIT = 10_000_000
SPAN_LIMIT: Seconds = 1e8
CACHE_BLOCK = 512
"""Tokens of one of Mooncake's hash ids."""
MOONCAKE = "input_length"

TIME = ("timestamp", "time", "arrived_at", "arrival_time", "arrival", "start_time")
IN = (
    *("contexttokens", "input", "in", "input_tokens", "in_tokens", MOONCAKE, "input_len"),
    *("num_prefill_tokens", "prompt_tokens", "prompt_len", "request tokens"),
)
OUT = (
    *("generatedtokens", "output", "out", "output_tokens", "out_tokens", "output_length", "output_len"),
    *("num_decode_tokens", "completion_tokens", "generated_tokens", "response tokens"),
)
CACHED = ("cached", "cached_tokens")
LISTS = ("start_times", "input_lens", "output_lens")

_DATE = re.compile(r"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)(\.\d{1,9})?(Z|[+-]\d\d:?\d\d)?")


class _Request(NamedTuple):
    time: Seconds
    in_tokens: int
    out_tokens: int
    cached: int | None
    blocks: Sequence[object]


def read_trace(path: Path, where: str = "") -> Trace:
    """Read a trace from a file; `where` is what errors name it. Whatever goes wrong is a WireError."""
    where = where or str(path)
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_LIMIT + 1)
    except FileNotFoundError:
        raise WireError(where, "there is no such trace", mend="Correct the path") from None
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or str(error)
        mend = "Give a file that this user may read"
        raise WireError(where, f"cannot be read ({problem})", mend=mend) from None
    return trace_from(data, where)


def trace_from(data: bytes, where: str) -> Trace:
    """Read a trace from bytes: requests in order of time, the first at 0. Or WireError."""
    if len(data) > SIZE_LIMIT:
        raise WireError(where, f"larger than the limit of {SIZE_LIMIT:,} bytes", mend="Cut it")
    data = data.removeprefix(b"\xef\xbb\xbf").strip()
    requests: list[_Request] = []
    for request in _from_json(data, where) if data[:1] in (b"{", b"[") else _from_csv(data, where):
        requests.append(request)
        if len(requests) > REQUEST_LIMIT:
            raise WireError(where, f"holds more than {REQUEST_LIMIT:,} requests", mend="Cut it")
    if not requests:
        raise WireError(where, "holds no requests", mend="Give a trace with a request in each line")
    requests.sort(key=lambda request: request.time)
    first, last = requests[0].time, requests[-1].time
    if last - first > SPAN_LIMIT:
        problem = f"lasts {last - first:g} s; allowed are {SPAN_LIMIT:g} s"
        raise WireError(where, problem, mend="Correct the times; Mooncake's alone are in milliseconds")
    return Trace(
        times=tuple(request.time - first for request in requests),
        in_tokens=tuple(request.in_tokens for request in requests),
        out_tokens=tuple(request.out_tokens for request in requests),
        cached_tokens=_cached(requests),
    )


def _cached(requests: list[_Request]) -> tuple[int, ...]:
    """Cached tokens of requests in order of time; () where nothing is known of any."""
    if not any(request.blocks or request.cached is not None for request in requests):
        return ()
    seen: set[object] = set()
    cached = []
    for request in requests:
        known = next((i for i, block in enumerate(request.blocks) if block not in seen), len(request.blocks))
        seen.update(request.blocks)
        cached.append(min(request.cached or known * CACHE_BLOCK, request.in_tokens))
    return tuple(cached)


# ---- CSV ---------------------------------------------------------------------------------------


def _from_csv(data: bytes, where: str) -> Iterator[_Request]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        problem = f"neither JSON nor text in UTF-8 (byte {error.start})"
        raise WireError(where, problem, mend="Give a CSV file, JSON lines or JSON") from None
    rows = csv.reader(io.StringIO(text, newline=""))
    place = "line 1"
    try:
        header = [name.strip() for name in next(rows, [])]
        names = _names(header, where, place)
        at = {key: header.index(name) for key, name in names.items()}
        for row in rows:
            place = f"line {rows.line_num}"
            if not row:
                continue
            if len(row) != len(header):
                problem = f"has {len(row)} fields, and the header {len(header)}"
                raise WireError(where, problem, path=place, mend="Correct the line")
            record = {names[key]: row[index].strip() for key, index in at.items()}
            yield _request(record, names, where, place)
    except csv.Error as error:
        raise WireError(where, f"is no CSV ({error})", path=place, mend="Correct the line") from None


# ---- JSON --------------------------------------------------------------------------------------


def _from_json(data: bytes, where: str) -> Iterator[_Request]:
    first, _, rest = data.partition(b"\n")
    lines = data.startswith(b"{") and _is_json(first) and rest.strip()
    document = None if lines else decode(data, where)
    if isinstance(document, dict) and LISTS[0] in document:
        return _from_lists(document, where)
    if isinstance(document, dict):
        document = [document]
    return _from_records(_decoded(data, where) if lines else _numbered(document), where)


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return False
    return True


def _decoded(data: bytes, where: str) -> Iterator[tuple[str, object]]:
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            yield f"line {number}", msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            problem = f"is no JSON ({error})"
            raise WireError(where, problem, path=f"line {number}", mend="Correct the line") from None


def _numbered(items: object) -> Iterator[tuple[str, object]]:
    for index, item in enumerate(items if isinstance(items, list) else []):
        yield f"[{index}]", item


def _from_records(records: Iterator[tuple[str, object]], where: str) -> Iterator[_Request]:
    names: dict[str, str] = {}
    for place, record in records:
        if not isinstance(record, dict):
            mend = "Write {time: ..., input: ..., output: ...}"
            raise WireError(where, "allowed is a record", path=place, value=record, mend=mend)
        info = record.get("info")
        fields = {**info, **record} if isinstance(info, dict) else record
        if not set(names.values()) <= fields.keys() or not names:
            names = _names(list(fields), where, place)
        yield _request(fields, names, where, place)


def _from_lists(document: Mapping[str, object], where: str) -> Iterator[_Request]:
    columns: list[list[object]] = []
    for name in LISTS:
        column = document.get(name)
        if not isinstance(column, list):
            problem = "allowed is a list with an item for each request"
            mend = "Let vllm bench serve write it in detail (--save-detailed)"
            raise WireError(where, problem, path=name, value=column, mend=mend)
        if columns and len(column) != len(columns[0]):
            problem = f"has {len(column)} items, and {LISTS[0]} {len(columns[0])}"
            raise WireError(where, problem, path=name, mend="Give each request one in each list")
        columns.append(column)
    for index, (time, tokens_in, tokens_out) in enumerate(zip(*columns, strict=True)):
        places = [child(name, index) for name in LISTS]
        yield _Request(
            _time(time, where, places[0]),
            _tokens(tokens_in, where, places[1]),
            _tokens(tokens_out, where, places[2]),
            None,
            (),
        )


# ---- values ------------------------------------------------------------------------------------


def _names(given: Sequence[object], where: str, place: str) -> dict[str, str]:
    """Which of the given names stand for time, input, output and, where there is one, cached tokens."""
    folded = {name.casefold(): name for name in reversed(given) if isinstance(name, str)}
    found: dict[str, str] = {}
    for key, known in (("time", TIME), ("in", IN), ("out", OUT), ("cached", CACHED)):
        name = next((folded[k] for k in known if k in folded), None)
        if name is not None:
            found[key] = name
        elif key != "cached":
            what = {"time": "a time", "in": "input tokens", "out": "output tokens"}[key]
            problem = f"no field is named as {what} would be"
            raise WireError(where, problem, path=place, mend=f"Name it {' or '.join(known[:3])}")
    return found


def _request(record: Mapping[str, object], names: Mapping[str, str], where: str, place: str) -> _Request:
    def read(key: str, parse: Callable[[object, str, str], float | int]) -> float | int:
        name = names[key]
        return parse(record[name], where, f"{place}: {name}")

    time = float(read("time", _time))
    mooncake = names["in"] == MOONCAKE and names["time"] == "timestamp"
    blocks = record.get("hash_ids", [])
    if not isinstance(blocks, list) or not all(isinstance(block, int | str) for block in blocks):
        problem = "allowed is a list of whole numbers"
        raise WireError(where, problem, path=f"{place}: hash_ids", value=blocks, mend="Leave it out")
    return _Request(
        from_ms(time) if mooncake else time,
        int(read("in", _tokens)),
        int(read("out", _tokens)),
        int(read("cached", _tokens)) if "cached" in names else None,
        blocks,
    )


def _time(value: object, where: str, place: str) -> Seconds:
    """Seconds, or a date and a time of day, to seconds."""
    if isinstance(value, str) and (date := _DATE.fullmatch(value.strip())):
        try:
            whole = datetime.fromisoformat(f"{date[1]}{date[3] or ''}")
            whole = whole if whole.tzinfo else whole.replace(tzinfo=UTC)
            # As a fraction apart: a date has digits for microseconds only.
            return (whole - _ORIGIN).total_seconds() + float(date[2] or 0)
        except ValueError:
            pass
    number = _number(value)
    if number is None:
        mend = "Write seconds, or a date such as 2026-11-16 18:17:03.98"
        raise WireError(where, "is no time", path=place, value=value, mend=mend)
    return number


def _tokens(value: object, where: str, place: str) -> int:
    number = _number(value)
    if number is None or number != int(number) or not 0 <= number <= TOKEN_LIMIT:
        problem = f"allowed is a whole number of tokens from 0 to {TOKEN_LIMIT:,}"
        raise WireError(where, problem, path=place, value=value, mend="Correct it, or leave the request out")
    return int(number)


def _number(value: object) -> float | None:
    """A finite number that is not absurd, or None."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= NUMBER_LIMIT:
        return None
    return float(value)


_ORIGIN = datetime(2000, 1, 1, tzinfo=UTC)
