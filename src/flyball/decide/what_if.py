"""What if: the same fleet with one thing changed, planned by the same decision.

A change reads WHAT[NAME] OPERATOR NUMBER: `load*2`, `load[chat]*1.5`, `in=2000`, `capacity[A100]+16`,
`price[H100]*0.8`, `ttft*0.5`. Without a name it is for all. Several are separated by commas.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable

from msgspec.structs import replace

from flyball.spec.fleet import Fleet
from flyball.spec.server import Server
from flyball.spec.service_class import Metric

_CHANGE = re.compile(r"\s*([a-z]+)\s*(?:\[([^\]]*)\])?\s*([*/+=-])\s*([0-9.eE+-]+)\s*")
_LOADS = {"load": "arrival_rate", "in": "in_tokens", "out": "out_tokens"}
_METRICS: tuple[Metric, ...] = ("ttft", "itl", "wait", "e2e")
KINDS = (*_LOADS, "capacity", "price", *_METRICS)


class WhatIfError(ValueError):
    """A change that cannot be read or that names nothing in the fleet."""


def change(fleet: Fleet, text: str) -> Fleet:
    """The fleet with the changes of `text`; WhatIfError where they make no sense."""
    for part in text.split(","):
        match = _CHANGE.fullmatch(part)
        if match is None:
            raise WhatIfError(
                f"what-if '{part.strip()}' cannot be read; write WHAT[NAME], one of * / + - =, and a number, "
                "such as load*2, load[chat]*1.5, capacity[A100]=16, price[H100]*0.8 or ttft*0.5"
            )
        kind, name, operator, digits = match.groups()
        try:
            number = float(digits)
        except ValueError:
            raise WhatIfError(f"what-if '{part.strip()}': '{digits}' is not a number") from None
        fleet = _apply(fleet, kind, name, _operation(operator, number, part.strip()))
    return fleet


def _operation(operator: str, number: float, part: str) -> Callable[[float], float]:
    if operator == "/" and number == 0:
        raise WhatIfError(f"what-if '{part}' divides by zero")

    def apply(value: float) -> float:
        result = {
            "*": lambda: value * number,
            "/": lambda: value / number,
            "+": lambda: value + number,
            "-": lambda: value - number,
            "=": lambda: number,
        }[operator]()
        if not math.isfinite(result) or result < 0 or result > 1e15:
            raise WhatIfError(f"what-if '{part}' gives {result:g}; it must be between 0 and 1e15")
        return result

    return apply


def _apply(fleet: Fleet, kind: str, name: str | None, new: Callable[[float], float]) -> Fleet:
    if kind in _LOADS:
        _known(name, [s.name for s in fleet.servers], "server")
        return replace(
            fleet,
            servers=tuple(
                _loaded(s, _LOADS[kind], new) if name in (None, s.name) else s for s in fleet.servers
            ),
        )
    if kind == "capacity":
        _known(name, sorted({*fleet.capacity, *(a.type for a in fleet.accelerators)}), "card type")
        changed = dict(fleet.capacity)
        for card in [name] if name else list(fleet.capacity):
            changed[card] = int(new(float(changed.get(card, 0))))
        settings = fleet.settings
        if fleet.settings.unlimited:
            raise WhatIfError(
                "what-if changes the capacity, but this fleet is planned as if it were unlimited"
            )
        return replace(fleet, capacity=changed, settings=settings)
    if kind == "price":
        _known(name, [a.name for a in fleet.accelerators], "accelerator")
        return replace(
            fleet,
            accelerators=tuple(
                replace(a, cost=new(a.cost)) if name in (None, a.name) else a for a in fleet.accelerators
            ),
        )
    if kind in _METRICS:
        _known(name, [c.name for c in fleet.service_classes], "service class")
        return replace(
            fleet,
            service_classes=tuple(
                replace(
                    c,
                    models=tuple(
                        replace(
                            m,
                            targets=tuple(
                                replace(t, limit=new(t.limit)) if t.metric == kind else t for t in m.targets
                            ),
                        )
                        for m in c.models
                    ),
                )
                if name in (None, c.name)
                else c
                for c in fleet.service_classes
            ),
        )
    raise WhatIfError(f"what-if knows no '{kind}'; it knows {', '.join(KINDS)}")


def _loaded(server: Server, field: str, new: Callable[[float], float]) -> Server:
    value = max(getattr(server.load, field), 0.0)
    return replace(server, load=replace(server.load, **{field: new(value)}))


def _known(name: str | None, names: list[str], what: str) -> None:
    if name is None or name in names:
        return
    near = difflib.get_close_matches(name, names, 3)
    hint = f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(sorted(names)[:10])}"
    raise WhatIfError(f"what-if names the {what} '{name}', which is not in the fleet; {hint}")
