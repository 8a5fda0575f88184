"""Answers into their structs, leniently: more may be in them than is known here, and less than is usual.

Bounds are not enforced, unknown fields are passed over, and null stands for what JSON or Go cannot say:
a number without bound (inf; a plan's `bound`: -inf), an empty list, a field at its default.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

T = TypeVar("T")

DOWNWARDS = frozenset({"bound"})
"""Fields of which null is -inf."""
_WORDS = {inspect.StrType: (str, "text"), inspect.BoolType: (bool, "true or false")}


def read(data: bytes, kind: type[T]) -> T:
    """JSON in the shape of a kind; or ValueError that says where it is not."""
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"no JSON ({error})") from None
    shape: Any = kind
    made: T = _made(document, _info(shape), "$")
    return made


@cache
def _info(kind: Any) -> inspect.Type:
    return inspect.type_info(kind)


def _made(value: Any, kind: inspect.Type, place: str) -> Any:
    if isinstance(kind, inspect.Metadata):
        return _made(value, kind.type, place)
    if isinstance(kind, inspect.UnionType):
        if value is None:
            return None
        return _made(value, next(t for t in kind.types if not isinstance(t, inspect.NoneType)), place)
    if isinstance(kind, inspect.FloatType):
        if value is None:
            return -math.inf if place.rpartition(".")[2] in DOWNWARDS else math.inf
        _check(isinstance(value, int | float) and not isinstance(value, bool), place, "a number")
        return float(value)
    if isinstance(kind, inspect.IntType):
        whole = isinstance(value, int | float) and not isinstance(value, bool) and value == int(value)
        _check(whole, place, "a whole number")
        return int(value)
    if isinstance(kind, inspect.StructType):
        _check(isinstance(value, dict), place, "an object")
        return kind.cls(**dict(_fields(value, kind, place)))
    if isinstance(kind, inspect.VarTupleType | inspect.ListType):
        _check(isinstance(value, list | None), place, "a list")
        rows = [_made(each, kind.item_type, f"{place}[{i}]") for i, each in enumerate(value or ())]
        return rows if isinstance(kind, inspect.ListType) else tuple(rows)
    if isinstance(kind, inspect.DictType):
        _check(isinstance(value, dict | None), place, "an object")
        return {key: _made(each, kind.value_type, f"{place}.{key}") for key, each in (value or {}).items()}
    expected, words = _WORDS.get(type(kind), (str, "text"))  # a code that is not known here is text too
    _check(isinstance(value, expected), place, words)
    return value


def _fields(document: dict[str, Any], kind: inspect.StructType, place: str) -> Iterator[tuple[str, Any]]:
    for field in kind.fields:
        below = f"{place}.{field.encode_name}"
        if field.encode_name not in document:
            _check(not field.required, below, "there")
            continue
        value, plain = document[field.encode_name], field.type
        if isinstance(plain, inspect.Metadata):
            plain = plain.type
        if value is not None or field.required or isinstance(plain, inspect.FloatType):
            yield field.name, _made(value, field.type, below)


def _check(right: bool, place: str, words: str) -> None:
    if not right:
        raise ValueError(f"{place} is not {words}")
