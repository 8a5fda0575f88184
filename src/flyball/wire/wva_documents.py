"""VariantAutoscaling objects and ConfigMaps in files, as `kubectl get -o yaml` and manifests have them."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from flyball.wire.errors import WireError
from flyball.wire.kinds.inferno_objects import Document
from flyball.wire.manifests import objects_in
from flyball.wire.wva_shapes import GROUP, KIND, VERSION


class Given(msgspec.Struct, frozen=True):
    """What was found in files."""

    variants: tuple[Document, ...] = ()
    maps: tuple[Document, ...] = ()
    others: tuple[str, ...] = ()
    """Kinds of objects that were passed over."""


def given_in(files: Iterable[tuple[str, bytes]]) -> Given:
    """Read files by name, each with one document or several, or lists of them. Or WireError."""
    variants, maps, others = [], [], []
    for where, data in files:
        for place, one in objects_in(where, data):
            kind = one.get("kind")
            if kind == KIND:
                _check_version(one, place)
                variants.append(one)
            elif kind == "ConfigMap":
                maps.append(one)
            else:
                others.append(str(kind or "an object without a kind"))
    return Given(tuple(variants), tuple(maps), tuple(dict.fromkeys(others)))


def _check_version(one: Document, place: str) -> None:
    version = one.get("apiVersion")
    if version not in (None, f"{GROUP}/{VERSION}"):
        mend = f"Write {GROUP}/{VERSION}"
        raise WireError(place, "there is no such version of it", path="apiVersion", value=version, mend=mend)
