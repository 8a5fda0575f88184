"""Inferno's documents taken apart: which sections there are, and their fields in the right shapes.

There are six sections: accelerators, models, serviceClasses, servers, optimizer, count. They come in one
system document, or each in a file of its own; a file is known by the keys in it, not by its name. A file
of its own wins, section by section, over a system document beside it, as in the sample data, where
the system document repeats the files. Solutions (`allocations`) are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from flyball.wire.errors import WireError, child
from flyball.wire.inferno_shapes import TRUE_NAMES, UNITS

T = TypeVar("T")

_WRAPPERS = {
    "acceleratordata": "accelerators",
    "modeldata": "models",
    "serviceclassdata": "serviceclasses",
    "serverdata": "servers",
    "optimizerdata": "optimizer",
    "capacitydata": "count",
}
_REQUIRED = {
    "accelerators": (
        "accelerator-data.json",
        '{"accelerators": [{"name": "A100", "type": "A100", "multiplicity": 1, "cost": 40}]}',
    ),
    "models": (
        "model-data.json",
        '{"models": [{"name": "granite_13b", "acc": "A100", "accCount": 1, "maxBatchSize": 64, '
        '"atTokens": 512, "perfParms": {"alpha": 20.58, "beta": 0.041, "gamma": 0.00128}}]}',
    ),
    "serviceclasses": (
        "serviceclass-data.json",
        '{"serviceClasses": [{"name": "Premium", "priority": 1, '
        '"modelTargets": [{"model": "granite_13b", "slo-itl": 40, "slo-ttft": 1000}]}]}',
    ),
    "servers": (
        "server-data.json",
        '{"servers": [{"name": "chat", "class": "Premium", "model": "granite_13b", '
        '"currentAlloc": {"load": {"arrivalRate": 60, "avgInTokens": 128, "avgOutTokens": 1024}}}]}',
    ),
}
"""The file that a section usually has, and what it looks like."""
SERVERS = "servers"

_KINDS = {
    "float": "a number",
    "int": "a whole number",
    "str": "text",
    "bool": "true or false",
    "object": "an object {...}",
    "array": "a list [...]",
}


class Section(msgspec.Struct):
    """A part of a document, and where it stands; without a value where it is absent."""

    where: str = ""
    path: str = ""
    value: object = None

    def read(self, kind: type[T]) -> T:
        """The section in its shape, names taken whatever their case; or WireError."""
        try:
            return msgspec.convert(_renamed(self.value, _Names(_EXACT)), kind)
        except msgspec.ValidationError as error:
            raise self._explained(str(error)) from None

    def rows(self, kind: type[T]) -> list[T]:
        """The section as a list of shapes; absent or null is empty, as in Go; or WireError."""
        return [] if self.value is None else self.read(list[kind])  # type: ignore[valid-type]

    def error(self, problem: str, below: str, mend: str) -> WireError:
        """A refusal of something below the section; `below` as in `[3].power`."""
        return WireError(self.where, problem, path=self.path + below, mend=mend)

    def _explained(self, problem: str) -> WireError:
        problem, _, place = problem.partition(" - at `$")
        path, value, name = self.path, self.value, ""
        for key, index in re.findall(r"\.([^.\[`]+)|\[(\d+)\]", place):
            if isinstance(value, dict):
                name = key
                key = next((k for k in reversed(value) if k.lower() == name.lower()), key)
                path, value = child(path, key), value.get(key)
            elif isinstance(value, list):
                path, value = child(path, int(index)), value[int(index)]
        problem = re.sub(r"`(\w+)( \| null)?`", lambda m: _KINDS.get(m[1], m[0]), problem)
        problem = re.sub(r"(\d+)\.0\b", r"\1", problem)
        if "missing required field" in problem:
            problem = problem.replace("Object missing required field", "lacks the field")
            return WireError(self.where, problem, path=path, mend="Add the field")
        if problem.endswith("of length >= 1"):
            return WireError(self.where, "expected a name", path=path, value=value, mend="Write its name")
        if problem.startswith("Expected text, got") and not isinstance(value, dict | list):
            return WireError(self.where, "expected text", path=path, value=value, mend="Put it in quotes")
        unit = UNITS.get(name)
        mend = f"Write it in {unit}" if unit else "Correct the value, or leave the field out"
        return WireError(self.where, problem[:1].lower() + problem[1:], path=path, value=value, mend=mend)


def sections_of_system(doc: object, where: str) -> dict[str, Section]:
    """The sections of one system document, with or without its outer `system`; or WireError."""
    path = ""
    fields = _fields(doc, where, path)
    if "system" in fields:
        path, doc = fields["system"]
        fields = _fields(doc, where, path)
    found = {}
    for wrapper, section in _WRAPPERS.items():
        if wrapper in fields:
            key, inner = fields[wrapper]
            below = _fields(inner, where, child(path, key))
            if section in below:
                name, value = below[section]
                found[section] = Section(where, child(child(path, key), name), value)
    return found


def section_of(doc: object, where: str, name: str) -> Section:
    """One section of a document that has it at its top, such as {"accelerators": [...]}. Or WireError."""
    key, value = _fields(doc, where, "").get(name.lower(), (name, None))
    return Section(where, key, value)


def sections_of_documents(
    docs: Mapping[str, object], servers: bool = True
) -> tuple[dict[str, Section], bool]:
    """The sections of several documents, and whether a system document was among them; or WireError.

    `servers`: whether server data must be there.
    """
    single: dict[str, Section] = {}
    system: dict[str, Section] | None = None
    for where, doc in docs.items():
        if is_system(doc):
            found = sections_of_system(doc, where)
            if system is not None and _values(system) != _values(found):
                raise WireError(where, "a second system document, unlike the first", mend="Keep one of them")
            system = found
        elif isinstance(doc, dict):
            _add_single(single, doc, where)
    merged = {**(system or {}), **single}
    if system is None:
        _require(merged, docs, set() if servers else {SERVERS})
    return merged, system is not None


def is_system(doc: object) -> bool:
    """Whether a document is a system document, with or without its outer `system`."""
    names = {str(key).lower() for key in doc} if isinstance(doc, dict) else set()
    return "system" in names or not names.isdisjoint(_WRAPPERS)


def is_inferno(doc: object) -> bool:
    """Whether a document is a system document or holds a section of one."""
    names = {str(key).lower() for key in doc} if isinstance(doc, dict) else set()
    return is_system(doc) or not names.isdisjoint(_WRAPPERS.values())


def _add_single(single: dict[str, Section], doc: dict[str, object], where: str) -> None:
    for name, (key, value) in _fields(doc, where, "").items():
        if name not in _WRAPPERS.values():
            continue
        if name in single and single[name].value != value:
            first = single[name].where
            raise WireError(
                where, f"{key} stands in {first} too, and differs", path=key, mend="Keep one of them"
            )
        single[name] = Section(where, key, value)


def _require(found: Mapping[str, Section], docs: Mapping[str, object], but: set[str]) -> None:
    for section, (file, example) in _REQUIRED.items():
        if section not in found and section not in but:
            read = ", ".join(list(docs)[:6]) or "no documents"
            others = ", ".join([where for where, doc in docs.items() if not is_inferno(doc)][:6])
            problem = f"{file} is missing" + (f" (not recognised: {others})" if others else "")
            raise WireError(read, problem, mend=f"Add a file like {example}")


def _values(sections: Mapping[str, Section]) -> dict[str, object]:
    return {name: section.value for name, section in sections.items()}


def _fields(value: object, where: str, path: str) -> dict[str, tuple[str, object]]:
    """Fields by lower-case name, with the name as written; null is an empty object, as in Go."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise WireError(
            where, "expected an object {...}", path=path, value=value, mend="Write an object here"
        )
    return {str(key).lower(): (str(key), below) for key, below in value.items()}


_EXACT = {name: name for name in TRUE_NAMES.values()}


class _Names(dict[str, str]):
    """True names by names as written: a document repeats few names many times."""

    def __missing__(self, key: str) -> str:
        lower = str(key).lower()
        name = self[key] = TRUE_NAMES.get(lower, lower)
        return name


def _renamed(value: object, names: _Names) -> object:
    """The value with the true names of all fields, and without null fields: Go leaves those at zero."""
    if type(value) is dict:
        return {
            names[key]: _renamed(below, names) if type(below) is dict or type(below) is list else below
            for key, below in value.items()
            if below is not None
        }
    if type(value) is list:
        return [_renamed(below, names) for below in value]
    return value
