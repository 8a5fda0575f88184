"""`flyball simulate`: control laws against the plant, over seeds, judged and shown."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from flyball.adapters.whole import write_whole
from flyball.commands.output import STANDARD_OUTPUT, console_of, put, say
from flyball.spec.scenario import Scenario
from flyball.units import SECONDS_PER_HOUR
from flyball.wire.errors import WireError

if TYPE_CHECKING:
    from flyball.commands.campaign import Task
    from flyball.report.campaign import Figures, Row

DONE, WRONG, UNWRITTEN, INTERRUPTED = 0, 2, 4, 130
POLICIES = ("flyball", "slo-aware", "keda", "hpa")
SEEDS = "3"
MOST_SEEDS = 10_000


class Request(msgspec.Struct, frozen=True):
    """What the command line asks for."""

    scenario: str
    policy: tuple[str, ...] = ()
    seeds: str = SEEDS
    duration: str | None = None
    jobs: int | None = None
    interpreted: bool = False
    report: Path | None = None
    format: str = "table"
    output: Path | None = None


class UsageError(ValueError):
    """Options that make no sense."""


def run(request: Request) -> int:
    """Simulate as asked; returns the exit code. Interrupted, it shows the runs that are done."""
    from flyball.laws.find import LawError

    try:
        scenario, tasks = _prepare(request)
    except (WireError, UsageError, LawError) as error:
        say(f"flyball: {error}")
        return WRONG
    done, whole = _simulate(tasks, _jobs(request), request)
    if not done:
        return INTERRUPTED
    try:
        _show(request, scenario, done, whole)
    except OSError as error:
        say(f"flyball: {error.filename}: cannot be written ({error.strerror}). Name a place that can be.")
        return UNWRITTEN
    return DONE if whole else INTERRUPTED


# ---- what is asked ------------------------------------------------------------------------------


def _prepare(request: Request) -> tuple[Scenario, list[Task]]:
    from flyball.adapters.scenarios import scenario_of
    from flyball.commands.campaign import Task, law_of
    from flyball.wire.quantities import parse_duration

    names = policies(request.policy)
    seeds = seeds_of(request.seeds)
    if request.jobs is not None and request.jobs < 1:
        raise UsageError(f"--jobs is {request.jobs}: at least one process is needed")
    files = [p for p in (request.report, request.output) if p is not None]
    if len({os.path.realpath(p) for p in files}) < len(files):
        raise UsageError(f"--output and --report both name {request.report}; name two files")
    scenario = scenario_of(request.scenario)
    if request.duration is not None:
        duration = parse_duration(request.duration, "--duration", positive=True)
        if duration <= scenario.score_from:
            raise UsageError(
                f"--duration is {request.duration}: scenario {scenario.name} counts from "
                f"{scenario.score_from:g} s on only; make it longer"
            )
        scenario = msgspec.structs.replace(scenario, duration=duration)
    for name in names:  # before anything runs
        law_of(name, scenario)
    compiled = False if request.interpreted else None
    return scenario, [
        Task(scenario, name, seed, compiled, seed == seeds[0]) for seed in seeds for name in names
    ]


def policies(given: Sequence[str]) -> list[str]:
    """Laws as asked for, each once: `hpa:min=3,max=8,keda` are two."""
    found: list[str] = []
    for text in given or POLICIES:
        pieces: list[str] = []
        for piece in text.split(","):
            if pieces and "=" in piece and ":" not in piece:
                pieces[-1] += f",{piece.strip()}"
            else:
                pieces.append(piece.strip())
        found += [p for p in pieces if p]
    if not found:
        raise UsageError("--policy names no law, such as --policy flyball,hpa")
    return list(dict.fromkeys(found))


def seeds_of(text: str) -> list[int]:
    """`5` is 1 to 5; `3-8` is from 3 to 8."""
    match = re.fullmatch(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?", text)
    if match is None:
        raise UsageError(f"--seeds is {text}: write how many, such as 20, or a range, such as 1-20")
    first, last = (1, int(match[1])) if match[2] is None else (int(match[1]), int(match[2]))
    if last < first:
        raise UsageError(f"--seeds is {text}: there is none in it")
    if last - first >= MOST_SEEDS:
        raise UsageError(f"--seeds is {text}: at most {MOST_SEEDS:,} at once")
    return list(range(first, last + 1))


def _jobs(request: Request) -> int:
    return request.jobs if request.jobs is not None else os.cpu_count() or 1


# ---- running ------------------------------------------------------------------------------------


def _simulate(tasks: list[Task], jobs: int, request: Request) -> tuple[list[Figures], bool]:
    """What is done, and whether it is all."""
    from flyball.commands.campaign import run_all

    done: list[Figures] = []
    try:
        with closing(run_all(tasks, jobs)) as figures:
            for one in _progress(figures, len(tasks), _label(tasks)):
                done.append(one)
    except KeyboardInterrupt:
        say(f"flyball: interrupted; {len(done)} of {len(tasks)} runs are done")
        return done, False
    return done, True


def _label(tasks: Sequence[Task]) -> str:
    return f"simulating {tasks[0].scenario.name}"


def _progress(figures: Iterable[Figures], count: int, label: str) -> Iterator[Figures]:
    """A bar on a terminal, else a line for each run; both on standard error."""
    if sys.stderr is None or not sys.stderr.isatty():
        for number, one in enumerate(figures, 1):
            yield one  # first: it is noted before anybody hears of it
            say(f"{number}/{count} {_line(one)}")
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=count)
        for one in figures:
            progress.advance(task)
            yield one


def _line(one: Figures) -> str:
    run = one.run
    return (
        f"{one.policy} seed {one.seed}: {run['attainment']:.2%} attained, "
        f"{run['asked']:.2f} replicas, ${run['dollars']:,.2f}"
    )


# ---- showing ------------------------------------------------------------------------------------


def _show(request: Request, scenario: Scenario, done: Sequence[Figures], whole: bool) -> None:
    """Files first: whoever reads standard output may stop early."""
    from flyball.report.campaign import rows

    order = list(dict.fromkeys([*policies(request.policy), *(f.policy for f in done)]))
    made = rows(done, order)
    to_file = request.output is not None and request.output != STANDARD_OUTPUT
    text = _text(request, scenario, made, done, to_file)
    if request.output is not None and to_file:
        write_whole(request.output, text)
    if request.report is not None:
        from flyball.report.campaign import groups
        from flyball.report.campaign_page import campaign_page

        lead = "" if whole else "Interrupted: not all runs are in it."
        write_whole(request.report, campaign_page(scenario, groups(scenario.believed), made, done, lead))
        say(f"report written to {request.report}")
    if not to_file:
        put(text, machine=request.format != "table")


def _text(
    request: Request, scenario: Scenario, made: Sequence[Row], done: Sequence[Figures], to_file: bool
) -> str:
    from flyball.report import campaign_tables as tables
    from flyball.report.campaign import groups

    if request.format == "csv":
        return tables.campaign_csv(made)
    if request.format == "json":
        document = msgspec.json.encode(tables.campaign_document(scenario, made, done))
        return msgspec.json.format(document, indent=4).decode() + "\n"
    import io

    console = console_of(to_file)
    counted = scenario.duration - scenario.score_from
    seeds = max(len(row.seeds) for row in made)
    console.print(
        f"{scenario.name}: {counted / SECONDS_PER_HOUR:,.2f} h counted, "
        f"{seeds} {'seed' if seeds == 1 else 'seeds'}" + ("; ± is a 95 % interval" if seeds > 1 else ""),
        soft_wrap=True,
    )
    console.print(tables.result_table(made))
    console.print(tables.class_table(made, groups(scenario.believed)))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
