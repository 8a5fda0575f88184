"""What exporters of power call their metrics in Prometheus, `kind: PowerMetrics`: Kepler's, DCGM's, others'.

    apiVersion: flyball/v1
    kind: PowerMetrics
    sensors:
      - name: dcgm
        source: dcgm
        part: card
        watts: DCGM_FI_DEV_POWER_USAGE
        labels: {node: [Hostname, hostname], device: [UUID, uuid]}

Sensors of one source and part are dialects of the same: each node counts by the first that it has. Of
several names of one sensor the first that there is counts, gauges of watts before counters of joules.
"""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from flyball.spec.power import Part, Source
from flyball.wire.catalogue import check_head
from flyball.wire.errors import WireError, child
from flyball.wire.fields import Fields, parse_list, parse_name, parse_text
from flyball.wire.metrics import Metric, parse_label, parse_labels, parse_metric, parse_select

Of = Literal["whole", "cpu", "card"]
NAMED = ("device", "namespace", "pod")


class Sensor(msgspec.Struct, frozen=True):
    """One figure of an exporter."""

    name: str
    """As notes call it."""
    source: Source
    part: Part
    watts: Metric = ()
    """Gauges."""
    joules: Metric = ()
    """Counters."""
    scale: float = 1.0
    """What one unit of the metric is in watts or joules."""
    error: float = 0.05
    """Share of it by which it may be off."""
    of: Of = "whole"
    """Of a pod: its share of which part of the node."""
    zone: str = ""
    zone_label: str = ""
    """Of a CPU: the zone, or the label that says it."""
    over: tuple[str, ...] = ()
    """Labels over which it is added up."""
    node: tuple[str, ...] = ()
    """Labels of which the first counts that names a node."""
    device: tuple[str, ...] = ()
    """Labels of which the first that is there tells devices of a node apart."""
    namespace: tuple[str, ...] = ()
    pod: tuple[str, ...] = ()
    """Labels with the pod that it is of, in pairs: those of a server of metrics itself come last."""


class PowerMetrics(msgspec.Struct, frozen=True):
    """All sensors that are looked for."""

    sensors: tuple[Sensor, ...]
    select: tuple[tuple[str, str], ...] = ()
    """Labels that all series must have, such as the cluster's name where Prometheus sees several."""


def power_metrics_from_own(document: object, where: str) -> PowerMetrics:
    """Read a `kind: PowerMetrics` document. Or WireError."""
    fields = Fields(document, where, "", ("apiVersion", "kind", "sensors", "select"))
    check_head(fields, "PowerMetrics")
    sensors = fields.each("sensors", _sensor, lambda sensor: sensor.name)
    if not sensors:
        raise WireError(where, "there is none", path="sensors", mend="Describe at least one sensor")
    return PowerMetrics(sensors, fields.read("select", parse_select, ()))


_FIELDS = ("name", "source", "part", "watts", "joules", "scale", "error", "of", "zone", "zoneLabel", "over")


def _sensor(value: object, where: str, path: str) -> Sensor:
    fields = Fields(value, where, path, (*_FIELDS, "labels"))
    labels = Fields(fields.values.get("labels", {}), where, child(path, "labels"), ("node", *NAMED))
    none: tuple[str, ...] = ()
    found = Sensor(
        name=fields.read("name", parse_text),
        source=fields.read("source", parse_name, known=get_args(Source), what="source"),  # type: ignore[arg-type]
        part=fields.read("part", parse_name, known=get_args(Part), what="part of a node"),  # type: ignore[arg-type]
        watts=fields.read("watts", parse_metric, none),
        joules=fields.read("joules", parse_metric, none),
        scale=fields.read("scale", _positive, 1.0),
        error=fields.read("error", _positive, 0.05),
        of=fields.read("of", parse_name, "whole", known=get_args(Of), what="part of a node"),  # type: ignore[arg-type]
        zone=fields.read("zone", parse_text, ""),
        zone_label=fields.read("zoneLabel", parse_label, ""),
        over=fields.read("over", _several, none),
        node=labels.read("node", parse_labels),
        **{name: labels.read(name, parse_labels, none) for name in NAMED},
    )
    if not (found.watts or found.joules):
        raise WireError(where, "it has no metric", path=path, mend="Give watts: NAME or joules: NAME")
    if len(found.pod) != len(found.namespace) or (found.part == "pod" and not found.pod):
        mend = "Give as many labels of the pod as of its namespace"
        raise WireError(where, "its pod is not told", path=child(path, "labels"), mend=mend)
    return found


def _several(value: object, where: str, path: str) -> tuple[str, ...]:
    items = parse_list(value, where, path)
    return tuple(parse_label(each, where, child(path, index)) for index, each in enumerate(items))


def _positive(value: object, where: str, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise WireError(where, "allowed is a number over 0", path=path, value=value)
    return float(value)
