"""The process in which third parties' algorithms run: questions in, answers out, nothing else within reach.

A frame is four bytes with its length, big-endian, and then msgpack. The first answer is a `Ready`.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import msgspec

from flyball.adapters.confined import confine, limit
from flyball.power.algorithms.find import AlgorithmError, Offered, described, find_algorithm
from flyball.power.view import View
from flyball.units import Seconds

MOST = 1 << 20
"""Bytes of an answer."""
LIFE: Seconds = 60.0
"""Seconds of CPU that a process has; it goes when half of them are used."""


class Ask(msgspec.Struct, frozen=True, tag=True):
    """What an algorithm says of a view."""

    algorithm: str
    parameters: dict[str, Any]
    view: View


class Describe(msgspec.Struct, frozen=True, tag=True):
    """What an algorithm is."""

    algorithm: str


Question: TypeAlias = Ask | Describe


class Ready(msgspec.Struct, frozen=True):
    """It begins; what could not be taken away from it."""

    lacks: tuple[str, ...] = ()


class Said(msgspec.Struct, frozen=True):
    """What an algorithm said, or why it said nothing."""

    replicas: dict[str, float] | None = None
    problem: str = ""
    offered: tuple[Offered, ...] = ()
    last: bool = False
    """The process ends after this."""


def frame(document: object) -> bytes:
    """A document as it goes over the pipe."""
    data = msgspec.msgpack.encode(document)
    return len(data).to_bytes(4, "big") + data


def main(memory: int, readable: Iterable[str]) -> None:
    """Serve until nobody asks any more, or one asked has gone astray."""
    questions, answers = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):  # what an algorithm prints is no answer
        os.dup2(nowhere, standard)
    sys.dont_write_bytecode = True
    limit(memory, int(LIFE) + 1)
    lacks = confine((*readable, sys.prefix, sys.base_prefix))
    threading.Thread(target=_end_with, args=(questions,), daemon=True).start()
    _write(answers, Ready(lacks))
    last = False
    while not last and (question := _read(questions)) is not None:
        try:
            said = _said(question)
            last = time.process_time() > LIFE / 2
        except BaseException as error:  # sys.exit is one of them
            said = Said(problem=_why(error, memory))
            last = True
        _write(answers, msgspec.structs.replace(said, last=last))


def _said(question: Question) -> Said:
    if isinstance(question, Describe):
        return Said(offered=described(question.algorithm))
    view = question.view
    try:
        algorithm = find_algorithm(question.algorithm, question.parameters)
    except AlgorithmError as error:
        return Said(problem=str(error))
    given: Any = algorithm(view, **question.parameters)
    if not isinstance(given, Mapping):
        return Said(problem=f"returned {_article(given)}, and no mapping from servers to replicas")
    return taken(view, given)


def taken(view: View, given: Mapping[Any, Any]) -> Said:
    """What of an algorithm's words says something: numbers, of servers that there are."""
    servers = {server.name for server in view.servers}
    replicas, odd, count = dict[str, float](), "", 0
    for name, value in given.items():
        number = _number(value)
        if isinstance(name, str) and name in servers and number is not None:
            replicas[name] = number
            continue
        count += 1
        if not odd and isinstance(name, str) and name in servers:
            odd = f"{name} is {_repr(value)}, which is no number of replicas"
        elif not odd:
            odd = f"there is no server {_repr(name)}"
    more = f", and {count - 1:,} more such" if count > 1 else ""
    return Said(replicas, f"{odd}{more}: passed over" if odd else "")


def _number(value: Any) -> float | None:
    """As NumPy's own, too; text, truth values and what is not finite are none."""
    if isinstance(value, bool | str | bytes) or type(value).__name__ in ("bool_", "bool"):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if abs(number) < float("inf") else None


def _why(error: BaseException, memory: int) -> str:
    if isinstance(error, MemoryError):
        return f"needs more than {memory >> 20:,} MB of memory: let it keep less"
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = "".join(f" ({os.path.basename(f.filename)}, line {f.lineno})" for f in last)
    text = str(error)
    return f"failed: {type(error).__name__}{': ' if text else ''}{text[:300]}{place}: correct it"


def _article(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def _repr(value: object) -> str:
    return repr(value)[:60]


# ---- pipes -------------------------------------------------------------------------------------


def _end_with(questions: int) -> None:
    """End this process as soon as nobody can ask any more, whatever it is doing."""
    gone = select.poll()
    gone.register(questions, 0)
    gone.poll()
    os._exit(0)


def _read(questions: int) -> Question | None:
    head = _bytes(questions, 4)
    data = _bytes(questions, int.from_bytes(head, "big")) if head is not None else None
    return None if data is None else msgspec.msgpack.decode(data, type=Ask | Describe)


def _bytes(questions: int, count: int) -> bytes | None:
    found = bytearray()
    while len(found) < count:
        part = os.read(questions, count - len(found))
        if not part:
            return None
        found += part
    return bytes(found)


def _write(answers: int, document: object) -> None:
    data = memoryview(frame(document))
    while data:
        data = data[os.write(answers, data) :]
