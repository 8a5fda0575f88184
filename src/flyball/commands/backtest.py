"""`flyball backtest`: what a recorded period would have been with Flyball in charge."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from flyball.adapters.kubernetes.governed import Cluster
from flyball.adapters.prometheus.errors import PrometheusError
from flyball.adapters.prometheus.history import Past, chunks, fetch, past_of
from flyball.commands.backtest_result import (
    FLYBALL,
    MEASURED,
    SIMULATED,
    Backtest,
    backtest,
    summary,
    table,
)
from flyball.commands.backtest_world import AS_IT_WAS, AsItWas, Recorded, recorded, scenario_of, trimmed
from flyball.commands.campaign import Ran, Task, run_law
from flyball.commands.look_parts import DONE, UNREACHABLE, observing, show, show_json, with_api
from flyball.commands.loop_parts import Request, names_of, prometheus_of, window_of
from flyball.commands.output import say
from flyball.decide.law import Flyball
from flyball.laws.law import Law
from flyball.spec.scenario import Scenario
from flyball.spec.steering import Steering
from flyball.units import SECONDS_PER_HOUR, Seconds
from flyball.wire.quantities import parse_duration

if TYPE_CHECKING:
    from flyball.adapters.kubernetes.api import Api
    from flyball.adapters.prometheus.client import Prometheus

LONGEST: Seconds = 6 * SECONDS_PER_HOUR
"""Of a chunk."""
PARTS = 8
"""Chunks at least, so that lengths may change."""
DAYS = {"d": 24 * SECONDS_PER_HOUR, "w": 7 * 24 * SECONDS_PER_HOUR}
Tick = Callable[[float], None]


class Asked(msgspec.Struct, frozen=True):
    """What the command line asks for."""

    since: str = "7d"
    step: str = "60s"
    seed: int = 1
    report: Path | None = None
    as_json: bool = False


def run(request: Request, asked: Asked) -> int:
    """Replay as asked; returns the exit code."""

    def replay(api: Api) -> int:
        try:
            return _run(request, asked, api)
        except PrometheusError as error:
            say(f"flyball: {error}")
            return UNREACHABLE

    return with_api(request, replay)


def since_of(text: str) -> Seconds:
    """7d, 2w, 36h, 90min. Or WireError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([dw])\s*", text)
    if match is not None and float(match[1]) > 0:
        return float(match[1]) * DAYS[match[2]]
    return parse_duration(text, "--since", positive=True)


def _run(request: Request, asked: Asked, api: Api) -> int:
    length, step = since_of(asked.since), parse_duration(asked.step, "--step", positive=True)
    if step * 2 > length:
        raise ValueError(f"--step is {asked.step}, --since {asked.since}: at least two steps are needed")
    prometheus = prometheus_of(request)
    if prometheus is None:
        raise ValueError("the history is Prometheus': give --prometheus ADDRESS (INFERNO_PROMETHEUS_URL)")
    with observing(request, api) as (reader, _):
        cluster = reader.cluster
    assert cluster is not None
    if not cluster.governed:
        raise ValueError("no workload has the label inferno.server.managed=true: see flyball doctor")
    with prometheus:
        pasts = _history(prometheus, request, cluster, length, step)
    servers, period = recorded(cluster, pasts, request.speed), request.period or 60.0
    if not servers:
        raise ValueError(
            f"Prometheus has nothing of any governed workload in the last {asked.since}: see flyball doctor, "
            f"and give a --step of at least two scrapes"
        )
    if not any(one.requests for one in servers):
        raise ValueError(
            f"Prometheus knows the pods of the last {asked.since}, and no rate of "
            f"{names_of(request).finished[0]}: give a --window of several scrapes, or the names of metrics"
        )
    engine_step = step * request.speed
    scenario = scenario_of(cluster, servers, engine_step, f"the last {asked.since}", period, request.speed)
    ran = _simulate(scenario, servers, asked.seed, engine_step, period)
    made = backtest(cluster, scenario, servers, ran, engine_step, length * request.speed)
    _show(asked, scenario, made, ran)
    return DONE


def _history(
    prometheus: Prometheus, request: Request, cluster: Cluster, length: Seconds, step: Seconds
) -> dict[tuple[str, str], Past]:
    """Of each governed workload, from where anything of any begins. PrometheusError."""
    names, window = names_of(request), window_of(request.window) / request.speed
    end = prometheus.query("vector(time())", labels=dict[str, str]).samples[0].value[1]
    asked = list(chunks(end - length, end, step, min(LONGEST, max(length / PARTS, 10 * step))))
    found = []
    with progress("reading the history", len(asked)) as tick:
        for number, (start, steps) in enumerate(asked, 1):
            found.append(fetch(prometheus, names, start, steps, step, window))
            tick(number)
    keys = {(one.namespace, one.name) for one in cluster.governed}
    pasts = {key: past_of(found, key, step) for key in sorted(keys)}
    first = trimmed(pasts)
    return {key: past.since(first) for key, past in pasts.items()}


def _simulate(
    scenario: Scenario, servers: list[Recorded], seed: int, step: Seconds, period: Seconds
) -> dict[str, Ran]:
    """The recorded replicas and Flyball's, under the same requests."""
    ahead = scenario.world.cold_start.mean
    laws: dict[str, Law[Any]] = {
        AS_IT_WAS: AsItWas(tuple(servers), step, ahead, min(period, step)),
        FLYBALL: Flyball(msgspec.convert(scenario.loop, Steering)),
    }
    ran = {}
    for name, law in laws.items():
        with progress(f"simulating {name}", scenario.duration) as tick:
            ran[name] = run_law(Task(scenario, name, seed, trails=True), law, tick)
    return ran


# ---- showing ------------------------------------------------------------------------------------


def _show(asked: Asked, scenario: Scenario, made: Backtest, ran: dict[str, Ran]) -> None:
    if asked.report is not None:
        _write_report(asked.report, scenario, made, ran)
    if asked.as_json:
        show_json(made)
        return
    notes = [f"Note: {note}." for note in made.notes]
    show(f"{made.hours:.3g} h of {len(made.lines)} servers", table(made), MEASURED, SIMULATED, *notes)
    show(summary(made))


def _write_report(path: Path, scenario: Scenario, made: Backtest, ran: dict[str, Ran]) -> None:
    from flyball.adapters.whole import write_whole
    from flyball.report.campaign import groups, rows
    from flyball.report.campaign_page import campaign_page

    figures = [one.figures for one in ran.values()]
    lead = " ".join(
        (f"All runs on this page are simulated. {SIMULATED}", summary(made), *(f"{n}." for n in made.notes))
    )
    page = campaign_page(scenario, groups(scenario.believed), rows(figures, list(ran)), figures, lead)
    write_whole(path, page)
    say(f"report written to {path}")


@contextmanager
def progress(label: str, total: float) -> Iterator[Tick]:
    """A bar on a terminal, else a line at the beginning; both on standard error. Hears how far it is."""
    if sys.stderr is None or not sys.stderr.isatty():
        say(f"{label} ...")
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(label, total=total)
        yield lambda done: shown.update(task, completed=done)
