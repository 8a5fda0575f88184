"""What all kinds of Kthena share: metadata and the form of a part."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

Plain = dict[str, Any]
"""A part that is kept as it stands, such as a Toleration."""
DnsName = Annotated[str, Meta(pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]


class Part(Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """A part of a document; what is absent is not written."""


class OwnerReference(Part, frozen=True):
    """Whose child an object is: deleted with it."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(Part, frozen=True):
    """Metadata of an object."""

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[OwnerReference] | None = None


class Document(Part, frozen=True):
    """A whole object."""

    api_version: str
    kind: str


def plain(document: Document) -> Plain:
    """The object as dicts and lists, none of them shared, ready for JSON or YAML."""
    made: Plain = msgspec.to_builtins(document)
    return made
