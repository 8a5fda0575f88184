"""`flyball plan`: put together what reads, decides and shows. The only place where these meet."""

from __future__ import annotations

import csv
import io
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from flyball.spec.fleet import Fleet, SolverName
from flyball.spec.plan import Plan
from flyball.wire.errors import WireError

DONE, WRONG, PARTLY, UNWRITTEN = 0, 2, 3, 4


class Request(msgspec.Struct, frozen=True):
    """What the command line asks for."""

    path: Path | None
    sample: bool
    model: str | None
    rate: str | None
    in_tokens: str
    out_tokens: str
    targets: Mapping[str, str | None]
    solver: SolverName | None
    what_if: str | None
    compare: Path | None
    explain: str | None
    plot: bool
    report: Path | None
    serve: bool
    port: int
    format: str
    output: Path | None


class UsageError(ValueError):
    """Options that do not go together, or that name nothing."""


def run(request: Request) -> int:
    """Plan as asked; returns the exit code. Messages about wrong input go to standard error."""
    from flyball.decide.what_if import WhatIfError

    try:
        return _run(request)
    except (WireError, WhatIfError, UsageError) as error:
        print(f"flyball: {error}", file=sys.stderr)
        return WRONG


def _run(request: Request) -> int:
    from flyball.decide.plan import plan
    from flyball.decide.what_if import change
    from flyball.solve.candidates import candidates

    fleet = _with_solver(_read(request), request.solver)
    other = None
    if request.what_if and request.compare:
        raise UsageError("--what-if and --compare are two comparisons; give one of them")
    if request.what_if:
        other = change(fleet, request.what_if)
    elif request.compare:
        from flyball.adapters.files import read_fleet

        other = _with_solver(read_fleet(request.compare), request.solver)

    before = None
    if other is not None:
        before, fleet = _timed(lambda: plan(fleet)), other
    began = time.perf_counter()
    sized = candidates(fleet)
    made = msgspec.structs.replace(plan(fleet, sized), seconds=time.perf_counter() - began)
    if request.explain is not None:
        _check_name(fleet, request.explain)
    outcome = _show(request, fleet, made, before, sized)
    if outcome != DONE:
        return outcome
    return DONE if all(s.status in ("served", "idle") for s in made.servers) else PARTLY


def _timed(make):  # type: ignore[no-untyped-def]
    began = time.perf_counter()
    return msgspec.structs.replace(make(), seconds=time.perf_counter() - began)


def _read(request: Request) -> Fleet:
    sources = [request.path is not None, request.sample, request.model is not None]
    if sum(sources) != 1:
        raise UsageError(
            "say what to plan: a path (directory, file or -), --sample, or --model with --rate; "
            + ("one of them" if sum(sources) else "none was given")
        )
    if request.path is not None:
        from flyball.adapters.files import read_fleet

        return read_fleet(request.path)
    from flyball.profiles.sample import fleet_for, sample_fleet

    if request.model is None:
        return sample_fleet()
    if request.rate is None:
        raise UsageError("--model needs --rate: how many requests a second, such as --rate 20")
    from flyball.wire import quantities

    targets = [
        quantities.parse_target(text, metric, f"--{metric}")
        for metric, text in request.targets.items()
        if text is not None
    ]
    return fleet_for(
        request.model,
        quantities.parse_rate(request.rate, "--rate"),
        quantities.parse_tokens(request.in_tokens, "--in"),
        quantities.parse_tokens(request.out_tokens, "--out"),
        targets,
    )


def _with_solver(fleet: Fleet, solver: SolverName | None) -> Fleet:
    if solver is None:
        return fleet
    settings = msgspec.structs.replace(fleet.settings, solver=solver)
    if solver == "unlimited":
        settings = msgspec.structs.replace(settings, unlimited=True)
    return msgspec.structs.replace(fleet, settings=settings)


def _check_name(fleet: Fleet, name: str) -> None:
    names = [s.name for s in fleet.servers]
    if name not in names:
        import difflib

        near = difflib.get_close_matches(name, names, 3) or sorted(names)[:5]
        raise UsageError(f"--explain: there is no server '{name}'; there are {', '.join(near)}")


def _show(request: Request, fleet: Fleet, made: Plan, before: Plan | None, sized) -> int:  # type: ignore[no-untyped-def]
    text = _text(request, fleet, made, before, sized)
    try:
        if request.output is not None:
            _write(request.output, text)
        else:
            sys.stdout.write(text)
            sys.stdout.flush()
        if request.report is not None or request.serve:
            from flyball.report.page import page

            html = page("Flyball plan", fleet, made, sized, before)
            if request.report is not None:
                _write(request.report, html)
                print(f"report written to {request.report}", file=sys.stderr)
            if request.serve:
                from flyball.server.page import serve_page

                serve_page(html, request.port)
    except BrokenPipeError:
        raise
    except OSError as error:
        print(f"flyball: {error.filename or 'output'}: {error.strerror}", file=sys.stderr)
        return UNWRITTEN
    return DONE


def _write(path: Path, text: str) -> None:
    """Write whole or not at all: a crash leaves the old file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text, "utf-8")
    part.replace(path)


def _text(request: Request, fleet: Fleet, made: Plan, before: Plan | None, sized) -> str:  # type: ignore[no-untyped-def]
    if request.format == "csv":
        return _csv(fleet, made)
    if request.format in ("json", "yaml"):
        document = _document(fleet, made)
        if request.format == "json":
            return msgspec.json.format(msgspec.json.encode(document), indent=4).decode() + "\n"
        from flyball.wire.text import encode_yaml

        return encode_yaml(document)
    return _terminal(request, fleet, made, before, sized)


def _document(fleet: Fleet, made: Plan) -> object:
    if fleet.generation == "flyball":
        return msgspec.to_builtins(made)
    from flyball.wire.inferno import solution_document

    return solution_document(fleet, made)


def _csv(fleet: Fleet, made: Plan) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        "server,priority,status,reason,accelerator,replicas,max_batch_size,cost_per_hour,ttft_s,itl_s,utilization,"
        "watts,binding".split(",")
    )
    for server in made.servers:
        for part in server.mix or (server.allocation,):
            if part is None:
                writer.writerow([server.server, server.priority, server.status, server.reason, *[""] * 9])
                continue
            numbers = (part.cost, part.ttft, part.itl, part.utilization, part.watts)
            cost, ttft, itl, utilization, watts = ("" if n is None else f"{n:.8g}" for n in numbers)
            writer.writerow(
                [
                    server.server, server.priority, server.status, server.reason, part.accelerator, part.replicas,
                    part.max_batch_size, cost, ttft, itl, utilization, watts, part.binding,
                ]
            )  # fmt: skip
    return out.getvalue()


def _terminal(request: Request, fleet: Fleet, made: Plan, before: Plan | None, sized) -> str:  # type: ignore[no-untyped-def]
    from rich.console import Console

    from flyball.report import sentences, tables

    to_file = request.output is not None
    console = Console(
        file=io.StringIO(),
        force_terminal=not to_file and sys.stdout.isatty(),
        width=None if sys.stdout.isatty() and not to_file else 160,
        highlight=False,
    )
    if request.explain is None:
        console.print(tables.plan_table(fleet, made))
        console.print(tables.resource_table(made))
    else:
        found = next(s for s in made.servers if s.server == request.explain)
        for line in sentences.explanation(found):
            console.print(line)
        first = "wait" if fleet.generation == "G1" else "ttft"
        from flyball.decide.explain import options_of, percentiles_of

        console.print(tables.options_table(options_of(fleet, sized, found), first))
        quantiles = percentiles_of(fleet, sized, found)
        if quantiles:
            console.print(tables.percentile_table(quantiles))
    for line in sentences.summary(made):
        console.print(line)
    if before is not None:
        console.print("\nChange:")
        console.print(tables.change_table(before, made))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    if request.plot:
        from flyball.report.curves import server_curves
        from flyball.report.terminal import draw

        name = request.explain or _dearest(made)
        found = next((s for s in made.servers if s.server == name), None)
        if found is None or found.allocation is None or not found.allocation.replicas:
            return str(text) + "\nNo curves: no server with load has an allocation.\n"
        curves = server_curves(
            fleet, sized, found.server, found.allocation.accelerator, found.allocation.replicas
        )
        text = (
            f"{text}\n{found.server} on {curves.accelerator}\n"
            + draw(curves, color=console.is_terminal)
            + "\n"
        )
    return str(text)


def _dearest(made: Plan) -> str | None:
    served = [s for s in made.servers if s.allocation is not None and s.allocation.replicas]
    return max(served, key=lambda s: s.allocation.cost if s.allocation else 0.0).server if served else None
