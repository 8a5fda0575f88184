"""`flyball call`: ask a service, and show what it answers."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from flyball.commands.call_answer import all_served, read_answer, show
from flyball.commands.output import STANDARD_OUTPUT, say, waiting
from flyball.spec.fleet import SolverName
from flyball.units import Seconds
from flyball.wire.errors import WireError

if TYPE_CHECKING:
    from flyball.client.operations import Offered, Operation

DONE, WRONG, PARTLY, UNWRITTEN, UNREACHED = 0, 2, 3, 4, 5
NOBODY = "no feasible allocation"
"""In the refusal of generation 3 where not one server can be given anything."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asks for."""

    operation: str | None = None
    arguments: tuple[str, ...] = ()
    url: str | None = None
    token_file: Path | None = None
    ca: Path | None = None
    timeout: Seconds = 120.0
    what_if: str | None = None
    solver: SolverName | None = None
    explain: bool = False
    budget: Seconds | None = None
    format: Literal["table", "json", "yaml"] | None = None
    output: Path | None = None


@dataclass(frozen=True)
class Asked:
    """A request that makes sense: what to ask for, with what, and how to show the answer."""

    name: str
    operation: Operation
    names: tuple[str, ...]
    source: Path | None
    """Of the body."""
    query: dict[str, object]
    format: str


def run(request: Request) -> int:
    """Ask as told; returns the exit code. Messages go to standard error."""
    from flyball.client import CallError, Client

    try:
        asked = _asked(request)
        body, asking = _body(asked)
        with (
            Client(
                request.url or usual_url(os.environ, asked.operation.offered),
                token_file=request.token_file,
                ca=request.ca,
                timeout=request.timeout,
            ) as client,
            waiting(f"asking {client.url}"),
        ):
            data = client.call(asked.operation, *asked.names, body=body, query=asked.query)
        answer = read_answer(asked.name, asked.operation, data, client.url)
    except CallError as error:
        say(f"flyball: {error}")
        if error.status == 404 and NOBODY in error.message:
            return PARTLY
        return WRONG if error.status is not None and 300 <= error.status < 500 else UNREACHED
    except ValueError as error:  # WireError too
        say(f"flyball: {error}")
        return WRONG
    try:
        show(answer, asking, asked.format, request.explain, request.output)
    except OSError as error:
        say(f"flyball: {error.filename}: cannot be written ({error.strerror}). Name a place that can be.")
        return UNWRITTEN
    return DONE if all_served(answer, asking) else PARTLY


def usual_url(environment: Mapping[str, str], offered: Offered) -> str:
    """Where the service is that Inferno's variables tell to listen; else here, at its usual port."""
    prefix, usual_port = ("TUNER", 8081) if offered == "tuner" else ("INFERNO", 8080)
    host = environment.get(f"{prefix}_HOST", "")
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    port = environment.get(f"{prefix}_PORT") or usual_port
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _operations() -> dict[str, Operation]:
    from flyball.client.operations import HEALTH, OPTIMIZER, QUEUE, TUNER

    # Optimizer and queue analysis both have an `optimize`, which is asked for in the same way.
    return QUEUE | OPTIMIZER | TUNER | HEALTH


def _asked(request: Request) -> Asked:
    """The request, checked. Or ValueError."""
    operations = _operations()
    name = next((n for n in operations if n.lower() == (request.operation or "").lower()), None)
    if name is None:
        raise ValueError(_unknown(request.operation, list(operations)))
    operation = operations[name]
    for option, given, allowed in (
        ("--what-if", request.what_if is not None, name == "plan"),
        ("--solver", request.solver is not None, operation.planning),
        ("--budget", request.budget is not None, operation.planning),
        ("--explain", request.explain, operation.planning),
        ("--format table", request.format == "table", operation.planning),
        ("--format", request.format is not None, operation.offered != "health"),
    ):
        if given and not allowed:
            raise ValueError(f"{option} does not go with {name}: leave it out")
    names = tuple("-" if text == "./-" else text for text in request.arguments)
    wanted = [*operation.names, *operation.queried, *(["FILE"] if operation.body else [])]
    if len(names) != len(wanted):
        raise ValueError(
            f"{name} takes {' '.join(wanted) or 'nothing more'}: {len(names)} given"
            + (f". The file holds {operation.body}; - is standard input" if operation.body else "")
        )
    source = Path(names[-1]) if operation.body else None
    output = None if request.output == STANDARD_OUTPUT else request.output
    if source is not None and output is not None and os.path.realpath(source) == os.path.realpath(output):
        raise ValueError(f"--output {request.output} would write over what is read; name another file")
    kept = names[: len(operation.names)]
    query: dict[str, object] = dict(zip(operation.queried, names[len(kept) :], strict=False))
    if operation.planning:
        query = {"solver": request.solver, "budget": request.budget}
        query |= {"what_if": request.what_if} if name == "plan" else {"explain": True}
    return Asked(name, operation, kept, source, query, _format(request, operation))


def _format(request: Request, operation: Operation) -> str:
    if request.format is not None:
        return request.format
    terminal = request.output in (None, STANDARD_OUTPUT) and sys.stdout is not None and sys.stdout.isatty()
    return "table" if terminal and operation.planning else "json"


def _unknown(name: str | None, names: list[str]) -> str:
    shown = ", ".join(sorted(names, key=str.lower))
    if name is None:
        return f"say what to ask for, one of {shown}"
    lower = {n.lower(): n for n in names}
    near = [lower[n] for n in difflib.get_close_matches(name.lower(), list(lower), 3)]
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"there is no operation '{name}'; {hint}There are {shown}"


def _body(asked: Asked) -> tuple[bytes | None, list[str]]:
    """The body, and the servers in it that ask for something. Or WireError."""
    if asked.source is None:
        return None, []
    from flyball.wire.own import is_own
    from flyball.wire.text import decode

    whole = asked.name in ("optimizeOne", "plan")
    if asked.source != STANDARD_OUTPUT and asked.source.is_dir():
        if not whole:
            raise WireError(str(asked.source), f"is a directory, {asked.name} takes one file", mend="Name it")
        document: object = _merged(asked.source)
        return msgspec.json.encode(document), _asking(document)
    where, data = _bytes(asked.source)
    document = decode(data, where)
    if asked.name == "plan":
        return data, []
    if is_own(document):
        mend = "Ask for plan with it"
        raise WireError(where, f"is a fleet in Flyball's own form, {asked.name} takes Inferno's", mend=mend)
    return msgspec.json.encode(document), _asking(document) if whole else []


def _bytes(path: Path) -> tuple[str, bytes]:
    where = "standard input" if path == STANDARD_OUTPUT else str(path)
    try:
        if path == STANDARD_OUTPUT:
            if sys.stdin is None:
                raise WireError(where, "is closed", mend="Give a file, or pipe the document in")
            return where, sys.stdin.buffer.read()
        return where, path.read_bytes()
    except OSError as error:
        raise WireError(where, f"cannot be read ({error.strerror})", mend="Correct the path") from None


def _merged(path: Path) -> object:
    """One system document of the files in a directory. Or WireError."""
    from flyball.adapters.files import read_fleet
    from flyball.calibrate.catalogue import catalogue_for
    from flyball.wire.inferno import system_document

    fleet = read_fleet(path, catalogue_for)
    if fleet.generation == "flyball":
        mend = "Ask for plan, and name that file"
        raise WireError(str(path), "one file in it is a fleet in Flyball's own form", mend=mend)
    return system_document(fleet)


def _asking(document: object) -> list[str]:
    """The servers of a system document that have a load or a least number of replicas."""
    from flyball.wire.inferno import system_from

    try:
        servers = system_from(document, "")[0].servers.values()
    except WireError:
        return []  # the service says what is wrong with it
    loads = {s.name: s.current_alloc.load if s.current_alloc else None for s in servers}
    return [s.name for s in servers if s.min_num_replicas or getattr(loads[s.name], "arrival_rate", 0) > 0]
