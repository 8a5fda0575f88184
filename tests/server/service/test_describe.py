"""What `describe` makes of types: schemas whole in themselves, with their examples and refusals."""

from __future__ import annotations

import json

import msgspec

from flyball.server.service.describe import describe, schema_of


class Card(msgspec.Struct):
    """A card."""

    name: str


class Node(msgspec.Struct):
    """A node."""

    cards: list[Card]
    spare: Card | None = None


def test_nested_types_stand_where_they_are_used() -> None:
    schema = schema_of(dict[str, list[Node]])
    assert "$ref" not in json.dumps(schema)
    assert "$defs" not in schema
    cards = schema["additionalProperties"]["items"]["properties"]["cards"]["items"]
    assert (cards["description"], cards["required"]) == ("A card.", ["name"])
    assert schema_of({"type": "string"}) == {"type": "string"}


def test_body_answer_examples_and_refusals() -> None:
    kind = describe(
        body=Node,
        answer=list[str],
        example=Node([Card("a")]),
        answered=["a"],
        refusals={400: "It cannot be read.", 404: "There is none."},
    )
    made = kind(summary="kept").to_schema()
    assert made["summary"] == "kept"
    assert made["requestBody"]["required"] is True
    assert made["requestBody"]["content"]["application/json"]["example"]["cards"] == [{"name": "a"}]
    assert made["responses"]["200"]["content"]["application/json"] == {
        "schema": {"type": "array", "items": {"type": "string"}},
        "example": ["a"],
    }
    assert {key: value["description"] for key, value in made["responses"].items() if key != "200"} == {
        "400": "It cannot be read.",
        "404": "There is none.",
    }


def test_a_route_may_have_no_body() -> None:
    assert "requestBody" not in describe(answer=str)().to_schema()
