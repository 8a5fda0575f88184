"""What a service answered to `flyball call`, and how it is shown."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from flyball.adapters.whole import write_whole
from flyball.commands.output import STANDARD_OUTPUT, console_of, put
from flyball.wire.plans import Explained, Planned, SolutionDocument

if TYPE_CHECKING:
    from rich.console import Console

    from flyball.client.operations import Operation

NARROW = 130
"""Terminals below this have a list instead of the table of servers."""


@dataclass(frozen=True)
class Answer:
    """What was answered: the document (or text), and what it is where it is a plan."""

    document: Any
    text: bool = False
    solution: SolutionDocument | None = None
    reasons: Explained | Planned | None = None
    """Flyball's own services give them."""


def read_answer(name: str, operation: Operation, data: bytes, url: str) -> Answer:
    """What the answer says. Or CallError."""
    from flyball.client import CallError
    from flyball.client.read import read

    if operation.offered == "health":
        return Answer(data.decode("utf-8", "replace"), text=True)
    try:
        document = msgspec.json.decode(data)
        if name == "plan":
            return Answer(document, reasons=read(data, Planned))
        of_a_queue = name == "optimize" and isinstance(document, dict) and "concurrency" in document
        if not operation.planning or of_a_queue:
            return Answer(document)
        solution = read(data, SolutionDocument)
        return Answer(document, solution=solution, reasons=solution.explained)
    except (ValueError, RecursionError) as error:
        message = f"what it sent cannot be understood: {error}"
        mend = "Is this the right service, and nothing in between?"
        raise CallError(200, message, url=url, mend=mend) from None


def all_served(answer: Answer, asking: list[str]) -> bool:
    """Whether nobody is left out, as far as the answer tells; the originals pass over in silence."""
    if answer.reasons is not None:
        return all(s.status in ("served", "idle") for s in answer.reasons.plan.servers)
    return answer.solution is None or not missing_of(answer.solution, asking)


def missing_of(solution: SolutionDocument, asking: list[str]) -> list[str]:
    """The servers that get nothing, by name."""
    return sorted(solution.unserved.keys() | {name for name in asking if name not in solution.allocations})


def show(answer: Answer, asking: list[str], form: str, explain: bool, output: Path | None) -> None:
    """Write it to a file or to standard output: a `table` where it is a plan, or json or yaml. Or OSError."""
    to_file = output is not None and output != STANDARD_OUTPUT
    table = form == "table" and (answer.reasons or answer.solution) is not None
    text = _table(answer, asking, explain, to_file) if table else _document(answer, form, explain)
    if output is not None and to_file:
        write_whole(output, text)
    else:
        put(text, machine=not table)


def _document(answer: Answer, form: str, explain: bool) -> str:
    document = answer.document
    if answer.text:
        return str(document)
    if answer.solution is not None and not explain:
        document = {key: value for key, value in document.items() if key != "explained"}
    if form == "yaml":
        from flyball.wire.text import encode_yaml

        return encode_yaml(document)
    return msgspec.json.format(msgspec.json.encode(document), indent=4).decode() + "\n"


def _table(answer: Answer, asking: list[str], explain: bool, to_file: bool) -> str:
    from flyball.report.answers import allocation_table

    console = console_of(to_file)
    if answer.reasons is not None:
        _print_plan(console, answer.reasons, explain)
    elif answer.solution is not None:
        missing = missing_of(answer.solution, asking)
        console.print(allocation_table(answer.solution.allocations, missing))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def _print_plan(console: Console, reasons: Explained | Planned, explain: bool) -> None:
    """As `flyball plan` shows it."""
    from flyball.report import tables
    from flyball.spec.fleet import Fleet

    plan = reasons.plan
    fleet = Fleet(generation=plan.generation)
    if console.width >= NARROW:
        console.print(tables.plan_table(fleet, plan))
    else:
        for line in tables.plan_list(fleet, plan):
            console.print(line)
    if plan.resources:
        console.print(tables.resource_table(plan))
    why = [sentence for each in reasons.explanations.values() for sentence in each] if explain else []
    for sentence in [*why, *reasons.summary]:
        console.print(sentence, soft_wrap=True)
    if isinstance(reasons, Planned) and reasons.before is not None:
        console.print("\nChange:")
        console.print(tables.change_table(reasons.before, plan))
