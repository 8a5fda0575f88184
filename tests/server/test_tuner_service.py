"""The model tuner over HTTP: what it takes, says and keeps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx2
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flyball.server.tuner import ENTRY, REPLICA, service
from flyball.spec.calibration import Tuning
from flyball.wire.inferno_tuner import PAIRS_LIMIT, POINTS_LIMIT
from tests.calibrate.inferno.points import LOADS
from tests.server.replicas import replica
from tests.server.service.conftest import running, serving

QUICK = Tuning(initial_observations=2, warm_up_cycles=2)
WINDOW = Tuning(estimator="sliding-window", initial_observations=3, window_size=4, warm_up_cycles=2)
NOW = 1.8e9
POST = ("/tune", "/calibrate", "/merge")
GRANITE = {"model": "granite", "accelerator": "H100"}
TRUE = {"alpha": 8.0, "beta": 0.016, "gamma": 0.0005}


@contextmanager
def tuner(tuning: Tuning = QUICK) -> Iterator[httpx2.Client]:
    with (
        running(service(tuning, lambda: NOW)) as address,
        httpx2.Client(base_url=address, timeout=60.0) as client,
    ):
        yield client


@pytest.fixture
def client() -> Iterator[httpx2.Client]:
    with tuner() as made:
        yield made


def learn(client: httpx2.Client, loads: Any = LOADS[:3], model: str = "granite") -> httpx2.Response:
    for load in loads:
        found = client.post("/tune", json=[replica(load, model)])
    return found


def refused(found: httpx2.Response, status: int) -> str:
    assert found.status_code == status, found.text
    assert found.headers["content-type"] == "application/json; charset=utf-8"
    answer = found.json()
    assert list(answer) == ["error"]
    assert found.content == msgspec.json.encode(answer), "compact"
    return answer["error"]  # type: ignore[no-any-return]


# ---- learning ------------------------------------------------------------------------------------


def test_what_was_learned_is_answered_shown_and_merged(client: httpx2.Client) -> None:
    answer = learn(client).json()
    (entry,) = answer["models"]
    parms = entry.pop("perfParms")
    assert entry == {"name": "granite", "acc": "H100", "accCount": 0, "maxBatchSize": 256, "atTokens": 0}
    assert parms == pytest.approx(TRUE, rel=1e-3)
    shown = client.get("/getparams", params=GRANITE).json()
    assert {name: shown[name] for name in TRUE} == parms
    assert shown["updateCount"] == 2
    assert shown["lastUpdated"] == "2027-01-15T08:00:00.000000Z"
    given = {"name": "granite", "acc": "H100", "accCount": 2, "maxBatchSize": 64, "atTokens": 128}
    other = {**given, "name": "other", "perfParms": {"alpha": 1, "beta": 2, "gamma": 3}}
    models = client.post("/merge", json={"models": [other, given, given]}).json()["models"]
    assert models == [other, given | {"perfParms": parms}, given | {"perfParms": parms}]
    alone = client.post("/merge", content=b"null").json()["models"]
    assert alone == [entry | {"perfParms": parms, "accCount": 1}]


def test_answers_are_of_the_pairs_in_the_body(client: httpx2.Client) -> None:
    learn(client)
    refused(client.post("/tune", json=[replica(model="llama")]), 422)
    both = client.post("/tune", json=[replica(model="llama"), replica(LOADS[4]), replica(model="new")]).json()
    assert [each["name"] for each in both["models"]] == ["llama", "granite"]
    assert client.get("/warmup").json() == {"warmingUp": True}
    assert len(client.get("/calibration-status").json()["statuses"]) == 3


def test_the_largest_batch_of_a_pair_is_answered(client: httpx2.Client) -> None:
    replicas = [replica(maxBatch=64), replica(maxBatch=128), {**replica(), "maxBatchSize": 96}]
    client.post("/tune", json=replicas)
    assert client.post("/tune", json=replicas).json()["models"][0]["maxBatchSize"] == 128


def test_field_names_are_taken_whatever_their_case(client: httpx2.Client) -> None:
    learn(client, LOADS[:1])
    upper = (
        json.dumps([replica(LOADS[2])]).replace('"currentAlloc"', '"CurrentAlloc"').replace("avgIn", "AvgIn")
    )
    assert client.post("/tune", content=upper).json()["models"][0]["perfParms"] == pytest.approx(
        TRUE, rel=1e-3
    )


def test_the_sliding_window_through_a_session() -> None:
    with tuner(WINDOW) as client:
        assert client.get("/warmup").json() == {"warmingUp": False}
        for load in LOADS[:2]:
            refused(client.post("/tune", json=[replica(load)]), 422)
            assert client.get("/warmup").json() == {"warmingUp": True}
        for count, load in enumerate(LOADS[2:], 1):
            entry = client.post("/tune", json=[replica(load)]).json()["models"][0]
            assert entry["perfParms"] == pytest.approx(TRUE, rel=1e-3)
            shown = client.get("/getparams", params=GRANITE).json()
            assert (shown["updateCount"], shown["nis"]) == (count, 0)
            assert client.get("/warmup").json() == {"warmingUp": count < 2}
        for _ in range(5):
            entry = client.post("/tune", json=[replica(LOADS[1])]).json()["models"][0]
            assert entry["perfParms"] == pytest.approx(TRUE, rel=5e-3), (
                "held, as the window tells nothing new"
            )
        (status,) = client.get("/calibration-status").json()["statuses"]
        assert (status["obsCount"], status["obsTarget"], status["needsCalibration"]) == (10, 3, False)


def test_calibration_is_asked_for_and_then_no_more(client: httpx2.Client) -> None:
    learn(client, [LOADS[1]] * 2)
    (status,) = client.get("/calibration-status").json()["statuses"]
    assert status["illConditioned"]
    assert status["needsCalibration"]
    found = client.post("/calibrate", json=[replica(load) for load in LOADS]).json()
    assert found["models"][0]["perfParms"] == pytest.approx(TRUE, rel=1e-3)
    (status,) = client.get("/calibration-status").json()["statuses"]
    assert status.pop("conditionNumber") < 100
    assert status == {
        "model": "granite",
        "accelerator": "H100",
        "storePresent": True,
        "calibrated": True,
        "obsCount": 5,
        "obsTarget": 5,
        "illConditioned": False,
        "needsCalibration": False,
    }


def test_a_calibration_answers_only_what_it_calibrated(client: httpx2.Client) -> None:
    learn(client)
    mixed = [replica(LOADS[0])] * 3 + [replica(load, "fresh") for load in LOADS]
    assert [each["name"] for each in client.post("/calibrate", json=mixed).json()["models"]] == ["fresh"]
    refused(client.post("/calibrate", json=[replica(LOADS[0])] * 3), 422)
    assert client.get("/getparams", params=GRANITE).json()["updateCount"] == 2


def test_an_infinite_condition_number_is_null() -> None:
    with tuner(Tuning(initial_observations=1)) as client:
        assert learn(client, LOADS[:1]).status_code == 200
        (status,) = client.get("/calibration-status").json()["statuses"]
        assert status["conditionNumber"] is None
        assert status["needsCalibration"]


# ---- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("/tune", "[]", 400, "replicaSpecs must not be empty"),
        ("/tune", "null", 400, "replicaSpecs must not be empty"),
        ("/calibrate", "[]", 400, "calibration points must not be empty"),
        ("/tune", "", 400, "invalid request body: the body: holds nothing"),
        ("/tune", "{}", 400, "invalid request body: the body: expected a list [...], got an empty object"),
        ("/calibrate", "[1]", 400, "invalid request body: the body: [0] is 1: expected an object"),
        ("/merge", "[1]", 400, "invalid request body: the body"),
        ("/merge", '{"models": [{"acc": "H100"}]}', 400, "lacks the field `name`"),
        (
            "/tune",
            '[{"currentAlloc": {"load": {"arrivalRate": "9"}}}]',
            400,
            "[0].currentAlloc.load.arrivalRate",
        ),
        ("/tune", '[{"model": "m"}]', 422, "no replicas with active traffic in request"),
        ("/calibrate", '[{"model": "m"}]', 422, "no calibration points with active traffic in request"),
    ],
)
def test_what_cannot_be_used(client: httpx2.Client, path: str, body: str, status: int, says: str) -> None:
    said = refused(client.post(path, content=body), status)
    assert says in said
    assert client.get("/calibration-status").json() == {"statuses": []}


@pytest.mark.parametrize(
    "lacks",
    [
        {"itlAverage": 0},
        {"ttftAverage": 0},
        {"maxBatch": 0},
        {"load": {"arrivalRate": 1, "avgInTokens": 0, "avgOutTokens": 5}},
        {"load": {"arrivalRate": 1, "avgInTokens": 5, "avgOutTokens": 0}},
        {"load": {"arrivalRate": 1, "avgInTokens": 9e6, "avgOutTokens": 9e6}},
        {"ttftAverage": -1},
        {"maxBatch": 65_536},
    ],
    ids=str,
)
def test_what_shows_too_little_is_no_observation(client: httpx2.Client, lacks: dict[str, Any]) -> None:
    said = refused(client.post("/tune", json=[replica(**lacks)] * 3), 422)
    assert said == "tuning produced no results for any model/accelerator group"
    assert client.get("/calibration-status").json() == {"statuses": []}


def test_a_replica_without_model_or_accelerator_is_passed_over(client: httpx2.Client) -> None:
    for nameless in (replica(model=""), replica(accelerator="")):
        refused(client.post("/tune", json=[nameless]), 422)
    assert client.get("/calibration-status").json() == {"statuses": []}


def test_parameters_are_asked_for_by_both_names(client: httpx2.Client) -> None:
    assert refused(client.get("/getparams"), 400) == "model is required"
    assert refused(client.get("/getparams", params={"model": "a"}), 400) == "accelerator is required"
    said = refused(client.get("/getparams", params={"model": "a/b", "accelerator": "c d"}), 404)
    assert said == "no parameters found for model=a/b accelerator=c d"


def test_too_many_at_once_is_refused(client: httpx2.Client) -> None:
    many = [replica(model=f"m{i}") for i in range(PAIRS_LIMIT + 1)]
    assert "holds 1,001 pairs" in refused(client.post("/tune", json=many), 400)
    points = [replica()] * (POINTS_LIMIT + 1)
    assert "holds 1,001 points, allowed are up to 1,000" in refused(
        client.post("/calibrate", json=points), 400
    )
    assert client.get("/calibration-status").json() == {"statuses": []}


def test_what_is_known_has_a_limit(monkeypatch: pytest.MonkeyPatch, client: httpx2.Client) -> None:
    monkeypatch.setattr("flyball.server.tuner.KEPT_PAIRS_LIMIT", 2)
    refused(client.post("/tune", json=[replica(model="a"), replica(model="b")]), 422)
    before = client.get("/calibration-status").json()
    said = refused(client.post("/tune", json=[replica(LOADS[1], "a"), replica(model="c")]), 422)
    assert said.startswith("3 pairs of model and accelerator: at most 2 are learned")
    assert client.get("/calibration-status").json() == before, "nothing has changed"
    assert client.post("/tune", json=[replica(LOADS[1], "a")]).status_code == 200


def test_what_it_holds_is_a_metric(client: httpx2.Client) -> None:
    learn(client)
    refused(client.post("/tune", json=[replica(model="new")]), 422)
    text = client.get("/metrics").text
    assert 'flyball_state_objects{kind="pairs"} 2.0' in text
    assert 'flyball_state_objects{kind="learned_pairs"} 1.0' in text


def test_why_nothing_was_learned_stands_in_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    with serving(service(QUICK, lambda: NOW), log="json") as made:
        httpx2.post(f"{made.url}tune", json=[replica()])
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    (request,) = (line for line in lines if line["event"] == "request")
    assert request["not_learned"] == {"granite on H100": "collecting first observations: 1 of 2"}


# ---- at the same time, and of any kind -----------------------------------------------------------


def test_nothing_is_lost_when_many_learn_at_once(client: httpx2.Client) -> None:
    def one(number: int) -> int:
        return client.post("/tune", json=[replica(LOADS[number % 5], f"m{number % 4}")]).status_code

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(one, range(32)))
    assert set(found) == {200, 422}
    assert found.count(422) == 4, "the first of each pair"
    statuses = client.get("/calibration-status").json()["statuses"]
    assert {each["model"]: each["obsCount"] for each in statuses} == {f"m{i}": 8 for i in range(4)}


ODD = st.one_of(
    st.sampled_from([0, 1, -1, 0.5, 1e-300, 1e-9, 1e9, 1e12, 1e19, 65_536, 10**400]),
    st.none(),
    st.booleans(),
    st.text(max_size=3),
)
ANY_BODY = st.one_of(
    st.binary(max_size=100),
    st.lists(
        st.tuples(
            st.sampled_from(["itlAverage", "ttftAverage", "maxBatch", "accelerator", "load", "x"]), ODD
        ).map(lambda change: replica(**{change[0]: change[1]})),
        max_size=3,
    ).map(lambda rows: json.dumps(rows).encode()),
    st.dictionaries(st.sampled_from(["arrivalRate", "avgInTokens", "avgOutTokens"]), ODD).map(
        lambda odd: json.dumps([replica(load=replica()["currentAlloc"]["load"] | odd)] * 2).encode()
    ),
    st.lists(st.fixed_dictionaries({"name": ODD, "acc": ODD, "perfParms": ODD}), max_size=2).map(
        lambda rows: json.dumps({"models": rows}).encode()
    ),
)


@pytest.fixture(scope="module")
def lasting() -> Iterator[httpx2.Client]:
    with tuner(Tuning(initial_observations=1, warm_up_cycles=1)) as made:
        yield made


@given(st.sampled_from(POST), ANY_BODY)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_body_is_answered_or_refused_in_words(lasting: httpx2.Client, path: str, body: bytes) -> None:
    found = lasting.post(path, content=body)
    assert found.status_code in (200, 400, 422), found.text
    answer = found.json()
    if found.status_code != 200:
        assert list(answer) == ["error"]
        return
    for entry in answer["models"] if path != "/merge" else []:
        assert all(value > 0 for value in entry["perfParms"].values())


# ---- the description -----------------------------------------------------------------------------


def test_the_routes_are_described_with_examples_that_hold(client: httpx2.Client) -> None:
    described = client.get("/openapi.json").json()["paths"]
    assert described.keys() == {*POST, "/getparams", "/warmup", "/calibration-status"}
    for path in POST:
        route = described[path]["post"]
        assert "error" in route["responses"]["400"]["content"]["application/json"]["schema"]["properties"]
        assert "$ref" not in json.dumps(route)
        assert route["description"]
    example = described["/tune"]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert client.post("/tune", json=example).status_code == 422
    assert client.post("/tune", json=example).json()["models"][0]["name"] == REPLICA.model == ENTRY.name
    names = [each["name"] for each in described["/getparams"]["get"]["parameters"]]
    assert names == ["model", "accelerator"]
