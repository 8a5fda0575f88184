"""One VariantAutoscaling (llmd.ai/v1alpha1), in whichever of its shapes it was written.

The kind has kept its version and changed its fields: a profile for every accelerator (modelProfile), one
variant with a profile of its own (accelerator, variantProfile), and of late neither, with a cost
(variantCost). Fields of several shapes may stand together. Most numbers are text there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from flyball.spec.fleet import Generation
from flyball.wire.errors import WireError, child
from flyball.wire.kinds.inferno_objects import Document, Ref, ref_of, spec_of
from flyball.wire.quantities import parse_count, parse_number

GROUP, VERSION, PLURAL, KIND = "llmd.ai", "v1alpha1", "variantautoscalings", "VariantAutoscaling"
ACCELERATOR = "inference.optimization/acceleratorName"
"""Label of an object: on what its variant runs."""
EXCLUDE = "wva.llmd.ai/exclude"
VENDORS = ("nvidia", "amd", "intel", "cpu")
"""What that label says at times, which names no accelerator."""
MOST_BATCH, MOST_REPLICAS, MOST_TOKENS, MOST_UNITS = 65_536, 1_000_000, 10_000_000, 1_000


class Entry(msgspec.Struct, frozen=True):
    """How fast the model is on one accelerator, in Inferno's words."""

    path: str
    acc: str
    units: int = 1
    batch: int | None = None
    at_tokens: int | None = None
    generation: Generation | None = None
    """None: it has no parameters."""
    parms: Document = {}

    def row(self) -> Document:
        """As an entry of a Model."""
        row: Document = {"acc": self.acc, "accCount": self.units}
        sizes = {"maxBatchSize": self.batch, "atTokens": self.at_tokens}
        return row | {k: v for k, v in sizes.items() if v is not None} | self.parms


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """One object, read."""

    ref: Ref
    model: str
    kind: str
    """Of the workload that it scales; with name, in its own namespace."""
    name: str
    is_named: bool = True
    """Whether it names its workload; else that has its own name."""
    least: int | None = None
    most: int | None = None
    accelerator: str = ""
    units: int = 1
    entries: tuple[Entry, ...] = ()
    slo: tuple[str, str] | None = None
    """The ConfigMap and the key in it that its class is said to be in."""
    cost: float | None = None
    """Of a replica; the kind knows no unit."""
    left: tuple[str, ...] = ()
    """Fields that are not carried over, by path."""


def excluded(one: Document) -> bool:
    """Whether it is not to be looked at: as it says, or as it is being deleted."""
    about = one.get("metadata") or {}
    annotations = about.get("annotations") or {}
    return str(annotations.get(EXCLUDE, "")).lower() == "true" or bool(about.get("deletionTimestamp"))


def variant_of(one: Document) -> Variant:
    """Read an object of any shape. Or WireError."""
    ref = ref_of(KIND, one)
    where, spec = str(ref), spec_of(ref, one)
    target = _object(spec.get("scaleTargetRef"), where, "spec.scaleTargetRef")
    labels = _object((one.get("metadata") or {}).get("labels"), where, "metadata.labels")
    named = spec.get("accelerator") or spec.get("acceleratorType") or labels.get(ACCELERATOR)
    accelerator = str(named) if named and str(named).lower() not in VENDORS else ""
    units = _count(spec, "acceleratorCount", where, "spec", 1, MOST_UNITS) or 1
    least = _count(spec, "minReplicas", where, "spec", 0, MOST_REPLICAS)
    most = _count(spec, "maxReplicas", where, "spec", 1, MOST_REPLICAS)
    if least is not None and most is not None and most < least:
        problem = f"allowed is at least minReplicas, {least}"
        raise WireError(where, problem, path="spec.maxReplicas", value=most, mend="Raise it")
    cost = spec.get("variantCost")
    return Variant(
        ref=ref,
        model=_text(spec, "modelID", where, "spec"),
        kind=str(target.get("kind") or "Deployment"),
        name=_text(target, "name", where, "spec.scaleTargetRef") if target else ref.name,
        is_named=bool(target),
        least=least,
        most=most,
        accelerator=accelerator,
        units=units,
        entries=tuple(_entries(spec, where, accelerator, units)),
        slo=_slo(spec, where),
        cost=None if cost in (None, "") else parse_number(cost, where, "spec.variantCost", what="a cost"),
        left=tuple(f"spec.{key}" for key in LEFT if spec.get(key)),
    )


LEFT = ("activateModelTuner", "scalingBackend")
"""Fields of some versions that have no counterpart, or another one."""


def _entries(spec: Document, where: str, accelerator: str, units: int) -> Iterator[Entry]:
    profile = _object(spec.get("modelProfile"), where, "spec.modelProfile")
    path = "spec.modelProfile.accelerators"
    rows = profile.get("accelerators") or []
    if not isinstance(rows, list):
        raise WireError(where, "expected a list [...]", path=path, value=rows)
    for index, value in enumerate(rows):
        row = _object(value, where, child(path, index))
        count = _count(row, "accCount", where, child(path, index), 1, MOST_UNITS) or 1
        yield _entry(row, where, child(path, index), _text(row, "acc", where, child(path, index)), count)
    own = _object(spec.get("variantProfile"), where, "spec.variantProfile")
    if own:
        if not accelerator:
            mend = "Write spec.accelerator"
            raise WireError(
                where, "nothing says for which accelerator it is", path="spec.variantProfile", mend=mend
            )
        yield _entry(own, where, "spec.variantProfile", accelerator, units)


def _entry(row: Document, where: str, path: str, acc: str, units: int) -> Entry:
    generation, parms = _parms(row, where, path)
    return Entry(
        path=path,
        acc=acc,
        units=units,
        batch=_count(row, "maxBatchSize", where, path, 1, MOST_BATCH),
        at_tokens=_count(row, "atTokens", where, path, 1, MOST_TOKENS),
        generation=generation,
        parms=parms,
    )


def _parms(row: Document, where: str, path: str) -> tuple[Generation | None, Document]:
    """The generation that an entry shows, and its parameters in that generation's words."""
    below = child(path, "perfParms")
    perf = _object(row.get("perfParms"), where, below)
    decode = _object(perf.get("decodeParms"), where, f"{below}.decodeParms")
    prefill = _object(perf.get("prefillParms"), where, f"{below}.prefillParms")
    if decode or prefill:
        return "G2", {
            "decodeParms": _numbers(decode, ("alpha", "beta"), where, f"{below}.decodeParms"),
            "prefillParms": _numbers(prefill, ("gamma", "delta"), where, f"{below}.prefillParms"),
        }
    if perf.get("gamma") is not None:
        return "G3", {"perfParms": _numbers(perf, ("alpha", "beta", "gamma"), where, below)}
    if row.get("alpha") is not None or row.get("beta") is not None:
        return "G1", dict(_numbers(row, ("alpha", "beta"), where, path))
    return None, {}


def _slo(spec: Document, where: str) -> tuple[str, str] | None:
    given = _object(spec.get("sloClassRef"), where, "spec.sloClassRef")
    name, key = str(given.get("name") or ""), str(given.get("key") or "")
    return (name, key) if name or key else None


def _object(value: object, where: str, path: str) -> Document:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise WireError(where, "expected an object {...}", path=path, value=value)
    return value


def _text(given: Mapping[str, Any], key: str, where: str, path: str) -> str:
    value = given.get(key)
    if value is None or value == "":
        raise WireError(where, "is missing", path=child(path, key), mend="Write its name")
    if not isinstance(value, str):
        raise WireError(where, "expected text", path=child(path, key), value=value, mend="Put it in quotes")
    return value


def _count(given: Mapping[str, Any], key: str, where: str, path: str, low: int, high: int) -> int | None:
    value = given.get(key)
    return None if value is None else parse_count(value, where, child(path, key), low=low, high=high)


def _numbers(given: Document, keys: tuple[str, ...], where: str, path: str) -> dict[str, float]:
    missing = next((key for key in keys if given.get(key) in (None, "")), None)
    if missing is not None:
        mend = f"Write {' and '.join(keys)}"
        raise WireError(where, "is missing", path=child(path, missing), mend=mend)
    return {k: parse_number(given[k], where, child(path, k), what="milliseconds") for k in keys}
