"""Objects of Kubernetes in files: documents one after the other, lists taken apart; and written as YAML.

The writer is for plain documents and many of them: a fifth of the time of the library's, and scripts stay
legible. Source: YAML 1.2.2, sections 7.3 (quoted), 8.1.2 (literal).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec

from flyball.wire.errors import WireError
from flyball.wire.text import decode

Document = dict[str, Any]

_NEXT = re.compile(rb"^---(?:[ \t].*)?$", re.MULTILINE)
_COMMENT = re.compile(rb"^[ \t]*#.*$", re.MULTILINE)
_PLAIN = re.compile(r"[A-Za-z/_][A-Za-z0-9_./@-]*(?::[A-Za-z0-9_./@-]+)*")
"""Text that every reader of YAML takes for text without quotes, but for these."""
_WORDS = frozenset(("true", "false", "yes", "no", "on", "off", "null", "y", "n"))
_LITERAL = re.compile(r"[!-~](?:[ -~]*[!-~])?(?:\n(?:[ -~]*[!-~])?)*")
_ONE_LINE = re.compile(r"[ -~]*")
_ESCAPED = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x2028, 0x2029, 0xFEFF, 0xFFFE, 0xFFFF)}
"""Beyond what JSON escapes: what YAML takes for the end of a line, or not at all."""


def objects_in(where: str, data: bytes) -> Iterator[tuple[str, Document]]:
    """Objects and where they stand, of one document or several, or lists of them. Or WireError."""
    parts = [part for part in _NEXT.split(data) if _COMMENT.sub(b"", part).strip()]
    if not parts:
        raise WireError(where, "holds nothing; expected JSON or YAML", mend="Write objects into it")
    for number, part in enumerate(parts, 1):
        place = where if len(parts) == 1 else f"{where}, document {number}"
        yield from _flat(decode(part, place), place)


def manifest(document: Document) -> str:
    """A plain object as YAML, which reads back to the same."""
    lines: list[str] = []
    _write(document, "", lines)
    return "\n".join(lines) + "\n"


def _flat(value: object, place: str) -> Iterator[tuple[str, Document]]:
    if not isinstance(value, dict):
        raise WireError(place, "expected an object with apiVersion and kind", value=value)
    items = value.get("items")
    if isinstance(items, list) and str(value.get("kind", "List")).endswith("List"):
        own = str(value.get("kind", "")).removesuffix("List")
        for index, item in enumerate(items):
            if not isinstance(item, dict):
                raise WireError(place, "expected an object", path=f"items[{index}]", value=item)
            yield from _flat({"kind": own, **item} if own else item, f"{place}: items[{index}]")
        return
    metadata = value.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise WireError(place, "expected an object {...}", path="metadata", value=metadata)
    yield place, value


def _write(value: Document | list[Any], indent: str, lines: list[str]) -> None:
    """Lines of a container that is not empty; those of lists stand as far in as their key."""
    if isinstance(value, dict):
        for key, below in value.items():
            head = f"{indent}{_text(key, None)}:"
            if isinstance(below, dict) and below:
                lines.append(head)
                _write(below, indent + "  ", lines)
            elif isinstance(below, list) and below:
                lines.append(head)
                _write(below, indent, lines)
            else:
                lines.append(f"{head} {_scalar(below, indent + '  ')}")
        return
    for below in value:
        if isinstance(below, dict | list) and below:
            first = len(lines)
            _write(below, indent + "  ", lines)
            lines[first] = f"{indent}- {lines[first][len(indent) + 2 :]}"
        else:
            lines.append(f"{indent}- {_scalar(below, indent + '  ')}")


def _scalar(value: Any, indent: str) -> str:
    return _text(value, indent) if isinstance(value, str) else msgspec.json.encode(value).decode()


@lru_cache(4096)
def _text(value: str, indent: str | None) -> str:
    """Text without quotes where that is safe, as a block where it has lines, else in quotes."""
    if _PLAIN.fullmatch(value) and value.casefold() not in _WORDS:
        return value
    if indent is not None and "\n" in value and not value.endswith("\n\n") and _LITERAL.fullmatch(value):
        block = "".join(
            f"\n{indent}{line}" if line else "\n" for line in value.removesuffix("\n").split("\n")
        )
        return f"{'|' if value.endswith(chr(10)) else '|-'}{block}"
    if _ONE_LINE.fullmatch(value):
        return f"""'{value.replace("'", "''")}'"""
    return msgspec.json.encode(value).decode().translate(_ESCAPED)
