"""Three generations of the original's queue model: metrics at a rate, and the largest rate within targets.

Rates are requests/ms inside and requests/s in `service_rates`, `analyze` and `size`; times are ms throughout.
"""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

EPSILON = 0.001  # distance kept from rate zero and from the largest service rate, as a fraction
STABILITY_SAFETY_FRACTION = 0.1  # given away from the largest rate when a tokens/s target is set
MAX_QUEUE_TO_BATCH_RATIO = 10
SLO_MARGIN = -math.log(1 - 0.95)  # mean to 95th percentile, were the wait exponential
SEARCH_TOLERANCE = 1e-6
SEARCH_STEPS = 100
DEFAULT_MAX_NUM_TOKENS = 8192
ONSET_EPSILON = 0.02
ONSET_STEPS = 6

Metrics = dict[str, float]
Close = Callable[[float, float], bool]


class InfeasibleTarget(ValueError):
    """No rate, however small, meets the target."""


@dataclass(frozen=True, slots=True)
class State:
    """Stationary means at one arrival rate: counts of requests, ms, requests/ms."""

    throughput: float
    occupancy: float
    in_service: float
    residence_time: float
    service_time: float
    wait_time: float
    empty: float


@dataclass(frozen=True, slots=True)
class Latency:
    """What one request sees, in ms."""

    prefill: float
    itl: float
    ttft: float


def solve_states(arrival_rate: float, rates: list[float], max_batch_size: int) -> State:
    """Stationary means for an arrival rate and the service rates of states 1..K (requests/ms)."""
    bound = len(rates)
    if bound <= 1:
        # Defect: the original tests its utilisation of 1, before any solution is known, against K.
        raise ValueError(f"invalid model: occupancy bound {bound}")
    limit = sys.float_info.max / (bound + 1)
    weight = 1.0
    weights = [weight]
    for rate in rates:
        following = weight * arrival_rate / rate
        while following > limit:
            weights = [w / limit for w in weights]
            following = weights[-1] * arrival_rate / rate
        weight = following
        weights.append(weight)
    total = sum(weights)
    occupancy = in_service = mass = 0.0
    for n, weight in enumerate(weights):
        probability = weight / total
        occupancy += n * probability
        mass += probability
        if n == max_batch_size:
            in_service = occupancy + (1 - mass) * n
    throughput = arrival_rate * (1 - weights[-1] / total)
    residence_time = occupancy / throughput
    service_time = in_service / throughput
    wait_time = max(residence_time - service_time, 0.0)
    return State(
        throughput, occupancy, in_service, residence_time, service_time, wait_time, weights[0] / total
    )


def close_to_target(value: float, target: float) -> bool:
    """Whether a value is within the relative search tolerance of its target (G3)."""
    return value == target or (target != 0 and abs((value - target) / target) <= SEARCH_TOLERANCE)


def close_to_one(value: float, target: float) -> bool:
    """The same test as G1 and G2 have it."""
    # Defect: the value is compared with 1 instead of its target, so that a search takes all its steps.
    return value == target or (target != 0 and abs(value - 1) <= SEARCH_TOLERANCE)


def search(latency: Callable[[float], float], low: float, high: float, target: float, close: Close) -> float:
    """Largest arrival rate (requests/ms) in [low, high] whose latency (ms) meets the target (ms)."""
    first = latency(low)
    if close(first, target):
        return low
    last = latency(high)
    if close(last, target):
        return high
    # Defect: on a flat curve rounding decides the direction, hence whether a target is met or missed.
    increasing = first < last
    if (increasing and target < first) or (not increasing and target > first):
        raise InfeasibleTarget(f"target {target} is out of reach: {first} at the lowest rate")
    if (increasing and target > last) or (not increasing and target < last):
        return high
    middle = low
    for _ in range(SEARCH_STEPS):
        middle = 0.5 * (low + high)
        value = latency(middle)
        if close(value, target):
            break
        if (increasing and target < value) or (not increasing and target > value):
            high = middle
        else:
            low = middle
    return middle


class Model(ABC):
    """What the generations share: the range of rates, and the rate for a set of targets."""

    max_batch_size: int
    close: Close

    def _build(self, bound: int, service_times: list[float]) -> None:
        """Set the service rates of states 1..bound from the service times (ms) at batch size 1..N."""
        per_batch = [n / time for n, time in enumerate(service_times, start=1)]
        self._rates = per_batch + [per_batch[-1]] * (bound - len(per_batch))
        self._low = per_batch[0] * EPSILON
        self._high = per_batch[-1] * (1 - EPSILON)

    def service_rates(self) -> list[float]:
        """Service rates (requests/s) at batch size 1..N."""
        return [rate * 1000 for rate in self._rates[: self.max_batch_size]]

    def rate_range(self) -> tuple[float, float]:
        """Lowest and highest rate (requests/s) that a search considers."""
        return self._low * 1000, self._high * 1000

    def solve(self, arrival_rate: float) -> State:
        """Stationary means at an arrival rate (requests/ms)."""
        return solve_states(arrival_rate, self._rates, self.max_batch_size)

    @abstractmethod
    def latency(self, state: State) -> Latency:
        """Latencies (ms) at a state."""

    @abstractmethod
    def analyze(self, rate: float) -> Metrics:
        """Metrics (requests/s, ms) at an arrival rate (requests/s)."""

    def size(self, ttft: float, itl: float, tps: float) -> tuple[float, float, float, Metrics]:
        """Largest rates (requests/s) for targets (ms, ms, tokens/s; 0 is none), and metrics at the least."""
        if ttft < 0 or itl < 0 or tps < 0:
            raise ValueError(f"invalid targets: ttft={ttft}, itl={itl}, tps={tps}")
        rate_ttft = rate_itl = rate_tps = self._high
        if ttft > 0:
            rate_ttft = search(
                lambda rate: self.latency(self.solve(rate)).ttft, self._low, self._high, ttft, self.close
            )
        if itl > 0:
            rate_itl = search(
                lambda rate: self.latency(self.solve(rate)).itl, self._low, self._high, itl, self.close
            )
        if tps > 0:
            rate_tps *= 1 - STABILITY_SAFETY_FRACTION
        metrics = self.analyze(min(rate_ttft, rate_itl, rate_tps) * 1000)
        return rate_ttft * 1000, rate_itl * 1000, rate_tps * 1000, metrics

    def _common(self, state: State) -> Metrics:
        """Metrics (requests/s, ms) that all generations report."""
        return {
            "throughput": state.throughput * 1000,
            "avgRespTime": state.residence_time,
            "avgWaitTime": state.wait_time,
            "avgNumInServ": state.in_service,
            "maxRate": self._high * 1000,
            "rho": min(max(state.in_service / self.max_batch_size, 0.0), 1.0),
        }


def _check(valid: bool, what: str) -> None:
    """Reject an invalid input."""
    if not valid:
        raise ValueError(f"invalid {what}")


@dataclass
class G1(Model):
    """Flat token times: alpha (ms), beta (ms/request), one mean length (tokens/request)."""

    alpha: float
    beta: float
    max_batch_size: int
    length: float

    close = staticmethod(close_to_one)

    def __post_init__(self) -> None:
        """Reject invalid parameters and compute the service rates."""
        _check(self.max_batch_size > 0, "max batch size")
        _check(self.length >= 1, "length")
        times = [self.length * (self.alpha + self.beta * n) for n in range(1, self.max_batch_size + 1)]
        self._build(MAX_QUEUE_TO_BATCH_RATIO * self.max_batch_size, times)

    def latency(self, state: State) -> Latency:
        """Latencies (ms) at a state; there is no prefill, so that ttft is the wait alone."""
        return Latency(0.0, state.service_time / self.length, state.wait_time)

    def analyze(self, rate: float) -> Metrics:
        """Metrics (requests/s, ms) at an arrival rate (requests/s)."""
        state = self.solve(rate / 1000)
        itl = self.latency(state).itl
        return self._common(state) | {"avgTokenTime": itl, "rho": 1 - state.empty}

    def size(self, ttft: float, itl: float, tps: float) -> tuple[float, float, float, Metrics]:
        """As in the base class, with ttft a limit (ms) on the 95th percentile of the wait."""
        return super().size(ttft / SLO_MARGIN, itl, tps)


@dataclass
class G2(Model):
    """Prefill gamma (ms), delta (ms/(token*request)), then decode alpha (ms), beta (ms/request)."""

    alpha: float
    beta: float
    gamma: float
    delta: float
    max_batch_size: int
    max_queue_size: int
    input_tokens: float
    output_tokens: float

    close = staticmethod(close_to_one)

    def __post_init__(self) -> None:
        """Reject invalid parameters and compute the service rates."""
        _check(self.max_batch_size > 0 and self.max_queue_size >= 0, "configuration")
        _check(self.input_tokens >= 0 and self.output_tokens >= 1, "request size")
        times = [
            self.prefill(n) + (self.output_tokens - 1) * self.decode(n)
            for n in range(1, self.max_batch_size + 1)
        ]
        self._build(self.max_batch_size + self.max_queue_size, times)

    def prefill(self, batch_size: float) -> float:
        """Prefill time (ms) at a batch size."""
        return self.gamma + self.delta * self.input_tokens * batch_size if self.input_tokens else 0.0

    def decode(self, batch_size: float) -> float:
        """Time per output token (ms) at a batch size."""
        return self.alpha + self.beta * batch_size

    def effective_concurrency(self, service_time: float) -> float:
        """Batch size at which a request takes the service time (ms)."""
        steps = self.output_tokens - 1
        # Defect: gamma is taken off even where there is no input to prefill.
        load_time = service_time - (self.gamma + self.alpha * steps)
        slope = self.delta * self.input_tokens + self.beta * steps
        if slope == 0:
            return 0.0  # times do not depend on the batch size; the original divides by zero
        return min(max(load_time / slope, 0.0), float(self.max_batch_size))

    def latency(self, state: State) -> Latency:
        """Latencies (ms) at a state."""
        batch_size = self.effective_concurrency(state.service_time)
        prefill = self.prefill(batch_size)
        return Latency(prefill, self.decode(batch_size), state.wait_time + prefill)

    def analyze(self, rate: float) -> Metrics:
        """Metrics (requests/s, ms) at an arrival rate (requests/s)."""
        _check(0 < rate <= self._high * 1000, f"request rate {rate}")
        state = self.solve(rate / 1000)
        latency = self.latency(state)
        return self._common(state) | {
            "avgPrefillTime": latency.prefill,
            "avgTokenTime": latency.itl,
            "ttft": latency.ttft,
        }


@dataclass
class G3(Model):
    """Chunked prefill: alpha (ms/iteration), beta (ms/token computed), gamma (ms/token^2 read)."""

    alpha: float
    beta: float
    gamma: float
    max_batch_size: int
    max_queue_size: int
    input_tokens: float
    output_tokens: float
    max_num_tokens: int = 0

    close = staticmethod(close_to_target)

    def __post_init__(self) -> None:
        """Reject invalid parameters and compute the service rates."""
        _check(self.max_batch_size > 0 and self.max_queue_size >= 0, "configuration")
        _check(self.max_num_tokens >= 0, "configuration")
        _check(self.input_tokens >= 0 and self.output_tokens >= 1, "request size")
        self.max_num_tokens = self.max_num_tokens or DEFAULT_MAX_NUM_TOKENS
        self.chunks = self._chunk_table()
        times = []
        for n in range(1, self.max_batch_size + 1):
            chunks = self.chunks[n]
            iterations = chunks + self.output_tokens
            times.append(iterations * (self.alpha + n * self._iteration_work(chunks)))
        self._build(self.max_batch_size + self.max_queue_size, times)

    def _chunk_table(self) -> list[int]:
        """Number of prefill chunks at batch size 0..N."""
        largest: list[int] = []
        while not largest or largest[-1] < self.max_batch_size:
            chunks = len(largest) + 1
            tokens_left = self.max_num_tokens - self.input_tokens / chunks
            batch_size = (
                (chunks + self.output_tokens) * tokens_left / (self.input_tokens + self.output_tokens)
            )
            largest.append(math.floor(max(0.0, batch_size)))
        table = [1]
        for n in range(1, self.max_batch_size + 1):
            table.append(next(k for k, batch_size in enumerate(largest, start=1) if batch_size >= n))
        return table

    def _prefill_work(self, chunks: int) -> float:
        """Time (ms) that one request's own prefill adds to its iterations."""
        return (self.beta + self.gamma * (chunks + 1) / 2) * self.input_tokens

    def _iteration_work(self, chunks: int) -> float:
        """Time (ms) that one request adds to a mean iteration."""
        mean_context = self.input_tokens + (self.output_tokens + 1) / 2
        decode_work = self.output_tokens * (self.beta + self.gamma * mean_context)
        return (self._prefill_work(chunks) + decode_work) / (chunks + self.output_tokens)

    def _background(self, batch_size: float, chunks: int) -> float:
        """Iteration time (ms) that a request finds, without its own work."""
        return max(0.0, self.alpha + (batch_size - 1) * self._iteration_work(chunks))

    def prefill(self, batch_size: float, chunks: int) -> float:
        """Prefill time (ms) at a batch size."""
        return chunks * self._background(batch_size, chunks) + self._prefill_work(chunks)

    def closed_form_itl(self, batch_size: float, chunks: int) -> float:
        """Time per output token (ms) at a batch size."""
        mean_context = self.input_tokens + (self.output_tokens + 1) / 2
        return self._background(batch_size, chunks) + self.beta + self.gamma * mean_context

    def latency(self, state: State) -> Latency:
        """Latencies (ms) at a state."""
        # Defect: rounding to a whole batch makes the curve jump where the number of chunks changes.
        chunks = self.chunks[min(max(int(state.in_service + 0.5), 1), self.max_batch_size)]
        prefill = self.prefill(state.in_service, chunks)
        itl = (state.service_time - prefill) / self.output_tokens
        return Latency(prefill, itl, state.wait_time + prefill + itl)

    def analyze(self, rate: float) -> Metrics:
        """Metrics (requests/s, ms) at an arrival rate (requests/s), which may exceed what is served."""
        _check(rate > 0, f"request rate {rate}")
        state = self.solve(rate / 1000)
        latency = self.latency(state)
        return self._common(state) | {
            "offeredRate": rate,
            "avgPrefillTime": latency.prefill,
            "avgTokenTime": latency.itl,
            "avgTTFT": latency.ttft,
        }


def optimal_concurrency(model: G3, ttft: float, itl: float, tps: float) -> dict[str, object]:
    """Least max batch size, up to the model's, with almost its throughput (requests/s) within targets."""
    probes: list[int] = []
    calls = 0

    def metrics_at(max_batch_size: int) -> Metrics | None:
        """Metrics (requests/s, ms) at the largest rate within targets for a max batch size."""
        try:
            sized = G3(
                model.alpha,
                model.beta,
                model.gamma,
                max_batch_size,
                model.max_queue_size,
                model.input_tokens,
                model.output_tokens,
                model.max_num_tokens,
            )
            return sized.size(ttft, itl, tps)[3]
        except ValueError:
            return None

    def probe(max_batch_size: int) -> float:
        """Throughput (requests/s) within targets for a max batch size, 0 if infeasible."""
        nonlocal calls
        probes.append(max_batch_size)
        metrics = metrics_at(max_batch_size)
        throughput = metrics["throughput"] if metrics else 0.0
        calls += throughput > 0
        return throughput

    ceiling = model.max_batch_size
    # Defect: a target of 0 means none elsewhere; here it leaves a batch size of 1.
    bound_itl = bound_prefill = 1
    for n in range(1, ceiling + 1):
        if model.closed_form_itl(n, model.chunks[n]) <= itl:
            bound_itl = n
        if model.prefill(n, model.chunks[n]) <= ttft:
            bound_prefill = n
    anchor = probe(ceiling)
    result: dict[str, object] = {"M_ITL": bound_itl, "M_TPF": bound_prefill, "anchorThroughput": anchor}
    if anchor <= 0:
        return result | {
            "concurrency": 1, "throughput": 0.0, "metrics": None,
            "oracleCalls": calls, "probes": probes, "feasible": False,
        }  # fmt: skip
    threshold = (1 - ONSET_EPSILON / 2) * anchor
    low = min(bound_itl, bound_prefill)
    high = max(low, min(ceiling, max(3 * max(bound_itl, bound_prefill), low + 1)))
    for _ in range(ONSET_STEPS):
        if low >= high:
            break
        middle = (low + high) // 2
        if probe(middle) >= threshold:
            high = middle
        else:
            low = middle + 1
    throughput = probe(high)
    return result | {
        "concurrency": high, "throughput": throughput, "metrics": metrics_at(high) if throughput else None,
        "oracleCalls": calls, "probes": probes, "feasible": throughput > 0,
    }  # fmt: skip
