"""Secrets by name: from a mounted Secret, the environment, or a .env file; read at each use, never shown."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

LARGEST = 64 * 1024
"""Bytes of one file."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TEMPLATE = re.compile(r"<[^<>]*>")
"""What the document's example has in place of values."""


class SecretError(ValueError):
    """A secret that is missing or cannot be read; it names the key, never the value."""

    def __init__(self, name: str, problem: str, mend: str) -> None:
        self.name, self.problem, self.mend = name, problem, mend
        super().__init__(f"{name}: {problem}. {mend}.")


class Secret:
    """Text that does not show itself."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text, for the one who sends it."""
        return self._text

    def hidden_in(self, text: str) -> str:
        """Another text, with this one blotted out."""
        return text.replace(self._text, "***") if self._text else text

    def __repr__(self) -> str:
        return "Secret(***)"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a secret is not pickled")


class Secrets:
    """Where secrets are looked for: the first place that has one wins, in this order."""

    def __init__(
        self,
        folder: Path | None = None,
        environment: Mapping[str, str] = os.environ,
        file: Path | None = None,
    ) -> None:
        """`folder`: a mounted Secret, one file for each key; `file`: lines NAME=value, as .env."""
        self._folder, self._environment, self._file = folder, environment, file

    def __repr__(self) -> str:
        return f"Secrets(folder={self._folder}, file={self._file})"

    def find(self, name: str) -> Secret | None:
        """A secret, or None where it is nowhere or empty. SecretError where it cannot be read."""
        for text in (self._mounted(name), self._environment.get(name), self._written(name)):
            if text is None or not (text := text.strip()):
                continue
            if _TEMPLATE.fullmatch(text):
                raise SecretError(name, "holds the example's placeholder", "Put the value in its place")
            if not text.isprintable():
                raise SecretError(name, "holds control characters or several lines", "Write one line")
            return Secret(text)
        return None

    def need(self, name: str, purpose: str) -> Secret:
        """A secret that must be there; `purpose` completes "is needed for"."""
        found = self.find(name)
        if found is None:
            places = ["the environment"]
            if self._folder:
                places.insert(0, f"the file {self._folder / name}")
            if self._file:
                places.append(f"a line {name}=... of {self._file}")
            raise SecretError(name, f"is not set, and is needed for {purpose}", f"Set it in {_or(places)}")
        return found

    def _mounted(self, name: str) -> str | None:
        return None if self._folder is None else _read(name, self._folder / name)

    def _written(self, name: str) -> str | None:
        if self._file is None:
            return None
        text = _read(name, self._file)
        return None if text is None else parse_env(text, str(self._file)).get(name)


def parse_env(text: str, where: str) -> dict[str, str]:
    """The variables of a .env file: NAME=value, perhaps quoted; nothing is expanded. SecretError."""
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip().removeprefix("export ").lstrip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        name, value = name.strip(), value.strip()
        if not equals or not _NAME.fullmatch(name):
            raise SecretError(f"{where}, line {number}", "is not NAME=value", "Write it so, or take it out")
        if value[:1] in ("'", '"') and value:
            end = value.find(value[0], 1)
            rest = value[end + 1 :].strip()
            if end < 0 or (rest and not rest.startswith("#")):
                raise SecretError(f"{where}, line {number}", f"{name}'s quotes do not end", "Close them")
            value = value[1:end]
        else:
            value = re.split(r"\s#", value, maxsplit=1)[0].strip()
        found[name] = value
    return found


def _read(name: str, path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise SecretError(name, f"{path} is larger than {LARGEST:,} bytes", "Give the right file")
        return data.decode()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise SecretError(name, f"{path} is not UTF-8", "Write it as text") from None
    except OSError as error:
        mend = "Give a file that this user may read"
        raise SecretError(name, f"{path} cannot be read ({error.strerror})", mend) from None


def _or(places: list[str]) -> str:
    return places[0] if len(places) == 1 else f"{', '.join(places[:-1])} or {places[-1]}"
