"""What the optimizer's service answers about a plan: in Inferno's form, and in Flyball's own."""

from __future__ import annotations

import msgspec

from flyball.spec.plan import Plan
from flyball.wire.inferno_shapes import AllocationShape


class Unserved(msgspec.Struct, frozen=True):
    """Why a server gets nothing: the reason code of `spec.plan`, and a sentence."""

    reason: str
    message: str


class Explained(msgspec.Struct, frozen=True):
    """A plan in Flyball's own form: seconds, requests per second, dollars per hour, watts."""

    plan: Plan
    summary: tuple[str, ...]
    explanations: dict[str, tuple[str, ...]]
    """By server: what it gets and why, what fixes the number, the next best, what is excluded."""


class Planned(msgspec.Struct, frozen=True, omit_defaults=True):
    """What /v1/plan answers: a plan, and with `what_if` the plan without the change beside it."""

    plan: Plan
    summary: tuple[str, ...]
    explanations: dict[str, tuple[str, ...]]
    before: Plan | None = None


class SolutionDocument(msgspec.Struct, frozen=True, omit_defaults=True):
    """What /optimizeOne and /optimize answer; `unserved` and `explained` are Flyball's additions."""

    allocations: dict[str, AllocationShape]
    unserved: dict[str, Unserved] = {}
    explained: Explained | None = None
