"""Webhooks over HTTP: one rule for each path, and a fault of a rule holds up nobody."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from flyball.server.admission import admission
from flyball.wire.admission import Asked, Verdict
from tests.server.service.conftest import running


def refuses(asked: Asked) -> Verdict:
    return Verdict(f"{asked.kind.kind} {asked.namespace}/{asked.name} may not be")


def warns(asked: Asked) -> Verdict:
    return Verdict(warnings=("mind the gap",))


def fails(asked: Asked) -> Verdict:
    raise KeyError("a part that nobody thought of")


def sinks(asked: Asked) -> Verdict:
    return sinks(asked)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    rules = {"/refuses": refuses, "/warns": warns, "/fails": fails, "/sinks": sinks}
    with running(admission(rules)) as found:
        yield found


def review(url: str, path: str, **changes: object) -> dict[str, Any]:
    request = {
        "uid": "1",
        "kind": {"kind": "Server"},
        "namespace": "infer",
        "name": "chat",
        "object": {"spec": {}},
    }
    body = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request | changes}
    answer = httpx2.post(url + path, json=body, params={"timeout": "3s"}, timeout=30)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/json")
    found: dict[str, Any] = answer.json()["response"]
    assert found["uid"] == "1"
    return found


def test_each_path_has_its_rule(url: str) -> None:
    refused = review(url, "/refuses")
    assert refused["allowed"] is False
    assert refused["status"]["message"] == "Server infer/chat may not be"
    assert review(url, "/warns") == {"uid": "1", "allowed": True, "warnings": ["mind the gap"]}


@pytest.mark.parametrize(("path", "said"), [("/fails", "KeyError"), ("/sinks", "RecursionError")])
def test_a_rule_that_fails_lets_pass_with_a_warning(url: str, path: str, said: str) -> None:
    found = review(url, path)
    assert found["allowed"] is True
    assert len(found["warnings"]) == 1
    assert found["warnings"][0].startswith(f"it was not checked: {said}")


@pytest.mark.parametrize("data", [b"", b"nonsense", b"{}", b"[" * 10_000])
def test_what_is_no_review_is_a_bad_request(url: str, data: bytes) -> None:
    answer = httpx2.post(f"{url}/warns", content=data, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert "AdmissionReview" in json.dumps(answer.json())


def test_other_paths_are_none(url: str) -> None:
    assert httpx2.post(f"{url}/nix", json={}).status_code == 404
    assert httpx2.get(f"{url}/warns").status_code in (404, 405)


def test_it_is_ready_when_it_says_so() -> None:
    problems = ["not yet"]
    with running(admission({}, lambda: problems[0])) as url:
        assert httpx2.get(f"{url}/readyz").status_code == 503
        problems[0] = ""
        assert httpx2.get(f"{url}/readyz").status_code == 200
