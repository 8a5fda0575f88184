"""From a struct to a *structural* OpenAPI v3 schema, as a CustomResourceDefinition wants it.

What JSON Schema says and Kubernetes refuses does not come up: references are written out, `T | None` is a
field that may be absent, `Literal` is an enum, bounds that exclude are OpenAPI's booleans. Descriptions are
the docstrings of structs and those below fields; `Meta(description=...)` wins. A default that is not None is
a default of the API server, which stores it; where it should not, write `| None = None`.

Source: Kubernetes' documentation of CustomResourceDefinitions, "Specifying a structural schema".
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec
from msgspec import Meta
from msgspec import inspect as types

Schema = dict[str, Any]

INT32 = 2**31
ORDER = (
    "description",
    "type",
    "format",
    "default",
    "enum",
    "pattern",
    *("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf"),
    *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
    *("items", "additionalProperties", "required", "properties"),
)
"""Of the keywords of a schema; what is short and says most comes first."""
LEFT_OUT = ("title", "examples")
"""Of Meta: what no structural schema has."""
RULES, PRESERVE = "x-kubernetes-validations", "x-kubernetes-preserve-unknown-fields"


class Rule(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A condition in CEL on the value, `self`, and what is said where it does not hold."""

    rule: str
    message: str
    reason: str = ""
    field_path: str = ""
    """Which field the message is about, as `.midPower`; empty: the value."""


def rules(*of: Rule) -> Meta:
    """Conditions on a value, for Annotated."""
    return Meta(extra_json_schema={RULES: msgspec.to_builtins(list(of))})


def list_of(kind: str, *keys: str) -> Meta:
    """How lists are merged: atomic, set, or map by certain fields of the items, for Annotated."""
    said: dict[str, object] = {"x-kubernetes-list-type": kind}
    return Meta(extra_json_schema=said | ({"x-kubernetes-list-map-keys": list(keys)} if keys else {}))


ANY_FIELDS = Meta(extra_json_schema={PRESERVE: True})
"""Fields that are not in the schema are kept, for Annotated."""


def structural(kind: type[msgspec.Struct], rules: tuple[Rule, ...] = ()) -> Schema:
    """The schema of a struct, with conditions on the whole. TypeError for what Kubernetes cannot say."""
    schema = _struct(kind, ())
    if rules:
        schema[RULES] = msgspec.to_builtins(list(rules))
    return ordered(schema)


def ordered(schema: Mapping[str, Any]) -> Schema:
    """The schema with its keywords in a fixed order, and so those below it."""
    made: Schema = {}
    for key in sorted(schema, key=ORDER.index):
        value = schema[key]
        if key == "properties":
            value = {name: ordered(below) for name, below in value.items()}
        elif key in ("items", "additionalProperties") and isinstance(value, dict):
            value = ordered(value)
        made[key] = value
    return made


def _struct(kind: type[msgspec.Struct], above: tuple[type, ...]) -> Schema:
    if kind in above:
        raise TypeError(f"{kind.__name__} contains itself: no structural schema can say that")
    if kind.__struct_config__.tag is not None or kind.__struct_config__.array_like:
        raise TypeError(f"{kind.__name__} is tagged or array_like: no structural schema can say that")
    said = field_docs(kind)
    info = types.type_info(kind)
    assert isinstance(info, types.StructType)
    properties: Schema = {}
    for field in info.fields:
        place = f"{kind.__name__}.{field.name}"
        schema = _type(field.type, (*above, kind), place)
        if field.name in said and not _described(field.type):
            schema["description"] = said[field.name]
        default = _default(field)
        if default is not None:
            schema["default"] = default
        properties[field.encode_name] = schema
    made: Schema = {"type": "object", "properties": properties}
    required = [f.encode_name for f in info.fields if f.required]
    if required:
        made["required"] = required
    text = _line(kind.__dict__.get("__doc__") or "")
    return made | ({"description": text} if text else {})


def _default(field: types.Field) -> object:
    if field.default is not msgspec.NODEFAULT and field.default is not msgspec.UNSET:
        return msgspec.to_builtins(field.default)
    if field.default_factory is not msgspec.NODEFAULT:
        return msgspec.to_builtins(field.default_factory())
    return None


def _described(kind: types.Type) -> bool:
    """Whether an annotation of it has a description; not those of what is below."""
    if isinstance(kind, types.UnionType):
        return any(map(_described, kind.types))
    return isinstance(kind, types.Metadata) and (
        "description" in (kind.extra_json_schema or {}) or _described(kind.type)
    )


def _type(kind: types.Type, above: tuple[type, ...], place: str) -> Schema:
    if isinstance(kind, types.Metadata):
        more = {k: v for k, v in (kind.extra_json_schema or {}).items() if k not in LEFT_OUT}
        if unknown := set(more) - set(ORDER):
            raise TypeError(f"{place} has {', '.join(sorted(unknown))}: no structural schema knows that")
        return _type(kind.type, above, place) | more
    if isinstance(kind, types.UnionType):
        return _union(kind, above, place)
    if isinstance(kind, types.StructType):
        return _struct(kind.cls, above)
    if isinstance(kind, types.ListType | types.VarTupleType | types.SetType | types.FrozenSetType):
        unique = isinstance(kind, types.SetType | types.FrozenSetType)
        bounds = {"minItems": kind.min_length, "maxItems": kind.max_length}
        made: Schema = {"type": "array", "items": _type(kind.item_type, above, place)}
        return made | _given(bounds) | ({"x-kubernetes-list-type": "set"} if unique else {})
    if isinstance(kind, types.DictType):
        return _map(kind, above, place)
    return _scalar(kind, place)


def _union(kind: types.UnionType, above: tuple[type, ...], place: str) -> Schema:
    left = [t for t in kind.types if not isinstance(t, types.NoneType)]
    if len(left) == 1:
        return _type(left[0], above, place)
    if {type(t) for t in left} == {types.IntType, types.StrType}:
        return {"x-kubernetes-int-or-string": True}
    raise TypeError(f"{place} is one of several types: no structural schema can say that")


def _map(kind: types.DictType, above: tuple[type, ...], place: str) -> Schema:
    if not isinstance(_bare(kind.key_type), types.StrType):
        raise TypeError(f"{place} is a map whose keys are not text")
    bounds = _given({"minProperties": kind.min_length, "maxProperties": kind.max_length})
    if isinstance(kind.value_type, types.AnyType):
        return {"type": "object", PRESERVE: True} | bounds
    return {"type": "object", "additionalProperties": _type(kind.value_type, above, place)} | bounds


def _bare(kind: types.Type) -> types.Type:
    return _bare(kind.type) if isinstance(kind, types.Metadata) else kind


def _scalar(kind: types.Type, place: str) -> Schema:
    if isinstance(kind, types.BoolType):
        return {"type": "boolean"}
    if isinstance(kind, types.IntType | types.FloatType):
        return _number(kind)
    if isinstance(kind, types.StrType):
        bounds = {"minLength": kind.min_length, "maxLength": kind.max_length, "pattern": kind.pattern}
        return {"type": "string"} | _given(bounds)
    if isinstance(kind, types.DateTimeType):
        return {"type": "string", "format": "date-time"}
    if isinstance(kind, types.LiteralType | types.EnumType):
        values = kind.values if isinstance(kind, types.LiteralType) else (e.value for e in kind.cls)
        known = sorted(values) if isinstance(kind, types.LiteralType) else list(values)
        if all(isinstance(v, str) for v in known):
            return {"type": "string", "enum": known}
        if all(isinstance(v, int) for v in known):
            return {"type": "integer", "format": "int64", "enum": known}
    if isinstance(kind, types.AnyType | types.RawType):
        return {PRESERVE: True}
    raise TypeError(f"{place} is {type(kind).__name__}: no structural schema can say that")


def _number(kind: types.IntType | types.FloatType) -> Schema:
    made: Schema = {"type": "integer" if isinstance(kind, types.IntType) else "number"}
    low = kind.ge if kind.gt is None else kind.gt
    high = kind.le if kind.lt is None else kind.lt
    if isinstance(kind, types.IntType):
        small = low is not None and high is not None and low >= -INT32 and high < INT32
        made["format"] = "int32" if small else "int64"
    made |= _given({"minimum": _whole(low), "maximum": _whole(high), "multipleOf": _whole(kind.multiple_of)})
    return made | _given(
        {"exclusiveMinimum": kind.gt is not None or None, "exclusiveMaximum": kind.lt is not None or None}
    )


def _whole(value: float | None) -> float | None:
    return int(value) if value is not None and float(value).is_integer() else value


def _given(keywords: Mapping[str, object]) -> Schema:
    return {key: value for key, value in keywords.items() if value is not None}


def field_docs(kind: type) -> dict[str, str]:
    """Docstrings below the fields of a class and of those it inherits from, by name of the field."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if issubclass(base, msgspec.Struct) and base is not msgspec.Struct:
            found |= _own_docs(base)
    return found


@cache
def _own_docs(kind: type) -> dict[str, str]:
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    return {
        field.target.id: _line(str(below.value.value))
        for field, below in zip(body.body, body.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
    }


def _line(text: str) -> str:
    return " ".join(text.split())
