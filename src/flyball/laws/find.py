"""Laws by name: those that come with Flyball, and third parties' by entry points of the group `flyball.laws`.

A law is asked for as NAME, NAME:VALUE (its first parameter) or NAME:KEY=VALUE,KEY=VALUE. An entry point names
what makes the law: a class or a function whose keyword parameters are the law's. Values are read by their
annotations; where there is none, as a number if they look like one. Or it names a function with the signature
of `flyball.decide.cycle.decide`: (snapshot, memory) or (snapshot, memory, Steering).
"""

from __future__ import annotations

import contextlib
import difflib
import inspect
import typing
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import msgspec

from flyball.laws.hpa import Hpa
from flyball.laws.keda import Keda, keda_tuned
from flyball.laws.law import FunctionLaw, Law
from flyball.laws.slo_aware import SloAware
from flyball.laws.static import static
from flyball.spec.steering import Steering

GROUP = "flyball.laws"
BUILT_IN: Mapping[str, Callable[..., Law[Any]]] = {
    "static": static,
    "hpa": Hpa,
    "keda": Keda,
    "keda-tuned": keda_tuned,
    "slo-aware": SloAware,
}
_INSIDE = ("name",)
"""Fields of a law that are no parameters."""


class LawError(ValueError):
    """A law that is not there, cannot be loaded, or has no such parameter."""


def find_law(text: str, more: Mapping[str, Callable[..., Law[Any]]] | None = None) -> Law[Any]:
    """The law that `text` asks for, also among `more`; it is called by `text`. Or LawError."""
    name, _, given = text.strip().partition(":")
    maker = _maker(name.strip(), {**BUILT_IN, **(more or {})})
    if (decides := _decision(name.strip(), maker, given)) is not None:
        return decides
    parameters = _parameters(name.strip(), maker, given)
    try:
        law = maker(**parameters)
    except (TypeError, ValueError) as error:
        raise LawError(f"law '{text.strip()}': {error}") from None
    return law if not given.strip() else _called(law, text.strip())


def _decision(name: str, made: Callable[..., Any], given: str) -> FunctionLaw | None:
    """The law of a function that decides itself; None: it makes one."""
    known = list(inspect.signature(made).parameters) if inspect.isfunction(made) else []
    if known[:2] != ["snapshot", "memory"]:
        return None
    if given.strip():
        raise LawError(f"law '{name}' is a function that decides: it has no parameters")
    return FunctionLaw(name, made, (Steering(),) if len(known) > 2 else ())


def law_names(more: Mapping[str, Callable[..., Law[Any]]] | None = None) -> list[str]:
    """All laws that can be asked for here."""
    return sorted({*BUILT_IN, *(more or {}), *(e.name for e in entry_points(group=GROUP))})


def _maker(name: str, inside: Mapping[str, Callable[..., Law[Any]]]) -> Callable[..., Law[Any]]:
    outside = [e for e in entry_points(group=GROUP) if e.name == name]
    if name in inside and not outside:
        return inside[name]
    if len(outside) + (name in inside) > 1:
        whose = ", ".join(sorted(_whose(e) for e in outside))
        raise LawError(f"two laws are called '{name}': one of them comes from {whose}; remove one")
    if not outside:
        names = sorted({*inside, *(e.name for e in entry_points(group=GROUP))})
        raise LawError(f"there is no law '{name}'; {_hint(name, names)}")
    try:
        made = outside[0].load()
    except Exception as error:  # whatever a third party's module does on import
        raise LawError(
            f"law '{name}' of {_whose(outside[0])} cannot be loaded: {type(error).__name__}: {error}"
        ) from None
    if not callable(made):
        raise LawError(f"law '{name}' of {_whose(outside[0])} is no class or function: {outside[0].value}")
    return typing.cast(Callable[..., Law[Any]], made)


def _whose(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.value


def _hint(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, 3)
    return f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"


def _parameters(name: str, maker: Callable[..., Any], given: str) -> dict[str, object]:
    if not given.strip():
        return {}
    known = [p for p in inspect.signature(maker).parameters.values() if p.name not in _INSIDE]
    named = [p.name for p in known if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    rest = next((p.name for p in known if p.kind == p.VAR_KEYWORD), None)
    hints = _hints(maker)
    parameters: dict[str, object] = {}
    for number, part in enumerate(given.split(",")):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals and number == 0 and named:
            key, value = named[0], key
        elif not equals:
            raise LawError(f"law '{name}': '{part.strip()}' cannot be read; write KEY=VALUE,KEY=VALUE")
        if key not in named and rest is None:
            has = _hint(key, named) if named else "it has none"
            raise LawError(f"law '{name}' has no parameter '{key}'; {has}")
        if key in parameters:
            raise LawError(f"law '{name}': parameter '{key}' is given twice")
        hint = hints.get(key if key in named else rest or "")
        try:
            parameters[key] = _guess(value) if hint is None else msgspec.convert(value, hint, strict=False)
        except msgspec.ValidationError as error:
            raise LawError(f"law '{name}': {key} is \"{value}\": {str(error).lower()}") from None
        except TypeError:  # a type that no text can be read as
            raise LawError(f"law '{name}': parameter '{key}' cannot be given as text") from None
    return parameters


def _hints(maker: Callable[..., Any]) -> dict[str, Any]:
    hints: dict[str, Any] = {}
    for where in (maker, getattr(maker, "__init__", maker)):
        with contextlib.suppress(NameError, TypeError):  # annotations that cannot be resolved are none
            hints.update(typing.get_type_hints(where))
    return hints


def _guess(text: str) -> int | float | str:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def _called(law: Law[Any], text: str) -> Law[Any]:
    if isinstance(law, msgspec.Struct) and "name" in law.__struct_fields__:
        return typing.cast(Law[Any], msgspec.structs.replace(law, name=text))
    return law
