"""Objects of a document, field by field: what is there, what is missing, what nobody knows.

For formats that refuse unknown names. Every reader has the form `parse(value, where, path, **options)`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from flyball.wire.errors import SHOWN, WireError, child

LONGEST_NAME = 512
SHOWN_NAMES = 8

T = TypeVar("T")


def near_matches(word: str, known: Iterable[str]) -> str:
    """Say which known names come near a word, or the first few of all; ."""
    names = sorted(known)
    folded = {name.casefold(): name for name in names}
    near = [folded[name] for name in difflib.get_close_matches(word[:LONGEST_NAME].casefold(), folded, n=3)]
    if near:
        return f"Near: {', '.join(near)}"
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return f"Known: {', '.join(names[:SHOWN_NAMES])}{more}" if names else "None is known here"


class Fields:
    """One object of the document: reads its fields by name and refuses those nobody knows."""

    def __init__(self, value: object, where: str, path: str, known: tuple[str, ...]) -> None:
        if not isinstance(value, dict):
            raise WireError(where, f"allowed is an object with {', '.join(known)}", path=path, value=value)
        for key in value:
            if key not in known:
                name = str(key)[:SHOWN]
                mend = near_matches(name, known)
                raise WireError(where, "there is no such field", path=child(path, name), mend=mend)
        self.values, self.where, self.path = value, where, path

    def read(
        self,
        key: str,
        parse: Callable[..., T],
        default: T | msgspec.UnsetType = msgspec.UNSET,
        **options: object,
    ) -> T:
        """The value of a field, or the default; without one, WireError where the field is missing."""
        if key in self.values:
            return parse(self.values[key], self.where, child(self.path, key), **options)
        if isinstance(default, msgspec.UnsetType):
            raise WireError(self.where, "is missing", path=child(self.path, key), mend=f"Add {key}: ...")
        return default

    def each(
        self, key: str, parse: Callable[..., T], identity: Callable[[T], str], **options: object
    ) -> tuple[T, ...]:
        """The items of a list, no two of the same identity."""
        items: list[object] = self.read(key, parse_list, [])
        path = child(self.path, key)
        found: dict[str, T] = {}
        for index, item in enumerate(items):
            one = parse(item, self.where, child(path, index), **options)
            name = identity(one)
            if name in found:
                raise WireError(
                    self.where, f"{name} is there already", path=child(path, index), mend="Keep one"
                )
            found[name] = one
        return tuple(found.values())


def parse_list(value: object, where: str, path: str) -> list[object]:
    """Read a list. Or WireError."""
    if not isinstance(value, list):
        raise WireError(
            where, "allowed is a list", path=path, value=value, mend="Begin its items with a dash"
        )
    return value


def parse_text(value: object, where: str, path: str) -> str:
    """Read text that is not empty and not longer than a name may be. Or WireError."""
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_NAME:
        allowed = f"allowed is text of 1 to {LONGEST_NAME} characters"
        raise WireError(where, allowed, path=path, value=value, mend="Put quotes around it")
    return value


def parse_flag(value: object, where: str, path: str) -> bool:
    """Read true or false. Or WireError."""
    if not isinstance(value, bool):
        raise WireError(where, "allowed is true or false", path=path, value=value)
    return value


def parse_name(value: object, where: str, path: str, *, known: Iterable[str], what: str) -> str:
    """Read text that is one of the known names; `what` says in messages what they name. Or WireError."""
    name = parse_text(value, where, path)
    if name not in known:
        raise WireError(
            where, f"there is no such {what}", path=path, value=value, mend=near_matches(name, known)
        )
    return name


def given(document: dict[str, object]) -> dict[str, object]:
    """Without what is 0, empty or none, where that is what leaving out means."""
    return {key: value for key, value in document.items() if value}
