"""The optimizer over HTTP: what it answers, keeps and refuses. Recorded exchanges are in tests/vectors."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from msgspec.structs import replace

from flyball.server.optimizer import changes
from flyball.server.optimizer.examples import ACCELERATOR, PROFILE, SERVER, SERVICE_CLASS, SYSTEM
from flyball.server.optimizer.planning import Ask
from flyball.server.optimizer.service import service
from flyball.server.optimizer.store import Store
from flyball.server.service.answers import Refusal
from flyball.wire.inferno_shapes import AllocationShape, ClassShape, LoadShape, ServerShape
from flyball.wire.inferno_system import System
from tests.server.service.conftest import running, serving
from tests.wire.inferno_samples import G1, G2, G3

LOADED = {"arrivalRate": 120, "avgInTokens": 512, "avgOutTokens": 256}


@pytest.fixture(scope="module")
def stateless() -> Iterator[httpx2.Client]:
    with running(service()) as url, httpx2.Client(base_url=url, timeout=60) as client:
        yield client


@pytest.fixture
def stateful() -> Iterator[httpx2.Client]:
    with running(service(stateful=True)) as url, httpx2.Client(base_url=url, timeout=60) as client:
        yield client


def system(**parts: Any) -> dict[str, Any]:
    """The example, with rows of some sections added: servers=[...], counts=[...]."""
    document = copy.deepcopy(SYSTEM)["system"]
    document["serverData"]["servers"] += parts.get("servers", [])
    if "counts" in parts:
        document["capacityData"]["count"] = parts["counts"]
    document["optimizerData"]["optimizer"] |= parts.get("optimizer", {})
    return {"system": document}


def server(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "class": "Premium",
        "model": "granite_13b",
        "currentAlloc": {"load": LOADED},
    } | fields


def test_who_cannot_be_served_is_named_and_blocks_nobody(stateless: httpx2.Client) -> None:
    reply = stateless.post("/optimizeOne", json=system(servers=[server("odd", model="unheard-of")]))
    assert reply.status_code == 200
    assert list(reply.json()["allocations"]) == ["chat"]
    assert reply.json()["unserved"]["odd"]["reason"] == "no_target"
    assert "not served" in reply.json()["unserved"]["odd"]["message"]


def test_where_everybody_is_served_there_is_nothing_but_allocations(stateless: httpx2.Client) -> None:
    assert list(stateless.post("/optimizeOne", json=SYSTEM).json()) == ["allocations"]


@pytest.mark.parametrize(("document", "status"), [(G1, 200), (G2, 200), (G3, 404)])
def test_when_nothing_can_be_given_only_the_third_generation_refuses(
    document: dict[str, Any], status: int, stateless: httpx2.Client
) -> None:
    none = copy.deepcopy(document)
    inner = none.get("system", none)
    inner["capacityData"] = {"count": []}
    inner["optimizerData"] = {"optimizer": {"unlimited": False}}
    reply = stateless.post("/optimizeOne", json=none)
    assert reply.status_code == status
    assert reply.json()["unserved"]["chat"]["reason"] == "no_capacity"
    if status == 404:
        message = "optimization error: no feasible allocation for servers: [chat]"
        assert reply.json()["message"] == message


def test_an_idle_server_is_something_given(stateless: httpx2.Client) -> None:
    idle = server("chat", currentAlloc={"load": LOADED | {"arrivalRate": 0}})
    document = system(counts=[])
    document["system"]["serverData"]["servers"] = [idle]
    reply = stateless.post("/optimizeOne", json=document)
    assert reply.status_code == 200
    assert reply.json()["allocations"]["chat"]["numReplicas"] == 0


@pytest.mark.parametrize("solver", ["auto", "exact", "greedy", "unlimited"])
def test_the_solver_can_be_asked_for(solver: str, stateless: httpx2.Client) -> None:
    reply = stateless.post("/optimizeOne", params={"solver": solver, "explain": "true"}, json=SYSTEM)
    found = reply.json()["explained"]
    assert found["plan"]["solver"] in (("unlimited",) if solver == "unlimited" else ("greedy", "exact"))
    assert found["explanations"]["chat"][0].startswith("chat: ")
    assert found["summary"][0].startswith("1 of 1 server served")


def test_a_service_has_a_usual_solver_which_a_request_overrides() -> None:
    asked = system(counts=[{"type": "A100", "count": 0}])
    with running(service(usual=Ask(solver="unlimited"))) as url:
        assert httpx2.post(f"{url}/optimizeOne", json=asked).json()["allocations"]
        assert httpx2.post(f"{url}/optimizeOne?solver=greedy", json=asked).status_code == 404


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("solver=best", "solver is 'best': there are auto, exact, greedy, unlimited"),
        ("explain=maybe", "explain is 'maybe': allowed is true or false"),
        ("budget=soon", "budget is 'soon': allowed is seconds from 0 to 600"),
        ("budget=-1", "budget is '-1'"),
        ("budget=1e9", "budget is '1e9'"),
        ("budget=nan", "budget is 'nan'"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(query: str, says: str, stateless: httpx2.Client) -> None:
    reply = stateless.post(f"/optimizeOne?{query}", json=SYSTEM)
    assert reply.status_code == 400
    assert says in reply.json()["message"]


def test_a_budget_of_nothing_still_gives_a_plan(stateless: httpx2.Client) -> None:
    reply = stateless.post("/optimizeOne", params={"budget": "0"}, json=SYSTEM)
    assert reply.json()["allocations"]["chat"]["numReplicas"] == 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "body: holds nothing"),
        ("{", "body: neither JSON"),
        ('"text"', 'body is "text": expected an object'),
        ('{"system": {"serverData": {"servers": "x"}}}', "system.serverData.servers"),
        ('{"system": {"serverData": {"servers": [{"model": "m"}]}}}', "lacks the field `name`"),
        ("[" * 100_000, "body: "),
    ],
)
def test_a_body_that_cannot_be_read_is_refused_with_the_reason(
    content: str, says: str, stateless: httpx2.Client
) -> None:
    reply = stateless.post("/optimizeOne", content=content)
    assert reply.status_code == 400
    assert says in reply.json()["message"]


def test_a_refused_request_leaves_what_is_shown(stateless: httpx2.Client) -> None:
    stateless.post("/optimizeOne", json=SYSTEM)
    stateless.post("/optimizeOne", content="{")
    assert [s["name"] for s in stateless.get("/getServers").json()["servers"]] == ["chat"]


def test_yaml_is_read_too(stateless: httpx2.Client) -> None:
    text = "system:\n  optimizerData: {optimizer: {unlimited: true}}\n"
    assert stateless.post("/optimizeOne", content=text).json() == {"allocations": {}}


@pytest.mark.parametrize(
    "path", ["/setServers", "/optimize", "/applyAllocation", "/removeServer/chat", "/addModel/m"]
)
def test_the_stateless_service_changes_nothing(path: str, stateless: httpx2.Client) -> None:
    for method in ("GET", "POST"):
        reply = stateless.request(method, path)
        assert (reply.status_code, reply.text) == (404, "404 page not found")


def test_the_desired_allocation_is_shown_and_applied(stateful: httpx2.Client) -> None:
    stateful.post("/optimizeOne", json=SYSTEM)
    given = stateful.get("/getServer/chat").json()
    assert (given["currentAlloc"]["numReplicas"], given["desiredAlloc"]["numReplicas"]) == (0, 2)
    assert stateful.get("/applyAllocation").json() == "Done"
    applied = stateful.get("/getServer/chat").json()
    assert applied["currentAlloc"] == given["desiredAlloc"]


def test_a_server_that_never_had_an_allocation_keeps_its_load(stateful: httpx2.Client) -> None:
    current = {"accelerator": "A100", "numReplicas": 3, "load": LOADED}
    odd = server("odd", model="unheard-of", currentAlloc=current)
    stateful.post("/optimizeOne", json=system(servers=[odd]))
    before = stateful.get("/getServer/odd").json()
    stateful.get("/applyAllocation")
    assert stateful.get("/getServer/odd").json() == before
    # What was read may be written back: zeros are no allocation.
    stateful.post("/addServer", json=before)
    stateful.get("/applyAllocation")
    assert stateful.get("/getServer/odd").json() == before


def test_a_server_that_loses_its_allocation_keeps_the_desired_one(stateful: httpx2.Client) -> None:
    stateful.post("/optimizeOne", json=SYSTEM)
    desired = stateful.get("/getServer/chat").json()["desiredAlloc"]
    stateful.post("/setCapacity", json={"type": "A100", "count": 0})
    assert stateful.post("/optimize", json={}).status_code == 404
    assert stateful.get("/getServer/chat").json()["desiredAlloc"] == desired


def test_setting_merges_and_never_removes(stateful: httpx2.Client) -> None:
    stateful.post("/setServers", json={"servers": [server("a"), server("b")]})
    stateful.post("/setServers", json={"servers": [server("b", minNumReplicas=2), server("c")]})
    found = {s["name"]: s["minNumReplicas"] for s in stateful.get("/getServers").json()["servers"]}
    assert found == {"a": 0, "b": 2, "c": 0}


def test_adding_a_model_again_takes_its_entries(stateful: httpx2.Client) -> None:
    stateful.post("/setModels", json={"models": [PROFILE]})
    stateful.get("/addModel/granite_13b")
    assert stateful.get("/getModel/granite_13b").json() == {"models": []}


@pytest.mark.parametrize("name", ["meta-llama/Llama-3.1-8B", "a b", "ü%2F", "x?y#z", "%"])
def test_names_of_any_kind_are_found_again(name: str, stateful: httpx2.Client) -> None:
    from urllib.parse import quote

    escaped = quote(name, safe="")
    entry = PROFILE | {"name": name}
    assert stateful.get(f"/addModel/{escaped}").json() == name
    assert stateful.post("/addModelAcceleratorPerf", json=entry).status_code == 200
    assert stateful.get(f"/getModelAcceleratorPerf/{escaped}/A100").json()["name"] == name
    stateful.post("/setServiceClasses", json={"serviceClasses": [SERVICE_CLASS]})
    targets = SERVICE_CLASS | {"modelTargets": [{"model": name, "slo-itl": 9}]}
    stateful.post("/addServiceClassModelTargets", json=targets)
    assert stateful.get(f"/getServiceClassModelTarget/Premium/{escaped}").json()["slo-itl"] == 9
    assert stateful.get(f"/removeModelAcceleratorPerf/{escaped}/A100").status_code == 200


def test_a_model_with_a_slash_is_found_as_it_is_written(stateful: httpx2.Client) -> None:
    stateful.get("/addModel/meta-llama/Llama-3.1-8B")
    stateful.post("/addModelAcceleratorPerf", json=PROFILE | {"name": "meta-llama/Llama-3.1-8B"})
    assert stateful.get("/getModelAcceleratorPerf/meta-llama/Llama-3.1-8B/A100").status_code == 200
    assert stateful.get("/getModel/meta-llama/Llama-3.1-8B").status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/addAccelerator", ACCELERATOR | {"power": {"idle": 9, "full": 1}}),
        ("/addAccelerator", ACCELERATOR | {"cost": -1}),
        ("/setModels", {"models": [PROFILE, PROFILE | {"maxBatchSize": 3}]}),
        ("/addModelAcceleratorPerf", {"acc": "A100"}),
        ("/setServiceClasses", {"serviceClasses": [{"name": "x", "modelTargets": [{"slo-itl": 1}]}]}),
        ("/addServer", server("x", currentAlloc=3)),
        ("/setCapacity", {"type": "A100", "count": -1}),
    ],
)
def test_what_cannot_be_planned_with_is_refused_when_it_is_set(
    path: str, body: dict[str, Any], stateful: httpx2.Client
) -> None:
    reply = stateful.post(path, json=body)
    assert reply.status_code == 400
    assert reply.json()["message"].startswith(("body", "the system"))
    assert stateful.get("/getServers").json() == {"servers": []}
    assert stateful.get("/getModels").json() == []


def test_parameters_of_another_generation_are_refused_beside_what_is_there(stateful: httpx2.Client) -> None:
    stateful.post("/setModels", json={"models": [PROFILE]})
    flat = {"name": "other", "acc": "A100", "maxBatchSize": 8, "alpha": 20, "beta": 1}
    reply = stateful.post("/setModels", json={"models": [flat]})
    assert reply.status_code == 400
    assert "(G1) beside perfParms (G3)" in reply.json()["message"]
    assert stateful.get("/getModels").json() == ["granite_13b"]


@pytest.mark.parametrize(
    ("document", "field"), [(G1, "waitAverage"), (G2, "ttftAverage"), (G3, "ttftAverage")]
)
def test_the_state_answers_in_the_words_of_its_generation(
    document: dict[str, Any], field: str, stateful: httpx2.Client
) -> None:
    stateful.post("/optimizeOne", json=document)
    found = stateful.get("/getServer/chat").json()
    assert field in found["desiredAlloc"]
    assert ("maxQueueSize" in found) == (document is G3)


def test_an_entry_without_parameters_is_no_profile_and_blocks_nobody(stateful: httpx2.Client) -> None:
    stateful.post("/optimizeOne", json=G2)
    model = G2.get("system", G2)["modelData"]["models"][0]["name"]
    stateful.post("/addModelAcceleratorPerf", json={"name": model, "acc": "other", "maxBatchSize": 8})
    assert "chat" in stateful.post("/optimize", json={"unlimited": True}).json()["allocations"]


def test_plan_answers_in_flyballs_own_form(stateless: httpx2.Client) -> None:
    reply = stateless.post("/v1/plan", params={"what_if": "load*3"}, json=SYSTEM).json()
    before, after = reply["before"], reply["plan"]
    assert before["servers"][0]["allocation"]["replicas"] < after["servers"][0]["allocation"]["replicas"]
    assert after["proved"]
    assert after["objective"] == pytest.approx(after["bound"])
    assert reply["explanations"]["chat"]
    assert "before" not in stateless.post("/v1/plan", json=SYSTEM).json()


def test_plan_reads_flyballs_own_form(stateless: httpx2.Client) -> None:
    fleet = Path(__file__).resolve().parents[2] / "examples" / "fleet.yaml"
    reply = stateless.post("/v1/plan", content=fleet.read_bytes())
    assert reply.status_code == 200, reply.text
    assert reply.json()["plan"]["generation"] == "flyball"


def test_a_what_if_that_names_nothing_is_refused(stateless: httpx2.Client) -> None:
    reply = stateless.post("/v1/plan", params={"what_if": "load[nobody]*2"}, json=SYSTEM)
    assert reply.status_code == 400
    assert "nobody" in reply.json()["message"]


def test_metrics_tell_of_plans_and_of_what_is_kept(stateful: httpx2.Client) -> None:
    stateful.post("/optimizeOne", json=SYSTEM)
    text = stateful.get("/metrics").text
    assert 'flyball_state_objects{kind="servers"} 1.0' in text
    assert 'flyball_plan_seconds_count{solver="greedy"} 1.0' in text


def test_desires_land_only_on_servers_that_did_not_change_meanwhile() -> None:
    old, new = ServerShape(name="a"), ServerShape(name="a", model="other")
    planned = System(servers={"a": old, "b": ServerShape(name="b"), "gone": ServerShape(name="gone")})
    now = replace(planned, servers={"a": new, "b": planned.servers["b"]})
    given = AllocationShape(accelerator="L4", num_replicas=2, load=LoadShape())
    after = changes.desire(planned, dict.fromkeys(planned.servers, given))(now)
    assert after.servers["a"] is new
    assert after.servers["b"].desired_alloc == given
    assert "gone" not in after.servers


def test_what_cannot_be_kept_changes_nothing() -> None:
    def full(_: System) -> None:
        raise OSError(28, "No space left on device", "state.json")

    store = Store(System(), keep=full)
    with pytest.raises(Refusal, match=r"state\.json: the state cannot be kept"):
        store.change(changes.add_model("m"))
    assert store.system == System()


def test_the_description_lists_what_may_be_asked(stateless: httpx2.Client) -> None:
    document = stateless.get("/openapi.json").json()
    one = document["paths"]["/optimizeOne"]["post"]
    assert [p["name"] for p in one["parameters"]] == ["solver", "explain", "budget"]
    shown = one["responses"]["200"]["content"]["application/json"]["example"]
    assert json.dumps(shown["allocations"]) == json.dumps(
        stateless.post("/optimizeOne", json=SYSTEM).json()["allocations"]
    )
    assert SERVER["name"] in shown["allocations"]


def test_a_change_is_answered_as_it_was_made_whatever_others_do(monkeypatch: pytest.MonkeyPatch) -> None:
    class Disturbed(Store):
        def change(self, change: changes.Change) -> tuple[System, System]:
            made = super().change(change)
            super().change(lambda system: replace(system, generation="G1", service_classes={}))
            return made

    monkeypatch.setattr("flyball.server.optimizer.service.Store", Disturbed)
    kept = System(service_classes={"Premium": ClassShape("Premium", 1)})
    with running(service(stateful=True, system=kept)) as url:
        answer = httpx2.post(f"{url}/addServiceClassModelTargets", json=SERVICE_CLASS)
        assert (answer.status_code, answer.json()) == (200, SERVICE_CLASS)
        assert (
            "slo-ttft"
            in httpx2.post(f"{url}/setServiceClasses", json={"serviceClasses": [SERVICE_CLASS]}).text
        )


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (
            {},
            403,
        ),  # an image of a foreign page, where browsers send no Sec-Fetch-Site: plain HTTP, other host
        ({"Referer": "http://elsewhere.example/page"}, 403),
        ({"Referer": "http://planner:8080/docs"}, 200),
        ({"Origin": "http://planner:8080"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"User-Agent": "curl/8.0"}, 200),
    ],
)
def test_a_browser_that_does_not_say_for_whom_changes_nothing(headers: dict[str, str], status: int) -> None:
    browser = {"Host": "planner:8080", "User-Agent": "Mozilla/5.0 (X11; Linux x86_64)"}
    kept = System(models={"m": {}})
    with serving(service(stateful=True, system=kept), host="0.0.0.0") as made:
        url = f"http://127.0.0.1:{made.port}"
        assert httpx2.get(f"{url}/removeModel/m", headers=browser | headers).status_code == status
        assert httpx2.get(f"{url}/getModels", headers=browser).json() == ([] if status == 200 else ["m"])


def test_a_plan_beyond_all_memory_is_refused(
    stateless: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flyball.server.optimizer.planning.MOST_PAIRS", 2)
    assert stateless.post("/optimizeOne", json=system(servers=[server("b")])).status_code == 200
    large = json.dumps(system(servers=[server("b"), server("c")]))
    for route in ("/optimizeOne", "/v1/plan"):
        refused = stateless.post(route, content=large)
        assert refused.status_code == 400
        assert "3 pairs of a server and an accelerator for its model; at most 2" in refused.json()["message"]
