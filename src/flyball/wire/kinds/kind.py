"""A kind of objects, and its CustomResourceDefinition."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, field

from flyball.wire.kinds.schema import Rule, ordered, structural

Document = dict[str, Any]


class Condition(msgspec.Struct, frozen=True, rename="camel"):
    """One aspect of the object's state, as metav1.Condition."""

    type: Annotated[
        str,
        Meta(
            max_length=316,
            pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
            r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
        ),
    ]
    """Which aspect."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: Annotated[
        str, Meta(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")
    ]
    """Why, in one word for programs."""
    message: Annotated[str, Meta(max_length=32768)]
    """Why, in a sentence for people."""
    last_transition_time: Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
    """Since when the status is what it is."""
    observed_generation: Annotated[int, Meta(ge=0)] | None = None
    """The metadata.generation of which it tells."""


class Column(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What `kubectl get` shows of an object."""

    name: str
    type: Literal["string", "integer", "number", "boolean", "date"]
    json_path: str
    description: str = ""
    priority: int = 0
    """Over 0: with `-o wide` only."""


AGE = Column("Age", "date", ".metadata.creationTimestamp")


def state(condition: str, name: str = "", priority: int = 0, part: str = "status") -> Column:
    """A column of a condition's status, or of another part of it."""
    path = f'.status.conditions[?(@.type=="{condition}")].{part}'
    return Column(name or condition, "string", path, priority=priority)


class Scale(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the scale subresource finds its figures, as `.spec.replicas`."""

    spec: str = field(name="specReplicasPath")
    status: str = field(name="statusReplicasPath")
    selector: str = field(name="labelSelectorPath", default="")


class Version(msgspec.Struct, frozen=True):
    """One version of a kind."""

    name: str
    description: str
    spec: type[msgspec.Struct]
    status: type[msgspec.Struct]
    columns: tuple[Column, ...] = (AGE,)
    rules: tuple[Rule, ...] = ()
    """On the spec."""
    scale: Scale | None = None
    needs_spec: bool = True
    served: bool = True
    storage: bool = True


class Definition(msgspec.Struct, frozen=True):
    """A kind of a group, in all its versions."""

    group: str
    kind: str
    plural: str
    singular: str
    versions: tuple[Version, ...]
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    scope: Literal["Namespaced", "Cluster"] = "Namespaced"

    @property
    def name(self) -> str:
        """Of its CustomResourceDefinition."""
        return f"{self.plural}.{self.group}"


def crd(definition: Definition) -> Document:
    """The CustomResourceDefinition, apiextensions.k8s.io/v1, in a stable order. ValueError, TypeError."""
    if sum(version.storage for version in definition.versions) != 1:
        raise ValueError(f"{definition.name}: exactly one version is the one that is stored")
    names: Document = {
        "kind": definition.kind,
        "listKind": f"{definition.kind}List",
        "plural": definition.plural,
        "singular": definition.singular,
    }
    if definition.short_names:
        names["shortNames"] = list(definition.short_names)
    if definition.categories:
        names["categories"] = list(definition.categories)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": definition.name},
        "spec": {
            "group": definition.group,
            "scope": definition.scope,
            "names": names,
            "conversion": {"strategy": "None"},
            "versions": [_version(version) for version in definition.versions],
        },
    }


def _version(version: Version) -> Document:
    subresources: Document = {"status": {}}
    if version.scale is not None:
        subresources["scale"] = msgspec.to_builtins(version.scale)
    return {
        "name": version.name,
        "served": version.served,
        "storage": version.storage,
        "additionalPrinterColumns": msgspec.to_builtins(list(version.columns)),
        "subresources": subresources,
        "schema": {"openAPIV3Schema": _root(version)},
    }


def _root(version: Version) -> Document:
    schema: Document = {
        "description": version.description,
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string", "description": "Group and version of the kind."},
            "kind": {"type": "string", "description": "What this is."},
            "metadata": {"type": "object"},
            "spec": structural(version.spec, version.rules),
            "status": structural(version.status),
        },
    }
    return ordered(schema | ({"required": ["spec"]} if version.needs_spec else {}))
