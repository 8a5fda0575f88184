"""Bytes to plain objects: JSON, and what is not JSON as YAML.

YAML is built here from the parser's events and not by the library's constructor: five times faster,
without recursion, and without YAML 1.1's surprises. A plain scalar is null, true, false, a decimal
number or text, as in JSON; dates, `on`, sexagesimals and the like stay text; tags and merge keys are
refused. A repeated key is refused in YAML; in JSON the last one holds, as in Go.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator

import msgspec
import yaml

from flyball.wire.errors import WireError, child

SIZE_LIMIT = 64 * 2**20
NODE_LIMIT = 5_000_000
"""Values in one document, with YAML aliases counted as often as they are used."""
DEPTH_LIMIT = 64
NUMBER_LIMIT = 1e18

_CONSTANTS = {"": None, "~": None, "null": None, "Null": None, "NULL": None} | {
    spelling: word == "true" for word in ("true", "false") for spelling in (word, word.title(), word.upper())
}
_WHOLE = re.compile(r"[-+]?[0-9]{1,300}")
_DECIMAL = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_TEXT_TAGS = frozenset({"!", "tag:yaml.org,2002:str"})


def decode(data: bytes, where: str, size_limit: int = SIZE_LIMIT) -> object:
    """Read JSON or YAML into dicts with text keys, lists, text, bools, None, finite numbers; or WireError."""
    if len(data) > size_limit:
        raise WireError(where, f"larger than the limit of {size_limit:,} bytes", mend="Split it")
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data.strip():
        raise WireError(where, "holds nothing; expected JSON or YAML", mend="Write the data into it")
    try:
        # Every value but the first follows one of these bytes, so this bounds the memory before it is taken.
        if 1 + sum(data.count(byte) for byte in b",[{") > NODE_LIMIT:
            raise _too_many(where)
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        json_problem = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        value = _decode_yaml(data, where, json_problem)
    _check(value, where)
    return value


def encode_yaml(document: object) -> str:
    """YAML of a plain object, which `decode` reads back to the same."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


class _Dumper(yaml.CSafeDumper):
    """Puts quotes around text that this module, but not YAML 1.1, would read as a number."""


DIRECTIVE_LIMIT = 100
"""libyaml takes time with the square of their number, all at once."""
_DIRECTIVE = re.compile(rb"^%", re.MULTILINE)

_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(_DECIMAL.pattern + r"\Z"), list("-+.0123456789")
)


def _decode_yaml(data: bytes, where: str, json_problem: str) -> object:
    if len(_DIRECTIVE.findall(data)) > DIRECTIVE_LIMIT:
        problem = f"has more than {DIRECTIVE_LIMIT} lines that begin with %, YAML's directives"
        raise WireError(where, problem, mend="Take them out: none is needed")
    try:
        return _Builder(where).build(yaml.parse(data, Loader=yaml.CSafeLoader))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise WireError(
            where,
            f"neither JSON ({json_problem}) nor YAML ({place}{problem})",
            mend="Correct the text there" if mark else "Write JSON or YAML in UTF-8",
        ) from None


class _Frame:
    """A list or object whose end has not been read yet."""

    __slots__ = ("anchor", "container", "key", "start")

    def __init__(self, container: dict[str, object] | list[object], anchor: str | None, start: int) -> None:
        self.container, self.anchor, self.start = container, anchor, start
        self.key: str | None = None


class _Builder:
    """Builds one value from YAML events; keeps the open containers on a list of its own."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.frames: list[_Frame] = []
        self.anchors: dict[str, tuple[object, int]] = {}
        self.nodes = 0
        self.documents = 0
        self.result: object = None

    def build(self, events: Iterator[yaml.Event]) -> object:
        for event in events:
            if isinstance(event, yaml.ScalarEvent):
                if self._awaits_key():
                    self._take_key(event)
                else:
                    start = self._count(1)
                    self._add(self._scalar(event), event.anchor, start)
            elif isinstance(event, yaml.CollectionStartEvent):
                self._open(event, {} if isinstance(event, yaml.MappingStartEvent) else [])
            elif isinstance(event, yaml.CollectionEndEvent):
                frame = self.frames.pop()
                self._add(frame.container, frame.anchor, frame.start)
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event)
            elif isinstance(event, yaml.DocumentStartEvent):
                self.documents += 1
                if self.documents > 1:
                    raise self._refuse("several documents in one file", "Keep one, or make a file of each")
        return self.result

    def _open(self, event: yaml.CollectionStartEvent, container: dict[str, object] | list[object]) -> None:
        if self._awaits_key():
            raise self._refuse("a list or an object as a key; keys are text", "Write text before the colon")
        if event.tag not in (None, "!"):
            raise self._refuse(f"the tag {event.tag[:40]} is not read", "Leave the tag out")
        if len(self.frames) >= DEPTH_LIMIT:
            raise _too_deep(self.where)
        self.frames.append(_Frame(container, event.anchor, self._count(1)))

    def _alias(self, event: yaml.AliasEvent) -> None:
        if self._awaits_key():
            raise self._refuse("an alias as a key; keys are text", "Write the text out")
        if event.anchor not in self.anchors:
            raise self._refuse(f"*{event.anchor} before the end of &{event.anchor}", "Write the value out")
        value, size = self.anchors[event.anchor]
        self._add(value, None, self._count(size))

    def _awaits_key(self) -> bool:
        return bool(self.frames) and self.frames[-1].key is None and type(self.frames[-1].container) is dict

    def _take_key(self, event: yaml.ScalarEvent) -> None:
        frame, key = self.frames[-1], event.value
        if key in frame.container:
            raise self._refuse(f'the key "{key[:40]}" stands twice in one object', "Keep one of the two")
        if key == "<<" and event.implicit[0]:
            raise self._refuse("merge keys (<<) are not read", "Write the fields out")
        if event.anchor:
            self.anchors[event.anchor] = (key, 1)
        frame.key = key

    def _scalar(self, event: yaml.ScalarEvent) -> object:
        text: str = event.value
        if event.tag is not None and event.tag not in _TEXT_TAGS:
            raise self._refuse(f"the tag {event.tag[:40]} is not read", "Leave the tag out")
        if not event.implicit[0]:
            return text
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if _WHOLE.fullmatch(text):
            return int(text)
        if _DECIMAL.fullmatch(text):
            return float(text)
        return float(text.replace(".", "")) if _NOT_FINITE.fullmatch(text) else text

    def _count(self, size: int) -> int:
        start = self.nodes
        self.nodes += size
        if self.nodes > NODE_LIMIT:
            raise _too_many(self.where)
        return start

    def _add(self, value: object, anchor: str | None, start: int) -> None:
        if anchor:
            self.anchors[anchor] = (value, self.nodes - start)
        if not self.frames:
            self.result = value
            return
        frame = self.frames[-1]
        if isinstance(frame.container, list):
            frame.container.append(value)
        elif frame.key is not None:
            frame.container[frame.key] = value
            frame.key = None

    def _refuse(self, problem: str, mend: str) -> WireError:
        path = ""
        for frame in self.frames:
            if isinstance(frame.container, list):
                path = child(path, len(frame.container))
            elif frame.key is not None:
                path = child(path, frame.key)
        return WireError(self.where, problem, path=path, mend=mend)


def _check(root: object, where: str) -> None:
    """Depth and numbers, level by level: aliases can nest deeper than the text does."""
    level: list[object] = [[root]]
    for _ in range(DEPTH_LIMIT + 1):
        below: list[object] = []
        for container in level:
            for value in container.values() if type(container) is dict else container:  # type: ignore[attr-defined]
                kind = type(value)
                if kind is dict or kind is list:
                    below.append(value)
                elif (kind is float or kind is int) and not -NUMBER_LIMIT <= value <= NUMBER_LIMIT:
                    raise WireError(
                        where,
                        f"numbers lie between {-NUMBER_LIMIT:g} and {NUMBER_LIMIT:g}",
                        path=_path_of(root, value),
                        value=value,
                        mend="Write a finite number",
                    )
        if not below:
            return
        level = below
    raise _too_deep(where)


def _path_of(root: object, wanted: object) -> str:
    """Where a scalar stands; only for messages, hence apart from the fast walk."""
    queue: deque[tuple[str, object]] = deque([("", root)])
    while queue:
        path, value = queue.popleft()
        if value is wanted:
            return path
        if isinstance(value, dict):
            queue.extend((child(path, key), below) for key, below in value.items())
        elif isinstance(value, list):
            queue.extend((child(path, index), below) for index, below in enumerate(value))
    return ""


def _too_many(where: str) -> WireError:
    return WireError(where, f"holds more than {NODE_LIMIT:,} values (aliases expanded)", mend="Split it")


def _too_deep(where: str) -> WireError:
    return WireError(where, f"nested deeper than {DEPTH_LIMIT} levels", mend="Flatten it")
