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
    return _again(law, before, cycles)[0]


def remembered(law: Law[Any], before: bytes, cycles: Iterable[Cycle]) -> Any:
    """What the law remembers after consecutive cycles; `before` as in `replayed`."""
    return _again(law, before, cycles)[1]


def _again(law: Law[Any], before: bytes, cycles: Iterable[Cycle]) -> tuple[Decision | None, Any]:
    memory = msgspec.msgpack.decode(before, type=memory_type(law))
    decision: Decision | None = None
    for cycle in cycles:
        decision = None
        if cycle.decision is not None:
            decision, memory = law(cycle.snapshot, memory)
    return decision, memory


def same(made: Decision | None, recorded: Decision | None) -> bool:
    """Whether two decisions are the same to the bit; what is known, where that was recorded."""
    if made is not None and recorded is not None and not recorded.known:
        made = msgspec.structs.replace(made, known=())
    return msgspec.msgpack.encode(made) == msgspec.msgpack.encode(recorded)
