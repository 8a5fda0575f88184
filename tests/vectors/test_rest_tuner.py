"""The tuner against the original's recorded sessions, over real HTTP."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx2
import msgspec
import pytest

from flyball.server.tuner import service
from flyball.spec.calibration import Tuning
from tests.conftest import shared_dir
from tests.server.service.conftest import running

RELATIVE = 1e-3
"""Of fitted parameters; recorded in single precision."""
NOW = 1.8e9
READ: dict[str, tuple[str, Callable[[str], Any]]] = {
    "TUNER_ESTIMATOR_MODE": ("estimator", str),
    "TUNER_WINDOW_SIZE": ("window_size", int),
    "TUNER_INIT_OBS": ("initial_observations", int),
    "TUNER_WARM_UP_CYCLES": ("warm_up_cycles", int),
    "TUNER_MAX_CONDITION_NUMBER": ("max_condition_number", float),
    "TUNER_RESIDUAL_THRESHOLD": ("residual_threshold", float),
    "TUNER_INIT_FIT_THRESHOLD": ("fit_threshold", float),
    "TUNER_INIT_HOLD_BACK": ("hold_back", lambda text: text in ("true", "1")),
}


def sessions() -> dict[str, dict[str, Any]]:
    shared = shared_dir()
    assert shared
    document = json.loads((shared / "vectors" / "inferno" / "rest-model-tuner.json").read_text())
    return {name: each for name, each in document.items() if name != "source"}


def tuning_of(environment: dict[str, str]) -> Tuning:
    return Tuning(**{READ[k][0]: READ[k][1](v) for k, v in environment.items() if k in READ})


@pytest.mark.parametrize("name", sessions())
def test_session(name: str, compared: Counter[str]) -> None:
    session = sessions()[name]
    tuning = tuning_of(session["env"])
    assert tuning.estimator == name
    with (
        running(service(tuning, lambda: NOW)) as address,
        httpx2.Client(base_url=address, timeout=60.0) as client,
    ):
        for number, exchange in enumerate(session["exchanges"]):
            body = exchange["requestBody"]
            content = None
            if body is not None:
                content = (
                    body["rawText"] if isinstance(body, dict) and "rawText" in body else json.dumps(body)
                )
            found = client.request(exchange["method"], exchange["path"], content=content)
            compared["REST, model tuner"] += check(f"{number}: {exchange['path']}", found, exchange, tuning)


def check(place: str, found: httpx2.Response, exchange: dict[str, Any], tuning: Tuning) -> int:
    """Compare an answer; how many values."""
    expected = exchange["response"]
    assert found.status_code == exchange["status"], (place, found.text)
    assert found.headers["content-type"].partition(";")[0] == exchange["contentType"].partition(";")[0]
    if expected is None or "rawText" in expected:
        if expected and expected["rawText"]:
            assert found.text == expected["rawText"]
        return 1
    answer = found.json()
    if expected.get("error", "").startswith("invalid request body: "):
        assert list(answer) == ["error"]
        assert answer["error"].startswith("invalid request body: the body")  # our words from there on
        return 2
    assert found.content == msgspec.json.encode(answer), "compact, as there"
    return same(place, answer, expected, tuning)


def same(place: str, answer: Any, expected: Any, tuning: Tuning) -> int:
    if isinstance(expected, dict):
        assert list(answer) == list(expected), place
        return sum(same(f"{place}.{key}", answer[key], expected[key], tuning) for key in expected)
    if isinstance(expected, list):
        assert len(answer) == len(expected), place
        return sum(
            same(f"{place}[{i}]", a, e, tuning) for i, (a, e) in enumerate(zip(answer, expected, strict=True))
        )
    if place.endswith(".conditionNumber") and expected > tuning.max_condition_number:
        assert answer is None or answer > tuning.max_condition_number, place  # rounding decides how far
    elif place.endswith(".lastUpdated"):
        assert answer == "2027-01-15T08:00:00.000000Z"
    elif isinstance(expected, float | int) and not isinstance(expected, bool):
        assert answer == pytest.approx(expected, rel=RELATIVE), place
    else:
        assert answer == expected, place
    return 1
