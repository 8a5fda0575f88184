"""What others do while the reconciler is at work: nothing is lost, overwritten or told wrongly."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flyball.adapters.kubernetes.errors import Conflict, Unreachable
from flyball.operator.planning import Outcome, built_in
from flyball.operator.writes import NotLeading
from flyball.spec.fleet import Fleet
from flyball.wire.kinds.inferno_objects import Ref
from tests.operator.world import SPACE, World
from tests.operator_kinds.samples import sample


def meanwhile(world: World, part: str, change: Callable[[], None]) -> None:
    """Have somebody else write once, right ahead of our own write of a path."""

    def before(method: str, path: str) -> None:
        if path.endswith(part):
            world.server.before = lambda method, path: None
            change()

    world.server.before = before


@pytest.mark.parametrize(
    "part", ["premium-granite-13b", "premium-granite-13b/status", "inferno", "inferno/status"]
)
def test_a_server_changed_in_the_middle_never_passes_for_decided(world: World, part: str) -> None:
    world.samples()
    world.settle()
    world.set("Optimizer", "optimize", True)
    world.watch()
    meanwhile(world, part, lambda: world.set("Server", "currentAlloc.load.arrivalRate", 400))
    world.settle()
    assert world.spec("Optimizer")["optimize"] is False
    assert world.status("Optimizer")["done"] is True
    # Either it was planned with what it is now, or it says that it was not.
    fresh = world.planned()[1] == 19
    assert world.condition("Server", "Stale")[0] == ("False" if fresh else "True")
    assert fresh == part.startswith("premium")
    assert world.further_writes() == []


def test_a_look_at_what_has_changed_since_does_not_tell_of_it(world: World) -> None:
    world.samples()
    world.settle()
    world.set("Optimizer", "optimize", True)
    world.watch()

    def planner(fleet: Fleet) -> Outcome:
        world.set("Server", "currentAlloc.load.arrivalRate", 400)
        world.watch()  # it is heard of while the plan is made
        return built_in(fleet)

    world.reconciler._planner = planner
    with pytest.raises(Conflict):
        world.look()
    assert world.planned()[1] == 6
    world.reconciler._planner = built_in
    world.settle()
    assert world.planned()[1] == 19
    assert world.condition("Server", "Stale")[0] == "False"


@pytest.mark.parametrize("part", ["inferno", "inferno/status"])
def test_a_label_in_the_middle_does_not_lose_that_it_is_done(world: World, part: str) -> None:
    world.samples()
    world.settle()
    world.set("Optimizer", "optimize", True)
    meanwhile(
        world,
        part,
        lambda: world.edit("Optimizer", lambda one: one["metadata"].update(labels={"a": "b"})),
    )
    world.settle()
    assert world.spec("Optimizer")["optimize"] is False
    assert world.status("Optimizer")["done"] is True
    assert world.server.document(world.path("Optimizer"))["metadata"]["labels"] == {"a": "b"}


def test_a_request_with_other_settings_in_the_middle_is_not_lost(world: World) -> None:
    world.samples()
    world.settle()
    world.set("Optimizer", "optimize", True)
    world.watch()
    runs = []

    def planner(fleet: Fleet) -> Outcome:
        if not runs:
            world.set("Optimizer", "data.optimizer.unlimited", False)
            world.watch()
        runs.append(fleet.settings.unlimited)
        return built_in(fleet)

    world.reconciler._planner = planner
    world.settle()
    assert runs == [True, False]
    assert world.spec("Optimizer")["optimize"] is False


def test_a_conflict_in_a_run_of_a_period_is_made_good_at_once(world: World) -> None:
    world.samples()
    world.set("Optimizer", "period", 600)
    world.watch()
    meanwhile(
        world,
        "premium-granite-13b",
        lambda: world.edit("Server", lambda one: one["metadata"].update(labels={"a": "b"})),
    )
    world.settle()
    assert world.planned()[:2] == ("A100", 2)
    assert world.status("Server")["reason"] == "cheapest"
    assert world.condition("Server", "Stale")[0] == "False"


@pytest.mark.parametrize("kind", ["Server", "Optimizer", "Model"])
@pytest.mark.parametrize("anew", [False, True])
def test_an_object_that_goes_in_the_middle(world: World, kind: str, anew: bool) -> None:
    world.samples()
    world.set("Optimizer", "optimize", True)
    world.watch()
    name = world.path(kind).rsplit("/", 1)[1]

    def change() -> None:
        world.remove(kind)
        if anew:
            world.make(sample(kind, SPACE))

    meanwhile(world, f"{name}/status", change)
    world.settle()
    if anew:
        document = world.server.document(world.path(kind))
        assert document["status"]["observedGeneration"] == document["metadata"]["generation"]
    else:
        assert world.kinds.get(Ref(kind, SPACE, name)) is None
    assert world.further_writes() == []


def test_when_leadership_is_lost_nothing_more_is_written(world: World) -> None:
    world.samples()
    world.settle()
    world.set("Optimizer", "optimize", True)
    world.watch()
    asked = len(world.server.asked)

    def before(method: str, path: str) -> None:
        world.lease.term = None  # while the first write is under way

    world.server.before = before
    with pytest.raises(NotLeading):
        world.look()
    assert len(world.server.asked) == asked + 1
    with pytest.raises(NotLeading):
        world.look()
    assert len(world.server.asked) == asked + 1
    world.lease.term = 2
    world.server.before = lambda method, path: None
    world.settle()
    assert world.status("Optimizer")["done"] is True


def test_a_term_that_is_over_is_over_also_where_another_has_begun(world: World) -> None:
    world.samples()
    world.set("Optimizer", "optimize", True)
    world.watch()
    asked = len(world.server.asked)

    def planner(fleet: Fleet) -> Outcome:
        world.lease.term = 2  # lost and won again: what was read is old
        return built_in(fleet)

    world.reconciler._planner = planner
    with pytest.raises(NotLeading):
        world.look()
    assert len(world.server.asked) == asked


def test_a_new_leader_with_an_old_view_writes_nothing_over(world: World) -> None:
    world.samples()
    world.set("Optimizer", "optimize", True)
    with World(server=world.server) as other:
        other.watch()
        world.settle()
        writes = len(world.server.writes)
        with pytest.raises(Conflict):
            other.look()
        assert len(world.server.writes) == writes
        other.settle()
        assert world.server.writes[writes:] == []


def test_an_api_server_that_goes_in_the_middle(world: World) -> None:
    world.samples()
    world.settle()
    world.set("Optimizer", "optimize", True)
    world.watch()

    def before(method: str, path: str) -> None:
        if path.endswith("/status"):
            world.server.away = True

    world.server.before = before
    with pytest.raises(Unreachable):
        world.look()
    world.server.before, world.server.away = lambda method, path: None, False
    world.due.add(SPACE)
    world.settle()
    assert world.planned()[:2] == ("A100", 2)
    assert world.status("Server")["reason"] == "cheapest"
    assert world.status("Optimizer")["done"] is True
