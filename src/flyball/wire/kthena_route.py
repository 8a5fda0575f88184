"""ModelRoute of Kthena: which requests go to which ModelServers. A ModelBooster has its parts, too."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from flyball.wire.kthena_meta import Document, ObjectMeta, Part, Plain

MOST = 16
"""Rules of a route, and targets of a rule."""


class TextMatch(Part, frozen=True):
    """A text that is equal, begins with, or matches."""

    exact: str | None = None
    """The whole text."""
    prefix: str | None = None
    """How it begins."""
    regex: str | None = None
    """A regular expression."""


class BodyMatch(Part, frozen=True):
    model: Annotated[str, Meta(description="The model that the request's body names.")] | None = None


class ModelMatch(Part, frozen=True):
    """Which requests a rule is for; all of its parts must hold."""

    headers: dict[str, TextMatch] | None = None
    """By name; all must fit."""
    uri: TextMatch | None = None
    body: BodyMatch | None = None
    """What the request itself says."""


Weight = Annotated[int, Meta(description="Share of the requests, relative to the others.", ge=0, le=100)]


class Target(Part, frozen=True):
    """A ModelServer and its share; without a name, in a ModelBooster, that booster's own."""

    model_server_name: str | None = None
    """Absent: that of the booster."""
    external_model_provider_name: str | None = None
    """One outside the cluster, in its place."""
    weight: Weight | None = None


class Rule(Part, frozen=True):
    """Which requests go to which targets."""

    target_models: Annotated[list[Target], Meta(min_length=1, max_length=MOST)]
    """Among which requests are divided, by weight."""
    name: str | None = None
    """For people only."""
    model_match: ModelMatch | None = None


class Redis(Part, frozen=True):
    address: Annotated[str, Meta(description="Host and port, as redis:6379.", min_length=1)]


class GlobalLimit(Part, frozen=True):
    """One limit for all routers, counted in a Redis."""

    redis: Redis
    """Where it is counted."""


class RateLimit(Part, frozen=True):
    """Tokens that a route takes per unit of time; each router counts its own unless `global` is given."""

    unit: Literal["second", "minute", "hour", "day", "month"] = field(default="second")
    """Of time."""
    input_tokens_per_unit: Annotated[int, Meta(ge=1, description="Tokens of prompts.")] | None = None
    output_tokens_per_unit: Annotated[int, Meta(ge=1, description="Tokens of answers.")] | None = None
    everywhere: GlobalLimit | None = field(default=None, name="global")


class RouteSpec(Part, frozen=True):
    model_name: str
    rules: list[Rule]
    lora_adapters: list[str] | None = None
    parent_refs: list[Plain] | None = None
    rate_limit: Plain | None = None
    """A RateLimit with its unit, which the CRD requires."""


class ModelRoute(Document, frozen=True):
    """Which requests for a model go to which ModelServers."""

    metadata: ObjectMeta
    spec: RouteSpec
