"""The shapes of Inferno's documents, all three generations in one: fields, types, bounds.

Fields are written here as Inferno writes them, in lower case and without their capitals (`Go` matches
names whatever their case). What is absent has Go's zero value, except where the reader has to know
that it is absent. Units are Inferno's: ms, requests per minute, cents per hour.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, field

Number = Annotated[float, Meta(ge=-1e12, le=1e12)]
Amount = Annotated[float, Meta(ge=0, le=1e12)]
Share = Annotated[float, Meta(ge=0, le=1)]
Rate = Annotated[float, Meta(ge=-1e9, le=1e9)]
"""May be negative: the plan then says which server has no load that can be served."""
Tokens = Annotated[float, Meta(ge=-10_000_000, le=10_000_000)]
Whole = Annotated[int, Meta(ge=-1_000_000_000, le=1_000_000_000)]
Count = Annotated[int, Meta(ge=0, le=1_000_000_000)]
Batch = Annotated[int, Meta(ge=0, le=65_536)]
Length = Annotated[int, Meta(ge=0, le=10_000_000)]
Name = Annotated[str, Meta(min_length=1, max_length=512)]
Reference = Annotated[str, Meta(max_length=512)]

UNITS = {
    "arrivalrate": "requests per minute",
    "throughput": "requests per minute",
    "avgintokens": "tokens per request",
    "avgouttokens": "tokens per request",
    "avglength": "tokens per request",
    "attokens": "tokens per request",
    "slo-itl": "milliseconds, 0 for no limit",
    "slo-ttft": "milliseconds, 0 for no limit",
    "slo-ttw": "milliseconds, 0 for no limit",
    "slo-tps": "tokens per second, 0 for no limit",
    "itlaverage": "milliseconds",
    "ttftaverage": "milliseconds",
    "waitaverage": "milliseconds",
    "alpha": "milliseconds",
    "beta": "milliseconds",
    "gamma": "milliseconds",
    "delta": "milliseconds",
    "cost": "cents per hour",
    "idle": "watts",
    "full": "watts",
    "midpower": "watts",
    "midutil": "a share from 0 to 1",
}
"""By field in lower case, for messages."""


class PowerShape(msgspec.Struct, rename="lower"):
    idle: Amount = 0.0
    full: Amount = 0.0
    midPower: Amount | None = None  # noqa: N815
    midUtil: Share | None = None  # noqa: N815


class AcceleratorShape(msgspec.Struct, rename="lower"):
    name: Name
    type: Reference = ""
    multiplicity: Annotated[int, Meta(ge=1, le=1_000_000_000)] = 1
    """Go has 0 here when it is absent, which makes the accelerator free of capacity; the CRD says 1."""
    memSize: Amount = 0.0  # noqa: N815
    memBW: Amount = 0.0  # noqa: N815
    power: PowerShape | None = None
    cost: Amount = 0.0
