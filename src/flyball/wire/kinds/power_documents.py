"""From the objects of the kinds of power, as the API gives them, to the nouns. All of it or WireError."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from flyball.spec.power import (
    AbsoluteCap,
    Cap,
    DeviceDraw,
    DeviceProfile,
    Domain,
    Policy,
    RelativeCap,
    Slot,
    Thermal,
    Trim,
)
from flyball.units import SECONDS_PER_HOUR, SECONDS_PER_MINUTE, Seconds
from flyball.wire.errors import WireError
from flyball.wire.kinds import power_specs as specs
from flyball.wire.kinds.inferno_objects import Document, Ref, ref_of, spec_of
from flyball.wire.kinds.schema import Rule

T = TypeVar("T", bound=msgspec.Struct)
WATTS_PER_KILOWATT = 1000.0
HUNDRED = 100.0
_UNITS = {"h": SECONDS_PER_HOUR, "m": SECONDS_PER_MINUTE, "s": 1.0}


def domain_of(one: Document) -> Domain:
    """A PowerDomain."""
    ref, spec = _read("PowerDomain", one, specs.PowerDomainSpec)
    budget, limits = spec.budget or specs.DomainBudget(), spec.limits or specs.Limits()
    guard, telemetry = spec.guard_band or specs.GuardBand(), spec.telemetry or specs.Telemetry()
    _hold(
        ref,
        specs.UNDER_BREAKER,
        not (budget.watts and limits.breaker_watts and budget.watts > limits.breaker_watts),
    )
    _hold(ref, specs.ONE_WAY, spec.discover is None or spec.node_selector is None)
    return Domain(
        name=ref.name,
        level=spec.level,
        parent=spec.parent_ref.name if spec.parent_ref else "",
        labels=dict((spec.node_selector or specs.Selector()).match_labels or {}),
        watts=budget.watts,
        schedule=tuple(slot_of(ref, slot) for slot in budget.schedule or ()),
        breaker=limits.breaker_watts,
        max_exceedance=limits.max_exceedance_seconds,
        ungoverned=(spec.ungoverned or specs.Ungoverned()).watts,
        floor=guard.floor_percent / HUNDRED,
        quantile=guard.quantile,
        common_error=telemetry.common_error_percent / HUNDRED,
        stale_after=telemetry.stale_after_seconds,
        tolerance=telemetry.tolerance_percent / HUNDRED,
        thermal=_thermal(spec.thermal),
    )


def discover_label(one: Document) -> str:
    """The node label whose values are domains below a PowerDomain; "": none is asked for."""
    _, spec = _read("PowerDomain", one, specs.PowerDomainSpec)
    return spec.discover or ""


def discovered(domain: Domain, label: str, values: Iterable[str]) -> tuple[Domain, ...]:
    """A rack below the domain for each value of a node label, with the domain's settings and budget each."""
    return tuple(
        msgspec.structs.replace(
            domain, name=f"{domain.name}-{value}", level="Rack", parent=domain.name, labels={label: value}
        )
        for value in sorted(set(values))
    )


def policy_of(one: Document) -> Policy:
    """A PowerPolicy."""
    ref, spec = _read("PowerPolicy", one, specs.PowerPolicySpec)
    targets, protect = spec.targets or specs.Targets(), spec.protect or specs.Protect()
    algorithm = spec.algorithm or specs.Algorithm()
    left = spec.resources or specs.Resources()
    found = Policy(
        name=ref.name,
        namespace=ref.namespace,
        mode=spec.mode,
        cap=_cap(ref, spec),
        domains=tuple(d.name for d in spec.domain_refs or ()),
        labels=dict((targets.selector or specs.Selector()).match_labels or {}),
        kinds=targets.kinds or (),
        priority=spec.priority,
        protected=protect.never_shed,
        min_replicas=protect.min_replicas,
        trim=Trim(left.cpu_percent / HUNDRED, left.memory_percent / HUNDRED),
        algorithm=algorithm.name,
        parameters=_parameters(ref, algorithm.parameters or {}),
        outputs=spec.outputs or (),
    )
    return found if spec.levers is None else msgspec.structs.replace(found, levers=spec.levers)


def profile_of(one: Document) -> DeviceProfile:
    """A DevicePowerProfile."""
    ref, spec = _read("DevicePowerProfile", one, specs.DevicePowerProfileSpec)
    _hold(ref, specs.RISING, spec.idle_watts <= spec.resident_idle_watts <= spec.tdp_watts)
    return DeviceProfile(
        product=spec.match.gpu_product,
        tdp=spec.tdp_watts,
        idle=spec.idle_watts,
        resident_idle=spec.resident_idle_watts,
        model=spec.match.model or "",
        tensor_parallel=spec.match.tensor_parallel or 0,
        table=tuple(
            DeviceDraw(d.phase, d.batch, d.watts, d.relative_speed, d.clock_mhz) for d in spec.table or ()
        ),
        provenance=spec.provenance or "",
    )


def slot_of(ref: Ref, slot: specs.Slot) -> Slot:
    """A time of a schedule."""
    daily = "T" not in slot.start
    _hold(ref, specs.SAME_FORM, daily == ("T" not in slot.end))
    start, end = _moment(ref, slot.start), _moment(ref, slot.end)
    if not daily and end <= start:
        problem = f"a slot ends at {slot.end} and begins at {slot.start}"
        raise WireError(str(ref), problem, path="spec.budget.schedule", mend="Let it end later")
    return Slot(start, end, slot.watts, daily, slot.reason or "")


def window_of(text: str) -> Seconds:
    """Seconds of a window as `4h`, `4 Hours`, `30min`."""
    match = re.fullmatch(r"([0-9.]+) *([a-z])[a-z]*", text.lower())
    if match is None or not re.search(specs.WINDOW, text):
        raise ValueError(f'a window is "{text}"; allowed is a time with its unit, as 4h or 30min')
    return float(match[1]) * _UNITS[match[2]]


def _cap(ref: Ref, spec: specs.PowerPolicySpec) -> Cap | None:
    if spec.threshold is None:
        return None
    if isinstance(spec.threshold, int):
        _hold(ref, specs.THRESHOLD, 0 < spec.threshold <= 10**9)
        return AbsoluteCap(float(spec.threshold))
    _hold(ref, specs.THRESHOLD, re.search(specs.PERCENT, spec.threshold) is not None)
    share = float(spec.threshold.rstrip("% ")) / HUNDRED
    return RelativeCap(share, spec.of, window_of(spec.observation_window))


def _thermal(given: specs.Thermal | None) -> Thermal | None:
    if given is None:
        return None
    by_watt = {name: k / WATTS_PER_KILOWATT for name, k in (given.kelvin_per_kilowatt or {}).items()}
    return Thermal(given.max_inlet_celsius, given.supply_celsius, by_watt)


def _parameters(ref: Ref, given: dict[str, object]) -> dict[str, float | int | str | bool]:
    found: dict[str, float | int | str | bool] = {}
    for name, value in given.items():
        if not isinstance(value, int | float | str | bool):
            path = f"spec.algorithm.parameters.{name}"
            raise WireError(str(ref), "allowed is a number, text, true or false", path=path, value=value)
        found[name] = value
    return found


def _moment(ref: Ref, text: str) -> Seconds:
    try:
        if "T" not in text:
            hours, _, minutes = text.partition(":")
            return int(hours) * SECONDS_PER_HOUR + int(minutes) * SECONDS_PER_MINUTE
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise WireError(str(ref), str(error), path="spec.budget.schedule", value=text) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _read(kind: str, one: Document, into: type[T]) -> tuple[Ref, T]:
    ref = ref_of(kind, one)
    try:
        return ref, msgspec.convert(spec_of(ref, one), into)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$")
        path = "spec" + place.rstrip("`")
        raise WireError(str(ref), problem[:1].lower() + problem[1:], path=path) from None


def _hold(ref: Ref, rule: Rule, holds: bool) -> None:
    """A rule of the definitions, for objects that did not come through the API server."""
    if not holds:
        problem, _, mend = rule.message.partition(": ")
        raise WireError(str(ref), problem, path=f"spec{rule.field_path}", mend=mend[:1].upper() + mend[1:])
