"""Algorithms by name: those that come with Flyball, and third parties' by entry points."""

from __future__ import annotations

import contextlib
import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, get_type_hints

import msgspec

from flyball.power.algorithms import built_in

GROUP = "flyball.power_algorithms"
Algorithm = Callable[..., Mapping[str, object]]
BUILT_IN: Mapping[str, Algorithm] = {
    "static-cap": built_in.static_cap,
    "oversubscription": built_in.oversubscription,
    "perf-per-watt": built_in.perf_per_watt,
    "maximize-replicas": built_in.maximize_replicas,
    "prioritize-high-replica": built_in.prioritize_high_replica,
}


class AlgorithmError(ValueError):
    """An algorithm that is not there, cannot be loaded, or has no such parameter."""


class Offered(msgspec.Struct, frozen=True):
    """An algorithm that can be asked for."""

    name: str
    origin: str
    """The package that brings it."""
    says: str = ""
    parameters: dict[str, str] = {}
    """By name: its type and default."""


def find_algorithm(name: str, parameters: Mapping[str, object] | None = None) -> Algorithm:
    """The function of that name; its parameters are looked at too. Or AlgorithmError."""
    found = BUILT_IN.get(name)
    outside = _outside(name)
    if found is None and not outside:
        names = sorted({*BUILT_IN, *(e.name for e in entry_points(group=GROUP))})
        near = difflib.get_close_matches(name, names, 3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"
        raise AlgorithmError(f"there is no algorithm '{name}'; {hint}")
    if len(outside) + (found is not None) > 1:
        whose = ", ".join(sorted(_whose(e) for e in outside))
        raise AlgorithmError(f"two algorithms are called '{name}', one from {whose}: remove one")
    algorithm = found or _loaded(outside[0])
    _check(name, algorithm, parameters or {})
    return algorithm


def offered() -> tuple[Offered, ...]:
    """All that can be asked for here, by name, all imported; of one that cannot be loaded the reason."""
    return _sorted((*built_ins(), *map(_loaded_or_why, _all_outside())))


def built_ins() -> tuple[Offered, ...]:
    """Those that come with Flyball, by name."""
    return tuple(_described(name, "flyball", algorithm) for name, algorithm in sorted(BUILT_IN.items()))


def outside() -> tuple[Offered, ...]:
    """Third parties' names and packages; nothing is imported."""
    return _sorted(Offered(entry.name, _whose(entry)) for entry in _all_outside())


def described(name: str) -> tuple[Offered, ...]:
    """The third parties' of a name, imported; of one that cannot be loaded the reason."""
    return tuple(_loaded_or_why(entry) for entry in _outside(name))


def _sorted(found: Iterable[Offered]) -> tuple[Offered, ...]:
    return tuple(sorted(found, key=lambda o: (o.name, o.origin)))


def _loaded_or_why(entry: EntryPoint) -> Offered:
    try:
        return _described(entry.name, _whose(entry), _loaded(entry))
    except AlgorithmError as error:
        return Offered(entry.name, _whose(entry), str(error))


def _described(name: str, origin: str, algorithm: Algorithm) -> Offered:
    says = (inspect.getdoc(algorithm) or "").partition("\n")[0]
    parameters = {
        p.name: " = ".join(filter(None, (_kind(p), "" if p.default is p.empty else repr(p.default))))
        for p in _parameters(algorithm)
    }
    return Offered(name, origin, says, parameters)


def _kind(parameter: inspect.Parameter) -> str:
    said = parameter.annotation
    return (
        "" if said is parameter.empty else said if isinstance(said, str) else inspect.formatannotation(said)
    )


def _parameters(algorithm: Algorithm) -> list[inspect.Parameter]:
    return [
        p for p in list(inspect.signature(algorithm).parameters.values())[1:] if p.kind is not p.VAR_KEYWORD
    ]


def _check(name: str, algorithm: Algorithm, given: Mapping[str, object]) -> None:
    known = {p.name: p for p in _parameters(algorithm)}
    hints: dict[str, Any] = {}
    with contextlib.suppress(NameError, TypeError, AttributeError):  # those that cannot be resolved are none
        hints = get_type_hints(algorithm)
    for key, value in given.items():
        if key not in known:
            has = ", ".join(sorted(known)) or "none"
            raise AlgorithmError(f"algorithm '{name}' has no parameter '{key}'; it has {has}")
        if key in hints:
            try:
                msgspec.convert(value, hints[key])
            except msgspec.ValidationError as error:
                raise AlgorithmError(
                    f"algorithm '{name}': {key} is {value!r}: {str(error).lower()}"
                ) from None
    missing = [p.name for p in known.values() if p.default is p.empty and p.name not in given]
    if missing:
        raise AlgorithmError(f"algorithm '{name}' needs {', '.join(missing)}: add it to its parameters")


def _outside(name: str) -> list[EntryPoint]:
    return [e for e in _all_outside() if e.name == name]


def _all_outside() -> list[EntryPoint]:
    return [e for e in entry_points(group=GROUP) if not _own(e)]


def _own(entry: EntryPoint) -> bool:
    return entry.name in BUILT_IN and entry.module == built_in.__name__


def _whose(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.value


def _loaded(entry: EntryPoint) -> Algorithm:
    try:
        made = entry.load()
    except Exception as error:  # whatever a third party's module does on import
        raise AlgorithmError(
            f"algorithm '{entry.name}' of {_whose(entry)} cannot be loaded: {type(error).__name__}: {error}"
        ) from None
    if not inspect.isfunction(made):
        raise AlgorithmError(f"algorithm '{entry.name}' of {_whose(entry)} is no function: {entry.value}")
    return made
