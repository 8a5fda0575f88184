"""Objects of Inferno's kinds, as they are made of other things, and beside one's own."""

from __future__ import annotations

import re
from collections.abc import Mapping

from flyball.spec.fleet import Generation
from flyball.wire.kinds.documents import Objects
from flyball.wire.kinds.inferno import API_VERSION
from flyball.wire.kinds.inferno_objects import Document, name_of, ref_of

FIELDS = {
    "accelerators": "Accelerator",
    "models": "Model",
    "service_classes": "ServiceClass",
    "servers": "Server",
    "capacities": "Capacity",
    "optimizers": "Optimizer",
}
"""Kinds, by field of `Objects`."""


def beside(own: Objects, taken: Objects) -> Objects:
    """Both, where of two of one kind by one name the first's own holds."""
    both = {}
    for field, kind in FIELDS.items():
        mine: tuple[Document, ...] = getattr(own, field)
        names = {_spec_name(kind, one) for one in mine}
        both[field] = (*mine, *(o for o in getattr(taken, field) if _spec_name(kind, o) not in names))
    return Objects(**both)


def _spec_name(kind: str, one: Document) -> str:
    return name_of(ref_of(kind, one), one.get("spec"))


def object_of(namespace: str, kind: str, name: str, spec: Document) -> Document:
    """An object; its name is made of the one in its spec."""
    slug = re.sub(r"[^a-z0-9.-]+", "-", name.lower()).strip("-.")[:253] or kind.lower()
    metadata = {"name": slug, "namespace": namespace}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


def in_words(row: Mapping[str, float], generation: Generation | None) -> Document:
    """A class's limits in the words of a generation: one bounds the wait, the others the first token."""
    own, foreign = ("slo-ttw", "slo-ttft") if generation == "G1" else ("slo-ttft", "slo-ttw")
    kept = {key: value for key, value in row.items() if key != foreign}
    if row.get(foreign) and not kept.get(own):
        kept[own] = row[foreign]
    return kept
