"""From the figures of a server's pods to what the decision sees of it. Pure.

Load is what was offered, not what was completed: finished requests, and how many more there are now than a
window ago. It is never less than what can be known; where the most of it cannot, it is absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from flyball.adapters.prometheus.figures import Histogram, PodFigures, RouterFigures
from flyball.adapters.prometheus.quantiles import cov, mean, merged, quantile
from flyball.spec.snapshot import Observation, Quantile, Reading, Variant
from flyball.units import RequestsPerSecond, Seconds

FEWEST = 10
"""Requests from which on their spread, or a difference between two counts of them, says something."""
LONG: Seconds = 30.0
"""Nothing comes of running requests for so long only where something hangs."""
APART = 0.05
"""Requests that begin and that end differ by more only where some are given up."""
DISAGREE = 0.25
"""Router and pods differ by more only where one of them does not see all requests."""
_SHARES: tuple[tuple[Quantile, float], ...] = (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99))


def observation(
    server: str,
    variants: tuple[Variant, ...],
    pods: Iterable[PodFigures],
    router: RouterFigures | None = None,
    *,
    window: Seconds,
    missing: int = 0,
    cold_start: Reading | None = None,
) -> tuple[Observation, tuple[str, ...]]:
    """One server as its pods and its router show it, and in sentences what is doubtful about it.

    `pods` are all that served in the window, those that are gone since too, which only count with what they
    finished. `missing`: pods that are ready and unknown to Prometheus; at least what `variants` have more.
    While more than half of the pods are known, load counts as if the others had as much each; else it is
    absent, unless the router knows it.
    """
    given = list(pods)
    there = [pod for pod in given if pod.age is not None]
    current = [pod for pod in there if pod.age is not None and pod.age <= window]
    served = (
        [pod for pod in given if pod not in there or pod in current] if len(there) > len(current) else given
    )
    gone = [pod for pod in given if pod.age is None]
    missing = max(missing, sum(variant.ready for variant in variants) - len(there))
    lacking = missing + len(there) - len(current)
    view = _View(server, current, gone, len(current) + lacking, window)
    if lacking:
        view.note_lacking(missing, there)
    arrival = view.arrival(router)
    age = view.age
    queue = None if router is None else router.queue
    waiting = view.total("waiting", lambda pod: pod.waiting) if view.expected else None
    if queue is not None and (waiting is not None or not view.expected):
        waiting = (waiting or 0.0) + queue
    router_age = 0.0 if router is None or queue is None else router.age

    def reading(value: float | None, most: float = float("inf"), age: Seconds = age) -> Reading | None:
        return None if value is None else Reading(min(value, most), age)

    def histogram(get: Callable[[PodFigures], Histogram | None]) -> Histogram | None:
        return merged(found for pod in served if (found := get(pod)) is not None)

    firsts, gaps = histogram(lambda pod: pod.ttft), histogram(lambda pod: pod.itl)
    ins, outs = histogram(lambda pod: pod.in_tokens), histogram(lambda pod: pod.out_tokens)
    in_tokens = _mean_tokens(ins)
    if in_tokens is None:
        in_tokens = _over(served, lambda p: p.prompt_tokens, lambda p: _count(p.ttft) or p.finished)
    out_tokens = _mean_tokens(outs)
    if out_tokens is None:
        out_tokens = _over(served, lambda p: p.generation_tokens, lambda p: p.finished)
    itl = _latencies(gaps, age)
    if not itl:
        itl_mean = reading(_over(served, lambda p: p.gap_total, lambda p: p.gap_count))
        itl = {} if itl_mean is None else {"mean": itl_mean}
    found = Observation(
        server,
        variants,
        arrival,
        reading(in_tokens),
        reading(out_tokens),
        reading(_over(served, lambda p: p.cache_hits, lambda p: p.cache_queries), 1.0),
        _latencies(firsts, age),
        itl,
        reading(view.total("running", lambda pod: pod.running) if view.expected else 0.0),
        reading(waiting, age=max(age, router_age)),
        reading(view.kv_usage()),
        cold_start,
        reading(_spread(ins, window)),
        reading(_spread(outs, window)),
    )
    return found, tuple(view.notes)


class _View:
    """The pods of one server, and what is doubtful about them."""

    def __init__(
        self,
        server: str,
        current: Sequence[PodFigures],
        gone: Sequence[PodFigures],
        expected: int,
        window: Seconds,
    ) -> None:
        self.server, self.current, self.gone = server, current, gone
        self.expected, self.window = expected, window
        self.age: Seconds = max((pod.age for pod in current if pod.age is not None), default=0.0)
        self.notes: list[str] = []

    def note(self, sentence: str) -> None:
        self.notes.append(f"'{self.server}': {sentence}")

    def note_lacking(self, missing: int, there: Sequence[PodFigures]) -> None:
        oldest = max((pod.age for pod in there if pod.age is not None), default=0.0)
        stale = len(there) - len(self.current)
        why = [f"{missing} unknown to Prometheus"] if missing else []
        why += [f"{stale} with samples up to {oldest:.0f} s old"] if stale else []
        then = (
            "load counts as if they had as much as the others"
            if self._enough(len(self.current))
            else "too few"
        )
        self.note(f"of {self.expected} pods {' and '.join(why)}: {then}")

    def total(self, what: str, get: Callable[[PodFigures], float | None]) -> float | None:
        """Over all pods, those that are not known as the mean of the others; None where too few are."""
        known = []
        for pod in self.current:
            value = get(pod)
            if value is not None and value < 0:
                self.note(f"{what} of {pod.pod} is {value:g}, which cannot be: left out")
            elif value is not None:
                known.append(value)
        return sum(known) * self.expected / len(known) if self._enough(len(known)) else None

    def arrival(self, router: RouterFigures | None) -> Reading | None:
        """Offered requests per second, as the pods or the router know it: what is more."""
        own = self._offered()
        if router is None or router.arrival_rate is None:
            return None if own is None else Reading(own, self.age)
        said = max(router.arrival_rate, 0.0)
        if own is None:
            return Reading(said, router.age)
        own = max(own + router.queue_growth, 0.0)  # what had waited there came to the pods, but came before
        most = max(own, said)
        if abs(own - said) > max(DISAGREE * most, FEWEST / self.window):
            why = "not all requests pass the router" if own > said else "not all reach a pod"
            self.note(
                f"the router counts {said:.2f} requests/s, its pods {own:.2f}: {why}; the larger counts"
            )
        return Reading(most, max(self.age, router.age))

    def _offered(self) -> RequestsPerSecond | None:
        ended: list[float] = []
        begun: list[float] = []
        for pod in self.current:
            if self._hangs(pod):
                self.note(
                    f"{pod.running:g} requests run on {pod.pod}, and nothing comes of them: does it hang?"
                )
            elif (rate := self._ended(pod)) is not None:
                ended.append(rate)
                begun.append(rate if (other := self._begun(pod)) is None else other)
        if not self._enough(len(ended)):
            return None
        left = sum(pod.finished or 0.0 for pod in self.gone)
        # That some pods drain does not say that those do which are not known.
        scale = self.expected / len(ended)
        rate, other = (max(sum(each), sum(each) * scale) + left for each in (ended, begun))
        if other - rate > max(APART * other, FEWEST / self.window):
            self.note(f"{other - rate:.2f} requests/s begin and are never finished: given up, it seems")
            rate = other
        return max(rate, 0.0)

    def _ended(self, pod: PodFigures) -> RequestsPerSecond | None:
        """What came: what it finished, and how many more are there; None where that is not known."""
        finished = 0.0 if pod.finished is None and pod.fresh else pod.finished
        running, waiting = self._growth(pod, pod.running, pod.running_before), self._waits(pod)
        if finished is None or finished < 0 or running is None or waiting is None:
            return None
        return finished + running + waiting

    def _begun(self, pod: PodFigures) -> RequestsPerSecond | None:
        """What came at least, by first tokens: it also has requests that are given up while they run."""
        first, waiting = _count(pod.ttft), self._waits(pod)
        if first is None or waiting is None:
            return None
        return first + waiting - (pod.preemptions or 0.0)  # preempted requests wait, too

    def _waits(self, pod: PodFigures) -> float | None:
        return self._growth(pod, pod.waiting, pod.waiting_before)

    def _growth(self, pod: PodFigures, now: float | None, before: float | None) -> float | None:
        """Requests per second; what was there when it restarted is lost, and did not leave as finished."""
        if now is None or now < 0 or before is None:
            return None
        growth = now if pod.restarted else now - before
        # What one has at its first scrape came since it is ready, which may be longer ago.
        span = max(self.window, pod.served or 0.0) if pod.fresh else self.window
        return (growth if pod.restarted is not None else max(growth, 0.0)) / span

    def _hangs(self, pod: PodFigures) -> bool:
        busy = min(pod.running or 0.0, pod.running_before or 0.0) > 0
        still = pod.finished == pod.generation_tokens == 0 and not pod.prompt_tokens
        return busy and still and not pod.restarted and self.window >= LONG

    def kv_usage(self) -> float | None:
        """Mean over the pods."""
        known = []
        for pod in self.current:
            if pod.kv_usage is not None and 0.0 <= pod.kv_usage <= 1.0 + 1e-6:
                known.append(min(pod.kv_usage, 1.0))
            elif pod.kv_usage is not None:
                self.note(f"KV usage of {pod.pod} is {pod.kv_usage:g}; it is a share, 0 to 1: left out")
        return sum(known) / len(known) if known else None

    def _enough(self, known: int) -> bool:
        return 2 * known > self.expected


def _latencies(histogram: Histogram | None, age: Seconds) -> dict[Quantile, Reading]:
    if histogram is None:
        return {}
    readings: dict[Quantile, Reading] = {}
    middle = mean(histogram)
    if middle is not None:
        readings["mean"] = Reading(middle, age)
    for name, share in _SHARES:
        found = quantile(histogram, share)
        if found is not None:
            readings[name] = Reading(found.value, age, found.least)
    return readings


def _mean_tokens(histogram: Histogram | None) -> float | None:
    return None if histogram is None else mean(histogram)


def _spread(histogram: Histogram | None, window: Seconds) -> float | None:
    enough = histogram is not None and histogram.counts[-1] * window >= FEWEST * (1.0 - 1e-9)
    return cov(histogram) if histogram is not None and enough else None


def _count(histogram: Histogram | None) -> float | None:
    return None if histogram is None else histogram.counts[-1]


def _over(
    pods: Sequence[PodFigures],
    value: Callable[[PodFigures], float | None],
    by: Callable[[PodFigures], float | None],
) -> float | None:
    """A ratio of sums over the pods that have both."""
    pairs = [(v, b) for pod in pods if (v := value(pod)) is not None and (b := by(pod)) is not None]
    below = sum(b for _, b in pairs)
    above = sum(v for v, _ in pairs)
    return above / below if below > 0 and above >= 0 else None
