"""Traces in the forms in which they are published, and what is said of those that are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.adapters.traces import TOKEN_LIMIT, read_trace, trace_from
from flyball.spec.scenario import Trace
from flyball.wire.errors import WireError

AZURE = b"""TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.0319600,3180,8
2023-11-16 18:18:04.0781490,110,27
"""


def lines(*records: object) -> bytes:
    return "\n".join(json.dumps(record) for record in records).encode()


def rounded(trace: Trace) -> tuple[list[float], tuple[int, ...], tuple[int, ...]]:
    return [round(t, 7) for t in trace.times], trace.in_tokens, trace.out_tokens


THREE = ([0.0, 0.052, 60.098189], (4808, 3180, 110), (10, 8, 27))


@pytest.mark.parametrize(
    "data",
    [
        AZURE,
        b"\xef\xbb\xbf" + AZURE.replace(b"\n", b"\r\n"),
        AZURE.replace(b"00,", b"00+00:00,").replace(b"90,110", b"90+00:00,110"),
        b"arrived_at,num_prefill_tokens,num_decode_tokens\n5.0,4808,10\n5.052,3180,8\n65.098189,110,27\n",
        b"output,note,input,time\n10,,4808,0\n\n27,last,110,60.098189\n8,,3180,.052\n",
        b"Timestamp,Model,Request tokens,Response tokens\n0,m,4808,10\n0.052,m,3180,8\n60.098189,m,110,27\n",
        lines(
            {"timestamp": 0, "input_length": 4808, "output_length": 10},
            {"timestamp": 52, "input_length": 3180, "output_length": 8},
            {"timestamp": 60098.189, "input_length": 110, "output_length": 27},
        ),
        json.dumps(
            [
                {"start_time": 1.0, "end_time": 2.0, "info": {"input_tokens": 4808, "output_tokens": 10}},
                {"start_time": 1.052, "end_time": 2.0, "info": {"input_tokens": 3180, "output_tokens": 8}},
                {
                    "start_time": 61.098189,
                    "end_time": 62.0,
                    "info": {"input_tokens": 110, "output_tokens": 27},
                },
            ],
            indent=2,
        ).encode(),
        json.dumps(
            {
                "backend": "vllm",
                "completed": 3,
                "input_lens": [3180, 4808, 110],
                "output_lens": [8, 10, 27],
                "start_times": [100.052, 100.0, 160.098189],
            }
        ).encode(),
    ],
)
def test_forms_with_one_meaning(data: bytes) -> None:
    assert rounded(trace_from(data, "t")) == THREE
    assert trace_from(data, "t").cached_tokens == ()


def test_one_record_and_one_line() -> None:
    record = {"time": 7, "input": 10, "output": 0}
    assert rounded(trace_from(lines(record), "t")) == ([0.0], (10,), (0,))
    assert rounded(trace_from(lines(record, record), "t"))[1] == (10, 10)


def test_tokens_cached_in_mooncake_form() -> None:
    data = lines(
        {"timestamp": 2000, "input_length": 1500, "output_length": 1, "hash_ids": [1, 2, 9]},
        {"timestamp": 1000, "input_length": 1024, "output_length": 1, "hash_ids": [1, 2]},  # earlier
        {"timestamp": 3000, "input_length": 1400, "output_length": 1, "hash_ids": [1, 2, 9]},
        {
            "timestamp": 4000,
            "input_length": 2000,
            "output_length": 1,
            "hash_ids": [5, 2, 9, 1],
        },  # not the beginning
        {"timestamp": 5000, "input_length": 500, "output_length": 1},
    )
    found = trace_from(data, "t")
    assert found.times == (0.0, 1.0, 2.0, 3.0, 4.0)
    assert found.in_tokens == (1024, 1500, 1400, 2000, 500)
    assert found.cached_tokens == (0, 1024, 1400, 0, 0)


def test_tokens_cached_as_stated() -> None:
    found = trace_from(b"time,input,output,cached\n0,100,1,64\n1,100,1,300\n", "t")
    assert found.cached_tokens == (64, 100)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "t: line 1: no field is named as a time would be. Name it timestamp or time or arrived_at."),
        (b"TIMESTAMP,ContextTokens,GeneratedTokens\n", "t: holds no requests."),
        (b"time,input\n1,2\n", "t: line 1: no field is named as output tokens would be."),
        (AZURE + b"yesterday,1,2", 't: line 5: TIMESTAMP is "yesterday": is no time. Write seconds'),
        (
            AZURE + b"2023-13-16 18:17:03.9,1,2",
            't: line 5: TIMESTAMP is "2023-13-16 18:17:03.9": is no time.',
        ),
        (AZURE + b"2023-11-16 18:19:00,-1,2", 't: line 5: ContextTokens is "-1": allowed is a whole number'),
        (AZURE + b"2023-11-16 18:19:00,1,2.5", 't: line 5: GeneratedTokens is "2.5": allowed is a whole'),
        (AZURE + b"2023-11-16 18:19:00,1", "t: line 5: has 2 fields, and the header 3. Correct the line."),
        (b"time,input,output\nnan,1,1", 't: line 2: time is "nan": is no time.'),
        (b"time,input,output\n0,1,1\n2e8,1,1", "t: lasts 2e+08 s; allowed are 1e+08 s."),
        (b"time,input,output\n0,99999999,1", f"from 0 to {TOKEN_LIMIT:,}."),
        (b"\xff\xfe\x00", "t: neither JSON nor text in UTF-8 (byte 0)."),
        (lines({"time": 1, "input": 1, "output": 1}, 7), "t: line 2 is 7: allowed is a record."),
        (lines({"time": 1, "input": 1, "output": 1}) + b"\n{", "t: line 2: is no JSON ("),
        (lines({"time": 1, "input": 1, "output": 1}, {"time": 1}), "t: line 2: no field is named as input"),
        (b'[{"time": true, "input": 1, "output": 1}]', "t: [0]: time is true: is no time."),
        (
            b'[{"timestamp": 1, "input_length": 1, "output_length": 1, "hash_ids": [[]]}]',
            "[0]: hash_ids is a list",
        ),
        (
            b'{"start_times": [1], "input_lens": [1, 2], "output_lens": [1]}',
            "t: input_lens: has 2 items, and start",
        ),
        (b'{"start_times": [1], "input_lens": [1]}', "t: output_lens is null: allowed is a list"),
        (
            b'{"start_times": [1], "input_lens": [1], "output_lens": ["x"]}',
            't: output_lens[0] is "x": allowed',
        ),
        (b"{", "t: neither JSON"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(data: bytes, says: str) -> None:
    with pytest.raises(WireError) as caught:
        trace_from(data, "t")
    assert says in str(caught.value)


BITS = [
    b"time",
    b"input",
    b"output",
    b",",
    b"\n",
    b'"',
    b"1",
    b"-",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b"\0",
    b"\xff",
]
BITS += [
    b'"time"',
    b'"input"',
    b'"output"',
    b"start_times",
    b"2023-11-16 18:17:03",
    b"1e400",
    b"hash_ids",
    b" ",
]


@given(
    st.binary(max_size=60) | st.lists(st.sampled_from(BITS)).map(b"".join),
    st.sampled_from([b"", AZURE, b"{"]),
)
def test_any_bytes_are_a_trace_or_one_error(data: bytes, before: bytes) -> None:
    try:
        found = trace_from(before + data, "t")
    except WireError as error:
        assert str(error).startswith("t")  # noqa: PT017
    else:
        assert found.times[0] == 0.0
        assert list(found.times) == sorted(found.times)
        assert len(found.times) == len(found.in_tokens) == len(found.out_tokens)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3), st.lists, max_leaves=4
    )
)
def test_any_json_value_is_a_trace_or_one_error(value: object) -> None:
    for document in (
        [{"time": value, "input": 1, "output": 1, "hash_ids": value}],
        [{"time": 1, "input": value, "output": 1, "info": value}],
        {"start_times": [value], "input_lens": [1], "output_lens": [1]},
    ):
        try:
            trace_from(json.dumps(document).encode(), "t")
        except WireError:
            continue


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    with pytest.raises(WireError, match="there is no such trace"):
        read_trace(path, "load[0]")
    with pytest.raises(WireError, match="cannot be read"):
        read_trace(tmp_path)
    path.write_bytes(AZURE)
    assert rounded(read_trace(path)) == THREE
