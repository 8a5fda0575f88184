"""Definitions of kinds in a cluster."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.governed import Kind
from flyball.adapters.kubernetes.objects import Condition, Metadata, Read
from flyball.adapters.kubernetes.write import MANAGER
from flyball.units import Seconds

DEFINITION = Kind("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition")
SERVED: Seconds = 20.0
"""So long it takes at most until the API server serves a new kind."""


class _Status(Read, frozen=True):
    conditions: tuple[Condition, ...] | None = None


class _Definition(Read, frozen=True):
    metadata: Metadata = Metadata()
    status: _Status = _Status()


def install(api: Api, definitions: Iterable[dict[str, Any]], limit: Seconds = SERVED) -> tuple[str, ...]:
    """Have definitions in the cluster as they are here; the names of those that changed. ClusterError."""
    changed = []
    before = {one.metadata.name: one.metadata.generation for one in api.items(DEFINITION.path(), _Definition)}
    names = []
    for body in definitions:
        name = body["metadata"]["name"]
        names.append(name)
        there = api.apply(DEFINITION.path(name=name), body, _Definition, MANAGER)
        if there.metadata.generation != before.get(name):
            changed.append(name)
    until = time.monotonic() + limit
    while not all(_established(api, name) for name in names) and time.monotonic() < until:
        time.sleep(0.1)
    return tuple(changed)


def _established(api: Api, name: str) -> bool:
    there = api.get(DEFINITION.path(name=name), _Definition)
    return any(one.type == "Established" and one.status == "True" for one in there.status.conditions or ())
