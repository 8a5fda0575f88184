"""What if: the same fleet with one thing changed, planned by the same decision.

A change reads WHAT[NAME] OPERATOR NUMBER: `load*2`, `load[chat]*1.5`, `in=2000`, `capacity[A100]+16`,
`price[H100]*0.8`, `ttft*0.5`. Without a name it is for all. Several are separated by commas. Numbers are in
Flyball's units: requests per second, tokens, cards, dollars per hour, seconds.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable

from msgspec.structs import replace

from flyball.spec.fleet import Fleet
from flyball.spec.server import Server
from flyball.spec.service_class import Metric, ServiceClass

# A name ends at the bracket behind which the change goes on, so that it may hold commas and brackets.
_CHANGE = re.compile(
    r"\s*([a-z][a-z0-9]*)\s*(?:\[(.*?)\]\s*)?([*/+=-])\s*([-+0-9.e]+)\s*(?:,|$)", re.IGNORECASE | re.DOTALL
)
_LOADS = {"load": "arrival_rate", "in": "in_tokens", "out": "out_tokens"}
_METRICS: tuple[Metric, ...] = ("ttft", "itl", "wait", "e2e")
_SLACK = 1e-9
KINDS = (*_LOADS, "capacity", "price", *_METRICS)
LARGEST = 1e12
SHOWN_NAMES = 8

Operation = Callable[[float], float]


class WhatIfError(ValueError):
    """A change that cannot be read or that names nothing in the fleet."""


def change(fleet: Fleet, text: str) -> Fleet:
    """The fleet with the changes of `text`; WhatIfError where they make no sense."""
    position = 0
    while position < len(text) or not position:
        match = _CHANGE.match(text, position)
        if match is None:
            raise WhatIfError(
                f"what-if '{text[position:].strip()}' cannot be read; write WHAT[NAME] and *, /, +, - or = "
                "and a number, such as load*2, load[chat]*1.5, capacity[A100]=16, price[H100]*0.8 or ttft*0.5"
            )
        kind, name, operator, digits = match.groups()
        part = match[0].strip().rstrip(",").rstrip()
        fleet = _apply(fleet, kind.lower(), name, _operation(operator, digits, part), part)
        position = match.end()
    if text.endswith(","):
        raise WhatIfError(
            f"what-if '{text}' ends in a comma; write the next change behind it, or leave it out"
        )
    return fleet


def _operation(operator: str, digits: str, part: str) -> Operation:
    try:
        number = float(digits)
    except ValueError:
        raise WhatIfError(f"what-if '{part}': '{digits}' is not a number") from None
    if not math.isfinite(number):
        raise WhatIfError(f"what-if '{part}': '{digits}' is too large")
    if operator == "/" and number == 0:
        raise WhatIfError(f"what-if '{part}' divides by zero")
    operations: dict[str, Operation] = {
        "*": lambda value: value * number,
        "/": lambda value: value / number,
        "+": lambda value: value + number,
        "-": lambda value: value - number,
        "=": lambda value: number,
    }

    def apply(value: float) -> float:
        if value < 0 and operator != "=":  # a load that is wrong stays so, and the plan says it
            return value
        result = operations[operator](value)
        if not 0 <= result <= LARGEST:
            raise WhatIfError(f"what-if '{part}' gives {result:g}; it must be between 0 and {LARGEST:g}")
        return result

    return apply


def _apply(fleet: Fleet, kind: str, name: str | None, new: Operation, part: str) -> Fleet:
    if kind in _LOADS:
        _known(name, [s.name for s in fleet.servers], "server")
        return replace(
            fleet,
            servers=tuple(
                _loaded(s, _LOADS[kind], new) if name in (None, s.name) else s for s in fleet.servers
            ),
        )
    if kind == "capacity":
        return _with_capacity(fleet, name, new)
    if kind == "price":
        _known(name, [a.name for a in fleet.accelerators], "accelerator")
        return replace(
            fleet,
            accelerators=tuple(
                replace(a, cost=new(a.cost)) if name in (None, a.name) else a for a in fleet.accelerators
            ),
        )
    for metric in _METRICS:
        if kind == metric:
            return _with_targets(fleet, metric, name, new, part)
    hint = _hint(kind, KINDS)
    raise WhatIfError(f"what-if knows no '{kind}'; {hint}")


def _loaded(server: Server, field: str, new: Operation) -> Server:
    return replace(server, load=replace(server.load, **{field: new(getattr(server.load, field))}))


def _with_capacity(fleet: Fleet, name: str | None, new: Operation) -> Fleet:
    types = {*fleet.capacity, *(a.type for a in fleet.accelerators)}
    _known(name, types, "card type")
    if fleet.settings.unlimited or fleet.settings.solver == "unlimited":
        raise WhatIfError("what-if changes the capacity, but this fleet is planned as if it were unlimited")
    changed = dict(fleet.capacity)
    for card in sorted(types) if name is None else [name]:
        cards = math.floor(new(float(changed.get(card, 0))) + _SLACK)
        if cards or card in changed:
            changed[card] = cards
    return replace(fleet, capacity=changed)


def _with_targets(fleet: Fleet, metric: Metric, name: str | None, new: Operation, part: str) -> Fleet:
    _known(name, [c.name for c in fleet.service_classes], "service class")
    named = [c for c in fleet.service_classes if name in (None, c.name)]
    promised = {t.metric for c in named for m in c.models for t in m.targets}
    if named and metric not in promised:
        whose = "no class promises" if name is None else f"the class '{name}' does not promise"
        there = f"it can change {', '.join(sorted(promised))}" if promised else "there are no targets"
        raise WhatIfError(f"what-if '{part}': {whose} a {metric}; {there}")

    def limit(seconds: float) -> float:
        result = new(seconds)
        if result == 0:
            raise WhatIfError(
                f"what-if '{part}' gives a target of 0 s, which nothing meets; it must be over 0"
            )
        return result

    return replace(
        fleet,
        service_classes=tuple(
            _promising(c, metric, limit) if name in (None, c.name) else c for c in fleet.service_classes
        ),
    )


def _promising(service_class: ServiceClass, metric: Metric, limit: Operation) -> ServiceClass:
    return replace(
        service_class,
        models=tuple(
            replace(
                model,
                targets=tuple(
                    replace(t, limit=limit(t.limit)) if t.metric == metric else t for t in model.targets
                ),
            )
            for model in service_class.models
        ),
    )


def _known(name: str | None, names: Iterable[str], what: str) -> None:
    if name is None or name in names:
        return
    raise WhatIfError(f"what-if names the {what} '{name}', which is not in the fleet; {_hint(name, names)}")


def _hint(name: str, names: Iterable[str]) -> str:
    known = sorted(names)
    near = difflib.get_close_matches(name, known, 3) or [k for k in known if name and name in k][:3]
    if near:
        return f"did you mean {', '.join(near)}?"
    more = f" and {len(known) - SHOWN_NAMES} more" if len(known) > SHOWN_NAMES else ""
    return f"there are {', '.join(known[:SHOWN_NAMES])}{more}" if known else "there are none"
