"""The messages of KEDA's external scalers, in Protocol Buffers' binary form.

Source: KEDA's externalscaler.proto (2.21), and the encoding as protobuf.dev describes it. Five small messages
are read and written here by hand; what is unknown in them is skipped, as the encoding asks for.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
"""Wire types."""
_MOST_VARINT = 10
"""Bytes."""


class ScaledObject(msgspec.Struct, frozen=True):
    """ScaledObjectRef: who asks, and what its trigger says."""

    name: str = ""
    namespace: str = ""
    metadata: dict[str, str] = {}


# ---- read --------------------------------------------------------------------------------------


def read_scaled_object(data: bytes) -> ScaledObject:
    """A ScaledObjectRef. Or ValueError."""
    name = namespace = ""
    metadata: dict[str, str] = {}
    for number, value in _fields(data):
        if number == 1:
            name = _text(value, "name")
        elif number == 2:
            namespace = _text(value, "namespace")
        elif number == 3:
            entry = dict(_fields(_bytes(value, "scalerMetadata")))
            metadata[_text(entry.get(1, b""), "a key")] = _text(entry.get(2, b""), "a value")
    return ScaledObject(name, namespace, metadata)


def read_metrics_request(data: bytes) -> ScaledObject:
    """The ScaledObjectRef of a GetMetricsRequest. Or ValueError."""
    # A message that comes several times is one, in pieces.
    return read_scaled_object(b"".join(_bytes(v, "scaledObjectRef") for n, v in _fields(data) if n == 1))


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Numbers and values of the fields that numbers and texts can have. Or ValueError."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise ValueError("a field has the number 0")
        if kind == VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == LENGTH:
            size, at = _varint(data, at)
        elif kind in (FIXED64, FIXED32):
            size = 8 if kind == FIXED64 else 4
        else:
            raise ValueError(f"field {number} is of wire type {kind}, which is none")
        if at + size > len(data):
            raise ValueError(f"field {number} ends beyond the message")
        if kind == LENGTH:
            yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(_MOST_VARINT):
        if at >= len(data):
            raise ValueError("a number ends beyond the message")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return value, at
    raise ValueError(f"a number has more than {_MOST_VARINT} bytes")


def _bytes(value: bytes | int, what: str) -> bytes:
    if isinstance(value, int):
        raise ValueError(f"{what} is a number")
    return value


def _text(value: bytes | int, what: str) -> str:
    try:
        return _bytes(value, what).decode()
    except UnicodeDecodeError:
        raise ValueError(f"{what} is not UTF-8") from None


# ---- write -------------------------------------------------------------------------------------


def is_active(active: bool) -> bytes:
    """An IsActiveResponse."""
    return _number(1, int(active))


def metric_spec(name: str, target: float) -> bytes:
    """A GetMetricSpecResponse with one metric, and how much of it one replica is for."""
    return _part(1, _metric(name, target))


def metric_value(name: str, value: float) -> bytes:
    """A GetMetricsResponse with one metric."""
    return _part(1, _metric(name, value))


def _metric(name: str, value: float) -> bytes:
    """Name, the whole number that old versions of KEDA read, and the number: alike in both."""
    number = b"" if value == 0 else _key(3, FIXED64) + struct.pack("<d", value)
    return _part(1, name.encode()) + _number(2, int(value)) + number


def _number(field: int, value: int) -> bytes:
    """0 is what is not written."""
    return _key(field, VARINT) + _encoded(value) if value else b""


def _part(field: int, data: bytes) -> bytes:
    return _key(field, LENGTH) + _encoded(len(data)) + data


def _key(field: int, kind: int) -> bytes:
    return _encoded(field << 3 | kind)


def _encoded(value: int) -> bytes:
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
