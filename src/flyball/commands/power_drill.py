"""`flyball power drill`: what a cut of a budget would do, from one recorded cycle."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from flyball.commands.look_parts import show, show_json
from flyball.commands.output import say
from flyball.commands.power import nothing_of_power, opened
from flyball.decide.memory import Memory
from flyball.decide.power import needs_before, power_memory
from flyball.power.govern import Power
from flyball.power.view import View
from flyball.spec.snapshot import Snapshot
from flyball.units import Seconds
from flyball.wire.errors import WireError

if TYPE_CHECKING:
    from flyball.adapters.algorithms import Isolated
    from flyball.adapters.ledger import Ledger

DONE, WRONG, SHORT = 0, 2, 3
SQLITE = b"SQLite format 3\x00"
PERIOD: Seconds = 15.0
"""Of a snapshot that no ledger tells it of."""
MOST_CUT = 0.99
LOOKED_AT = 200
"""So many of the last cycles are looked at for one that looked at power."""


class Drilled(msgspec.Struct, frozen=True):
    """What is cut."""

    source: Path
    cut: str = "20%"
    domains: tuple[str, ...] = ()
    cycle: int | None = None
    as_json: bool = False


class Moment(msgspec.Struct, frozen=True):
    """What a decision is made from."""

    snapshot: Snapshot
    memory: Memory | None
    period: Seconds
    said: str


def drill_from(asked: Drilled) -> int:
    """Work out what a cut would do, and tell it; returns the exit code."""
    from flyball.adapters.algorithms import Isolated
    from flyball.adapters.ledger import LedgerError
    from flyball.laws.find import LawError
    from flyball.report.power_drill import DrillError, cut, drill, lines, table
    from flyball.wire.quantities import parse_share

    try:
        share = parse_share(asked.cut, "--cut", high=MOST_CUT)
        moment = moment_of(asked)
        snapshot = moment.snapshot
        assert snapshot.power is not None
        seen, budgets = cut(snapshot.power, share, asked.domains)
    except (LedgerError, LawError, WireError, DrillError) as error:
        say(f"flyball: {error}")
        return WRONG
    except (msgspec.MsgspecError, OSError) as error:
        say(f"flyball: {asked.source}: is neither a ledger nor a snapshot of this version ({error})")
        return WRONG
    power = Power(seen, power_memory(moment.memory), needs_before(snapshot, moment.memory))
    with closing(Isolated()) as isolated:
        asking = Asking(power, isolated)
        made = drill(power, budgets, moment.period, asking)
    notes = (moment.said, *asking.problems)
    made = msgspec.structs.replace(made, notes=notes)
    if asked.as_json:
        show_json({**msgspec.to_builtins(made), "holds": made.holds})
    elif made.shed:
        show("\n".join(lines(made)), table(made))
    else:
        show("\n".join(lines(made)))
    return DONE if made.holds else SHORT


class Asking:
    """Asks each policy's algorithm, as the loop does."""

    def __init__(self, power: Power, isolated: Isolated) -> None:
        self._power, self._isolated = power, isolated
        self.problems: dict[str, None] = {}

    def __call__(self, view: View) -> Mapping[str, object]:
        """Replicas at most, of each workload by the policy in whose hands it is."""
        found: dict[str, object] = {}
        held = self._power.governing
        for policy in self._power.policies.values():
            mine = [name for name, by in held.items() if by is policy]
            if policy.mode == "Observe" or not mine:
                continue
            answer = self._isolated.ask(policy.algorithm, policy.parameters, view)
            if answer.problem:
                self.problems[f"{policy.key}: {answer.problem}"] = None
            found |= {name: n for name, n in (answer.replicas or {}).items() if name in mine}
        return found


# ---- where it is decided from ------------------------------------------------------------------


def moment_of(asked: Drilled) -> Moment:
    """A recorded cycle with the memory before it, or a snapshot alone. Or LedgerError, LawError, OSError,
    MsgspecError.
    """
    from flyball.adapters.ledger import LedgerError

    if not asked.source.is_file():
        raise LedgerError(f"{asked.source}: there is no such file. Name a loop's ledger, or a snapshot")
    with asked.source.open("rb") as file:
        head = file.read(len(SQLITE))
        text = b"" if head == SQLITE else head + file.read()
    if not text:
        with closing(opened(asked.source)) as book:
            return _recorded(book, asked.cycle)
    snapshot = msgspec.json.decode(text, type=Snapshot)
    if snapshot.power is None:
        raise LedgerError(f"{asked.source}: {nothing_of_power(1)}")
    return Moment(snapshot, None, PERIOD, "From a snapshot, without a memory of the past.")


def _recorded(book: Ledger, number: int | None) -> Moment:
    from flyball.adapters.ledger import LedgerError
    from flyball.commands.replay import law_of
    from flyball.decide.cycle import LAW
    from flyball.loop.replay import remembered

    if number is None:
        newest = book.newest(LOOKED_AT)
        number = next((n for n, cycle in newest if cycle.snapshot.power is not None), None)
        if number is None:
            raise LedgerError(f"{book.path}: {nothing_of_power(len(newest))}")
    cycle = book.cycle(number)
    if cycle.snapshot.power is None:
        raise LedgerError(f"{book.path}: cycle {number} did not look at power. Name another with --cycle")
    law = law_of(cycle.law, cycle.settings)
    memory: Memory | None = None
    if cycle.law == LAW:
        first, before, _ = book.start_of(number)
        earlier = [book.cycle(n) for n in book.numbers(first, number - 1)]
        memory = remembered(law, before, earlier)
    return Moment(cycle.snapshot, memory, law.period or PERIOD, f"From cycle {number} of {book.path}.")
