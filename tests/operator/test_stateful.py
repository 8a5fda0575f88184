"""An optimizer elsewhere over HTTP: Flyball's own, with and without a system of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import msgspec
import pytest

from flyball.client.errors import CallError
from flyball.client.operations import Operation
from flyball.client.optimizer import OptimizerClient
from flyball.operator.planning import Elsewhere, Outcome, Planner, Unanswered, built_in
from flyball.operator.stateful import COMPARED, Stateful
from flyball.server.optimizer.service import service
from flyball.wire.kinds.documents import Namespace, Objects, read_namespace
from tests.client.scripted import reply, said, scripted
from tests.operator.world import SPACE, World
from tests.operator_kinds.samples import KINDS, Document, sample
from tests.operator_kinds.test_any_object import base
from tests.server.service.conftest import running

NAME = "Premium-granite-13b"


def namespace(generation: str = "G1", **changes: Document | None) -> Namespace:
    """The six samples, in the words of a generation; None leaves one out."""
    given = {kind: changes.get(kind, base(kind, generation)) for kind in KINDS}
    return read_namespace(Objects(*(() if one is None else (one,) for one in given.values())))


class Counting(OptimizerClient):
    """Notes what is asked."""

    def __init__(self, url: str) -> None:
        super().__init__(url, timeout=60)
        self.asked: list[str] = []

    def call(self, operation: Operation, *names: str, **more: object) -> object:  # type: ignore[override]
        self.asked.append("/".join((operation.path, *names)))
        return super().call(operation, *names, **more)  # type: ignore[arg-type]

    def changes(self) -> list[str]:
        """What was told since this was last asked."""
        found = [one for one in self.asked if not one.startswith(("get", "optimize"))]
        self.asked.clear()
        return found


class Side:
    """The client's side, with a clock, and one namespace with objects unless told otherwise."""

    def __init__(self, url: str) -> None:
        self.client = Counting(url)
        self.seconds = 100.0
        self.namespaces: tuple[str, ...] = (SPACE,)
        self.kept = Stateful(self.client, lambda: self.namespaces, lambda: self.seconds)

    def push(self, read: Namespace, name: str = SPACE) -> None:
        assert self.kept.push(name, read) == ""


@contextmanager
def restarted(url: str) -> Iterator[str]:
    """Another one at the same address, which knows nothing."""
    with running(service(stateful=True), port=int(url.rsplit(":", 1)[1])) as again:
        yield again


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture
def side(stack: ExitStack) -> Side:
    made = Side(stack.enter_context(running(service(stateful=True))))
    stack.enter_context(made.client)
    return made


def desired(outcome: Outcome, name: str = NAME) -> tuple[object, ...]:
    found = outcome.results[name].decided.desired or {}
    return found.get("accelerator"), found.get("numReplicas"), found.get("cost")


# ---- both ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("generation", ["G1", "G2", "G3"])
def test_all_ways_give_the_same(side: Side, generation: str) -> None:
    read = namespace(generation)
    side.push(read)
    ways: list[Planner] = [built_in, side.kept]
    with running(service()) as url, OptimizerClient(url, timeout=60) as client:
        made = [way(read.fleet) for way in [*ways, Elsewhere(client)]]
    assert desired(made[0])[1]
    for one in made[1:]:
        assert desired(one) == desired(made[0])
        assert one.cost == pytest.approx(made[0].cost)
        assert one.results[NAME].feasible


def test_where_nothing_can_be_given_that_is_an_answer() -> None:
    read = namespace(
        "G3", ServiceClass=sample("ServiceClass", SPACE, data=[{"model": "granite-13b", "slo-itl": 1}])
    )
    with running(service()) as url, OptimizerClient(url, timeout=60) as client:
        outcome = Elsewhere(client)(read.fleet)
    assert desired(outcome) == (None, None, None)
    assert not outcome.results[NAME].feasible


@pytest.mark.parametrize(
    "answer",
    [
        reply(404, "404 page not found", "text/plain"),
        reply(400),
        reply(500, "oh"),
        reply(200, "<html>", "text/html"),
        said("[1, 2]"),
        said('{"allocations": {"a": 5}}'),
    ],
)
def test_what_is_no_answer_about_the_fleet_is_asked_again(answer: bytes) -> None:
    with scripted(answer) as other, OptimizerClient(other.url, timeout=5, tries=1) as client:
        way = Elsewhere(client)
        with pytest.raises(Unanswered):
            way(namespace().fleet)


def test_nobody_there_is_no_answer() -> None:
    with OptimizerClient("http://127.0.0.1:1", timeout=1, tries=1) as client:
        with pytest.raises(Unanswered, match="refused"):
            Elsewhere(client)(namespace().fleet)
        kept = Stateful(client, lambda: (SPACE,))
        assert "refused" in kept.push(SPACE, namespace())
        with pytest.raises(Unanswered, match="refused"):
            kept(namespace().fleet)


def test_a_refusal_in_inferno_s_words_is_an_answer() -> None:
    refusal = reply(404, '{"message": "unable to find a solution"}', "application/json")
    with scripted(refusal) as other, OptimizerClient(other.url, timeout=5, tries=1) as client:
        outcome = Elsewhere(client)(namespace().fleet)
    assert not outcome.results[NAME].feasible
    assert "unable to find" in outcome.results[NAME].message


# ---- told ----------------------------------------------------------------------------------------


def test_all_is_told_once(side: Side) -> None:
    side.push(namespace())
    assert sorted(side.client.changes()) == [
        "addAccelerator",
        "addModel/granite-13b",
        "addModelAcceleratorPerf",
        "addServer",
        "addServiceClass/Premium/1",
        "addServiceClassModelTargets",
        "setCapacity",
        "setCapacity",
    ]
    assert [one.name for one in side.client.get_servers()] == [NAME]
    side.push(namespace())
    assert side.client.changes() == []


def test_what_changed_is_told_and_nothing_else(side: Side) -> None:
    side.push(namespace())
    side.client.changes()
    more = base("Server", "G1")
    more["spec"]["currentAlloc"]["load"]["arrivalRate"] = 400
    read = namespace(Server=more)
    side.push(read)
    assert side.client.changes() == ["addServer"]
    assert desired(side.kept(read.fleet)) == ("A100", 19, 760)


def test_parts_that_went_are_gone(side: Side) -> None:
    both, one = sample("Model", SPACE), sample("Model", SPACE, data__1=None)
    classes = sample("ServiceClass", SPACE), sample("ServiceClass", SPACE, data__1=None)
    side.push(namespace(Model=both, ServiceClass=classes[0]))
    assert [entry.acc for entry in side.client.get_model("granite-13b")] == ["A100", "G2"]
    side.push(namespace(Model=one, ServiceClass=classes[1]))
    assert [entry.acc for entry in side.client.get_model("granite-13b")] == ["A100"]
    assert [t.model for t in side.client.get_service_class("Premium").model_targets] == ["granite-13b"]


@pytest.mark.parametrize("priority", [None, 0, 1, 7, 1000])
def test_a_priority_of_any_height_can_be_told(side: Side, priority: int | None) -> None:
    read = namespace(ServiceClass=sample("ServiceClass", SPACE, priority=priority))
    side.push(read)
    assert desired(side.kept(read.fleet)) == ("A100", 2, 80)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "Optimizer"])
def test_what_went_is_taken_out(side: Side, kind: str) -> None:
    side.push(namespace())
    side.client.changes()
    side.push(namespace(**{kind: None}))
    taken = [one for one in side.client.changes() if one.startswith("remove")]
    assert len(taken) == (2 if kind == "Capacity" else 1)
    left = len(side.client.get_accelerators()), len(side.client.get_models())
    left += len(side.client.get_service_classes()), len(side.client.get_servers())
    left += (len(side.client.get_capacities()),)
    assert sorted(left) == ([0, 1, 1, 1, 1] if kind == "Capacity" else [0, 1, 1, 1, 2])


def test_what_does_not_hang_together_can_be_told_all_the_same(side: Side) -> None:
    for kind in ("Model", "ServiceClass", "Accelerator"):
        read = namespace(**{kind: None})
        side.push(read)
        assert desired(side.kept(read.fleet)) == (None, None, None)
    side.push(namespace())
    assert desired(side.kept(namespace().fleet)) == ("A100", 2, 80)


def test_a_fleet_that_changes_its_generation_is_told_from_the_beginning(side: Side) -> None:
    for generation in ("G1", "G2", "G3", "G1"):
        read = namespace(generation)
        side.push(read)
        assert desired(side.kept(read.fleet)) == desired(built_in(read.fleet))


def test_what_is_refused_for_good_is_told_from_the_beginning_but_once(side: Side) -> None:
    side.namespaces = (SPACE, "other")
    side.push(namespace())
    model, service_class = base("Model", "G2"), base("ServiceClass", "G2")
    model["spec"]["name"] = service_class["spec"]["name"] = "theirs"
    other = namespace("G2", Model=model, ServiceClass=service_class)
    side.client.changes()
    assert "generation" in side.kept.push("other", other)
    assert [one for one in side.client.changes() if one.startswith("remove")]
    assert "generation" in side.kept.push("other", other)
    assert not [one for one in side.client.changes() if one.startswith("remove")]
    with pytest.raises(Unanswered, match="generation"):
        side.kept(namespace().fleet)
    side.push(namespace("G1"), "other")
    assert desired(side.kept(namespace().fleet)) == ("A100", 2, 80)


# ---- restarts ------------------------------------------------------------------------------------


def test_what_it_lost_is_told_again(side: Side) -> None:
    side.push(namespace())
    side.client.remove_server(NAME)
    side.client.remove_model("granite-13b")
    side.client.changes()
    side.push(namespace())
    assert side.client.changes() == []  # it was looked at a moment ago
    side.seconds += COMPARED
    side.push(namespace())
    assert side.client.changes() == ["addModel/granite-13b", "addModelAcceleratorPerf", "addServer"]


def test_one_that_has_forgotten_is_never_asked_before_it_is_told() -> None:
    with running(service(stateful=True)) as url:
        side = Side(url)
        side.push(namespace())
    with restarted(url):  # a moment later
        assert desired(side.kept(namespace().fleet)) == ("A100", 2, 80)
        side.client.close()


def test_while_it_is_away_that_is_said_and_then_all_is_told() -> None:
    with running(service(stateful=True)) as url:
        side = Side(url)
        side.push(namespace())
    assert side.kept.push(SPACE, namespace("G1", Capacity=None))
    with restarted(url):
        side.push(namespace())
        assert [one.name for one in side.client.get_servers()] == [NAME]
        side.client.close()


def test_objects_that_went_while_nobody_looked_are_taken_out_when_all_were_seen(side: Side) -> None:
    other = namespace(Server=base("Server", "G1") | {"spec": base("Server", "G1")["spec"] | {"name": "gone"}})
    side.push(other)
    again = Side(side.client.url)
    again.namespaces = ("elsewhere", SPACE)
    again.push(namespace())
    assert [one.name for one in again.client.get_servers()] == ["gone", NAME]  # it may be elsewhere
    again.push(namespace(), "elsewhere")
    assert [one.name for one in again.client.get_servers()] == [NAME]
    again.client.close()


def test_a_namespace_without_objects_is_taken_out(side: Side) -> None:
    side.namespaces = ("elsewhere", SPACE)
    server = base("Server", "G1")
    server["spec"]["name"] = "theirs"
    side.push(namespace())
    side.push(namespace(Server=server), "elsewhere")
    assert {one.name for one in side.client.get_servers()} == {NAME, "theirs"}
    side.namespaces = (SPACE,)
    side.push(read_namespace(Objects()), "elsewhere")
    assert {one.name for one in side.client.get_servers()} == {NAME}
    assert side.client.get_models() == ["granite-13b"]


def test_targets_are_told_as_they_were_before_the_third_release() -> None:
    lists = ("[]", "[]", '{"serviceClasses": []}', '{"servers": []}', '{"count": []}')
    answers = [said(text) for text in lists]
    only = namespace(Accelerator=None, Model=None, Server=None, Capacity=None)
    old = reply(404, "404 page not found", "text/plain")
    with scripted(*answers, said("{}"), old, said("{}")) as other:
        with OptimizerClient(other.url, timeout=5) as client:
            kept = Stateful(client, lambda: (SPACE,))
            assert kept.push(SPACE, only) == ""
        lines = [heard.line.split()[1] for heard in other.heard[5:]]
        assert lines == [
            "/addServiceClass/Premium/1",
            "/addServiceClassModelTargets",
            "/addServiceClassModelTarget",
        ]
        assert msgspec.json.decode(other.heard[-1].body)["name"] == "Premium"


def test_what_was_told_by_half_is_told_again(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    call = side.client.call

    def failing(operation: Operation, *names: str, **more: object) -> object:
        if operation.path == "addModelAcceleratorPerf":
            raise CallError(503, "busy")
        return call(operation, *names, **more)

    monkeypatch.setattr(side.client, "call", failing)
    assert "busy" in side.kept.push(SPACE, namespace())
    monkeypatch.undo()
    side.push(namespace())
    assert desired(side.kept(namespace().fleet)) == ("A100", 2, 80)


@pytest.mark.parametrize("name", ["a/b c%?#", "..", ".", "x" * 3000, "\n", "ü"])
def test_names_of_any_kind_are_told_or_a_problem(side: Side, name: str) -> None:
    model = sample("Model", SPACE, name=name)
    assert isinstance(side.kept.push(SPACE, namespace(Model=model)), str)
    side.push(namespace())


# ---- with the reconciler -------------------------------------------------------------------------


def test_the_samples_end_as_with_the_optimizer_built_in(side: Side) -> None:
    side.kept = Stateful(side.client, lambda: world.kinds.namespaces(), lambda: world.seconds)
    with World(side.kept) as world:
        world.reconciler._pushed = side.kept.push
        world.samples()
        world.set("Optimizer", "optimize", True)
        world.settle()
        assert world.spec("Server")["desiredAlloc"]["numReplicas"] == 2
        assert world.status("Optimizer")["done"] is True
        assert world.further_writes() == []
        for kind in KINDS:
            world.remove(kind)
        world.settle()
        assert side.client.get_servers() == []
        assert side.client.get_models() == []
