"""One request to plan, from bytes to an answer: no state, no HTTP."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping
from typing import get_args

import msgspec
import numpy as np
from msgspec.structs import replace

from flyball.calibrate.catalogue import catalogue_for
from flyball.decide.plan import plan
from flyball.decide.what_if import WhatIfError, change
from flyball.report.sentences import explanation, first_of, headline, summary
from flyball.server.service.answers import Refusal
from flyball.spec.fleet import Fleet, SolverName, with_solver
from flyball.spec.plan import Plan
from flyball.units import Seconds
from flyball.wire.errors import WireError
from flyball.wire.inferno_in import fleet_of, system_from
from flyball.wire.inferno_out import ANSWER_DIGITS, allocations_of
from flyball.wire.inferno_sections import Section
from flyball.wire.inferno_shapes import AllocationShape, OptimizerShape
from flyball.wire.inferno_system import System
from flyball.wire.inferno_write import document_of
from flyball.wire.plans import Explained, Planned, Unserved
from flyball.wire.read import fleet_from
from flyball.wire.text import decode

BODY = "body"
LONGEST: Seconds = 600.0
MOST_PAIRS = 2_000_000
"""Of servers and profiles of their models: a plan takes some 600 bytes for each."""


class Ask(msgspec.Struct, frozen=True):
    """What a request says beside its body."""

    solver: SolverName | None = None
    explain: bool = False
    budget: Seconds | None = None
    """The solver's outer guard; it stops by counted work before, as a rule."""


class Solution(msgspec.Struct, frozen=True):
    """An answered request: the system as it was planned, what each server gets, and the document."""

    system: System
    plan: Plan
    allocations: Mapping[str, AllocationShape]
    document: dict[str, object]


def ask_of(query: Mapping[str, str], usual: Ask) -> Ask:
    """What the query of a request asks for, beside what is usual. Or Refusal."""
    solver = query.get("solver") or usual.solver
    if solver is not None and solver not in get_args(SolverName):
        raise Refusal(
            400, f"solver is '{solver[:60]}': there are {', '.join(get_args(SolverName))}. Name one of them"
        )
    explain = query.get("explain", "").lower()
    if explain not in ("", "true", "false", "1", "0"):
        raise Refusal(400, f"explain is '{explain[:60]}': allowed is true or false")
    return Ask(solver, explain in ("true", "1"), _budget(query.get("budget"), usual.budget))  # type: ignore[arg-type]


def _budget(text: str | None, usual: Seconds | None) -> Seconds | None:
    if text is None:
        return usual
    try:
        budget = float(text)
    except ValueError:
        budget = math.nan
    longest = LONGEST if usual is None else usual
    if not 0 <= budget <= longest:
        raise Refusal(400, f"budget is '{text[:60]}': allowed is seconds from 0 to {longest:g}")
    return budget


def optimize_one(data: bytes, ask: Ask) -> Solution:
    """Plan the system document in a body. Or WireError."""
    system, fleet = system_from(decode(data, BODY), BODY)
    return _solution(system, fleet, ask)


def optimize(system: System, data: bytes, ask: Ask) -> Solution:
    """Plan a system by the optimizer settings in a body. Or WireError."""
    optimizer = Section(BODY, "", decode(data, BODY) or {}).read(OptimizerShape)
    system = replace(system, optimizer=optimizer)
    return _solution(system, fleet_of(system), ask)


def _solution(system: System, fleet: Fleet, ask: Ask) -> Solution:
    made = planned(with_solver(fleet, ask.solver), ask.budget)
    allocations = allocations_of(fleet, made)
    document: dict[str, object] = {
        "allocations": {
            name: document_of(shape, fleet.generation, ANSWER_DIGITS) for name, shape in allocations.items()
        }
    }
    unserved = unserved_of(made)
    if unserved:
        document["unserved"] = unserved
    if ask.explain:
        document["explained"] = explained(fleet, made)
    return Solution(system, made, allocations, document)


def planned(fleet: Fleet, budget: Seconds | None = None) -> Plan:
    """The plan, and how long it took. WireError: it would need more memory than a request may take."""
    profiles = Counter(p.model for p in fleet.profiles)
    pairs = sum(profiles[s.model] for s in fleet.servers)
    if pairs > MOST_PAIRS:
        problem = f"{pairs:,} pairs of a server and an accelerator for its model; at most {MOST_PAIRS:,}"
        raise WireError(BODY, problem, mend="Plan parts of the fleet, or take accelerators out")
    began = time.perf_counter()
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # what is allowed goes down to 1e-300
        made = plan(fleet, budget=budget)
    return replace(made, seconds=time.perf_counter() - began)


def unserved_of(made: Plan) -> dict[str, Unserved]:
    """The servers that get nothing, and why."""
    return {s.server: Unserved(s.reason, headline(s)) for s in made.servers if s.status == "unserved"}


def explained(fleet: Fleet, made: Plan) -> Explained:
    """A plan with its sentences."""
    first = first_of(fleet)
    return Explained(
        plan=made,
        summary=tuple(summary(made)),
        explanations={s.server: tuple(explanation(s, first)) for s in made.servers},
    )


def own_plan(data: bytes, what_if: str | None, ask: Ask) -> Planned:
    """Plan a fleet in any form that is read, changed as `what_if` says. Or WireError, Refusal."""
    fleet = with_solver(fleet_from({BODY: decode(data, BODY)}, catalogue_for), ask.solver)
    before: Plan | None = None
    if what_if:
        before = planned(fleet, ask.budget)
        try:
            fleet = change(fleet, what_if)
        except WhatIfError as error:
            raise Refusal(400, str(error)) from None
    made = explained(fleet, planned(fleet, ask.budget))
    return Planned(made.plan, made.summary, made.explanations, before)
