"""What a container's command line says of the engine in it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

import msgspec


class Arguments(msgspec.Struct, frozen=True):
    """Of vLLM's arguments those that matter here; "" and 0 are not said."""

    model: str = ""
    served: str = ""
    """The name under which the model is asked for, and which its metrics have."""
    max_batch_size: int = 0


_MODEL, _SERVED, _BATCH = "--model", "--served-model-name", "--max-num-seqs"


def arguments_of(words: Iterable[str]) -> Arguments:
    """Read a command and its arguments; also a line that is left to a shell."""
    said: dict[str, str] = {}
    split = [word for words_ in words for word in _split(words_)]
    for i, word in enumerate(split):
        key, equals, value = word.partition("=")
        after = split[i + 1] if i + 1 < len(split) else ""
        key = key.replace("_", "-")
        if key in (_MODEL, _SERVED, _BATCH):
            said[key] = value if equals else after
        elif word == "serve" and after and not after.startswith("-"):
            said.setdefault(_MODEL, after)
    batch = said.get(_BATCH, "")
    return Arguments(
        said.get(_MODEL, ""), said.get(_SERVED, ""), int(batch) if batch.isascii() and batch.isdigit() else 0
    )


def _split(word: str) -> list[str]:
    if " " not in word.strip():
        return [word.strip()]
    try:
        return shlex.split(word, comments=True)
    except ValueError:  # quotes that do not close: a shell would refuse it too
        return word.split()
