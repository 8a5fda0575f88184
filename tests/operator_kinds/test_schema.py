"""From structs to structural schemas: what is said, what is left out, and what cannot be said."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import UNSET, Meta, UnsetType, field

from flyball.wire.kinds.kind import AGE, Condition, Definition, Scale, Version, crd
from flyball.wire.kinds.schema import ANY_FIELDS, ORDER, Rule, list_of, rules, structural
from tests.operator_kinds.structural import faults


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Below(msgspec.Struct, rename="camel"):
    """What is
    below."""

    half_open: Annotated[float, Meta(gt=0, lt=1)]
    """Between."""


class Whole(msgspec.Struct, rename="camel"):
    """All that there is."""

    port: Annotated[int, Meta(ge=1, le=65535)]
    """A port."""
    big: int = 3
    text: Annotated[str, Meta(min_length=1, max_length=9, pattern="^a")] | None = None
    one: Literal["x"] = "x"
    several: Literal["b", "a"] | None = None
    colour: Colour | None = None
    number: Literal[1, 2] | None = None
    below: Below | None = None
    """Said here."""
    unsaid: Below | None = None
    labels: dict[str, Annotated[str, Meta(max_length=63)]] | None = None
    free: dict[str, Any] | None = None
    any: Any = None
    kept: Annotated[Below, ANY_FIELDS] | None = None
    items: Annotated[tuple[Below, ...], Meta(max_length=5), list_of("map", "halfOpen")] | None = None
    names: Annotated[list[str], list_of("set")] = field(default_factory=list)
    either: int | str | None = None
    when: datetime | None = None
    unset: bool | UnsetType = UNSET
    ruled: Annotated[int, rules(Rule("self != 13", "13 brings bad luck"))] | None = None
    renamed: Annotated[int, Meta(description="From Meta.")] | None = field(default=None, name="other-name")
    """Not from here."""
    titled: Annotated[bool, Meta(title="T", examples=[True])] | None = None


def test_every_type_is_said_as_kubernetes_takes_it() -> None:
    made = structural(Whole, (Rule("self.port > 1", "no"),))
    below = {
        "type": "object",
        "required": ["halfOpen"],
        "properties": {
            "halfOpen": {
                "description": "Between.",
                "type": "number",
                "minimum": 0,
                "exclusiveMinimum": True,
                "maximum": 1,
                "exclusiveMaximum": True,
            }
        },
    }
    assert made["description"] == "All that there is."
    assert made["required"] == ["port"]
    assert made["x-kubernetes-validations"] == [{"rule": "self.port > 1", "message": "no"}]
    assert made["properties"] == {
        "port": {
            "description": "A port.",
            "type": "integer",
            "format": "int32",
            "minimum": 1,
            "maximum": 65535,
        },
        "big": {"type": "integer", "format": "int64", "default": 3},
        "text": {"type": "string", "pattern": "^a", "minLength": 1, "maxLength": 9},
        "one": {"type": "string", "default": "x", "enum": ["x"]},
        "several": {"type": "string", "enum": ["a", "b"]},
        "colour": {"type": "string", "enum": ["red", "blue"]},
        "number": {"type": "integer", "format": "int64", "enum": [1, 2]},
        "below": {"description": "Said here.", **below},
        "unsaid": {"description": "What is below.", **below},
        "labels": {"type": "object", "additionalProperties": {"type": "string", "maxLength": 63}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "any": {"x-kubernetes-preserve-unknown-fields": True},
        "kept": {"description": "What is below.", "x-kubernetes-preserve-unknown-fields": True, **below},
        "items": {
            "type": "array",
            "maxItems": 5,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["halfOpen"],
            "items": {"description": "What is below.", **below},
        },
        "names": {
            "type": "array",
            "default": [],
            "x-kubernetes-list-type": "set",
            "items": {"type": "string"},
        },
        "either": {"x-kubernetes-int-or-string": True},
        "when": {"type": "string", "format": "date-time"},
        "unset": {"type": "boolean"},
        "ruled": {
            "type": "integer",
            "format": "int64",
            "x-kubernetes-validations": [{"rule": "self != 13", "message": "13 brings bad luck"}],
        },
        "other-name": {"description": "From Meta.", "type": "integer", "format": "int64"},
        "titled": {"type": "boolean"},
    }
    assert list(faults(made)) == []


def test_what_is_inherited_is_described_too() -> None:
    made = structural(Above)
    assert {name: below["description"] for name, below in made["properties"].items()} == {
        "halfOpen": "Between.",
        "more": "Of its own.",
    }
    assert "description" not in made


def test_keywords_stand_in_one_order() -> None:
    def ordered(schema: dict[str, Any]) -> None:
        assert list(schema) == sorted(schema, key=ORDER.index)
        for below in [*schema.get("properties", {}).values(), *filter(None, [schema.get("items")])]:
            ordered(below)

    ordered(structural(Whole))


class Endless(msgspec.Struct):
    more: Endless | None = None


class Tagged(msgspec.Struct, tag="a"):
    """Has a field that no schema shows."""


class Several(msgspec.Struct):
    one: Below | int


class ByNumber(msgspec.Struct):
    one: dict[int, str]


class Raw(msgspec.Struct):
    one: bytes


class Misspelt(msgspec.Struct):
    one: Annotated[int, Meta(extra_json_schema={"nullable": True})]


class Above(Below):
    more: int = 1
    """Of its own."""


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Endless, "Endless contains itself"),
        (Tagged, "Tagged is tagged"),
        (Several, "Several.one is one of several types"),
        (ByNumber, "ByNumber.one is a map whose keys are not text"),
        (Raw, "Raw.one is BytesType"),
        (Misspelt, "Misspelt.one has nullable"),
    ],
)
def test_what_kubernetes_cannot_say_is_refused(kind: type[msgspec.Struct], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        structural(kind)


def definition(*versions: Version) -> Definition:
    return Definition("example.org", "Thing", "things", "thing", versions, ("th",), ("all",))


def test_a_definition_has_versions_columns_and_a_scale() -> None:
    old = Version("v1alpha1", "Thing is old.", Whole, Below, storage=False, needs_spec=False)
    new = Version("v1", "Thing is new.", Whole, Below, scale=Scale(".spec.port", ".status.halfOpen"))
    made = crd(definition(old, new))
    assert made["metadata"]["name"] == "things.example.org"
    first, second = made["spec"]["versions"]
    assert (first["storage"], second["storage"]) == (False, True)
    assert first["subresources"] == {"status": {}}
    scale = {"specReplicasPath": ".spec.port", "statusReplicasPath": ".status.halfOpen"}
    assert second["subresources"] == {"status": {}, "scale": scale}
    assert "required" not in first["schema"]["openAPIV3Schema"]
    assert second["schema"]["openAPIV3Schema"]["required"] == ["spec"]
    assert second["additionalPrinterColumns"] == [{"name": "Age", "type": "date", "jsonPath": AGE.json_path}]
    assert made["spec"]["conversion"] == {"strategy": "None"}
    with pytest.raises(ValueError, match="exactly one version"):
        crd(definition(old))


def test_a_condition_is_as_kubernetes_has_it() -> None:
    made = structural(Condition)
    assert set(made["required"]) == {"type", "status", "reason", "message", "lastTransitionTime"}
    assert made["properties"]["status"]["enum"] == ["False", "True", "Unknown"]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"type": "object", "properties": {"a": {}}}, "$.a: no type"),
    ({"type": "object", "title": "T"}, "title does not belong"),
    ({"type": "object", "additionalProperties": False}, "additionalProperties is no schema"),
    ({"type": "object", "properties": {"a": {"type": "string", "nullable": True}}}, "nullable does not"),
    ({"type": "object", "properties": {"a": {"anyOf": []}}}, "anyOf does not belong"),
    ({"type": "object", "required": ["b"]}, "b is required and not there"),
    ({"type": "array"}, "items is no schema"),
    ({"type": "integer", "minimum": 3, "maximum": 2}, "minimum over maximum"),
    ({"type": "integer", "default": "x"}, "default: 'x' is no integer"),
    ({"type": "integer", "exclusiveMinimum": True}, "Minimum without a bound"),
    ({"type": "string", "enum": ["a", "a"]}, "stands there twice"),
    ({"type": "integer", "format": "int16"}, "unknown format"),
    ({"type": "string", "x-kubernetes-validations": [{"rule": "self == ''"}]}, "a rule has rule"),
    (
        {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "map"},
        "a list type map and its keys",
    ),
    ({"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "set"}, "no scalar"),
]


@pytest.mark.parametrize(("schema", "said"), BAD, ids=lambda v: v if isinstance(v, str) else "")
def test_the_reader_of_schemas_finds_what_is_wrong(schema: dict[str, Any], said: str) -> None:
    assert any(said in fault for fault in faults(schema)), list(faults(schema))
