"""Names, labels and owner of the children; the revision that says when their pods change."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from flyball.wire.kthena import (
    BACKEND_NAME,
    DOCUMENTED_MANAGED_BY,
    DOCUMENTED_MANAGER,
    MANAGED_BY,
    MODEL_NAME,
    MODEL_UID,
    REVISION,
    WORKLOAD,
    WORKLOAD_API,
)
from flyball.wire.kthena_booster import ModelBooster
from flyball.wire.kthena_meta import ObjectMeta, OwnerReference

REVISION_LENGTH = 10


def child_name(booster: ModelBooster) -> str:
    """`<booster>-<backend>`, the name of all children but the routes."""
    return f"{booster.metadata.name}-{booster.spec.backend.name}".removesuffix("-")


def labels(booster: ModelBooster, revision: str, backend: str | None = None) -> dict[str, str]:
    """Kthena's labels, as pods carry them; `backend` is the booster's unless given."""
    return {
        MODEL_NAME: booster.metadata.name,
        BACKEND_NAME: booster.spec.backend.name if backend is None else backend,
        MANAGED_BY: WORKLOAD,
        REVISION: revision,
        MODEL_UID: booster.metadata.uid,
    }


def child_meta(booster: ModelBooster, name: str, revision: str, backend: str | None = None) -> ObjectMeta:
    """Metadata of a child; beside Kthena's labels the one that its documentation names.

    Pods do not get that one: another label in their template would restart them on takeover.
    """
    owner = OwnerReference(
        api_version=WORKLOAD_API,
        kind="ModelBooster",
        name=booster.metadata.name,
        uid=booster.metadata.uid,
        controller=True,
        block_owner_deletion=True,
    )
    return ObjectMeta(
        name=name,
        namespace=booster.metadata.namespace,
        labels={**labels(booster, revision, backend), DOCUMENTED_MANAGED_BY: DOCUMENTED_MANAGER},
        owner_references=[owner],
    )


def revision_of(parts: Sequence[Any]) -> str:
    """Ten hexadecimal digits, the same for the same content in every process and version of Python."""
    content = msgspec.json.encode(parts, order="sorted")
    return hashlib.sha256(content).hexdigest()[:REVISION_LENGTH]
