"""AdmissionReview of Kubernetes: what the API server asks of a webhook, and what it is told."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from flyball.wire.errors import WireError

API_VERSION = "admission.k8s.io/v1"
LONGEST_WARNING = 256
"""Characters; the API server cuts what is longer."""


class _Kind(msgspec.Struct, frozen=True):
    group: str = ""
    version: str = ""
    kind: str = ""


class _User(msgspec.Struct, frozen=True):
    username: str = ""


class Asked(msgspec.Struct, frozen=True, rename="camel"):
    """What somebody is about to write."""

    uid: str
    kind: _Kind = _Kind()
    operation: Literal["CREATE", "UPDATE", "DELETE", "CONNECT"] = "CREATE"
    namespace: str = ""
    name: str = ""
    object: dict[str, Any] | None = None
    old_object: dict[str, Any] | None = None
    dry_run: bool | None = False
    user_info: _User = _User()


class _Review(msgspec.Struct, frozen=True):
    request: Asked


class Verdict(msgspec.Struct, frozen=True):
    """Refused where `refusal` says why; `warnings` are shown to whoever writes."""

    refusal: str = ""
    warnings: tuple[str, ...] = ()
    patch: Sequence[dict[str, object]] = ()
    """JSON patch, of a mutating webhook."""


_DECODER = msgspec.json.Decoder(_Review)
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def read_review(data: bytes) -> Asked:
    """The body of a webhook's request. Or WireError."""
    try:
        return _DECODER.decode(data).request
    except _UNREADABLE as error:
        raise WireError("the body", f"{error}", mend=f"Send an AdmissionReview of {API_VERSION}") from None


def review_bytes(uid: str, verdict: Verdict) -> bytes:
    """The answer."""
    response: dict[str, object] = {"uid": uid, "allowed": not verdict.refusal}
    if verdict.refusal:
        response["status"] = {"code": 422, "reason": "Invalid", "message": verdict.refusal}
    if verdict.warnings:
        response["warnings"] = [_cut(text) for text in verdict.warnings]
    if verdict.patch:
        response |= {
            "patchType": "JSONPatch",
            "patch": base64.b64encode(msgspec.json.encode(list(verdict.patch))).decode(),
        }
    return msgspec.json.encode({"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response})


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_WARNING else text[: LONGEST_WARNING - 1] + "…"
