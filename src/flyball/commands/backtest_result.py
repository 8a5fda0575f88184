"""What came of a backtest: measured and simulated side by side, as figures and as a table."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from flyball.adapters.kubernetes.governed import Cluster
from flyball.adapters.prometheus.history import share_within
from flyball.adapters.prometheus.quantiles import quantile
from flyball.commands.backtest_world import AS_IT_WAS, Recorded
from flyball.commands.campaign import Ran
from flyball.report.campaign import Requests, attained
from flyball.report.campaign import quantile as value_at
from flyball.report.sentences import duration
from flyball.spec.fleet import Fleet, replica_prices
from flyball.spec.scenario import Scenario
from flyball.spec.server import Server
from flyball.spec.service_class import promise_of
from flyball.units import SECONDS_PER_HOUR, Seconds

if TYPE_CHECKING:
    from rich.table import Table

FLYBALL = "flyball"
SHARE = 0.95
MEASURED = (
    "Measured, from Prometheus: the load, and under `measured` replicas that were scraped, their cost, and "
    "the share of requests within the target that is missed more often."
)
SIMULATED = (
    "Simulated, under that load, on engines that run as their profiles say: `as it was` with the replicas "
    "that there were, which shows how far the simulation holds; `flyball` with its own decisions. Cold "
    "starts and draining cost there, too."
)


class Way(msgspec.Struct, frozen=True):
    """How a server fared in one way; None: not known."""

    replicas: float | None = None
    """Mean; simulated ones count from when they are asked for, recorded ones from their first scrape."""
    dollars: float | None = None
    """Of the whole period."""
    within: float | None = None
    """Share of the requests within the target that is missed more often."""
    ttft_within: float | None = None
    itl_within: float | None = None
    both_within: float | None = None
    """Within both; only simulated requests show that."""
    ttft_p95: Seconds | None = None
    itl_p95: Seconds | None = None


class Line(msgspec.Struct, frozen=True):
    """One server."""

    server: str
    rate: float
    """Offered requests per second, mean."""
    seen: float
    """Share of the period in which anything was recorded."""
    measured: Way
    simulated_as_it_was: Way
    simulated_flyball: Way


class Backtest(msgspec.Struct, frozen=True):
    """What came of it."""

    hours: float
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()


def backtest(
    cluster: Cluster,
    scenario: Scenario,
    servers: list[Recorded],
    ran: dict[str, Ran],
    step: Seconds,
    length: Seconds,
) -> Backtest:
    """Measured and simulated side by side; `length` is what was asked for, in seconds of the engines."""
    fleet = scenario.believed
    of_name = {server.name: server for server in fleet.servers}
    lines = []
    for one in servers:
        server = of_name[one.server]
        limits = limits_of(fleet, server)
        ways = [simulated(ran[name], one.server, limits) for name in (AS_IT_WAS, FLYBALL)]
        lines.append(
            Line(one.server, one.requests, one.seen, measured(one, fleet, server, limits, step), *ways)
        )
    hours = scenario.duration / SECONDS_PER_HOUR
    return Backtest(hours, tuple(lines), tuple(_notes(cluster, scenario, lines, length)))


def limits_of(fleet: Fleet, server: Server) -> tuple[Seconds, Seconds]:
    """What is promised of ttft and itl; inf: nothing."""
    promise = promise_of(fleet.service_classes, server.service_class, server.model)
    targets = promise.targets if promise else ()
    ttft, itl = (min((t.limit for t in targets if t.metric == m), default=math.inf) for m in ("ttft", "itl"))
    return ttft, itl


def measured(
    one: Recorded, fleet: Fleet, server: Server, limits: tuple[Seconds, Seconds], step: Seconds
) -> Way:
    """As Prometheus has it: replicas that were scraped at their prices, and shares from histograms."""
    dollars, replicas, price = 0.0, 0.0, replica_prices(fleet)
    for accelerator, counts in one.replicas.items():
        dollars += sum(counts) * step / SECONDS_PER_HOUR * price(server.model, accelerator)
        replicas += sum(counts) / len(counts)
    shares: list[float | None] = []
    highest: list[Seconds | None] = []
    for metric, limit in zip(("ttft", "itl"), limits, strict=True):
        histogram = one.histograms.get(metric)
        shares.append(None if histogram is None or math.isinf(limit) else share_within(histogram, limit))
        at = None if histogram is None else quantile(histogram, SHARE)
        highest.append(None if at is None else at.value)
    return Way(replicas, dollars, _least(shares), shares[0], shares[1], None, highest[0], highest[1])


def simulated(ran: Ran, server: str, limits: tuple[Seconds, Seconds]) -> Way:
    """As the simulation has it; requests that were not finished have missed both targets."""
    requests = ran.requests[server]
    shares = [
        None if math.isinf(limits[0]) else _share(requests, limits[0], math.inf),
        None if math.isinf(limits[1]) else _share(requests, math.inf, limits[1]),
    ]
    itl = requests.tpot[~np.isnan(requests.tpot)]
    return Way(
        ran.asked[server],
        ran.dollars[server],
        _least(shares),
        shares[0],
        shares[1],
        _share(requests, *limits),
        _finite(value_at(requests.ttft, SHARE, requests.offered)),
        _finite(value_at(itl, SHARE)),
    )


def _share(requests: Requests, ttft: Seconds, itl: Seconds) -> float | None:
    if not requests.offered:
        return None
    return float(attained(requests.ttft, requests.tpot, ttft, itl).sum()) / requests.offered


def _least(shares: list[float | None]) -> float | None:
    return min((share for share in shares if share is not None), default=None)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _notes(cluster: Cluster, scenario: Scenario, lines: list[Line], length: Seconds) -> Iterator[str]:
    hours = scenario.duration / SECONDS_PER_HOUR
    if scenario.duration < 0.98 * length:
        yield f"the history begins {hours:.3g} h ago, not {length / SECONDS_PER_HOUR:.3g} h"
    for one in lines:
        if one.seen < 0.99:
            yield f"{one.server}: nothing was recorded in {1 - one.seen:.0%} of the time: counted as no load"
        was, again = one.measured.within, one.simulated_as_it_was.within
        if was is not None and again is not None and abs(was - again) > 0.05:
            yield (
                f"{one.server}: with the replicas that there were the simulation keeps its targets in "
                f"{again:.0%}, in fact it was {was:.0%}: its profile is off, or requests waited before they "
                "came to it. Take what is said of Flyball with as much doubt"
            )
    absent = {g.server for g in cluster.governed} - {one.server for one in lines}
    if absent:
        yield f"nothing was recorded of {', '.join(sorted(absent))}: left out"


def table(made: Backtest) -> Table:
    """One row for each server; and all together where there are several."""
    from rich import box
    from rich.table import Table

    found = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    found.add_column("server", overflow="fold")
    found.add_column("req/s", justify="right")
    ways = ("measured", "as it was", FLYBALL)
    for what in ("replicas", "cost, $", "within target", "ttft p95"):
        for way in ways:
            found.add_column(f"{what}\n{way}", justify="right")
    for one in made.lines:
        each = (one.measured, one.simulated_as_it_was, one.simulated_flyball)
        found.add_row(
            one.server,
            f"{one.rate:.3g}",
            *(_number(w.replicas) for w in each),
            *(_number(w.dollars) for w in each),
            *("-" if w.within is None else f"{w.within:.1%}" for w in each),
            *("-" if w.ttft_p95 is None else duration(w.ttft_p95) for w in each),
        )
    return found


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f}"


def summary(made: Backtest) -> str:
    """What all of it cost both ways, and how targets were kept."""
    was, then = (
        [getattr(one, way) for one in made.lines] for way in ("simulated_as_it_was", "simulated_flyball")
    )
    before, after = (sum(w.dollars or 0.0 for w in each) for each in (was, then))
    counts = [one.rate for one in made.lines]
    change = f" ({after / before - 1.0:+.0%})" if before else ""
    measured_cost = sum(one.measured.dollars or 0.0 for one in made.lines)
    return (
        f"Simulated: ${before:,.2f} as it was, ${after:,.2f} with Flyball{change}; requests within both "
        f"targets {_mean(was, counts)} and {_mean(then, counts)}. Measured: ${measured_cost:,.2f}."
    )


def _mean(ways: list[Way], weights: list[float]) -> str:
    known = [(w.both_within, n) for w, n in zip(ways, weights, strict=True) if w.both_within is not None]
    total = sum(n for _, n in known)
    return f"{sum(share * n for share, n in known) / total:.1%}" if total else "-"
