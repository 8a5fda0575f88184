"""Inferno's queue analysis over HTTP: how one replica fares, what it can take, and how much to batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from litestar import Request, Response, post
from litestar.handlers import BaseRouteHandler

from flyball.queueing.analysis import analyze, highest_rate, lowest_rate
from flyball.queueing.arrays import FloatArray
from flyball.queueing.concurrency import optimal_concurrency
from flyball.queueing.curves import DEFAULT_TOKENS_PER_ITERATION, ChunkedCurve
from flyball.queueing.sizing import Targets, size
from flyball.server.service.answers import Refusal, answer
from flyball.server.service.describe import describe
from flyball.server.service.service import Service
from flyball.server.service.work import Limits, body_of, worked
from flyball.units import RequestsPerSecond, Seconds
from flyball.wire.inferno_queue import (
    SIZE_LIMIT,
    Question,
    QueueAnalysis,
    QueueError,
    QueueOptimum,
    QueueRequest,
    Served,
    analysis_of,
    optimum_of,
    out_of_reach,
    read_question,
    too_short,
)

SHORTEST: Seconds = 1e-9
"""That a request alone may take."""
FLOODED = 1e6
"""Times mu(N): more load changes nothing in the first six digits, but leaves none of 1 - P(blocked)."""
EXAMPLE = QueueRequest(
    rate=3.0,
    max_batch_size=48,
    in_tokens=128.0,
    out_tokens=512.0,
    alpha=12.0,
    beta=0.05,
    gamma=0.0005,
    max_queue_size=128,
    target_ttft=60.0,
    target_itl=20.0,
)
REFUSALS = {
    "/solve": "The body cannot be read, a value is not allowed, or RPS is 0.",
    "/target": "The body cannot be read, a value is not allowed, or a target is out of reach.",
    "/optimize": "The body cannot be read, or a value is not allowed.",
}


def service() -> Service:
    """The routes as a service of their own."""
    return Service(
        name="queue",
        title="Flyball: queue analysis",
        about="The queue of one inference server, by the third generation of Inferno's model: chunked "
        "prefill, means of latencies. Times are milliseconds, rates are requests per second.",
        handlers=handlers(),
        limits=Limits(body=SIZE_LIMIT),
    )


def handlers() -> tuple[BaseRouteHandler, ...]:
    """POST /solve, /target and /optimize."""
    return (
        _route("/solve", solve, QueueAnalysis, "How a replica fares at a load"),
        _route("/target", target, QueueAnalysis, "The most load that a replica takes within its targets"),
        _route("/optimize", optimize, QueueOptimum, "The smallest batch that gives up next to no throughput"),
    )


def _route(path: str, find: Callable[[Question], object], kind: Any, summary: str) -> BaseRouteHandler:
    def found(data: bytes) -> object:
        try:
            return find(read_question(data))
        except QueueError as error:
            raise Refusal(400, str(error)) from None

    @post(
        path,
        status_code=200,
        summary=summary,
        tags=["Queue"],
        description=find.__doc__,
        operation_id=path.removeprefix("/"),
        operation_class=describe(
            body=QueueRequest,
            answer=kind,
            example=EXAMPLE,
            answered=found(msgspec.json.encode(EXAMPLE)),
            refusals={400: REFUSALS[path]},
        ),
    )
    async def handle(request: Request[Any, Any, Any]) -> Response[bytes]:
        data = await body_of(request)
        return answer(await worked(request, lambda: found(data)))

    return handle


def solve(question: Question) -> QueueAnalysis:
    """Rates, occupancy and mean latencies at RPS. Targets play no part."""
    if question.rate <= 0:
        raise QueueError("Analyze() failed: invalid request rate 0: RPS must be above 0")
    curve = _curve(question, question.max_batch_size)
    return analysis_of(question.rate, _served(curve, question, question.rate))


def target(question: Question) -> QueueAnalysis:
    """The largest arrival rate at which the mean TTFT and ITL are within targetTTFT and targetITL, and how
    the replica fares there. RPS plays no part.
    """
    one = _curve(question, question.max_batch_size)
    both = _curve(question, question.max_batch_size, question.max_batch_size)
    none = np.full(2, np.inf)
    targets = Targets(np.array([question.ttft, np.inf]), np.array([np.inf, question.itl]), none, none)
    sized = size(both, np.full(2, float(question.queue_size)), targets)
    if not sized.feasible.all():
        idle = _served(one, question, min(float(lowest_rate(one)[0]), float(highest_rate(one)[0])))
        raise out_of_reach(question, idle, *sized.feasible.tolist())
    for_ttft, for_itl = sized.rate.tolist()
    rate = min(for_ttft, for_itl)
    return analysis_of(rate, _served(one, question, rate), (for_ttft, for_itl))


def optimize(question: Question) -> QueueOptimum:
    """The smallest batch, up to maxBatchSize, with at least 99 % of the throughput within the targets that
    maxBatchSize has, and how the replica fares at the most load within them. RPS plays no part.
    """
    found = optimal_concurrency(
        lambda batch: _curve(question, *batch.tolist()),
        question.queue_size,
        question.ttft,
        question.itl,
        question.max_batch_size,
    )
    alone = found.itl_batch, found.ttft_batch
    if not found.feasible:
        return optimum_of(found.batch, Served(), alone, 0, False)
    curve = _curve(question, found.batch)
    served = _served(curve, question, found.rate)
    return optimum_of(found.batch, served, alone, found.feasible_probes, True)


def _curve(question: Question, *batches: float) -> ChunkedCurve:
    """The replica once for each batch limit. QueueError: it takes no time."""
    lanes = len(batches)

    def each(value: float) -> FloatArray:
        return np.full(lanes, float(value))

    curve = ChunkedCurve(
        np.array(batches, dtype=float),
        each(question.alpha),
        each(question.beta),
        each(question.gamma),
        each(question.in_tokens),
        each(question.out_tokens),
        each(DEFAULT_TOKENS_PER_ITERATION),
    )
    alone = float(curve.residence_time(np.ones(lanes))[0])
    if alone < SHORTEST:
        raise too_short(alone, SHORTEST)
    return curve


def _served(curve: ChunkedCurve, question: Question, rate: RequestsPerSecond) -> Served:
    """How the replica fares at a load."""
    highest = highest_rate(curve)
    at = np.minimum(np.array([rate]), FLOODED * highest)
    with np.errstate(invalid="ignore"):
        found = analyze(curve, np.array([float(question.queue_size)]), at)
    if np.isnan(found.response_time[0]):
        # With very many chunks mu(n) falls again, and a batch that would fill up and stay so may be too
        # unlikely to be a number: then nobody waits.
        found = analyze(curve, np.zeros(1), at)
    return Served(
        throughput=float(found.throughput[0]),
        response_time=float(found.response_time[0]),
        wait_time=float(found.wait_time[0]),
        in_batch=float(found.in_batch[0]),
        ttft=float(found.ttft[0]),
        # A prompt of thousands of chunks can seem to take longer than the whole stay does on average.
        itl=max(float(found.itl[0]), 0.0),
        highest_rate=float(highest[0]),
    )
