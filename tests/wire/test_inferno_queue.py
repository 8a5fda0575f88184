"""The queue service's documents: what is read, what is refused and with which words, what is written."""

from __future__ import annotations

import json
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.wire.inferno_queue import (
    QueueError,
    QueueRequest,
    Served,
    analysis_of,
    optimum_of,
    out_of_reach,
    read_question,
    too_short,
)

WHOLE = {
    "RPS": 3.0,
    "maxBatchSize": 48,
    "avgInputTokens": 128,
    "avgOutputTokens": 512,
    "alpha": 12,
    "beta": 0.05,
    "gamma": 0.0005,
    "maxQueueSize": 128,
    "targetTTFT": 60.0,
    "targetITL": 20.0,
}
SERVED = Served(2.5, 10.0, 0.5, 30.0, 0.75, 0.02, 4.0)


def refused(document: object) -> str:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(QueueError) as caught:
        read_question(data)
    return str(caught.value)


def test_a_request_is_read_in_seconds() -> None:
    found = msgspec.to_builtins(read_question(json.dumps(WHOLE).encode()))
    assert found == {
        "rate": 3.0,
        "max_batch_size": 48,
        "in_tokens": 128,
        "out_tokens": 512,
        "alpha": 0.012,
        "beta": 0.05 / 1000,
        "gamma": 0.0005 / 1000,
        "queue_size": 128,
        "ttft": 0.06,
        "itl": 0.02,
    }


@given(st.lists(st.sampled_from((str.upper, str.lower, str.title, str)), min_size=10, max_size=10))
def test_names_match_whatever_their_case(cases: list[type[str]]) -> None:
    named = {case(name): value for case, (name, value) in zip(cases, WHOLE.items(), strict=True)}
    assert read_question(json.dumps(named).encode()) == read_question(json.dumps(WHOLE).encode())


def test_the_form_has_the_true_names_and_reads_back() -> None:
    form = msgspec.convert(WHOLE, QueueRequest)
    assert json.loads(msgspec.json.encode(form)) == WHOLE
    assert list(msgspec.to_builtins(form)) == list(WHOLE)


def test_what_is_absent_null_or_unknown_is_nothing() -> None:
    found = read_question(
        b'{"MaxBatchSize": 4.0, "avgOutputTokens": 8, "alpha": 1, "beta": null, "_comment": [1], '
        b'"rps": 1, "RPS": 2}'
    )
    assert (found.max_batch_size, found.beta, found.in_tokens, found.queue_size) == (4, 0.0, 0.0, 0)
    assert type(found.max_batch_size) is int
    assert (found.ttft, found.itl) == (math.inf, math.inf)
    assert found.rate == 2, "the last one holds, as in Go"


def test_yaml_is_read_too() -> None:
    assert read_question(b"maxBatchSize: 4\navgOutputTokens: 8\nalpha: 1.5\n").alpha == 0.0015


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", ("neither JSON", "nor YAML")),
        (b"", ("holds nothing",)),
        (b"[1]", ("expected an object {...}, got a list of 1",)),
        (b'"x"', ('expected an object {...}, got "x"',)),
        ({**WHOLE, "RPS": "3"}, ('the body: RPS is "3": expected a number', "without quotes")),
        ({**WHOLE, "alpha": True}, ("alpha is true: expected a number",)),
        ({**WHOLE, "alpha": {}}, ("alpha is an empty object: expected a number",)),
        ({**WHOLE, "maxBatchSize": 4.5}, ("maxBatchSize is 4.5: expected a whole number",)),
        (b"maxBatchSize: .nan", ("maxBatchSize is nan", "finite")),
        (b"alpha: .inf", ("alpha is inf",)),
        (b'{"alpha": 1e400}', ("the body",)),
        (b"[" * 100_000, ("the body",)),
        (b"a: &a [*a, *a]", ("the body",)),
        (b'{"x": "' + b"x" * 2**20 + b'"}', ("larger than the limit of 1,048,576 bytes",)),
        (b"\xff\xfe{", ("the body",)),
    ],
    ids=range(15),
)
def test_what_cannot_be_read_is_a_binding_error(body: object, words: tuple[str, ...]) -> None:
    said = refused(body)
    assert said.startswith("binding error: the body")
    assert all(word in said for word in words), said


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"RPS": -1}, "RPS is -1, allowed is 0 to 1,000,000,000"),
        ({"maxBatchSize": 0}, "maxBatchSize is 0, allowed is 1 to 65,536"),
        ({"maxBatchSize": -4}, "maxBatchSize is -4, allowed is 1 to 65,536"),
        ({"maxBatchSize": 10**9}, "maxBatchSize is 1,000,000,000, allowed is 1 to 65,536"),
        ({"avgInputTokens": 1e12}, "avgInputTokens is 1,000,000,000,000, allowed is 0 to 10,000,000"),
        ({"avgOutputTokens": -0.5}, "avgOutputTokens is -0.5, allowed is 1 to 10,000,000"),
        ({"alpha": 1e15}, "alpha is 1e+15, allowed is 0 to 1,000,000,000"),
        ({"beta": -1e-9, "gamma": -1}, "beta is -1e-09, allowed is 0 to 1,000,000,000; gamma is -1, allowed"),
        ({"maxQueueSize": -1}, "maxQueueSize is -1, allowed is 0 to 1,000,000,000"),
        ({"targetTTFT": -1}, "targetTTFT is -1, allowed"),
        ({"targetITL": -1}, "targetITL is -1, allowed"),
        (
            {"maxBatchSize": 65_536, "avgInputTokens": 10_000_000},
            "tokens in a full batch, allowed is up to 250,",
        ),
    ],
)
def test_values_that_cannot_be_are_a_data_error(change: dict[str, float], words: str) -> None:
    said = refused({**WHOLE, **change})
    assert said.startswith("data error: invalid input data: ")
    assert words in said


def test_an_empty_object_lacks_a_batch() -> None:
    for body in (b"{}", b"null"):
        assert "data error: invalid input data: maxBatchSize is 0" in refused(body)


@pytest.mark.parametrize("tokens", [0, 0.5])
def test_a_request_has_an_output(tokens: float) -> None:
    said = refused({**WHOLE, "avgOutputTokens": tokens})
    assert said.startswith(f"NewLLMQueueAnalyzer() failed: avgOutputTokens is {tokens}, and a request has")


def test_a_tiny_target_is_a_target() -> None:
    found = read_question(json.dumps({**WHOLE, "targetTTFT": 5e-324}).encode())
    assert 0 < found.ttft < 1e-12


def test_answers_have_the_names_and_the_order_of_the_original() -> None:
    analysis = json.loads(msgspec.json.encode(analysis_of(3.0, SERVED, (5.0, 6.0))))
    assert list(analysis.items()) == [
        ("offeredRPS", 3.0),
        ("throughput", 2.5),
        ("avgRespTime", 10_000.0),
        ("avgWaitTime", 500.0),
        ("avgNumInServ", 30.0),
        ("avgTTFT", 750.0),
        ("avgITL", 20.0),
        ("maxRPS", 4.0),
        ("RPSTargetTTFT", 5.0),
        ("RPSTargetITL", 6.0),
    ]
    optimum = json.loads(msgspec.json.encode(optimum_of(7, SERVED, (8, 9), 6, True)))
    assert list(optimum.items()) == [
        ("concurrency", 7),
        *list(analysis.items())[1:8],
        ("M_ITL", 8),
        ("M_TPF", 9),
        ("oracleCalls", 6),
        ("feasible", True),
    ]


def test_refusals_say_how_far_away_a_target_is() -> None:
    question = read_question(json.dumps(WHOLE).encode())
    said = str(out_of_reach(question, SERVED, False, False))
    assert said.startswith(
        "Size() failed: targetTTFT is 60 ms, and a replica with next to no load takes 750 ms"
    )
    assert "targetITL is 20 ms, and a replica with next to no load takes 20 ms" in said
    assert "targetTTFT" not in str(out_of_reach(question, SERVED, True, False))
    assert "a request alone takes 0 ms, allowed is 1e-06 ms and more" in str(too_short(0.0, 1e-9))
