"""What objects of Inferno's kinds may not be, beyond what schemas say; pure.

What contradicts itself is refused, with the field's path. What only lacks something, or does not go with what
else is there, is a warning: objects come in any order.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from flyball.operator.kinds import FIELDS
from flyball.wire.admission import Asked, Verdict
from flyball.wire.kinds.documents import Objects, read_namespace
from flyball.wire.kinds.inferno_objects import Document, Ref


def review(asked: Asked, there: Callable[[str], Objects]) -> Verdict:
    """Whether an object may be stored; `there`: the objects of a namespace as they are now."""
    new, old = asked.object, asked.old_object
    field = FIELDS.get(asked.kind.kind)
    if new is None or field is None:
        return Verdict()
    if old is not None and old.get("spec") == new.get("spec"):
        return Verdict()  # whatever stands there: to refuse it would hold up labels and finalizers
    about = new.get("metadata")
    given = about.get("name") if isinstance(about, dict) else None
    ref = Ref(asked.kind.kind, asked.namespace, str(given or asked.name))
    document: Document = {
        "metadata": {"namespace": ref.namespace, "name": ref.name},
        "spec": new.get("spec"),
    }
    alone = read_namespace(Objects(**{field: (document,)}))
    if ref in alone.errors:
        return Verdict(alone.errors[ref])
    return Verdict(warnings=tuple(_warnings(ref, document, field, there(ref.namespace))))


def _warnings(ref: Ref, document: Document, field: str, there: Objects) -> list[str]:
    others = tuple(one for one in getattr(there, field) if one["metadata"]["name"] != ref.name)
    read = read_namespace(msgspec.structs.replace(there, **{field: (*others, document)}))
    found = []
    if ref in read.errors:
        found.append(read.errors[ref])
    for name, governed in read.servers.items():
        if governed.ref == ref and name in read.blocked:
            found.append(read.blocked[name])
    spec = document["spec"] if isinstance(document["spec"], dict) else {}
    if ref.kind == "Model":
        known = {accelerator.name for accelerator in read.fleet.accelerators}
        found += _dangling("Accelerator", [row.get("acc") for row in spec.get("data") or ()], known)
    if ref.kind == "ServiceClass":
        known = {profile.model for profile in read.fleet.profiles}
        found += _dangling("Model", [row.get("model") for row in spec.get("data") or ()], known)
    if ref.kind == "Server":
        known = {accelerator.name for accelerator in read.fleet.accelerators}
        asked = list(spec.get("accelerators") or ())
        held = (spec.get("currentAlloc") or {}).get("accelerator")
        found += _dangling("Accelerator", [*asked, *([held] if held else [])], known)
    return found


def _dangling(kind: str, names: list[str], known: set[str]) -> list[str]:
    missing = sorted({str(name) for name in names if name and name not in known})
    return [f"there is no {kind} of the name {name} in this namespace yet" for name in missing]
