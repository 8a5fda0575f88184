"""The one error of the border: where, what, what is allowed, how to mend it."""

from __future__ import annotations

import msgspec

SHOWN = 60
"""Characters of a value that a message repeats."""


class WireError(ValueError):
    """Input that cannot be read; the message names place, value, what is allowed and the mend."""

    def __init__(
        self, where: str, problem: str, *, path: str = "", value: object = msgspec.UNSET, mend: str = ""
    ) -> None:
        self.where, self.problem, self.path, self.mend = where, problem, path, mend
        place = f"{where}: {path}" if path else where
        if value is not msgspec.UNSET:
            place += f" is {shown(value)}"
        message = f"{place}: {problem}." + (f" {mend}." if mend else "")
        # A file name or a value may hold lone surrogates, on which printing would fail.
        super().__init__(message.encode("utf-8", "backslashreplace").decode("utf-8"))


def shown(value: object) -> str:
    """A value as a message repeats it: short, containers by their size."""
    if isinstance(value, dict):
        return "an empty object" if not value else f"an object of {len(value)} fields"
    if isinstance(value, list | tuple):
        return "an empty list" if not value else f"a list of {len(value)}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and abs(value) >= 10**SHOWN:  # Python does not print very long ones
        return "a whole number of very many digits"
    text = f'"{value[:SHOWN]}"' if isinstance(value, str) else repr(value)[:SHOWN]
    return text if not isinstance(value, str) or len(value) <= SHOWN else f'{text[:-1]}..."'


def child(path: str, key: str | int) -> str:
    """The path of a field or list item below another path."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key
