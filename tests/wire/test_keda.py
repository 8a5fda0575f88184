"""The messages of KEDA's external scaler against bytes that protobuf's own runtime wrote."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.wire.keda import (
    ScaledObject,
    is_active,
    metric_spec,
    metric_value,
    read_metrics_request,
    read_scaled_object,
)

REF = bytes.fromhex(
    "0a04636861741205696e6665721a1d0a0d7363616c657241646472657373120c666c7962616c6c3a39303930"
    "1a0e0a06736572766572120463686174"
)
ASKED = ScaledObject("chat", "infer", {"scalerAddress": "flyball:9090", "server": "chat"})
NAME = "desired-replicas"
NAMED = "0a10" + NAME.encode().hex()


def test_a_scaled_object_and_the_request_around_it() -> None:
    assert read_scaled_object(REF) == ASKED
    request = bytes([0x0A, len(REF)]) + REF + bytes.fromhex("1210") + NAME.encode()
    assert read_metrics_request(request) == ASKED


def test_what_is_absent_is_empty() -> None:
    assert read_scaled_object(b"") == read_metrics_request(b"") == ScaledObject()
    assert read_scaled_object(bytes.fromhex("1a00")) == ScaledObject(metadata={"": ""})


def test_unknown_fields_of_every_wire_type_are_skipped() -> None:
    more = bytes.fromhex("2096012900112233445566773203616263" + "3d00112233")
    assert read_scaled_object(more + REF + more) == ASKED


def test_a_message_in_pieces_is_one_and_the_last_value_of_a_field_holds() -> None:
    pieces = bytes.fromhex("0a030a0161" + "0a060a0162120163")
    assert read_metrics_request(pieces) == ScaledObject("b", "c")


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ("0a05616263", "field 1 ends beyond the message"),
        ("0a", "a number ends beyond the message"),
        ("29001122", "field 5 ends beyond the message"),
        ("0801", "name is a number"),
        ("0a02c328", "name is not UTF-8"),
        ("1a030a01ff", "a key is not UTF-8"),
        ("0001", "a field has the number 0"),
        ("0b0c", "field 1 is of wire type 3"),
        ("20" + "ff" * 10 + "01", "a number has more than 10 bytes"),
    ],
)
def test_what_is_no_message_is_refused(wrong: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_scaled_object(bytes.fromhex(wrong))


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(ValueError):
        assert isinstance(read_metrics_request(data), ScaledObject)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0, "0a12" + NAMED),
        (1, "0a1d" + NAMED + "100119000000000000f03f"),
        (7, "0a1d" + NAMED + "1007190000000000001c40"),
        (300, "0a1e" + NAMED + "10ac02190000000000c07240"),
        (100_000, "0a1f" + NAMED + "10a08d061900000000006af840"),
    ],
)
def test_numbers_as_protobuf_writes_them(value: int, written: str) -> None:
    assert metric_value(NAME, value).hex() == written


def test_the_other_answers_as_protobuf_writes_them() -> None:
    assert metric_spec(NAME, 1.0).hex() == "0a1d" + NAMED + "100119000000000000f03f"
    assert is_active(True).hex() == "0801"
    assert is_active(False) == b""
