"""What a route takes and gives, for the OpenAPI document, where its handler deals in bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import msgspec
from litestar.openapi.spec import (
    OpenAPIMediaType,
    OpenAPIResponse,
    Operation,
    Parameter,
    RequestBody,
    Schema,
)

KIND = "application/json"


class Message(msgspec.Struct, frozen=True):
    """Why not: what was wrong, with which value, and what to do about it."""

    message: str


def describe(
    *,
    answer: Any,
    body: Any = None,
    query: Mapping[str, tuple[Schema, str]] | None = None,
    example: object = None,
    answered: object = None,
    refusals: Mapping[int, str] | None = None,
    refused: Any = Message,
) -> type[Operation]:
    """The `operation_class` of a route: types (or JSON schemas) of body and answer, an example of each, and
    why it may refuse, by status, in the words of `refused`. Types may not hold themselves.
    """

    @dataclass
    class Described(Operation):
        def __post_init__(self) -> None:
            asked = [
                Parameter(name, "query", schema=schema, description=words)
                for name, (schema, words) in (query or {}).items()
            ]
            for given in self.parameters or ():
                if isinstance(given, Parameter) and isinstance(given.schema, Schema):
                    given.schema.format = None  # of a path, "uri": but it is a name
            self.parameters = [*(self.parameters or ()), *asked] or None
            if body is not None:
                self.request_body = RequestBody(_content(body, example), required=True)
            self.responses = {
                "200": OpenAPIResponse("The answer.", content=_content(answer, answered)),
                **{
                    str(status): OpenAPIResponse(why, content=_content(refused, None))
                    for status, why in (refusals or {}).items()
                },
            }

    return Described


def schema_of(kind: Any) -> dict[str, Any]:
    """The JSON schema of a type, whole in itself: what it refers to stands where it is referred to."""
    if isinstance(kind, dict):
        return kind
    schema = msgspec.json.schema(kind)
    return cast(dict[str, Any], _inlined(schema, schema.pop("$defs", {})))


def or_null(kind: Any) -> dict[str, Any]:
    """The JSON schema of an answer that may hold what is not finite: that is null in JSON."""
    return cast(dict[str, Any], _or_null(schema_of(kind)))


def _or_null(part: Any) -> Any:
    if isinstance(part, dict):
        kind = {"type": ["number", "null"]} if part.get("type") == "number" else {}
        return {key: _or_null(value) for key, value in part.items()} | kind
    return [_or_null(each) for each in part] if isinstance(part, list) else part


def _inlined(part: Any, defs: dict[str, Any]) -> Any:
    if isinstance(part, dict):
        if "$ref" in part:
            found = defs[part["$ref"].rpartition("/")[2]]
            return _inlined({**found, **{key: value for key, value in part.items() if key != "$ref"}}, defs)
        return {key: _inlined(value, defs) for key, value in part.items()}
    return [_inlined(each, defs) for each in part] if isinstance(part, list) else part


def _content(kind: Any, example: object) -> dict[str, OpenAPIMediaType]:
    plain = None if example is None else msgspec.to_builtins(example)
    # Litestar writes a plain dict as it is.
    return {KIND: OpenAPIMediaType(schema=cast(Schema, schema_of(kind)), example=plain)}
