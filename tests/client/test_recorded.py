"""What Inferno's own services answered, recorded: each answer is read whole, each refusal in its words."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest

from flyball.client import CallError, OptimizerClient, TunerClient
from tests.client.scripted import reply, scripted
from tests.client.test_every_route import method_of

FILES = {
    "G1": "rest-optimizer-v0.5.0",
    "G2": "rest-optimizer-v0.6.0",
    "G3": "rest-optimizer-light-v0.7.8",
}


def answer_of(exchange: dict[str, Any]) -> bytes:
    given = exchange["response"]
    raw = given["rawText"] if isinstance(given, dict) and "rawText" in given else json.dumps(given)
    return reply(exchange["status"], raw, exchange["contentType"])


def arguments_of(exchange: dict[str, Any], operation: str) -> list[Any]:
    """The names in the path; or some body, as the answer is there already."""
    if exchange["method"] == "GET":
        return [unquote(name) for name in exchange["path"].split("/")[2:]]
    return [[]] if re.fullmatch("set.*s", operation) else [b"{}"]


def right(exchange: dict[str, Any]) -> bool:
    """Whether it asks for something that there is, with the right verb."""
    asked = OptimizerClient.operations.get(exchange["path"].split("/")[1])
    return asked is not None and (exchange["method"] == "POST") == bool(asked.body)


def holds(found: Any, expected: Any, where: str) -> int:
    """Whether all that was answered is in what was read; how many values."""
    if isinstance(expected, dict):
        if isinstance(found, list):  # the client takes lists out of their wrapper
            (expected,) = expected.values()
            return holds(found, expected, where)
        return sum(holds(found[key], value, f"{where}.{key}") for key, value in expected.items())
    if isinstance(expected, list):
        assert len(found) == len(expected), where
        return sum(holds(f, e, f"{where}[{i}]") for i, (f, e) in enumerate(zip(found, expected, strict=True)))
    assert found == (float(expected) if isinstance(found, float) else expected), where
    return 1


@pytest.mark.parametrize("generation", FILES)
def test_recorded_answers(generation: str, shared: Path, compared: Counter[str]) -> None:
    recorded = json.loads((shared / "vectors" / "inferno" / f"{FILES[generation]}.json").read_text())
    exchanges = [e for part in recorded.values() if isinstance(part, list) for e in part]
    exchanges = [e for e in exchanges if right(e)]
    read = refused = 0
    with scripted(*map(answer_of, exchanges)) as script, OptimizerClient(script.url) as client:
        for exchange in exchanges:
            operation = exchange["path"].split("/")[1]
            method = getattr(client, method_of(operation))
            arguments = arguments_of(exchange, operation)
            if exchange["status"] != 200:
                with pytest.raises(CallError) as caught:
                    method(*arguments)
                said = exchange["response"]
                assert caught.value.status == exchange["status"]
                assert (said.get("message", "") if isinstance(said, dict) else said) in caught.value.message
                refused += 1
                continue
            found = method(*arguments)
            if operation != "applyAllocation":
                read += holds(msgspec.to_builtins(found), exchange["response"], exchange["path"])
    assert read
    assert refused or generation == "G1"
    compared[f"client, {generation}"] += read + refused


def test_recorded_answers_of_the_tuner(shared: Path, compared: Counter[str]) -> None:
    recorded = json.loads((shared / "vectors" / "inferno" / "rest-model-tuner.json").read_text())
    sessions = [part["exchanges"] for part in recorded.values() if isinstance(part, dict)]
    exchanges = [e for session in sessions for e in session if e["path"] != "/health"]
    read = refused = 0
    with scripted(*map(answer_of, exchanges)) as script, TunerClient(script.url) as client:
        for exchange in exchanges:
            operation = exchange["path"].strip("/").partition("?")[0]
            arguments: list[Any] = [b"[]"] if TunerClient.operations[operation].body else []
            arguments = {"merge": [[]], "getparams": ["m", "a"]}.get(operation, arguments)
            method = getattr(client, method_of(operation))
            if exchange["status"] != 200:
                with pytest.raises(CallError) as caught:
                    method(*arguments)
                assert caught.value.status == exchange["status"]
                assert caught.value.message == exchange["response"]["error"]
                refused += 1
                continue
            found = method(*arguments)
            found = {"warmingUp": found} if operation == "warmup" else found
            read += holds(msgspec.to_builtins(found), exchange["response"], exchange["path"])
    assert read
    assert refused
    compared["client, model tuner"] += read + refused
