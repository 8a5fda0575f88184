"""`flyball plan`: put together what reads, decides and shows. The only place where these meet."""

from __future__ import annotations

import difflib
import io
import math
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from flyball.adapters.whole import write_whole
from flyball.commands.one_model import Wanted, believed
from flyball.commands.output import STANDARD_OUTPUT, console_of, put, say, waiting
from flyball.report.sentences import printable
from flyball.spec.fleet import Fleet, SolverName, with_solver
from flyball.spec.plan import Plan, ServerPlan
from flyball.wire.errors import WireError

if TYPE_CHECKING:
    from rich.console import Console

    from flyball.decide.one_model import Believed
    from flyball.solve.candidates import Candidates

DONE, WRONG, PARTLY, UNWRITTEN = 0, 2, 3, 4
NARROW = 130
"""Terminals below this have a list instead of the table of servers."""


class Request(msgspec.Struct, frozen=True):
    """What the command line asks for."""

    path: Path | None = None
    sample: bool = False
    one: Wanted = Wanted()
    solver: SolverName | None = None
    what_if: str | None = None
    compare: Path | None = None
    explain: str | None = None
    plot: bool = False
    report: Path | None = None
    serve: bool = False
    port: int = 8090
    format: str = "table"
    output: Path | None = None


class UsageError(ValueError):
    """Options that do not go together, or that name nothing."""


class Made(msgspec.Struct, frozen=True):
    """The fleet, its candidates and its plan; and the plan it is compared to."""

    fleet: Fleet
    sized: Candidates
    plan: Plan
    before: Plan | None = None


def run(request: Request) -> int:
    """Plan as asked; returns the exit code. Messages about wrong input go to standard error."""
    from flyball.decide.what_if import WhatIfError

    try:
        _check(request)
        made = _make(request)
    except (WireError, WhatIfError, UsageError) as error:
        say(f"flyball: {error}")
        return WRONG
    try:
        _show(request, made)
    except OSError as error:
        say(f"flyball: {error.filename}: cannot be written ({error.strerror}). Name a place that can be.")
        return UNWRITTEN
    return DONE if all(s.status in ("served", "idle") for s in made.plan.servers) else PARTLY


def _check(request: Request) -> None:
    """Refuse what would be passed over in silence."""
    one = request.one
    sources = [request.path is not None, request.sample, one.model is not None]
    if sum(sources) != 1:
        raise UsageError(
            "say what to plan: a path (directory, file or -), --sample, or --model with --rate; "
            + ("one of them" if any(sources) else "none was given")
        )
    if one.model is None and (given := one.given()):
        raise UsageError(
            f"{given[0]} goes with --model; a fleet says it for each server. "
            "To change it for a fleet: --what-if"
        )
    if one.model is not None:
        _check_load(one)
    if request.what_if is not None and request.compare is not None:
        raise UsageError("--what-if and --compare are two comparisons; give one of them")
    if request.format != "table":
        for name, asked in (("--explain", request.explain is not None), ("--plot", request.plot)):
            if asked:
                raise UsageError(f"{name} is for the table; leave --format {request.format} out")
    if not 0 <= request.port <= 65535:
        raise UsageError(f"--port is {request.port}: a port is a number from 0 (any free one) to 65535")
    _check_files(request)


def _check_load(one: Wanted) -> None:
    if one.trace is None and one.rate is None:
        raise UsageError(
            "--model needs --rate: how many requests a second, such as --rate 20; "
            "or --trace: a file of recorded requests"
        )
    for name, value in (("rate", one.rate), ("in", one.in_tokens), ("out", one.out_tokens)):
        if one.trace is not None and value is not None:
            raise UsageError(f"--trace says what --{name} would say; give one of them")
    if one.window is not None and one.trace is None:
        raise UsageError("--window is a part of a trace; it goes with --trace")


def _check_files(request: Request) -> None:
    """Refuse to write over what is read, or one result over the other."""
    if (request.path, request.compare) == (Path("-"), Path("-")):
        raise UsageError("the path and --compare cannot both be standard input; give a file for one")
    read = [p for p in (request.path, request.compare) if p not in (None, Path("-"))]
    for name, written in (("--output", request.output), ("--report", request.report)):
        if written is None or written == STANDARD_OUTPUT:
            continue
        if any(_same(written, path) for path in read if path is not None):
            raise UsageError(f"{name} {written} would write over the fleet that is read; name another file")
    if request.report is not None and request.output is not None and _same(request.report, request.output):
        raise UsageError(f"--output and --report both name {request.report}; name two files")


def _same(a: Path, b: Path) -> bool:
    try:
        return os.path.realpath(a) == os.path.realpath(b) and not (a.exists() and not a.is_file())
    except ValueError:  # a null character
        return a == b


def _make(request: Request) -> Made:
    from flyball.decide.estimate import estimates
    from flyball.decide.plan import plan
    from flyball.decide.what_if import change
    from flyball.solve.candidates import candidates

    read = _read(request)
    fleet = with_solver(read.fleet, request.solver)
    other = None
    if request.what_if is not None:
        other = change(fleet, request.what_if)
    elif request.compare is not None:
        other = with_solver(_from_files(request.compare), request.solver)
    shown = fleet if other is None else other
    if request.explain is not None:
        _check_name(shown, request.explain)
    with waiting(f"planning {len(shown.servers):,} servers"):
        before = None if other is None else plan(fleet)
        began = time.perf_counter()
        sized = candidates(shown)
        made = plan(shown, sized)
        seconds = time.perf_counter() - began
        bars = estimates(shown, sized, shown.servers[0].name, read.beliefs) if read.beliefs else ()
        made = msgspec.structs.replace(made, estimates=bars, seconds=seconds)
    return Made(shown, sized, made, before)


def _read(request: Request) -> Believed:
    from flyball.decide.one_model import Believed

    if request.path is not None:
        return Believed(_from_files(request.path), {})
    if request.one.model is None:
        from flyball.profiles.sample import sample_fleet

        return Believed(sample_fleet(), {})
    return believed(request.one)


def _from_files(path: Path) -> Fleet:
    from flyball.adapters.files import read_fleet
    from flyball.calibrate.catalogue import catalogue_for

    return read_fleet(path, catalogue_for)


def _check_name(fleet: Fleet, name: str) -> None:
    names = sorted(s.name for s in fleet.servers)
    if name in names:
        return
    if not names:
        raise UsageError(f"--explain: there is no server '{name}'; this fleet has none")
    near = difflib.get_close_matches(name, names, 3) or [n for n in names if name and name in n][:3]
    hint = f"did you mean {', '.join(near)}?" if near else f"there are {_few(names)}"
    raise UsageError(f"--explain: there is no server '{name}'; {hint}")


def _few(names: list[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _show(request: Request, made: Made) -> None:
    """Files first: whoever reads standard output may stop early."""
    to_file = request.output is not None and request.output != STANDARD_OUTPUT
    text = _text(request, made, to_file)
    html = ""
    if request.report is not None or request.serve:
        from flyball.report.page import page

        html = page("Flyball plan", made.fleet, made.plan, made.sized, made.before)
    if request.output is not None and to_file:
        write_whole(request.output, text)
    if request.report is not None:
        write_whole(request.report, html)
        say(f"report written to {request.report}")
    if not to_file:
        put(text, machine=request.format != "table")
    if request.serve:
        from flyball.server.report_page import serve_page

        serve_page(html, request.port)


def _text(request: Request, made: Made, to_file: bool) -> str:
    if request.format == "csv":
        from flyball.report.lines import estimates_csv, plan_csv

        if made.plan.estimates:
            return estimates_csv(made.plan.estimates)
        return plan_csv(made.fleet, made.plan)
    if request.format == "json":
        document = msgspec.json.encode(_document(made))
        return msgspec.json.format(document, indent=4).decode() + "\n"
    if request.format == "yaml":
        from flyball.wire.text import encode_yaml

        return encode_yaml(_document(made))
    return _terminal(request, made, to_file)


def _document(made: Made) -> object:
    if made.fleet.generation == "flyball":
        return _finite(msgspec.to_builtins(made.plan))
    from flyball.wire.inferno import solution_document

    return solution_document(made.fleet, made.plan)


def _finite(value: object) -> object:
    """Without numbers that JSON does not know: what has no bound is null, in YAML too."""
    if isinstance(value, dict):
        return {key: _finite(below) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(below) for below in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _terminal(request: Request, made: Made, to_file: bool) -> str:
    from flyball.report import sentences, tables

    console = console_of(to_file)
    found = next((s for s in made.plan.servers if s.server == request.explain), None)
    if found is None and made.plan.estimates:
        _print_estimates(console, made)
    elif found is None:
        _print_plan(console, made)
        if made.plan.resources:
            console.print(tables.resource_table(made.plan))
    else:
        _explain(console, made, found)
    for line in sentences.summary(made.plan):
        console.print(line, soft_wrap=True)
    if made.before is not None:
        console.print("\nChange:")
        console.print(tables.change_table(made.before, made.plan))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue() + (_plots(console, made, found) if request.plot else "")


def _print_plan(console: Console, made: Made) -> None:
    from flyball.report import tables

    if console.width >= NARROW:
        console.print(tables.plan_table(made.fleet, made.plan))
        return
    for line in tables.plan_list(made.fleet, made.plan):
        console.print(line)


def _print_estimates(console: Console, made: Made) -> None:
    from flyball.report import estimates

    console.print(estimates.asked(made.fleet), soft_wrap=True)
    shown = estimates.best_of_each(made.plan.estimates)
    console.print(estimates.table(shown, wide=console.width >= NARROW))
    for line in estimates.choice(made.plan.estimates):
        console.print(line, soft_wrap=True)
    rest = len(made.plan.estimates) - len(shown)
    if rest:
        name = printable(made.plan.servers[0].server)
        console.print(f"{rest} more options: --explain {name}, or --format csv.", soft_wrap=True)


def _explain(console: Console, made: Made, found: ServerPlan) -> None:
    from flyball.decide.explain import options_of, percentiles_of
    from flyball.report import sentences, tables

    first = sentences.first_of(made.fleet)
    for line in sentences.explanation(found, first):
        console.print(line, soft_wrap=True)
    options = options_of(made.fleet, made.sized, found)
    if options:
        console.print(tables.options_table(options, first))
    percentiles = percentiles_of(made.fleet, made.sized, found)
    if percentiles:
        console.print(tables.percentile_table(percentiles))


def _plots(console: Console, made: Made, found: ServerPlan | None) -> str:
    from flyball.report.curves import server_curves, with_curves
    from flyball.report.terminal import draw

    drawn = with_curves(made.fleet, made.plan)
    if found is None:
        found = drawn[0] if drawn else None
    if found is None or found not in drawn or found.allocation is None:
        return "\nNo curves: they take a server with load and an allocation.\n"
    chosen = found.allocation
    curves = server_curves(made.fleet, made.sized, found.server, chosen.accelerator, chosen.replicas)
    plots = draw(
        curves,
        width=console.width,
        color=console.color_system is not None and not console.no_color,
        ascii_only=console.options.ascii_only,
    )
    return f"\n{printable(found.server)} on {printable(curves.accelerator)}\n{plots}\n"
