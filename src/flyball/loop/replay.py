"""Replay: a recorded cycle decided again from what it saw and remembered."""

from __future__ import annotations

import typing
from collections.abc import Iterable
from typing import Any

import msgspec

from flyball.laws.law import FunctionLaw, Law
from flyball.loop.record import Cycle
from flyball.spec.decision import Decision


def memory_type(law: Law[Any]) -> Any:
    """The type of what a law remembers, from the annotation of its parameter `memory`."""
    decide = law.decide if isinstance(law, FunctionLaw) else type(law).__call__
    return typing.get_type_hints(decide).get("memory", Any)


def replayed(law: Law[Any], before: bytes, cycles: Iterable[Cycle]) -> Decision | None:
    """The decision of the last of consecutive cycles; `before` is the memory before the first, as msgpack.

    A cycle in which the law failed is passed over, as it was then: its memory stayed what it was.
    """
    memory = msgspec.msgpack.decode(before, type=memory_type(law))
    decision: Decision | None = None
    for cycle in cycles:
        decision = None
        if cycle.decision is not None:
            decision, memory = law(cycle.snapshot, memory)
    return decision


def same(a: Decision | None, b: Decision | None) -> bool:
    """Whether two decisions are the same to the bit."""
    return msgspec.msgpack.encode(a) == msgspec.msgpack.encode(b)
