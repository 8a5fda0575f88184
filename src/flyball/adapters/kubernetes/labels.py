"""What workloads say of themselves: Inferno's labels, and annotations for what labels cannot hold."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, get_args

import msgspec

from flyball.adapters.kubernetes.governed import Mode
from flyball.adapters.kubernetes.objects import Metadata
from flyball.spec.server import Load
from flyball.spec.service_class import Target
from flyball.units import Seconds, from_per_minute
from flyball.wire.catalogue import MAX_BATCH
from flyball.wire.errors import WireError, shown
from flyball.wire.fields import parse_name, parse_text
from flyball.wire.quantities import (
    MAX_RATE,
    parse_count,
    parse_duration,
    parse_number,
    parse_target,
    parse_tokens,
)

PREFIX = "inferno.server."
MANAGED = PREFIX + "managed"
NAME, MODEL, CLASS = PREFIX + "name", PREFIX + "model", PREFIX + "class"
ACCELERATOR, BATCH = PREFIX + "allocation.accelerator", PREFIX + "allocation.maxbatchsize"
RATE, IN, OUT = PREFIX + "load.rpm", PREFIX + "load.intokens", PREFIX + "load.outtokens"
TOKENS = PREFIX + "load.numtokens"
"""Of older generations: output tokens."""
SELECTOR = f"{MANAGED}=true"

OURS = "flyball.dev/"
"""Prefix of the annotations: class, model, ttft, itl, deferrable, mode, accelerator, batch, min, max."""
KNOWN = ("class", "model", "ttft", "itl", "deferrable", "mode", "accelerator", "batch", "min", "max")
APPLY = "apply"
"""As accelerator or batch: carry it out in the pod template, which is a rollout."""
MODES: tuple[Mode, ...] = get_args(Mode)
MOST_REPLICAS = 1_000_000


class Said(msgspec.Struct, frozen=True, gc=False):
    """What one workload says of itself; empty: nothing."""

    name: str = ""
    model: str = ""
    service_class: str = ""
    targets: tuple[Target, ...] = ()
    deferrable: Seconds | None = None
    """For so long its requests may wait; None: as its class says."""
    mode: Mode | None = None
    accelerator: str = ""
    accelerator_apply: bool = False
    """Whether its template may be changed to another accelerator."""
    batch: int = 0
    batch_pinned: int = 0
    """The batch that it must have; from an annotation."""
    batch_apply: bool = False
    least: int = 0
    most: int | None = None
    load: Load | None = None
    problems: tuple[str, ...] = ()


def said_by(metadata: Metadata, where: str) -> Said:
    """Read labels and annotations; annotations win. What cannot be read is a problem, in a sentence."""
    reader = _Reader(metadata, where)
    mode = reader.annotation("mode", parse_name, "", known=MODES, what="mode")
    accelerator = reader.annotation("accelerator", parse_text, "")
    annotated = metadata.annotations.get(OURS + "batch", "")
    pinned = 0 if annotated == APPLY else reader.annotation("batch", parse_count, 0, low=1, high=MAX_BATCH)
    targets = tuple(
        target
        for metric in ("ttft", "itl")
        if (target := reader.annotation(metric, _target, None, metric=metric)) is not None
    )
    reader.unknown()
    labels = metadata.labels
    return Said(
        name=labels.get(NAME, ""),
        model=reader.annotation("model", parse_text, "") or labels.get(MODEL, ""),
        service_class=reader.annotation("class", parse_text, "") or labels.get(CLASS, ""),
        targets=targets,
        deferrable=reader.annotation("deferrable", parse_duration, None),
        mode=mode or ("recommend" if OURS + "mode" in metadata.annotations else None),
        accelerator=labels.get(ACCELERATOR, "") if accelerator in ("", APPLY) else accelerator,
        accelerator_apply=accelerator == APPLY,
        batch=pinned or reader.label(BATCH, parse_count, 0, high=MAX_BATCH),
        batch_pinned=pinned,
        batch_apply=annotated == APPLY,
        least=reader.annotation("min", parse_count, 0, high=MOST_REPLICAS),
        most=reader.annotation("max", parse_count, None, high=MOST_REPLICAS),
        load=_load(reader),
        problems=tuple(reader.problems),
    )


def _load(reader: _Reader) -> Load | None:
    """The load that labels tell, requests a minute there; None where they tell no rate."""
    if RATE not in reader.labels:
        return None
    rate = reader.label(RATE, parse_number, None, high=MAX_RATE, what="requests a minute")
    if rate is None:
        return None
    out = reader.label(OUT if OUT in reader.labels else TOKENS, parse_tokens, 0.0)
    return Load(from_per_minute(rate), reader.label(IN, parse_tokens, 0.0), out)


def _target(value: object, where: str, path: str, *, metric: Any) -> Target | None:
    return parse_target(value, metric, where, path)


class _Reader:
    """Values of one object's labels and annotations; what cannot be read has its default, and is told."""

    def __init__(self, metadata: Metadata, where: str) -> None:
        self.labels: Mapping[str, str] = metadata.labels
        self._annotations, self._where = metadata.annotations, where
        self.problems: list[str] = []

    def annotation(self, key: str, parse: Any, default: Any, **options: object) -> Any:
        return self._read(self._annotations, OURS + key, parse, default, options)

    def label(self, key: str, parse: Any, default: Any, **options: object) -> Any:
        return self._read(self.labels, key, parse, default, options)

    def unknown(self) -> None:
        """Tell annotations that are misspelt."""
        for key, value in self._annotations.items():
            name = key.removeprefix(OURS)
            if not key.startswith(OURS) or name in KNOWN:
                continue
            # Flyball keeps notes of its own there too, so only what looks misspelt is told.
            if near := difflib.get_close_matches(name, KNOWN, n=1, cutoff=0.75):
                self.problems.append(
                    f"{self._where}: {key} is {shown(value)}: there is no such annotation. "
                    f"Near: {OURS}{near[0]}."
                )

    def _read(
        self, values: Mapping[str, str], key: str, parse: Any, default: Any, options: dict[str, object]
    ) -> Any:
        if key not in values:
            return default
        try:
            return parse(values[key], self._where, key, **options)
        except WireError as error:
            self.problems.append(str(error))
            return default
