"""Climatik's PowerCappingConfig in both published shapes, read to a policy; and its status.

The one (climatik-project.io/v1alpha1) says the cap as a kind with its own field and takes the pods whose
label `climatik-project.io` names the object; the other (v1, and the operator's own schema) has
`powerCapLimit` in watts and names ScaledObjects. A share is read from `powerCapPercentage`, never from the
object's name, and one cap is for all of them together. What is not used is told in the notes.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, field

from flyball.spec.power import AbsoluteCap, Cap, Mode, Policy, RelativeCap, WorkloadRef
from flyball.units import Watts
from flyball.wire.errors import WireError

Document = dict[str, Any]
KIND, LABEL = "PowerCappingConfig", "climatik-project.io"
LEAST_WINDOW = 60.0
PEAK = "RelativePowerCapOfPeakPowerConsumptionInPercentage"
AVERAGE = "RelativePowerCappingOfAveragePowerConsumptionInPercentage"
ABSOLUTE, NO_CAP = "AbsolutePowerCapInWatts", "NoPowerCappingSpec"
NO_LIMIT, CELSIUS = "NoTemperatureThreshold", "AbsoluteTemperatureThresholdInCelsius"


class _Part(msgspec.Struct, frozen=True, rename="camel"):
    pass


class _Absolute(_Part, frozen=True):
    power_cap_in_watts: Annotated[float, Meta(gt=0)]


class _Relative(_Part, frozen=True):
    power_cap_percentage: Annotated[float, Meta(gt=0, le=100)]
    sample_window: Annotated[float, Meta(ge=0)] = 0.0


class _Capping(_Part, frozen=True):
    kind: str = ""
    absolute_power_cap_in_watts: _Absolute | None = None
    relative_power_cap_in_percentage: _Relative | None = None


class _Degrees(_Part, frozen=True):
    temperature_threshold_in_celsius: float


class _Temperature(_Part, frozen=True):
    kind: str = NO_LIMIT
    absolute_temperature_threshold_in_celsius: _Degrees | None = None


class _Named(_Part, frozen=True):
    name: Annotated[str, Meta(min_length=1)]


class _Scaled(_Part, frozen=True):
    metadata: _Named
    kind: str = "ScaledObject"
    api_version: str = ""


class _Spec(_Part, frozen=True):
    workload_type: str = ""
    efficiency_level: str = ""
    power_capping_spec: _Capping | None = None
    temperature_threshold_spec: _Temperature | None = None
    power_cap_limit: Annotated[float, Meta(ge=0)] | None = None
    scaled_object_refs: tuple[_Scaled, ...] = ()
    scale_object_refs: tuple[_Scaled, ...] = field(default=(), name="scaleObjectRefs")


def policy_from_climatik(one: Document, mode: Mode = "Recommend") -> Policy:
    """The policy of a PowerCappingConfig of either shape. Or WireError."""
    meta = one.get("metadata") or {}
    namespace, name = str(meta.get("namespace", "default")), str(meta.get("name", ""))
    where = f"{KIND} {namespace}/{name}"
    try:
        spec = msgspec.convert(one.get("spec") or {}, _Spec)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$")
        path = "spec" + place.rstrip("`")
        raise WireError(where, problem[:1].lower() + problem[1:], path=path) from None
    refs = tuple(
        # The KServe guide's kind ScaleObject is none: KEDA's is ScaledObject.
        WorkloadRef("ScaledObject" if r.kind == "ScaleObject" else r.kind, r.metadata.name, r.api_version)
        for r in (*spec.scaled_object_refs, *spec.scale_object_refs)
    )
    cap, notes = _cap(spec, where)
    celsius, more = _celsius(spec.temperature_threshold_spec, where)
    notes += more
    if spec.efficiency_level:
        notes += (f"efficiencyLevel {spec.efficiency_level} says nothing beside a cap: not used",)
    training = spec.workload_type.lower() == "training"
    return Policy(
        name=name,
        namespace=namespace,
        mode="Observe" if cap is None and celsius is None else mode,
        cap=cap,
        labels={} if refs else {LABEL: name},
        workloads=tuple(sorted(set(refs))),
        priority=100 if training else None,
        levers=("hold", "pause") if training else ("hold", "replicas"),
        max_celsius=celsius,
        notes=notes,
    )


def climatik_status(watts: Watts, foretold: Watts) -> Document:
    """Its status: both figures whole numbers, as its schema has them."""
    return {"currentPowerConsumption": round(watts), "forecastPowerConsumption": round(foretold)}


def _cap(spec: _Spec, where: str) -> tuple[Cap | None, tuple[str, ...]]:
    if spec.power_cap_limit is not None:
        if not spec.power_cap_limit > 0:
            mend = "Write the watts of all its ScaledObjects together"
            raise WireError(
                where, "allowed is over 0", path="spec.powerCapLimit", value=spec.power_cap_limit, mend=mend
            )
        notes = (
            ("powerCapLimit goes before powerCappingSpec: only it is used",)
            if spec.power_capping_spec
            else ()
        )
        return AbsoluteCap(spec.power_cap_limit), notes
    given = spec.power_capping_spec
    path = "spec.powerCappingSpec"
    if given is None or given.kind in ("", NO_CAP):
        return None, ("there is no cap in it: its pods are only watched",)
    if given.kind == ABSOLUTE:
        if given.absolute_power_cap_in_watts is None:
            raise WireError(
                where, "is missing", path=f"{path}.absolutePowerCapInWatts", mend="Add powerCapInWatts"
            )
        return AbsoluteCap(given.absolute_power_cap_in_watts.power_cap_in_watts), ()
    if given.kind not in (PEAK, AVERAGE):
        known = ", ".join((NO_CAP, ABSOLUTE, PEAK, AVERAGE))
        raise WireError(
            where, f"allowed is one of {known}", path=f"{path}.kind", value=given.kind, mend="Write one"
        )
    share = given.relative_power_cap_in_percentage
    if share is None:
        path += ".relativePowerCapInPercentage"
        raise WireError(where, "is missing", path=path, mend="Add powerCapPercentage and sampleWindow")
    window, notes = share.sample_window, ()
    if window < LEAST_WINDOW:
        notes = (f"a sampleWindow of {window:g} s is shorter than sensors see: {LEAST_WINDOW:g} s is used",)
        window = LEAST_WINDOW
    of = "Peak" if given.kind == PEAK else "Average"
    return RelativeCap(share.power_cap_percentage / 100.0, of, window), notes  # type: ignore[arg-type]


def _celsius(given: _Temperature | None, where: str) -> tuple[float | None, tuple[str, ...]]:
    if given is None or given.kind in ("", NO_LIMIT):
        return None, ()
    if given.kind != CELSIUS:
        return None, (f"temperatureThresholdSpec {given.kind} is relative: not used, write degrees Celsius",)
    if given.absolute_temperature_threshold_in_celsius is None:
        path = "spec.temperatureThresholdSpec.absoluteTemperatureThresholdInCelsius"
        raise WireError(where, "is missing", path=path, mend="Add temperatureThresholdInCelsius")
    return given.absolute_temperature_threshold_in_celsius.temperature_threshold_in_celsius, ()
