"""AdmissionReview in and out."""

from __future__ import annotations

import base64
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.wire.admission import LONGEST_WARNING, Asked, Verdict, read_review, review_bytes
from flyball.wire.errors import WireError

REQUEST = {
    "uid": "705ab4f5",
    "kind": {"group": "inferno.platform.ai", "version": "v1alpha1", "kind": "Server"},
    "resource": {"group": "inferno.platform.ai", "version": "v1alpha1", "resource": "servers"},
    "operation": "UPDATE",
    "namespace": "infer",
    "name": "chat",
    "userInfo": {"username": "me", "groups": ["system:authenticated"]},
    "object": {"metadata": {"name": "chat"}, "spec": {"model": "m"}},
    "oldObject": {"metadata": {"name": "chat"}},
    "dryRun": False,
    "options": {"kind": "UpdateOptions"},
}


def bytes_of(**changes: object) -> bytes:
    document = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
    return json.dumps(document | {"request": REQUEST | changes}).encode()


def answer(verdict: Verdict) -> dict:
    document = json.loads(review_bytes("705ab4f5", verdict))
    assert (document["apiVersion"], document["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    assert document["response"]["uid"] == "705ab4f5"
    return document["response"]


def test_a_request_as_the_api_server_writes_it() -> None:
    asked = read_review(bytes_of())
    assert (asked.uid, asked.kind.kind, asked.operation) == ("705ab4f5", "Server", "UPDATE")
    assert (asked.namespace, asked.name, asked.user_info.username) == ("infer", "chat", "me")
    assert asked.object == REQUEST["object"]
    assert asked.old_object == {"metadata": {"name": "chat"}}


def test_of_a_deletion_there_is_no_object() -> None:
    asked = read_review(bytes_of(operation="DELETE", object=None, dryRun=None))
    assert (asked.object, asked.dry_run) == (None, None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff\xfe",
        b'{"request": {}}',
        b'{"request": null}',
        b"[" * 100_000,
        b'{"request": {"uid": "\xff"}}',
        b'{"request": {"uid": "a", "object": ' + b'{"a":' * 100_000,
        bytes_of(uid=5),
        bytes_of(operation="PATCH"),
        bytes_of(object=[1]),
    ],
)
def test_what_is_no_review_is_said(data: bytes) -> None:
    with pytest.raises(WireError, match="the body"):
        read_review(data)


@given(st.binary(max_size=60) | st.builds(lambda value: json.dumps({"request": value}).encode(), st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda below: st.dictionaries(st.sampled_from(["uid", "kind", "object", "x"]), below) | st.lists(below),
)))  # fmt: skip
def test_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(WireError):
        assert isinstance(read_review(data), Asked)


def test_what_may_be_is_allowed_with_nothing_more() -> None:
    assert answer(Verdict()) == {"uid": "705ab4f5", "allowed": True}


def test_a_refusal_says_why() -> None:
    found = answer(Verdict("Server infer/chat: spec.model: is missing."))
    assert found["allowed"] is False
    assert found["status"]["code"] == 422
    assert found["status"]["message"] == "Server infer/chat: spec.model: is missing."


def test_warnings_are_kept_short() -> None:
    found = answer(Verdict(warnings=("a" * LONGEST_WARNING, "b" * 1000)))
    assert found["allowed"] is True
    assert found["warnings"] == ["a" * LONGEST_WARNING, "b" * (LONGEST_WARNING - 1) + "…"]


def test_a_patch_is_in_base64() -> None:
    patch = [{"op": "add", "path": "/spec/name", "value": "chat"}]
    found = answer(Verdict(patch=patch))
    assert found["patchType"] == "JSONPatch"
    assert json.loads(base64.b64decode(found["patch"])) == patch
