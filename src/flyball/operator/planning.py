"""One optimization of a namespace: by the optimizer built in, or by one elsewhere, Inferno's own included."""

from __future__ import annotations

from typing import Protocol

import msgspec

from flyball.client.errors import NO_ROUTE, CallError
from flyball.client.optimizer import OptimizerClient
from flyball.decide.plan import plan
from flyball.report.sentences import explanation, first_of, headline, short_of
from flyball.spec.fleet import Fleet
from flyball.units import to_cents
from flyball.wire.inferno_out import ANSWER_DIGITS, system_document
from flyball.wire.inferno_write import document_of
from flyball.wire.kinds.decided import Decided, Document, decided, storable
from flyball.wire.plans import SolutionDocument

UNSERVED = 404
"""What Inferno's optimizer answers where it finds no solution."""


class Result(msgspec.Struct, frozen=True):
    """What was decided for one server."""

    decided: Decided
    feasible: bool
    """Whether its targets can be met within capacity."""
    message: str
    """In a sentence."""
    limited: str = ""
    """What is short, in a sentence; "": nothing is."""


class Outcome(msgspec.Struct, frozen=True):
    """What one optimization gave, by server."""

    results: dict[str, Result]
    cost: float
    """Cents per hour."""
    notes: tuple[str, ...] = ()


class Unanswered(Exception):
    """The optimizer elsewhere did not answer; it is asked again later."""


class Planner(Protocol):
    """Plans the servers of a fleet."""

    def __call__(self, fleet: Fleet) -> Outcome:
        """The outcome, also where a server cannot be served; or Unanswered."""
        ...


def built_in(fleet: Fleet) -> Outcome:
    """By `decide`."""
    made = plan(fleet)
    found, first = decided(fleet, made), first_of(fleet)
    results = {}
    for one in made.servers:
        served = one.keeps_promises
        results[one.server] = Result(
            decided=found[one.server],
            feasible=served,
            message=headline(one) if served else " ".join(explanation(one, first)),
            limited="; ".join(short_of(shortage) for shortage in one.shortages),
        )
    return Outcome(results, to_cents(made.cost), made.notes)


class Elsewhere:
    """By an optimizer over HTTP, with all that it needs in one request."""

    def __init__(self, client: OptimizerClient) -> None:
        self._client = client

    def __call__(self, fleet: Fleet) -> Outcome:
        """As `Planner`."""
        try:
            solution = self._client.optimize_one(system_document(fleet))
        except CallError as error:
            return unserved(fleet, error)
        return outcome_of(fleet, solution)


def outcome_of(fleet: Fleet, solution: SolutionDocument) -> Outcome:
    """What an optimizer's answer means for the servers of a fleet."""
    found: dict[str, Document] = {
        name: storable(document_of(shape, fleet.generation, ANSWER_DIGITS))
        for name, shape in solution.allocations.items()
    }
    none = nothing("the optimizer gives it no allocation")
    results = {s.name: given(found[s.name]) if s.name in found else none for s in fleet.servers}
    return Outcome(results, sum(float(one.get("cost", 0.0)) for one in found.values()))


def unserved(fleet: Fleet, error: CallError) -> Outcome:
    """What its refusal means; Unanswered where that is no answer about the fleet."""
    if error.status != UNSERVED or error.message == NO_ROUTE:
        raise Unanswered(str(error)) from error
    return Outcome({server.name: nothing(error.message) for server in fleet.servers}, 0.0)


def given(allocation: Document) -> Result:
    """What it was given elsewhere."""
    return Result(Decided("elsewhere", allocation), True, "the optimizer elsewhere decided it")


def nothing(message: str) -> Result:
    """It was given nothing."""
    return Result(Decided("elsewhere"), False, message)
