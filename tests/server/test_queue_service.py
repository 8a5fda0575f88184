"""The queue service over HTTP: closed formulas, beside the reference, and bodies of any kind."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import httpx2
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.reference.queue import G3, optimal_concurrency
from flyball.server.queue import EXAMPLE, service
from flyball.server.service.service import app_of
from tests.server.service.conftest import running

BASE: dict[str, float] = msgspec.to_builtins(EXAMPLE)
PATHS = ("/solve", "/target", "/optimize")


@pytest.fixture(scope="module")
def client() -> Iterator[httpx2.Client]:
    with running(service()) as address, httpx2.Client(base_url=address, timeout=60.0) as made:
        yield made


def ask(client: httpx2.Client, path: str, **changes: float) -> dict[str, Any]:
    found = client.post(path, json={**BASE, **changes})
    assert found.status_code == 200, found.text
    return found.json()  # type: ignore[no-any-return]


def refused(client: httpx2.Client, path: str, **changes: float) -> str:
    found = client.post(path, json={**BASE, **changes})
    assert found.status_code == 400, found.text
    return found.json()["message"]  # type: ignore[no-any-return]


# ---- closed formulas -----------------------------------------------------------------------------


def stay(n: int) -> float:
    """Milliseconds in a batch of n, one chunk, by hand: (1 + m) alpha + n (prefill and decode work)."""
    L, m = 128, 512
    prefill = (0.05 + 0.0005) * L
    decode = m * 0.05 + 0.0005 * m * (L + (m + 1) / 2)
    return (1 + m) * 12 + n * (prefill + decode)


def by_hand(rate: float, batch: int, queue: int) -> dict[str, float]:
    """Sums over all states of the chain; tau is one line here."""
    per_ms = rate / 1000
    weights = [1.0]
    for n in range(1, batch + queue + 1):
        busy = min(n, batch)
        weights.append(weights[-1] * per_ms * stay(busy) / busy)
    whole = sum(weights)
    in_batch = sum(min(n, batch) * w for n, w in enumerate(weights)) / whole
    in_queue = sum(max(n - batch, 0) * w for n, w in enumerate(weights)) / whole
    through = rate * (1 - weights[-1] / whole)
    return {
        "throughput": through,
        "avgNumInServ": in_batch,
        "avgWaitTime": 1000 * in_queue / through,
        "avgRespTime": 1000 * (in_batch + in_queue) / through,
        "maxRPS": 0.999 * 1000 * batch / stay(batch),
    }


@pytest.mark.parametrize(
    ("rate", "batch", "queue"),
    [(3.0, 48, 128), (3.8, 48, 0), (50.0, 48, 3), (0.1, 1, 5), (2.0, 7, 40), (1e-9, 3, 1)],
)
def test_solve_is_the_sum_over_all_states(client: httpx2.Client, rate: float, batch: int, queue: int) -> None:
    found = ask(client, "/solve", RPS=rate, maxBatchSize=batch, maxQueueSize=queue)
    for name, value in by_hand(rate, batch, queue).items():
        assert found[name] == pytest.approx(value, rel=1e-8, abs=1e-8), name
    assert found["offeredRPS"] == rate
    assert found["RPSTargetTTFT"] == found["RPSTargetITL"] == 0
    assert found["avgRespTime"] == pytest.approx(found["avgTTFT"] + 511 * found["avgITL"], rel=2e-2)


@pytest.mark.parametrize("path", PATHS)
def test_one_without_queue_is_served(client: httpx2.Client, path: str) -> None:
    """M/M/1/1: busy a share a / (1 + a) of the time."""
    found = ask(client, path, maxBatchSize=1, maxQueueSize=0)
    offered = found.get("offeredRPS", 0.999 * 1000 / stay(1))
    load = offered * stay(1) / 1000
    assert found["avgNumInServ"] == pytest.approx(load / (1 + load), rel=1e-9)
    assert found["throughput"] == pytest.approx(offered / (1 + load), rel=1e-9)
    assert found["avgRespTime"] == pytest.approx(stay(1), rel=1e-9)
    assert found["avgWaitTime"] == 0
    assert found.get("feasible", True) is True


def test_a_flat_curve_without_queue_is_erlangs_loss_formula(client: httpx2.Client) -> None:
    found = ask(client, "/solve", RPS=5.0, beta=0, gamma=0, maxBatchSize=40, maxQueueSize=0)
    load = 5.0 * 513 * 12 / 1000
    blocked = 1.0
    for n in range(1, 41):
        blocked = load * blocked / (n + load * blocked)
    assert found["throughput"] == pytest.approx(5.0 * (1 - blocked), rel=1e-9)
    assert found["avgNumInServ"] == pytest.approx(load * (1 - blocked), rel=1e-9)
    assert found["avgITL"] == pytest.approx(12.0, rel=1e-9)
    assert found["avgTTFT"] == pytest.approx(24.0, rel=1e-9)


def test_a_flat_curve_is_within_its_target_or_is_not(client: httpx2.Client) -> None:
    flat = {"beta": 0.0, "gamma": 0.0, "maxQueueSize": 0, "targetTTFT": 0}
    within = ask(client, "/target", **flat, targetITL=12.1)
    assert within["offeredRPS"] == within["RPSTargetITL"] == within["maxRPS"]
    said = refused(client, "/target", **flat, targetITL=11.9)
    assert "targetITL is 11.9 ms, and a replica with next to no load takes 12 ms" in said


@pytest.mark.parametrize("alpha", [12, 1e9])
def test_a_flood_is_served_at_capacity(client: httpx2.Client, alpha: float) -> None:
    found = ask(client, "/solve", RPS=1e9, alpha=alpha)
    assert found["offeredRPS"] == 1e9
    assert found["throughput"] == pytest.approx(found["maxRPS"] / 0.999, rel=1e-6)
    assert found["avgNumInServ"] == pytest.approx(48, rel=1e-6)
    assert found["avgWaitTime"] == pytest.approx(128_000 / found["throughput"], rel=1e-5)


# ---- targets and batches -------------------------------------------------------------------------

TARGETS = st.fixed_dictionaries(
    {
        "maxBatchSize": st.integers(1, 200),
        "avgInputTokens": st.floats(0, 4000),
        "avgOutputTokens": st.floats(1, 1000),
        "maxQueueSize": st.integers(0, 200),
        "targetTTFT": st.one_of(st.just(0.0), st.floats(20, 5000)),
        "targetITL": st.one_of(st.just(0.0), st.floats(12, 100)),
    }
)


@given(TARGETS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_at_the_load_found_the_targets_hold_and_a_little_above_they_do_not(
    client: httpx2.Client, changes: dict[str, float]
) -> None:
    answer = client.post("/target", json={**BASE, **changes})
    if answer.status_code == 400:
        assert answer.json()["message"].startswith("Size() failed: target")
        best = client.post("/optimize", json={**BASE, **changes}).json()
        assert (best["concurrency"], best["feasible"], best["oracleCalls"]) == (1, False, 0)
        assert best["throughput"] == best["avgRespTime"] == best["maxRPS"] == 0
        return
    found = answer.json()
    ttft, itl = (changes[name] or math.inf for name in ("targetTTFT", "targetITL"))
    assert found["avgTTFT"] <= ttft * (1 + 1e-6)
    assert found["avgITL"] <= itl * (1 + 1e-6)
    assert found["offeredRPS"] == min(found["RPSTargetTTFT"], found["RPSTargetITL"])
    again = ask(client, "/solve", **changes, RPS=found["offeredRPS"])
    assert again["avgRespTime"] == pytest.approx(found["avgRespTime"], rel=1e-9)
    if found["offeredRPS"] < found["maxRPS"] * 0.999:
        above = ask(client, "/solve", **changes, RPS=found["offeredRPS"] * 1.001)
        assert above["avgTTFT"] > ttft or above["avgITL"] > itl


@given(TARGETS)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_batch_found_fares_as_target_says(client: httpx2.Client, changes: dict[str, float]) -> None:
    found = ask(client, "/optimize", **changes)
    assert 1 <= found["concurrency"] <= changes["maxBatchSize"]
    if found["feasible"]:
        there = ask(client, "/target", **{**changes, "maxBatchSize": found["concurrency"]})
        for name in ("throughput", "avgRespTime", "avgTTFT", "avgITL", "avgNumInServ", "maxRPS"):
            assert found[name] == pytest.approx(there[name], rel=1e-6), name


KINDS = {
    "as it is": {},
    "no load": {"RPS": 0},
    "much load": {"RPS": 50},
    "no queue": {"maxQueueSize": 0},
    "no targets": {"targetTTFT": 0, "targetITL": 0},
    "tight ttft": {"targetTTFT": 1},
    "tight itl": {"targetITL": 1},
    "only ttft": {"targetITL": 0},
    "only itl": {"targetTTFT": 0},
    "large": {"maxBatchSize": 256},
    "two": {"maxBatchSize": 2},
    "chunks": {"maxBatchSize": 128, "avgInputTokens": 8000, "avgOutputTokens": 200, "targetTTFT": 2000},
    "no prompt": {"avgInputTokens": 0},
}


@pytest.mark.parametrize("kind", KINDS)
def test_beside_the_reference(client: httpx2.Client, kind: str) -> None:
    body = {**BASE, **KINDS[kind]}
    reference = G3(
        body["alpha"],
        body["beta"],
        body["gamma"],
        int(body["maxBatchSize"]),
        int(body["maxQueueSize"]),
        body["avgInputTokens"],
        body["avgOutputTokens"],
        8192,
    )
    if body["RPS"] > 0:
        same(ask(client, "/solve", **KINDS[kind]), reference.analyze(body["RPS"]))
    else:
        assert refused(client, "/solve", **KINDS[kind]).startswith(
            "Analyze() failed: invalid request rate 0: "
        )
    try:
        expected = reference.size(body["targetTTFT"], body["targetITL"], 0)
    except ValueError:
        assert refused(client, "/target", **KINDS[kind]).startswith("Size() failed: target")
    else:
        found = ask(client, "/target", **KINDS[kind])
        assert found["RPSTargetTTFT"] == pytest.approx(expected[0], rel=1e-4)
        assert found["RPSTargetITL"] == pytest.approx(expected[1], rel=1e-4)
        same(found, expected[3])
    best = ask(client, "/optimize", **KINDS[kind])
    wanted: Any = optimal_concurrency(reference, body["targetTTFT"], body["targetITL"], 0)
    for name in ("concurrency", "feasible", "M_ITL", "M_TPF", "oracleCalls"):
        assert best[name] == wanted[name], name
    if best["feasible"]:
        same(best, wanted["metrics"])


def same(found: dict[str, float], expected: dict[str, float]) -> None:
    names = {"avgITL": "avgTokenTime", "maxRPS": "maxRate", "offeredRPS": "offeredRate"}
    for name in ("throughput", "avgRespTime", "avgNumInServ", "avgTTFT", "avgITL", "maxRPS", "offeredRPS"):
        if name in found:
            assert found[name] == pytest.approx(expected[names.get(name, name)], rel=1e-4), name
    wait = pytest.approx(expected["avgWaitTime"], rel=1e-4, abs=1e-6 * expected["avgRespTime"])
    assert found["avgWaitTime"] == wait


# ---- bodies of any kind --------------------------------------------------------------------------

ODD = st.one_of(
    st.sampled_from([0, 1, -1, 0.5, 1e-300, 5e-324, 1e9, 1e12, 1e18, 1e19, 65_536, 65_537, 10**400]),
    st.none(),
    st.booleans(),
    st.text(max_size=3),
    st.floats(0, 1e4),
    st.integers(0, 1000),
)
ANY_BODY = st.one_of(
    st.binary(max_size=200),
    st.dictionaries(st.sampled_from([*BASE, "rps", "ALPHA", "other"]), ODD).map(
        lambda changes: json.dumps({**BASE, **changes}).encode()
    ),
    st.recursive(ODD, lambda below: st.lists(below, max_size=3), max_leaves=5).map(
        lambda value: json.dumps(value).encode()
    ),
)


@given(st.sampled_from(PATHS), ANY_BODY)
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_body_is_answered_in_figures_or_refused_in_words(
    client: httpx2.Client, path: str, body: bytes
) -> None:
    check(client.post(path, content=body))


def check(found: httpx2.Response) -> None:
    assert found.status_code in (200, 400), found.text
    answer = found.json()
    if found.status_code == 200:
        assert all(type(value) in (int, float, bool) for value in answer.values()), "null is not a figure"
        assert all(math.isfinite(value) and value >= 0 for value in answer.values())
    else:
        assert list(answer) == ["message"]
        assert answer["message"].partition(":")[0] in (
            "binding error",
            "data error",
            "NewLLMQueueAnalyzer() failed",
            "Analyze() failed",
            "Size() failed",
        )


HUGE = {
    "all": {"maxBatchSize": 10**9, "avgInputTokens": 1e12, "avgOutputTokens": 1e12, "maxQueueSize": 10**9},
    "batch": {"maxBatchSize": 65_536, "maxQueueSize": 10**9},
    "flat batch": {"maxBatchSize": 65_536, "beta": 0, "gamma": 0, "targetTTFT": 1e6, "targetITL": 0},
    "full batch": {"maxBatchSize": 65_536, "avgInputTokens": 3800, "avgOutputTokens": 1, "targetTTFT": 0},
    "prompt": {"avgInputTokens": 10**7, "avgOutputTokens": 1, "maxBatchSize": 20, "targetTTFT": 1e9},
    "slow": {"alpha": 1e9, "beta": 1e9, "gamma": 1e9, "targetTTFT": 0, "targetITL": 0},
    "fast": {"alpha": 1e-8, "beta": 0, "gamma": 0, "RPS": 1e9},
    "too fast": {"alpha": 0, "beta": 0, "gamma": 0},
    "falling service rate": {
        "RPS": 3,
        "maxBatchSize": 3000,
        "avgInputTokens": 3000,
        "avgOutputTokens": 1.5,
        "alpha": 0,
        "beta": 0,
        "maxQueueSize": 10**9,
    },
    "more prefill than stay": {
        "maxBatchSize": 2,
        "avgInputTokens": 10**7,
        "avgOutputTokens": 1,
        "alpha": 1e-6,
        "beta": 0,
        "gamma": 0,
        "targetTTFT": 0,
    },
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", HUGE)
def test_huge_values_are_answered_or_refused(client: httpx2.Client, path: str, kind: str) -> None:
    check(client.post(path, json={**BASE, **HUGE[kind]}))


def test_a_replica_that_takes_no_time_is_refused(client: httpx2.Client) -> None:
    for path in PATHS:
        said = refused(client, path, alpha=0, beta=0, gamma=0)
        assert said.startswith(
            "NewLLMQueueAnalyzer() failed: with these alpha, beta and gamma a request alone"
        )


# ---- the description -----------------------------------------------------------------------------


def test_the_routes_are_described_with_examples_that_hold(client: httpx2.Client) -> None:
    described = client.get("/openapi.json").json()
    assert described["paths"].keys() == set(PATHS)
    for path in PATHS:
        route = described["paths"][path]["post"]
        body = route["requestBody"]["content"]["application/json"]
        answer = route["responses"]["200"]["content"]["application/json"]
        assert list(body["schema"]["properties"]) == list(BASE)
        assert body["schema"]["required"] == ["maxBatchSize", "avgOutputTokens"]
        assert client.post(path, json=body["example"]).json() == answer["example"]
        assert list(answer["schema"]["properties"]) == list(answer["example"])
        assert "message" in route["responses"]["400"]["content"]["application/json"]["schema"]["properties"]
        assert "$ref" not in json.dumps(route)
        assert route["summary"]
        assert route["description"]


def test_the_service_has_a_name_and_says_what_it_is() -> None:
    found = app_of(service()).openapi_schema
    assert "queue" in found.info.title
    assert "milliseconds" in (found.info.description or "")
