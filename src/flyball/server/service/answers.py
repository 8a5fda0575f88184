"""Answers and refusals of the services, in the form that Inferno's have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from litestar import Response

JSON = "application/json; charset=utf-8"
INDENT = 4
"""Inferno's answers are indented by so many spaces."""


class Refusal(Exception):
    """What cannot be done as asked: a status, words and headers, answered as `{"message": ...}`."""

    def __init__(self, status: int, message: str, *, headers: Mapping[str, str] | None = None) -> None:
        self.status, self.message, self.headers = status, message, dict(headers or {})
        super().__init__(message)


def answer(document: object, status: int = 200) -> Response[bytes]:
    """A document as indented JSON; what is not finite is null, as `msgspec` has it."""
    data = msgspec.json.format(msgspec.json.encode(document), indent=INDENT)
    return Response(data, status_code=status, media_type=JSON)


def refusal(_: Any, error: Refusal) -> Response[bytes]:
    """The answer to what is refused."""
    made = answer({"message": error.message}, error.status)
    made.headers.update(error.headers)
    return made
