"""Every route of the services has its method, and answers it in its shape, over real HTTP."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_type_hints

import httpx2
import msgspec
import pytest

from flyball.client import CallError, Client, OptimizerClient, QueueClient, TunerClient
from flyball.client.operations import HEALTH, OPTIMIZER, QUEUE, TUNER
from flyball.server.optimizer.examples import ACCELERATOR, PROFILE, SERVER, SERVICE_CLASS, SYSTEM, TARGET
from flyball.server.optimizer.service import service as optimizer_service
from flyball.server.queue import EXAMPLE
from flyball.server.queue import service as queue_service
from flyball.server.tuner import ENTRY, REPLICA
from flyball.server.tuner import service as tuner_service
from flyball.spec.calibration import Tuning
from flyball.wire.inferno_queue import QueueAnalysis, QueueOptimum
from flyball.wire.inferno_shapes import (
    AcceleratorShape,
    CapacityShape,
    ClassShape,
    OptimizerShape,
    ProfileShape,
    ServerShape,
    SystemDocument,
    TargetShape,
)
from flyball.wire.plans import Planned, SolutionDocument
from tests.commands.samples import OWN
from tests.server.service.conftest import running

A100 = msgspec.convert(ACCELERATOR, AcceleratorShape)
GRANITE = msgspec.convert(PROFILE, ProfileShape)
PREMIUM = msgspec.convert(SERVICE_CLASS, ClassShape)
CHAT = msgspec.convert(SERVER, ServerShape)
PROMISE = msgspec.convert(TARGET, TargetShape)
ODD = "a/b c%2F?#ü漢"
GOLD = ClassShape(ODD, 7, (PROMISE,))

STEPS: list[tuple[str, Callable[[OptimizerClient], Any], Any]] = [
    ("setAccelerators", lambda c: c.set_accelerators([A100]), [A100]),
    ("addAccelerator", lambda c: c.add_accelerator(AcceleratorShape(ODD, "T")), None),
    ("getAccelerator", lambda c: c.get_accelerator(ODD).type, "T"),
    ("getAccelerators", lambda c: [a.name for a in c.get_accelerators()], ["A100", ODD]),
    ("removeAccelerator", lambda c: c.remove_accelerator(ODD).name, ODD),
    ("setCapacities", lambda c: c.set_capacities([CapacityShape("A100", 8)]), [CapacityShape("A100", 8)]),
    ("setCapacity", lambda c: c.set_capacity(CapacityShape(ODD, 3)), CapacityShape(ODD, 3)),
    ("getCapacity", lambda c: c.get_capacity(ODD), CapacityShape(ODD, 3)),
    ("getCapacities", lambda c: len(c.get_capacities()), 2),
    ("removeCapacity", lambda c: c.remove_capacity(ODD), CapacityShape(ODD, 3)),
    ("setModels", lambda c: c.set_models([GRANITE]), [GRANITE]),
    ("addModel", lambda c: c.add_model(ODD), ODD),
    ("addModelAcceleratorPerf",
     lambda c: c.add_model_accelerator_perf(msgspec.structs.replace(GRANITE, name=ODD)).name, ODD),
    ("getModelAcceleratorPerf", lambda c: c.get_model_accelerator_perf(ODD, "A100").perf_parms,
     GRANITE.perf_parms),
    ("getModel", lambda c: [p.acc for p in c.get_model(ODD)], ["A100"]),
    ("getModels", lambda c: c.get_models(), ["granite_13b", ODD]),
    ("removeModelAcceleratorPerf", lambda c: c.remove_model_accelerator_perf(ODD, "A100").acc, "A100"),
    ("removeModel", lambda c: c.remove_model(ODD), ODD),
    ("setServiceClasses", lambda c: c.set_service_classes([PREMIUM]), [PREMIUM]),
    ("addServiceClass", lambda c: c.add_service_class(ODD, 7), ClassShape(ODD, 7)),
    ("addServiceClassModelTargets", lambda c: c.add_service_class_model_targets(GOLD), GOLD),
    ("getServiceClass", lambda c: c.get_service_class(ODD).model_targets, (PROMISE,)),
    ("getServiceClassModelTarget", lambda c: c.get_service_class_model_target(ODD, "granite_13b"), PROMISE),
    ("removeServiceClassModelTarget",
     lambda c: c.remove_service_class_model_target(ODD, "granite_13b"), PROMISE),
    ("getServiceClasses", lambda c: [k.priority for k in c.get_service_classes()], [1, 7]),
    ("removeServiceClass", lambda c: c.remove_service_class(ODD).name, ODD),
    ("setServers", lambda c: [s.name for s in c.set_servers([CHAT])], ["chat"]),
    ("addServer", lambda c: c.add_server(msgspec.structs.replace(CHAT, name="..")).name, ".."),
    ("getServer", lambda c: c.get_server("..").model, "granite_13b"),
    ("removeServer", lambda c: c.remove_server("..").name, ".."),
    ("getServers", lambda c: [s.name for s in c.get_servers()], ["chat"]),
    ("optimize", lambda c: c.optimize(OptimizerShape(), solver="greedy", explain=True), None),
    ("applyAllocation", lambda c: c.apply_allocation(), None),
    ("optimizeOne", lambda c: c.optimize_one(SYSTEM, explain=True, budget=5), None),
    ("plan", lambda c: c.plan(OWN, what_if="load*2", solver="exact", budget=5.0), None),
    ("healthz", lambda c: c.healthy(), True),
    ("readyz", lambda c: c.ready(), True),
    ("metrics", lambda c: "flyball_" in c.metrics(), True),
]  # fmt: skip


@pytest.fixture(scope="module")
def optimizer() -> Iterator[OptimizerClient]:
    with running(optimizer_service(stateful=True)) as url, OptimizerClient(url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def queue() -> Iterator[QueueClient]:
    with running(queue_service()) as url, QueueClient(url, timeout=60) as client:
        yield client


def method_of(operation: str) -> str:
    special = {"healthz": "healthy", "readyz": "ready"}
    return special.get(operation) or re.sub(
        r"[A-Z]", lambda m: f"_{m[0].lower()}", operation.replace("-", "_")
    )


@pytest.fixture
def tuner() -> Iterator[TunerClient]:
    tuning = Tuning(initial_observations=2, warm_up_cycles=1)
    with running(tuner_service(tuning, lambda: 1.8e9)) as url, TunerClient(url, timeout=60) as client:
        yield client


@pytest.mark.parametrize(
    ("name", "operations"), [("optimizer", OPTIMIZER), ("queue", QUEUE), ("tuner", TUNER)]
)
def test_the_operations_are_those_of_the_description(
    name: str, operations: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    client: Client = request.getfixturevalue(name)
    described = httpx2.get(f"{client.url}/openapi.json").json()["paths"]
    found = {}
    for path, verbs in described.items():
        for verb, route in verbs.items():
            found[route["operationId"]] = (verb, path, len(re.findall("{", path)))
            assert callable(getattr(client, method_of(route["operationId"]))), path
            taken = {p["name"] for p in route.get("parameters", ()) if p["in"] == "query"}
            if verb == "get":
                assert taken == set(operations[route["operationId"]].queried), path
            else:
                hints = get_type_hints(getattr(type(client), method_of(route["operationId"])))
                assert taken <= set(hints), path
    assert {key: (verb, path.partition("{")[0].strip("/"), n) for key, (verb, path, n) in found.items()} == {
        key: ("post" if o.body else "get", o.path, len(o.names)) for key, o in operations.items()
    }


def test_each_of_its_methods_is_called_here() -> None:
    assert {name for name, _, _ in STEPS} == {*OPTIMIZER, *HEALTH}


def test_all_that_the_optimizer_does(optimizer: OptimizerClient) -> None:
    results = {}
    for name, step, expected in STEPS:
        results[name] = step(optimizer)
        if expected is not None:
            assert results[name] == expected, name
    assert results["addAccelerator"] == AcceleratorShape(ODD, "T", power=results["addAccelerator"].power)
    solution: SolutionDocument = results["optimize"]
    assert solution.allocations["chat"].num_replicas > 0
    assert solution.explained is not None
    assert solution.explained.plan.solver == "greedy"
    one: SolutionDocument = results["optimizeOne"]
    assert one.explained is not None
    assert [s.status for s in one.explained.plan.servers] == ["served"]
    plan: Planned = results["plan"]
    assert plan.before is not None
    assert plan.plan.cost > plan.before.cost
    assert {s.server for s in plan.plan.servers} == set(plan.explanations)


def test_a_system_comes_in_any_form(optimizer: OptimizerClient) -> None:
    struct = msgspec.convert(SYSTEM, SystemDocument)
    forms = [SYSTEM, struct, msgspec.json.encode(SYSTEM), msgspec.yaml.encode(SYSTEM)]
    answers = [optimizer.optimize_one(form) for form in forms]
    assert answers[0].allocations["chat"].accelerator == "A100"
    assert all(answer == answers[0] for answer in answers)
    assert optimizer.optimize_one({}) == SolutionDocument({})
    planned = optimizer.plan(struct).plan
    assert planned.generation == "G3"


def test_the_kept_system_is_optimized_and_applied(optimizer: OptimizerClient) -> None:
    optimizer.optimize_one(SYSTEM)
    before = optimizer.optimize().allocations["chat"]
    optimizer.apply_allocation()
    applied = optimizer.get_server("chat").current_alloc
    assert applied is not None
    assert (applied.accelerator, applied.num_replicas) == (before.accelerator, before.num_replicas)


def test_the_queue_analysis(queue: QueueClient) -> None:
    solved, target, optimum = queue.solve(EXAMPLE), queue.target(EXAMPLE), queue.optimize(EXAMPLE)
    assert isinstance(solved, QueueAnalysis)
    assert solved.offered == EXAMPLE.rate
    assert target.offered == min(target.ttft_rate, target.itl_rate) > 0
    assert isinstance(optimum, QueueOptimum)
    assert optimum.feasible
    assert queue.solve(msgspec.to_builtins(EXAMPLE)) == queue.solve(msgspec.json.encode(EXAMPLE)) == solved
    assert queue.healthy()
    assert queue.ready()
    assert "flyball_" in queue.metrics()


def test_the_tuner(tuner: TunerClient) -> None:
    assert tuner.warmup() is False
    assert tuner.calibration_status() == []
    with pytest.raises(CallError, match="produced no results") as caught:
        tuner.tune([REPLICA])
    assert caught.value.status == 422
    with pytest.raises(
        CallError, match="no parameters found for model=granite_8b accelerator=H100"
    ) as caught:
        tuner.getparams("granite_8b", "H100")
    assert caught.value.status == 404
    assert tuner.warmup() is True
    (entry,) = tuner.tune(msgspec.json.encode([REPLICA]))
    assert entry.perf_parms is not None
    assert (entry.name, entry.acc, entry.max_batch_size) == ("granite_8b", "H100", 256)
    shown = tuner.getparams("granite_8b", "H100")
    assert (shown.alpha, shown.beta, shown.gamma) == msgspec.structs.astuple(entry.perf_parms)
    assert shown.update_count == 1
    assert [each.perf_parms for each in tuner.merge([ENTRY])] == [entry.perf_parms]
    other = msgspec.structs.replace(ENTRY, name="a/b c%2F?#ü漢")
    assert [each.name for each in tuner.merge([other])] == [other.name, "granite_8b"]
    (status,) = tuner.calibration_status()
    assert (status.obs_count, status.needs_calibration) == (2, True)
    with pytest.raises(CallError, match="calibration produced no results"):
        tuner.calibrate([REPLICA, REPLICA])
    assert tuner.healthy()
    assert tuner.ready()
    assert "flyball_state_objects" in tuner.metrics()


def test_names_of_any_characters_reach_the_tuner(tuner: TunerClient) -> None:
    assert REPLICA.current_alloc is not None
    for name in ("meta-llama/Llama-3.1-8B", "a b+c&d=e", "%2F", "ü漢#?"):
        at = msgspec.structs.replace(REPLICA.current_alloc, accelerator=name)
        shown = msgspec.structs.replace(REPLICA, model=name, current_alloc=at)
        with pytest.raises(CallError, match="produced no results"):
            tuner.tune([shown])
        tuner.tune([shown])
        found = tuner.getparams(name, name)
        assert (found.model, found.accelerator) == (name, name)
    with pytest.raises(CallError, match="model is required"):
        tuner.getparams("", "H100")


def test_without_bound_is_none(tuner: TunerClient) -> None:
    with running(tuner_service(Tuning(initial_observations=1), lambda: 0.0)) as url, TunerClient(url) as one:
        one.tune([REPLICA])
        assert one.calibration_status()[0].condition_number is None


def test_refusals_say_what_the_service_said(optimizer: OptimizerClient, queue: QueueClient) -> None:
    with pytest.raises(CallError, match="model none not found") as caught:
        optimizer.get_model("none")
    assert caught.value.status == 404
    assert caught.value.message == "model none not found"
    assert caught.value.request_id in str(caught.value)
    assert f"{optimizer.url}/getModel/none answered 404" in str(caught.value)
    with QueueClient(optimizer.url) as other, pytest.raises(CallError, match="Give the address of a queue"):
        other.solve(EXAMPLE)
    with TunerClient(queue.url) as third, pytest.raises(CallError, match="Give the address of a model tuner"):
        third.warmup()
    with (
        OptimizerClient(queue.url) as other,
        pytest.raises(CallError, match="Only a stateful optimizer has it"),
    ):
        other.apply_allocation()
    with pytest.raises(CallError, match="priority x invalid"):
        optimizer.add_service_class("x", "x")  # type: ignore[arg-type]
    with pytest.raises(CallError, match=r"answered 400: .*arrivalRate"):
        optimizer.add_server({"name": "a", "currentAlloc": {"load": {"arrivalRate": "x"}}})  # type: ignore[arg-type]
    with pytest.raises(CallError, match="service class nope not found"):  # a bare string
        optimizer.add_service_class_model_targets(ClassShape("nope"))


def test_who_cannot_be_served_is_told_with_the_reason(optimizer: OptimizerClient) -> None:
    system = msgspec.json.decode(msgspec.json.encode(SYSTEM))
    system["system"]["serviceClassData"]["serviceClasses"][0]["modelTargets"][0]["slo-itl"] = 0.001
    with pytest.raises(CallError, match="no feasible allocation for servers") as caught:
        optimizer.optimize_one(system)
    assert caught.value.status == 404
    assert "no accelerator meets its targets" in caught.value.message
    system["system"]["serverData"]["servers"].append({**SERVER, "name": "idle", "currentAlloc": {}})
    solution = optimizer.optimize_one(system)
    assert solution.unserved["chat"].reason == "out_of_reach"


def test_one_client_from_many_threads(optimizer: OptimizerClient) -> None:
    optimizer.optimize_one(SYSTEM)
    find = {
        CHAT.name: lambda name: optimizer.get_server(name).name,
        A100.name: lambda name: optimizer.get_accelerator(name).name,
    }
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda name: find[name](name), [*find] * 20))
    assert found == [CHAT.name, A100.name] * 20
