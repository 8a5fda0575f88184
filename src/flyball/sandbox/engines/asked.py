"""The load that labels and annotations of a workload ask for, and the targets that they promise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import msgspec

from flyball.adapters.traces import read_trace
from flyball.profiles.library import classes
from flyball.sandbox.engines import pods
from flyball.sandbox.engines.pods import LENGTH_COV
from flyball.spec.scenario import Stream, Trace
from flyball.spec.server import Load, Server
from flyball.spec.service_class import Metric, ServiceClass, Target, promise_of
from flyball.units import from_per_minute
from flyball.wire.errors import WireError
from flyball.wire.fields import Fields
from flyball.wire.quantities import parse_target
from flyball.wire.streams import read_streams
from flyball.wire.text import decode

RPM, IN_TOKENS, OUT_TOKENS = (
    "inferno.server.load.rpm",
    "inferno.server.load.intokens",
    "inferno.server.load.outtokens",
)
OLD_TOKENS = "inferno.server.load.numtokens"
CLASS, OWN_CLASS = "inferno.server.class", "flyball.dev/class"
TRACE = "sandbox.flyball.dev/trace"
"""A file of recorded requests, played again and again, or `day`: a working day at the rate of the labels."""
LOAD = "sandbox.flyball.dev/load"
"""One item of a scenario's `load`, without its server: `{arrivals: {days: {rate: 3/s}}, in: 2k}`."""
TARGETS: dict[str, Metric] = {"flyball.dev/ttft": "ttft", "flyball.dev/itl": "itl"}
DAY, FREE = "day", "Free"
MOST_REMEMBERED = 1000


class Demand(msgspec.Struct, frozen=True):
    """What is asked of one workload's server."""

    load: Load = Load()
    stream: Stream | None = None
    targets: tuple[Target, ...] = ()
    notes: tuple[str, ...] = ()


class Asked:
    """Reads labels and annotations; traces are looked for in `folder`, and read once."""

    def __init__(self, folder: Path = Path(), own_classes: tuple[ServiceClass, ...] | None = None) -> None:
        self._folder = folder
        self._classes = classes() if own_classes is None else own_classes
        self._streams: dict[tuple[str, ...], Stream | WireError] = {}
        self._traces: dict[str, Trace] = {}

    def of(
        self, where: str, labels: Mapping[str, str], annotations: Mapping[str, str], model: str = ""
    ) -> Demand:
        """What a workload's labels and annotations ask for; what cannot be read is left out, with a note."""
        notes: list[str] = []
        load = load_of(labels)
        stream = None
        try:
            stream = self._stream(where, load, annotations)
        except WireError as error:
            notes.append(str(error))
        targets: dict[Metric, Target] = {}
        name = annotations.get(OWN_CLASS) or labels.get(CLASS) or FREE
        promise = promise_of(self._classes, name, model)
        if promise is not None:
            targets = {t.metric: t for t in promise.targets}
        for key, metric in TARGETS.items():
            if key in annotations:
                try:
                    targets[metric] = parse_target(annotations[key], metric, f"{where}: {key}")
                except WireError as error:
                    notes.append(str(error))
        return Demand(load, stream, tuple(targets.values()), tuple(notes))

    def _stream(self, where: str, load: Load, annotations: Mapping[str, str]) -> Stream | None:
        stated, trace = annotations.get(LOAD), annotations.get(TRACE)
        if stated is None and trace is None:
            return None
        key = (where, stated or "", trace or "", *map(str, msgspec.structs.astuple(load)))
        if key not in self._streams:
            if len(self._streams) >= MOST_REMEMBERED:
                self._streams.clear()
            try:
                self._streams[key] = self._read(where, load, stated, trace)
            except WireError as error:
                self._streams[key] = error
        found = self._streams[key]
        if isinstance(found, WireError):
            raise found
        return found

    def _read(self, where: str, load: Load, stated: str | None, trace: str | None) -> Stream:
        item: object
        if stated is not None:
            where = f"{where}: {LOAD}"
            item = decode(stated.encode(), where)
        else:
            where = f"{where}: {TRACE}"
            item = _day(load) if trace == DAY else {"arrivals": {"trace": trace, "repeat": True}}
        if not isinstance(item, dict):
            raise WireError(where, "allowed is an object with arrivals, in, out, cached", value=item)
        server = Server("it", "", load=load)
        fields = Fields({"load": [{**item, "server": server.name}]}, where, "", ("load",))
        (stream,) = read_streams(fields, {server.name: server}, self._trace)
        if isinstance(stream.arrivals, Trace):  # its lengths are its own, whatever labels say
            return Stream(stream.server, stream.arrivals, cached_share=stream.cached_share)
        return stream

    def _trace(self, name: str) -> Trace:
        if name not in self._traces:
            self._traces[name] = read_trace(self._folder / name)
        return self._traces[name]


def load_of(labels: Mapping[str, str]) -> Load:
    """The load that Inferno's labels state; 0: not said, or no number."""
    return Load(
        arrival_rate=from_per_minute(_number(labels, RPM)),
        in_tokens=_number(labels, IN_TOKENS),
        out_tokens=_number(labels, OUT_TOKENS) or _number(labels, OLD_TOKENS),
    )


def _day(load: Load) -> dict[str, object]:
    def spread(mean: float) -> dict[str, float]:
        return {"mean": mean, "cov": LENGTH_COV}

    return {
        "arrivals": {"days": {}},
        "in": spread(load.in_tokens or pods.IN_TOKENS),
        "out": spread(load.out_tokens or pods.OUT_TOKENS),
    }


def _number(labels: Mapping[str, str], key: str) -> float:
    try:
        value = float(labels.get(key, ""))
    except ValueError:
        return 0.0
    return value if math.isfinite(value) and value > 0 else 0.0
