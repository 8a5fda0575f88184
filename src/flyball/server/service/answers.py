"""Answers and refusals of the services, in the form that Inferno's have."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Response

JSON = "application/json; charset=utf-8"
INDENT = 4
"""Inferno's answers are indented by so many spaces."""


class Refusal(Exception):
    """What cannot be done as asked: a status and words, answered as `{"message": ...}`."""

    def __init__(self, status: int, message: str) -> None:
        self.status, self.message = status, message
        super().__init__(message)


def answer(document: object, status: int = 200) -> Response[bytes]:
    """A document as indented JSON; what is not finite is null, as `msgspec` has it."""
    data = msgspec.json.format(msgspec.json.encode(document), indent=INDENT)
    return Response(data, status_code=status, media_type=JSON)


def refusal(_: Any, error: Refusal) -> Response[bytes]:
    """The answer to what is refused."""
    return answer({"message": error.message}, error.status)
