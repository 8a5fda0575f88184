"""What engines with OpenAI's API say: pieces of a streamed answer, refusals, and vLLM's metrics."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

_SAMPLE = re.compile(r"^(vllm:\w+)(?:\{(.*)\})?\s+(\S+)", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Delta(msgspec.Struct, frozen=True, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class Choice(msgspec.Struct, frozen=True, gc=False):
    text: str | None = None
    delta: Delta | None = None

    @property
    def holds_text(self) -> bool:
        """Whether a token came with it; the first message of a chat is a role only."""
        d = self.delta
        return self.text is not None or (
            d is not None and bool(d.content or d.reasoning_content or d.reasoning)
        )


class Usage(msgspec.Struct, frozen=True, gc=False):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Piece(msgspec.Struct, frozen=True, gc=False):
    """One event of a streamed answer."""

    choices: tuple[Choice, ...] = ()
    usage: Usage | None = None
    error: Any = None


class ModelName(msgspec.Struct, frozen=True):
    id: str


class ModelNames(msgspec.Struct, frozen=True):
    """What /v1/models answers."""

    data: tuple[ModelName, ...]


class EngineMetrics(NamedTuple):
    """What vLLM's metrics say of a replica."""

    running: float
    waiting: float
    kv_tokens: int
    """0: not said."""
    engines: int
    """Data parallel ones behind one address; 0: these are none of vLLM's metrics."""


def reason_in(data: bytes) -> str:
    """The words of a refusal; "" where there are none."""
    try:
        said: Any = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = data.decode("utf-8", "replace").strip()
        return "" if text.startswith("<") else text
    for name in ("error", "message", "detail"):
        if isinstance(said, dict) and name in said and isinstance(said[name], str | dict):
            said = said[name] if name != "error" or said[name] != "error" else said
    if isinstance(said, dict):
        said = said.get("message", "")
    return said if isinstance(said, str) else ""


def metrics_from_text(text: str) -> EngineMetrics:
    """Read what a page of metrics says, of all engines together."""
    totals = {"vllm:num_requests_running": 0.0, "vllm:num_requests_waiting": 0.0}
    engines: set[str] = set()
    room = 0
    for name, labels, value in _samples(text):
        if name in totals:
            totals[name] += value
            engines.add(labels.get("engine", ""))
        elif name == "vllm:cache_config_info":
            blocks, size = labels.get("num_gpu_blocks", ""), labels.get("block_size", "")
            room += int(blocks) * int(size) if blocks.isdecimal() and size.isdecimal() else 0
    running, waiting = totals.values()
    return EngineMetrics(running, waiting, room, len(engines))


def _samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for name, labels, value in _SAMPLE.findall(text):
        try:
            yield name, dict(_LABEL.findall(labels)), float(value)
        except ValueError:
            continue
