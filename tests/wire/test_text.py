"""Bytes to plain objects: what is read, what is refused, and that nothing else can happen."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.wire.errors import WireError
from flyball.wire.text import DEPTH_LIMIT, decode, encode_yaml

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.floats(-1e17, 1e17)
    | st.text(max_size=20),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=8), below, max_size=4),
    max_leaves=20,
)
YAML_BITS = [
    *"{}[],\n'\"#|>\t\\\x00\x85",
    "a",
    "b: ",
    "- ",
    "? ",
    ": ",
    "&x ",
    "*x ",
    "!!int ",
    "!t ",
    "<<: ",
    "  ",
]
YAML_BITS += ["%YAML", "---\n", "...\n", ".inf", "1e999", "0x1", "2020-01-01"]


def refusal(data: bytes) -> str:
    with pytest.raises(WireError) as caught:
        decode(data, "fleet.yaml")
    assert str(caught.value).startswith("fleet.yaml")
    return str(caught.value)


def finite(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(k, str) and finite(v) for k, v in value.items())
    if isinstance(value, list):
        return all(map(finite, value))
    return (
        value is None
        or isinstance(value, str | bool | int)
        or (type(value) is float and math.isfinite(value))
    )


@given(
    st.binary(max_size=200) | st.lists(st.sampled_from(YAML_BITS)).map(lambda bits: "".join(bits).encode())
)
def test_any_bytes_are_a_plain_value_or_one_error(data):
    try:
        value = decode(data, "x")
    except WireError:
        return
    assert finite(value)


@given(PLAIN)
def test_json_and_yaml_read_alike(value):
    assert decode(json.dumps(value).encode("utf-8", "surrogatepass"), "x") == value
    assert decode(encode_yaml(value).encode(), "x") == value


@pytest.mark.parametrize(
    "text", ["1e5", "08", "+1", ".5", "1.", "on", "null", "2020-01-01", "1_000", "0x1f", "~", ""]
)
def test_text_that_looks_like_something_else_survives_yaml(text):
    assert decode(encode_yaml({"model": text}).encode(), "x") == {"model": text}


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"a: 1\nb: [x, 2.5, true, ~]", {"a": 1, "b": ["x", 2.5, True, None]}),
        (b"a: on\nb: 2020-01-01\nc: 1:60\nd: 0x10", {"a": "on", "b": "2020-01-01", "c": "1:60", "d": "0x10"}),
        (b"a: 1e5\nb: '1'\nc: !!str 5", {"a": 100000.0, "b": "1", "c": "5"}),
        (b"1: x", {"1": "x"}),
        (b"a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        ("a: ü".encode("utf-16"), {"a": "ü"}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
    ],
)
def test_what_is_read(data, value):
    assert decode(data, "x") == value


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "holds nothing"),
        (b"\xff", "neither JSON"),
        (b'{"a": 1,\n "b" 2}', "line 2, column 6"),
        (b"[1,2", "Correct the text there"),
        (b'{"a": [1, 1e400]}', "a[1] is inf"),
        (b"a: [1, {b: .nan}]", "a[1].b is nan"),
        (b'{"a": ' + b"1" * 400 + b"}", "a is a whole number of very many digits"),
        (b"1" * 6000, "finite number"),
        (b"[" * 100_000, f"deeper than {DEPTH_LIMIT} levels"),
        (b"[" * 66 + b"]" * 66, f"deeper than {DEPTH_LIMIT} levels"),
        (b"- " * 1000, f"deeper than {DEPTH_LIMIT} levels"),
        (b"a: &x [*x]", "a[0]: *x before the end of &x"),
        (b"a: *x", "before the end of"),
        (b"a: !!binary aGk=", "the tag tag:yaml.org,2002:binary is not read"),
        (b"a: !!python/object:os.system {}", "is not read"),
        (b"!!set {a}", "is not read"),
        (b"? [1]\n: 2", "keys are text"),
        (b"a: {b: 1, b: 2}", 'a: the key "b" stands twice'),
        (b"a: &x {c: 1}\nb:\n  <<: *x", "b: merge keys"),
        (b"a\n---\nb", "several documents"),
        (b"\x00", "neither JSON"),
        (b"".join(b"%%TAG !a%d! b\n" % i for i in range(101)) + b"--- 1", "100 lines that begin with %"),
    ],
)
def test_what_is_refused(data, says):
    assert says in refusal(data)


def test_aliases_are_counted_as_often_as_they_are_used():
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    assert "5,000,000 values" in refusal("\n".join(lines).encode())


def test_aliases_are_as_deep_as_what_they_stand_for():
    lines = ["a0: &a0 [1]"] + [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 80)]
    assert "levels" in refusal("\n".join(lines).encode())


def test_memory_is_bounded_before_it_is_taken():
    assert "5,000,000 values" in refusal(b"[" + b"[]," * 2_600_000 + b"0]")
    with pytest.raises(WireError, match="limit of 10 bytes"):
        decode(b'"aaaaaaaaa"', "x", size_limit=10)


def test_a_message_can_always_be_printed():
    assert "\\udc80" in str(WireError("a\udc80.json", "is odd"))
