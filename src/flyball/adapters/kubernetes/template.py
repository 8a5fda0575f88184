"""Changes of a pod template, as edits of an object: an engine's flag, the node selector, the cards.

What cannot be written safely is refused with what to do instead: an engine that is started in another way
than its arguments tell would come up with something else, or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from flyball.adapters.kubernetes.engine import BATCH_FLAGS, cards_of, place_in, said_by, whole
from flyball.adapters.kubernetes.governed import Settings
from flyball.adapters.kubernetes.objects import Container, PodSpec

ROOT = "/spec/template/spec"
"""Of the pods of a Deployment or a StatefulSet."""
PARALLEL_FLAGS = ("--tensor-parallel-size", "-tp", "--tp-size", "--tp")
OWN_FLAG = {"vllm": "--max-num-seqs", "sglang": "--max-running-requests"}
"""Of the batch, by what an engine's image or command has in its name."""
SHELLS = ("sh", "bash", "dash", "ash", "zsh")


class Unsafe(Exception):
    """It cannot be changed safely; the message says why, and what to do."""


class Edit(msgspec.Struct, frozen=True):
    """One value of an object, by JSON pointer, as it is and as it is to be; None: absent."""

    path: str
    was: Any
    value: Any

    def operations(self) -> list[dict[str, Any]]:
        """As a JSON patch that fails where the value is another one."""
        if self.was is None:
            return [{"op": "add", "path": self.path, "value": self.value}]
        test = {"op": "test", "path": self.path, "value": self.was}
        if self.value is None:
            return [test, {"op": "remove", "path": self.path}]
        return [test, {"op": "replace", "path": self.path, "value": self.value}]


class _Place(NamedTuple):
    """A flag's value: part of a word of the command or the arguments."""

    field: str
    word: int
    begin: int
    end: int
    value: str
    apart: bool
    """Whether the word is nothing but the value."""


def pointer(*parts: str) -> str:
    """A JSON pointer."""
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


def batch_flag(template: PodSpec) -> str:
    """By which flag the engine is told its batch. Or Unsafe: it cannot be set."""
    container = _engine(template)
    flag = next((f for f in BATCH_FLAGS if _places(container, f)), "")
    if not flag:
        named = " ".join((container.image, *container.command, *container.args))
        flag = next((own for engine, own in OWN_FLAG.items() if engine in named), "")
    if not flag:
        raise Unsafe(
            f"it does not say which engine it is: put {BATCH_FLAGS[0]}, or what it calls it, in args"
        )
    edits_of(template, Settings(flags={flag: "1"}))
    return flag


def settings_of(template: PodSpec, wanted: Settings) -> Settings:
    """What a template says now of what is wanted. Or Unsafe."""
    taken = _cards(template)
    return Settings(
        flags={flag: found.value if (found := _place(template, flag)) else None for flag in wanted.flags},
        selector={
            key: template.node_selector[key] for key in wanted.selector if key in template.node_selector
        },
        cards={resource: taken.get(resource, 0) for resource in wanted.cards},
    )


def edits_of(template: PodSpec, wanted: Settings) -> tuple[Edit, ...]:
    """What makes a template say what is wanted; none where it does. Or Unsafe."""
    edits = [*_flag_edits(template, wanted.flags)]
    for key, value in wanted.selector.items():
        was = template.node_selector.get(key)
        if was is None:
            raise Unsafe(f"its nodeSelector has no {key} any more: set it by hand")
        if was != value:
            edits.append(Edit(ROOT + pointer("nodeSelector", key), was, value))
    for resource, count in wanted.cards.items():
        edits += _card_edits(template, resource, count)
    return tuple(edits)


def says(template: PodSpec, wanted: Settings) -> bool:
    """Whether a template says what is wanted."""
    try:
        return settings_of(template, wanted) == wanted
    except Unsafe:
        return False


def said_of(template: PodSpec, wanted: Settings) -> str:
    """What changes, in words: "args --max-num-seqs 64 to 96"."""
    now, said = settings_of(template, wanted), []
    for flag, value in wanted.flags.items():
        was, place = now.flags[flag], _place(template, flag)
        if was != value:
            where = place.field if place else "args"
            change = f"{was or 'none'} to {value or 'none'}"
            said.append(f"{where} {flag} {change}")
    for key, value in wanted.selector.items():
        if now.selector.get(key) != value:
            said.append(f"nodeSelector {key} {now.selector.get(key)} to {value}")
    for resource, count in wanted.cards.items():
        if now.cards[resource] != count:
            said.append(f"{resource} {now.cards[resource]} to {count}")
    return ", ".join(said)


def with_cards(template: PodSpec, resource: str, count: int) -> Settings:
    """What a template with another number of cards says; its engine is spread over all of them. Or Unsafe."""
    have = _cards(template).get(resource, 0)
    if have == count:
        return Settings()
    flag = next((f for f in PARALLEL_FLAGS if _place(template, f)), "")
    if not flag:
        raise Unsafe(f"its args have no {PARALLEL_FLAGS[0]}, so its engine would not use {count} cards")
    place = _place(template, flag)
    if place is None or place.value != str(have):
        raise Unsafe(f"its {flag} is not its number of cards, {have}: how to use {count} cannot be told")
    wanted = Settings(flags={flag: str(count)}, cards={resource: count})
    edits_of(template, wanted)
    return wanted


# ---- flags -------------------------------------------------------------------------------------------


def _engine(template: PodSpec) -> Container:
    index = place_in(template)
    if index is None:
        raise Unsafe("its template has no container")
    return template.containers[index]


def _flag_edits(template: PodSpec, flags: dict[str, str | None]) -> Iterator[Edit]:
    container = _engine(template)
    lists = {"command": list(container.command), "args": list(container.args)}
    for flag, value in flags.items():
        # Places hold for the lists as they are by now.
        now = msgspec.structs.replace(container, command=lists["command"], args=lists["args"])
        place = _only(now, flag)
        if place is None:
            if value is not None:
                _may_append(now, flag)
                lists["args"] += [flag, value]
            continue
        words = lists[place.field]
        word = words[place.word]
        if value is not None:
            words[place.word] = word[: place.begin] + value + word[place.end :]
        elif not place.apart:
            if any(map(str.isspace, word)):
                raise Unsafe(f"{flag} stands in a script of its {place.field}: take it out by hand")
            del words[place.word]
        elif place.word == 0:
            raise Unsafe(f"{flag} stands in command, its value in args: take it out by hand")
        else:
            del words[place.word - 1 : place.word + 1]
    for field, was in (("command", container.command), ("args", container.args)):
        if lists[field] != was:
            path = ROOT + pointer("containers", str(place_in(template)), field)
            yield Edit(path, was or None, lists[field] or None)


def _place(template: PodSpec, flag: str) -> _Place | None:
    return _only(_engine(template), flag)


def _only(container: Container, flag: str) -> _Place | None:
    """Where the flag's value is. Or Unsafe: it cannot be written there."""
    places = _places(container, flag)
    if len(places) > 1:
        raise Unsafe(f"it has {flag} {len(places)} times: keep one of them")
    for place in places:
        if not (place.value.isascii() and place.value.isdigit()):
            raise Unsafe(f'its {flag} is "{place.value}" and no number: write the number in its place')
    return places[0] if places else None


def _places(container: Container, flag: str) -> list[_Place]:
    words = [("command", i, word) for i, word in enumerate(container.command)]
    words += [("args", i, word) for i, word in enumerate(container.args)]
    found = []
    for number, (field, index, word) in enumerate(words):
        if any(map(str.isspace, word)):
            found += [_Place(field, index, *span, False) for span in _in_script(word, flag)]
        elif word == flag:
            follows = words[number + 1] if number + 1 < len(words) else (field, index, "")
            found.append(_Place(*follows[:2], 0, len(follows[2]), follows[2], True))
        elif word.startswith(f"{flag}="):
            value = word.partition("=")[2]
            found.append(_Place(field, index, len(flag) + 1, len(word), value, False))
    return found


def _in_script(script: str, flag: str) -> Iterator[tuple[int, int, str]]:
    """Values of a flag in a script; behind a # nothing is known to count."""
    for match in re.finditer(rf"(?<!\S){re.escape(flag)}(?:=|[\s\\]+)(['\"]?)([^\s'\"]*)\1", script):
        line = script[script.rfind("\n", 0, match.start()) + 1 : match.start()]
        yield match.start(2), match.end(2), "# ..." if "#" in line else match[2]


def _may_append(container: Container, flag: str) -> None:
    """Unsafe, where what stands behind the arguments does not reach the engine."""
    words = (*container.command, *container.args)
    hidden = flag in BATCH_FLAGS and said_by(container)[1]
    if hidden:
        raise Unsafe(f"its {flag} comes from an environment variable: write it in args, as a number")
    if any(w.rpartition("/")[2] in SHELLS for w in words) or any(any(map(str.isspace, w)) for w in words):
        raise Unsafe(f"a shell starts it, without {flag}: write {flag} 256, or what it has, in the script")
    if not words:
        raise Unsafe(
            f"its template has no args, and the image's would be lost: write them there, with {flag}"
        )
    started = (container.image,) if not container.command else words
    if not any(engine in word for engine in OWN_FLAG for word in started):
        raise Unsafe(f"what starts its engine may pass no arguments on: write {flag} 256 where it does")


# ---- cards -------------------------------------------------------------------------------------------


def _cards(template: PodSpec) -> dict[str, int]:
    found: dict[str, int] = {}
    for container in template.containers:
        for resource, count in cards_of(container.resources).items():
            found[resource] = found.get(resource, 0) + count
    return found


def _card_edits(template: PodSpec, resource: str, count: int) -> Iterator[Edit]:
    having = [i for i, one in enumerate(template.containers) if cards_of(one.resources).get(resource)]
    if len(having) != 1:
        raise Unsafe(
            f"{len(having)} of its containers ask for {resource}: which is to have more is not known"
        )
    resources = template.containers[having[0]].resources
    for field, amounts in (("limits", resources.limits), ("requests", resources.requests)):
        if resource in amounts and whole(amounts[resource]) != count:
            path = ROOT + pointer("containers", str(having[0]), "resources", field, resource)
            was = amounts[resource]
            yield Edit(path, was, str(count) if isinstance(was, str) else count)
