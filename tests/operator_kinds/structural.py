"""A strict reader of structural schemas: what the API server would refuse, and values that do not fit.

Source: Kubernetes' documentation of CustomResourceDefinitions, and what the API server's validation says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

COMMON = {"description", "type", "default", "enum", "x-kubernetes-validations"}
BOUNDS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
BY_TYPE = {
    "object": {
        *("properties", "required", "additionalProperties", "minProperties", "maxProperties"),
        *("x-kubernetes-preserve-unknown-fields", "x-kubernetes-map-type"),
    },
    "array": {"items", "minItems", "maxItems", "x-kubernetes-list-type", "x-kubernetes-list-map-keys"},
    "string": {"format", "pattern", "minLength", "maxLength"},
    "integer": {"format", *BOUNDS},
    "number": {"format", *BOUNDS},
    "boolean": set(),
}
UNTYPED = ("x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields")
PAIRS = (
    ("minimum", "maximum"),
    ("minLength", "maxLength"),
    ("minItems", "maxItems"),
    ("minProperties", "maxProperties"),
)
FORMATS = {"integer": {"int32", "int64"}, "number": {"float", "double"}, "string": {"date-time"}}


def faults(schema: Schema, path: str = "$") -> Iterator[str]:
    """What is wrong with a schema, node by node."""
    kind = schema.get("type")
    if kind is None:
        if not any(schema.get(word) is True for word in UNTYPED):
            yield f"{path}: no type"
        unknown = set(schema) - COMMON - set(UNTYPED)
    elif kind not in BY_TYPE:
        yield f"{path}: unknown type {kind}"
        return
    else:
        unknown = set(schema) - COMMON - BY_TYPE[kind]
    yield from (f"{path}: {word} does not belong here" for word in sorted(unknown))
    yield from (
        f"{path}: {low} over {high}" for low, high in PAIRS if schema.get(low, 0) > schema.get(high, 1e300)
    )
    if schema.get("format") not in (None, *FORMATS.get(kind or "", ())):
        yield f"{path}: unknown format {schema['format']}"
    yield from (f"{path}: {b} without a bound" for b in ("Minimum", "Maximum") if _loose(schema, b))
    if "pattern" in schema:
        re.compile(schema["pattern"])
    for value in schema.get("enum", ()):
        yield from misfits({**schema, "enum": [value]}, value, f"{path}: enum")
    if "enum" in schema and len(set(schema["enum"])) != len(schema["enum"]):
        yield f"{path}: a value of the enum stands there twice"
    if "default" in schema:
        yield from misfits(schema, schema["default"], f"{path}: default")
    yield from _rules(schema, path)
    if kind == "object":
        yield from _object(schema, path)
    if kind == "array":
        yield from _array(schema, path)


def _loose(schema: Schema, which: str) -> bool:
    return f"exclusive{which}" in schema and which.lower() not in schema


def _rules(schema: Schema, path: str) -> Iterator[str]:
    for rule in schema.get("x-kubernetes-validations", ()):
        if not {"rule", "message"} <= set(rule) <= {"rule", "message", "reason", "fieldPath"}:
            yield f"{path}: a rule has {', '.join(sorted(rule))}"
        elif not rule["rule"].strip() or not rule["message"].strip() or "\n" in rule["message"]:
            yield f"{path}: a rule or its message is empty or has several lines"
        elif "self" not in rule["rule"]:
            yield f"{path}: a rule does not look at the value"


def _object(schema: Schema, path: str) -> Iterator[str]:
    properties = schema.get("properties", {})
    if properties and "additionalProperties" in schema:
        yield f"{path}: properties and additionalProperties"
    if not isinstance(schema.get("additionalProperties", {}), Mapping):
        yield f"{path}: additionalProperties is no schema"
    elif "additionalProperties" in schema:
        yield from faults(schema["additionalProperties"], f"{path}.*")
    yield from (
        f"{path}: {name} is required and not there"
        for name in set(schema.get("required", ())) - set(properties)
    )
    if "required" in schema and not schema["required"]:
        yield f"{path}: required is empty"
    for name, below in properties.items():
        if path == "$" and name in ("apiVersion", "kind", "metadata"):
            if set(below) - {"type", "description"}:
                yield f"$.{name}: only its type may stand here"
            continue
        yield from faults(below, f"{path}.{name}")


def _array(schema: Schema, path: str) -> Iterator[str]:
    items = schema.get("items")
    if not isinstance(items, Mapping):
        yield f"{path}: items is no schema"
        return
    kind, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys", ())
    if kind not in (None, "atomic", "set", "map"):
        yield f"{path}: unknown list type {kind}"
    if (kind == "map") != bool(keys):
        yield f"{path}: a list type map and its keys go together"
    if kind == "set" and items.get("type") in ("object", "array"):
        yield f"{path}: a set of what is no scalar"
    for key in keys:
        below = items.get("properties", {}).get(key, {})
        if below.get("type") in (None, "object", "array"):
            yield f"{path}: the key {key} is no scalar"
        if key not in items.get("required", ()) and "default" not in below:
            yield f"{path}: the key {key} may be absent"
    yield from faults(items, f"{path}[]")


def fields(schema: Schema, path: str = "$") -> Iterator[tuple[str, Schema]]:
    """Every field below, and its schema."""
    for name, below in schema.get("properties", {}).items():
        yield f"{path}.{name}", below
        yield from fields(below.get("items", below), f"{path}.{name}")


TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


def misfits(schema: Schema, value: object, path: str = "$") -> Iterator[str]:
    """How a value does not fit; fields that would be cut off count too. Rules in CEL are not looked at."""
    kind = schema.get("type")
    if kind is not None and (
        not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")
    ):
        yield f"{path}: {value!r} is no {kind}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path}: {value!r} is none of {schema['enum']}"
    if isinstance(value, str):
        size = len(value)
        if not schema.get("minLength", 0) <= size <= schema.get("maxLength", size):
            yield f"{path}: {size} characters"
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{path}: {value!r} is not as {schema['pattern']}"
    elif isinstance(value, int | float):
        low, high = schema.get("minimum", value), schema.get("maximum", value)
        if not low <= value <= high or (schema.get("exclusiveMinimum") and value == low):
            yield f"{path}: {value} is not from {low} to {high}"
    elif isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            yield f"{path}: {len(value)} items"
        for index, item in enumerate(value):
            yield from misfits(schema["items"], item, f"{path}[{index}]")
    elif isinstance(value, dict):
        yield from _misfits_below(schema, value, path)


def _misfits_below(schema: Schema, value: Mapping[str, object], path: str) -> Iterator[str]:
    properties = schema.get("properties", {})
    yield from (f"{path}: {name} is missing" for name in schema.get("required", ()) if name not in value)
    free = schema.get("x-kubernetes-preserve-unknown-fields") or schema == {"type": "object"}
    for name, below in value.items():
        if name in properties:
            yield from misfits(properties[name], below, f"{path}.{name}")
        elif "additionalProperties" in schema:
            yield from misfits(schema["additionalProperties"], below, f"{path}.{name}")
        elif not free:
            yield f"{path}: {name} would be cut off"
