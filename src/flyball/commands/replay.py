"""`flyball replay`: decide a recorded cycle again, and compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from flyball.commands.output import say

DONE, WRONG, DIFFERENT = 0, 2, 3


def run(number: int, ledger: Path, *, server: str | None = None, everything: bool = False) -> int:
    """Replay one cycle; prints what was decided and whether it is the same again. Returns the exit code."""
    from importlib.metadata import version as version_of

    from flyball.adapters.ledger import Ledger, LedgerError
    from flyball.laws.find import LawError
    from flyball.loop.replay import replayed, same

    if not ledger.is_file():
        say(f"flyball: {ledger}: there is no such ledger. Name one with --ledger")
        return WRONG
    mine = version_of("flyball")
    try:
        book = Ledger(ledger, mine)
        cycle = book.cycle(number)
        first, before, version = book.start_of(number)
        cycles = [book.cycle(n) for n in book.numbers(first, number)]
        law = law_of(cycle.law, cycle.settings)
        made = replayed(law, before, cycles)
    except (LedgerError, LawError) as error:
        say(f"flyball: {error}")
        return WRONG
    except msgspec.MsgspecError as error:
        say(f"flyball: {ledger}: cycle {number} is of another version of Flyball ({error})")
        return WRONG
    _show(number, cycle, server, everything)
    if same(made, cycle.decision):
        print(f"Decided again from cycle {first} on ({len(cycles)} cycles): the same to the bit.")
        return DONE
    print(f"Decided again from cycle {first} on: NOT the same.")
    if version != mine:
        print(f"It was decided by Flyball {version}; this is {mine}.")
    for line in _differences(cycle.decision, made):
        print(f"  {line}")
    return DIFFERENT


def law_of(name: str, settings: bytes) -> Any:
    """The law as it was: its name, and its settings as msgpack. Or LawError."""
    from flyball.decide.cycle import LAW
    from flyball.decide.law import Flyball
    from flyball.laws.find import find_law

    if name == LAW:
        return msgspec.msgpack.decode(settings, type=Flyball)
    law = find_law(name)
    return msgspec.msgpack.decode(settings, type=type(law)) if isinstance(law, msgspec.Struct) else law


def _show(number: int, cycle: Any, server: str | None, everything: bool) -> None:
    from datetime import UTC, datetime

    from flyball.report.known import of_step
    from flyball.report.moves import sentence, summary

    when = datetime.fromtimestamp(cycle.time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    print(f"Cycle {number}, law {cycle.law}, {when}, {cycle.snapshot.seen.time:,.0f} s on the fleet's clock.")
    for error in (*cycle.errors, *cycle.refused):
        print(f"  Failed: {error}")
    if cycle.decision is None:
        print("  Nothing was decided.")
        return
    classes = {s.name: s.service_class for s in cycle.snapshot.fleet.servers}
    print(f"  {summary(cycle.decision)}")
    for step in cycle.decision.steps:
        if server == step.server or (server is None and (everything or step.changed)):
            print(f"  {sentence(step, classes.get(step.server, ''))}")
            for line in of_step(cycle.decision, step, cycle.snapshot.fleet):
                print(f"    {line}")


def _differences(was: Any, now: Any) -> list[str]:
    from flyball.report.moves import asked

    if was is None or now is None:
        return ["one of them decided nothing"]
    old = {s.server: s for s in was.steps}
    lines = [
        f"{s.server}: was {asked(old[s.server].orders)}, is {asked(s.orders)}"
        for s in now.steps
        if s.server in old and s.orders != old[s.server].orders
    ]
    return lines or ["the orders are the same; the reasons or the plan differ"]
