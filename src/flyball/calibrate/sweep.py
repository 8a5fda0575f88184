"""An active sweep of one replica: which loads and lengths to measure, how long that takes, and what the
streamed answers say of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from flyball.calibrate.belief import Belief, FloatArray, predicted
from flyball.calibrate.design import design
from flyball.spec.measurement import Point, Streamed
from flyball.spec.service_class import MEAN, Target
from flyball.units import Seconds, TokensPerSecond

MOST_LOAD = 256
"""Requests in flight, where no list of loads is given."""
LEAST_REQUESTS = 4
"""Whose first token came while it was measured; a step goes on until then."""
FULL_WAITING = 0.25
"""Share of the requests in flight that wait, and long, beyond which the batch is full."""
FULL_TOKENS = 0.05
"""Of the tokens that more load should give: where it gives less, and requests wait long, it is full too."""
FULL_WAIT = 0.25
"""Of the time that an answer takes to come: a time to first token beyond it may be a wait for a place."""


class Step(msgspec.Struct, frozen=True):
    """So many requests in flight, of so many tokens each."""

    load: int
    in_tokens: int
    out_tokens: int

    def fits(self, room: int) -> bool:
        """Whether so many KV tokens hold them all; 0: not known."""
        return not room or self.load * (self.in_tokens + self.out_tokens) <= room


class Span(msgspec.Struct, frozen=True):
    """How long a step is measured: seconds, or requests where they are more than 0."""

    seconds: Seconds = 20.0
    requests: int = 0

    def over(self, elapsed: Seconds, requests: int) -> bool:
        """Whether it is, after so long and so many."""
        if self.requests:
            return requests >= self.requests
        return elapsed >= self.seconds and requests >= LEAST_REQUESTS


class Taken(NamedTuple):
    """What was measured at a step."""

    step: Step
    in_tokens: float
    """Means, as the engine counted them."""
    out_tokens: float
    ttft: FloatArray
    """(requests,) seconds."""
    itl: FloatArray
    """(tokens,) seconds."""
    throughput: TokensPerSecond
    rate: float
    """Requests per second that began to answer."""
    seconds: Seconds
    """So long it was measured."""
    waiting: float = 0.0
    """Requests that waited, as the engine's metrics say."""
    foreign: float = 0.0
    """Requests of others at the replica."""

    @property
    def point(self) -> Point:
        """As a fit takes it."""
        return Point(
            self.in_tokens,
            self.out_tokens,
            float(self.itl.mean()),
            concurrency=float(self.step.load),
            ttft=float(self.ttft.mean()),
        )


def climb(loads: Sequence[int], in_tokens: int, out_tokens: int, room: int) -> list[Step]:
    """Steps of one length by load: those given, else doubling as far as KV tokens (0: not known) allow."""
    steps = [Step(load, in_tokens, out_tokens) for load in loads or doubling(MOST_LOAD)]
    fitting = [step for step in steps if step.fits(room)]
    return steps if loads else fitting or steps[:1]


def doubling(most: int) -> list[int]:
    """1, 2, 4, and so on."""
    return [1 << i for i in range(most.bit_length())]


def other_lengths(load: int, in_tokens: int, out_tokens: int, room: int) -> list[Step]:
    """Two steps that tell apart what a request, a KV token and a prompt token take.

    Half of both has half the KV tokens and as many prompt tokens per answered one; twice the prompt to half
    the answer has four times as many of these.
    """
    answer = max(out_tokens // 2, 1)
    steps = [Step(load, max(in_tokens // 2, 1), answer), Step(max(load // 2, 1), 2 * in_tokens, answer)]
    return [step for step in steps if step.fits(room)]


def foretold(belief: Belief, step: Step, span: Span) -> tuple[Seconds, Seconds]:
    """Time between tokens, and how long a step takes with its warm-up, as far as is believed."""
    columns = design(step.load, step.in_tokens, step.out_tokens, belief.experts, belief.experts_per_token)
    itl = float(predicted(belief, columns).time[0])
    prompt = float(belief.values[3]) * step.in_tokens
    answer = float(np.exp(belief.gamma)) + prompt + step.out_tokens * itl
    requests = span.requests or LEAST_REQUESTS
    measured = max(0.0 if span.requests else span.seconds, requests * answer / step.load)
    return itl, step.load * prompt + answer + measured


def taken(
    step: Step,
    streams: Sequence[Streamed],
    begun: Seconds,
    ended: Seconds,
    waiting: Sequence[float] = (),
    running: Sequence[float] = (),
) -> Taken | None:
    """What streamed answers, the first `load` of them to warm up, say of the time between two moments.

    `waiting`, `running`: requests at the replica, read meanwhile. None: too few answers began.
    """
    whole = [s for s in streams if s.out_tokens > 0]
    pieces = sum(len(s.arrivals) - 1 for s in whole)
    per_piece = sum(s.out_tokens - 1 for s in whole) / pieces if pieces > 0 else 1.0
    gaps, ttft, count = [], [], 0
    for stream in streams:
        moments = np.asarray(stream.arrivals)
        inside = (moments >= begun) & (moments <= ended)
        count += int(inside.sum())
        gaps.append(np.diff(moments[inside]))
        if len(moments) and inside[0]:
            ttft.append(moments[0] - stream.sent)
    itl = np.concatenate(gaps) / max(per_piece, 1e-9) if gaps else np.zeros(0)
    if len(ttft) < LEAST_REQUESTS or not itl.sum() > 0:
        return None
    seconds = ended - begun
    later = [s.out_tokens for s in streams[step.load :] if s.out_tokens > 0]
    total = np.asarray(waiting, np.float64) + np.asarray(running, np.float64)
    return Taken(
        step,
        float(np.mean([s.in_tokens for s in whole])) if whole else float(step.in_tokens),
        float(np.mean(later)) if later else float(step.out_tokens),
        np.array(ttft),
        itl,
        count * per_piece / seconds,
        len(ttft) / seconds,
        seconds,
        float(np.mean(waiting)) if len(waiting) else 0.0,
        float(np.maximum(total - step.load, 0.0).mean()) if len(total) else 0.0,
    )


def statistic(values: FloatArray, target: Target) -> Seconds:
    """What is compared with a target."""
    return float(values.mean() if target.quantile == MEAN else np.quantile(values, target.quantile))


def missed(found: Taken, targets: Sequence[Target]) -> Target | None:
    """The first target that was not met."""
    for target in targets:
        if statistic(found.itl if target.metric == "itl" else found.ttft, target) > target.limit:
            return target
    return None


def is_full(found: Taken, before: Taken | None) -> bool:
    """Whether requests waited long: many of them by the metrics, or for no more tokens than before."""
    if float(found.ttft.mean()) <= FULL_WAIT * found.out_tokens * float(found.itl.mean()):
        return False
    if found.waiting > FULL_WAITING * found.step.load:
        return True
    if before is None:
        return False
    more = found.step.load / before.step.load - 1.0
    return found.throughput / before.throughput - 1.0 < FULL_TOKENS * more
