"""Inferno's questions about the queue of one replica: `/solve`, `/target`, `/optimize` of queue-analysis.

Field names are taken whatever their case, unknown ones are passed over, and what is absent or null is zero,
as Go has it. `QueueRequest`, `QueueAnalysis` and `QueueOptimum` are the documents as written (milliseconds);
inside go `Question` and `Served` (seconds).
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from flyball.units import RequestsPerSecond, Seconds, Tokens, from_ms, to_ms
from flyball.wire.errors import WireError, shown
from flyball.wire.text import decode

WHERE = "the body"
SIZE_LIMIT = 1024 * 1024
FULL_BATCH_LIMIT = 250_000_000
"""Tokens of a full batch: no engine holds more, and the number of prefill chunks grows with them."""
LEAST_TARGET: Seconds = 1e-15
"""Targets below are this: nothing is as fast, and what is divided by it stays finite."""

Amount = Annotated[float, Meta(ge=0, le=1e9)]
Length = Annotated[float, Meta(ge=0, le=10_000_000)]
Output = Annotated[float, Meta(ge=1, le=10_000_000)]
Batch = Annotated[int, Meta(ge=1, le=65_536)]
Count = Annotated[int, Meta(ge=0, le=1_000_000_000)]


def _said(text: str) -> Any:
    return Meta(description=text)


class QueueError(ValueError):
    """Why there is no answer: the original's sentence, and what to do about it."""


class QueueRequest(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename={
        "rate": "RPS",
        "max_batch_size": "maxBatchSize",
        "in_tokens": "avgInputTokens",
        "out_tokens": "avgOutputTokens",
        "max_queue_size": "maxQueueSize",
        "target_ttft": "targetTTFT",
        "target_itl": "targetITL",
    },
):
    """One replica, its load and its targets."""

    rate: Annotated[Amount, _said("Arrivals, requests per second. Only /solve uses it.")] = 0.0
    max_batch_size: Annotated[Batch, _said("Requests in a batch; for /optimize, the most to consider.")]
    in_tokens: Annotated[Length, _said("Input tokens of a request, mean.")] = 0.0
    out_tokens: Annotated[Output, _said("Output tokens of a request, mean.")]
    alpha: Annotated[Amount, _said("Milliseconds that any iteration takes.")] = 0.0
    beta: Annotated[Amount, _said("Milliseconds for a token computed.")] = 0.0
    gamma: Annotated[Amount, _said("Milliseconds for a token of KV cache read.")] = 0.0
    max_queue_size: Annotated[Count, _said("Requests that may wait; 0: those beyond the batch are lost.")] = 0
    target_ttft: Annotated[
        Amount, _said("Mean time to first token, at most, in milliseconds; 0: no target.")
    ] = 0.0
    target_itl: Annotated[
        Amount, _said("Mean time between tokens, at most, in milliseconds; 0: no target.")
    ] = 0.0


class Question(msgspec.Struct, frozen=True):
    """The request in seconds; targets that are not set are inf."""

    rate: RequestsPerSecond
    max_batch_size: int
    in_tokens: Tokens
    out_tokens: Tokens
    alpha: Seconds
    beta: Seconds
    gamma: Seconds
    queue_size: int
    ttft: Seconds
    itl: Seconds


class Served(msgspec.Struct, frozen=True):
    """How one replica fares at some load; all 0: it does not."""

    throughput: RequestsPerSecond = 0.0
    response_time: Seconds = 0.0
    wait_time: Seconds = 0.0
    in_batch: float = 0.0
    ttft: Seconds = 0.0
    itl: Seconds = 0.0
    highest_rate: RequestsPerSecond = 0.0


class QueueAnalysis(
    msgspec.Struct,
    frozen=True,
    rename={
        "offered": "offeredRPS",
        "response_time": "avgRespTime",
        "wait_time": "avgWaitTime",
        "in_batch": "avgNumInServ",
        "ttft": "avgTTFT",
        "itl": "avgITL",
        "highest_rate": "maxRPS",
        "ttft_rate": "RPSTargetTTFT",
        "itl_rate": "RPSTargetITL",
    },
):
    """How the replica fares at a load: means, in milliseconds and requests per second."""

    offered: Annotated[
        float, _said("Arrivals: those asked about, or for /target the most within both targets.")
    ]
    throughput: Annotated[float, _said("Requests completed; less than offered where some are turned away.")]
    response_time: float
    wait_time: float
    in_batch: float
    ttft: float
    itl: float
    highest_rate: Annotated[
        float, _said("The highest load considered, 0.999 of what a full batch completes.")
    ]
    ttft_rate: Annotated[float, _said("The most arrivals within targetTTFT; 0 for /solve.")]
    itl_rate: Annotated[float, _said("The most arrivals within targetITL; 0 for /solve.")]


class QueueOptimum(
    msgspec.Struct,
    frozen=True,
    rename={
        "response_time": "avgRespTime",
        "wait_time": "avgWaitTime",
        "in_batch": "avgNumInServ",
        "ttft": "avgTTFT",
        "itl": "avgITL",
        "highest_rate": "maxRPS",
        "itl_batch": "M_ITL",
        "ttft_batch": "M_TPF",
        "oracle_calls": "oracleCalls",
    },
):
    """The smallest batch that gives up next to no throughput within the targets, and how it fares there."""

    concurrency: Annotated[int, _said("Requests in a batch; 1 where not feasible.")]
    throughput: float
    response_time: float
    wait_time: float
    in_batch: float
    ttft: float
    itl: float
    highest_rate: float
    itl_batch: Annotated[int, _said("The largest batch in which a token alone is within targetITL; else 1.")]
    ttft_batch: Annotated[
        int, _said("The largest batch in which a prefill alone is within targetTTFT; else 1.")
    ]
    oracle_calls: Annotated[int, _said("Batches tried that can meet the targets, the last one twice.")]
    feasible: Annotated[
        bool, _said("Whether any load at all is within the targets; if not, what follows is 0.")
    ]


class _Bound(msgspec.Struct, frozen=True):
    name: str
    whole: bool
    least: float
    most: float


def _bounds() -> dict[str, _Bound]:
    """By field name in lower case, as the form of the request has them."""
    found = {}
    for field in msgspec.inspect.type_info(QueueRequest).fields:  # type: ignore[attr-defined]
        kind: Any = field.type.type if isinstance(field.type, msgspec.inspect.Metadata) else field.type
        name: str = field.encode_name
        found[name.lower()] = _Bound(name, isinstance(kind, msgspec.inspect.IntType), kind.ge, kind.le)
    return found


_BOUNDS = _bounds()


def read_question(data: bytes) -> Question:
    """The request in a body. QueueError: it cannot be read, or asks about what cannot be."""
    try:
        given = _numbers(decode(data, WHERE, SIZE_LIMIT))
    except WireError as error:
        raise QueueError(f"binding error: {error}") from None
    no_output = 0 <= given["avgOutputTokens"] < 1
    wrong = [
        f"{each.name} is {_number(given[each.name])}, "
        f"allowed is {_number(each.least)} to {_number(each.most)}"
        for each in _BOUNDS.values()
        if not each.least <= given[each.name] <= each.most
        and not (no_output and each.name == "avgOutputTokens")
    ]
    if wrong:
        raise QueueError(f"data error: invalid input data: {'; '.join(wrong)}")
    tokens = given["avgInputTokens"] + given["avgOutputTokens"]
    if given["maxBatchSize"] * tokens > FULL_BATCH_LIMIT:
        raise QueueError(
            f"data error: invalid input data: maxBatchSize x (avgInputTokens + avgOutputTokens) is "
            f"{_number(given['maxBatchSize'] * tokens)} tokens in a full batch, allowed is up to "
            f"{_number(FULL_BATCH_LIMIT)}"
        )
    if no_output:
        raise QueueError(
            f"NewLLMQueueAnalyzer() failed: avgOutputTokens is {_number(given['avgOutputTokens'])}, "
            "and a request has at least one output token"
        )
    return Question(
        rate=given["RPS"],
        max_batch_size=int(given["maxBatchSize"]),
        in_tokens=given["avgInputTokens"],
        out_tokens=given["avgOutputTokens"],
        alpha=from_ms(given["alpha"]),
        beta=from_ms(given["beta"]),
        gamma=from_ms(given["gamma"]),
        queue_size=int(given["maxQueueSize"]),
        ttft=_limit(given["targetTTFT"]),
        itl=_limit(given["targetITL"]),
    )


def _limit(target: float) -> Seconds:
    return max(from_ms(target), LEAST_TARGET) if target > 0 else math.inf


def _numbers(document: object) -> dict[str, float]:
    """All fields by their true names; or WireError."""
    given: dict[str, float] = {each.name: 0 for each in _BOUNDS.values()}
    if document is not None and not isinstance(document, dict):
        raise WireError(WHERE, f"expected an object {{...}}, got {shown(document)}", mend="Write an object")
    for key, value in (document or {}).items():
        bound = _BOUNDS.get(str(key).lower())
        if bound is None or value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            mend = "Write it without quotes" if isinstance(value, str) else "Write a number"
            raise WireError(WHERE, "expected a number", path=key, value=value, mend=mend)
        if bound.whole and value != int(value):
            raise WireError(WHERE, "expected a whole number", path=key, value=value, mend="Round it")
        given[bound.name] = value
    return given


def _number(value: float) -> str:
    """A number as messages have it: whole ones in full, others as short as they can be told."""
    return f"{int(value):,}" if abs(value) < 1e15 and value == int(value) else f"{value:.12g}"


def analysis_of(
    offered: RequestsPerSecond,
    served: Served,
    rates: tuple[RequestsPerSecond, RequestsPerSecond] = (0.0, 0.0),
) -> QueueAnalysis:
    """The answer of /solve, and with the most within the TTFT and the ITL target that of /target."""
    return QueueAnalysis(offered, *_written(served), *rates)


def optimum_of(
    concurrency: int, served: Served, alone: tuple[int, int], oracle_calls: int, feasible: bool
) -> QueueOptimum:
    """The answer of /optimize; `alone` are the largest batches by ITL and by prefill."""
    return QueueOptimum(concurrency, *_written(served), *alone, oracle_calls, feasible)


def _written(served: Served) -> tuple[float, float, float, float, float, float, float]:
    return (
        served.throughput,
        to_ms(served.response_time),
        to_ms(served.wait_time),
        served.in_batch,
        to_ms(served.ttft),
        to_ms(served.itl),
        served.highest_rate,
    )


def too_short(alone: Seconds, least: Seconds) -> QueueError:
    """A request alone takes less than it may."""
    return QueueError(
        f"NewLLMQueueAnalyzer() failed: with these alpha, beta and gamma a request alone takes "
        f"{to_ms(alone):.3g} ms, allowed is {to_ms(least):.3g} ms and more"
    )


def out_of_reach(question: Question, idle: Served, meets_ttft: bool, meets_itl: bool) -> QueueError:
    """Which target is missed even with next to no load, where the replica fares as `idle` says."""
    missed = [
        f"{name} is {to_ms(limit):.6g} ms, and a replica with next to no load takes {to_ms(reached):.6g} ms"
        for name, limit, reached, met in (
            ("targetTTFT", question.ttft, idle.ttft, meets_ttft),
            ("targetITL", question.itl, idle.itl, meets_itl),
        )
        if not met
    ]
    return QueueError(f"Size() failed: {'; '.join(missed)}. Allow more, or 0 for no target")
