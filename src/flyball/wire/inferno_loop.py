"""Documents of Inferno's control loop: what the collector gives, what the actuator takes, the log of cycles.

Requests per minute, milliseconds and cents in the documents; `Server` and `Order` are in seconds and dollars.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from flyball.spec.decision import Order
from flyball.spec.fleet import Generation
from flyball.spec.server import Server
from flyball.wire.errors import child
from flyball.wire.inferno_in import server_of
from flyball.wire.inferno_out import server_document
from flyball.wire.inferno_sections import Section, section_of
from flyball.wire.inferno_shapes import AllocationShape, ServerShape
from flyball.wire.text import decode

T = TypeVar("T")
SIZE_LIMIT = 64 * 2**20


class Resource(msgspec.Struct, frozen=True):
    """The workload of a server; of one with several variants, where most of its replicas are."""

    uid: str = ""
    name: str = ""
    space: str = ""
    """Namespace."""


class Collected(msgspec.Struct, frozen=True):
    """What the collector gives."""

    servers: tuple[Server, ...] = ()
    replicas: tuple[Server, ...] = ()
    """Each replica as a server of one, `server/pod`: what the tuner learns from."""
    resources: dict[str, Resource] = {}


class Update(msgspec.Struct, frozen=True):
    """What the actuator is asked for."""

    orders: tuple[Order, ...] = ()
    resources: dict[str, Resource] = {}


def collected_bytes(found: Collected, generation: Generation = "G3") -> bytes:
    """The answer of /collect."""
    document = {
        "servers": [server_document(s, generation) for s in found.servers],
        "replicas": [server_document(s, generation) for s in found.replicas],
        "kube-resources": found.resources,
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=4)


def read_collected(data: bytes, where: str, generation: Generation = "G3") -> Collected:
    """The answer of a collector, ours or the original. Or WireError."""
    document = decode(data, where, SIZE_LIMIT)

    def servers(name: str) -> tuple[Server, ...]:
        section = section_of(document, where, name)
        rows = section.rows(ServerShape)
        return tuple(server_of(shape, generation, section, i) for i, shape in enumerate(rows))

    return Collected(servers("servers"), servers("replicas"), _resources(document, where))


def update_bytes(allocations: Mapping[str, Any], resources: Mapping[str, Resource]) -> bytes:
    """The body of /update: allocations as the optimizer's solution has them."""
    return msgspec.json.encode({"allocations": allocations, "kube-resources": resources})


def read_update(data: bytes, where: str = "the body") -> Update:
    """The body of /update; an allocation without an accelerator asks for no replica. Or WireError."""
    document = decode(data, where, SIZE_LIMIT)
    found = _by_name(document, where, "allocations", AllocationShape)
    orders = tuple(
        Order(name, one.accelerator, one.num_replicas, one.max_batch) for name, one in sorted(found.items())
    )
    return Update(orders, _resources(document, where))


def _resources(document: object, where: str) -> dict[str, Resource]:
    return _by_name(document, where, "kube-resources", Resource)


def _by_name(document: object, where: str, key: str, kind: type[T]) -> dict[str, T]:
    """An object whose keys are names of servers: those keep their case."""
    section = section_of(document, where, key)
    if section.value is None:
        return {}
    if not isinstance(section.value, dict):
        raise section.error("expected an object {...}", "", "Write one value for each server, by its name")
    path = section.path
    return {
        str(name): Section(where, child(path, str(name)), value).read(kind)
        for name, value in section.value.items()
        if value is not None
    }
