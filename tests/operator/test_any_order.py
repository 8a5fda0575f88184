"""Whatever happens to objects in whatever order: in the end all is as one who comes anew would have it."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from flyball.adapters.kubernetes.errors import Conflict, NotFound
from flyball.operator.kinds import document
from flyball.wire.kinds.documents import read_namespace
from flyball.wire.kinds.inferno_objects import Ref
from tests.operator.world import SPACE, World
from tests.operator_kinds.cases import BOUNDS, RULES
from tests.operator_kinds.samples import KINDS, at, sample

NAMES = ("a", "b")
EDITS = [(case.kind, case.path, value) for case in (*RULES, *BOUNDS) for value in (case.good, case.bad)] + [
    ("Server", "currentAlloc.load.arrivalRate", 400),
    ("Server", "model", "another"),
    ("ServiceClass", "data.0.slo-itl", 1),
    ("Accelerator", "cost", 4),
    ("Capacity", "count.0.count", 1),
    ("Optimizer", "data.optimizer.unlimited", False),
    ("Optimizer", "optimize", True),
]


class Anything(RuleBasedStateMachine):
    """Users, looks with some of the watches behind, and time."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.world.samples()

    def teardown(self) -> None:
        try:
            self.ends_right()
        finally:
            self.world.reconciler.close()

    # ---- what users do -----------------------------------------------------------------------------

    @rule(kind=st.sampled_from(KINDS), name=st.sampled_from(NAMES))
    def make(self, kind: str, name: str) -> None:
        one = sample(kind, SPACE)
        one["metadata"]["name"] = name
        if name == "b":
            del one["spec"]["name" if "name" in one["spec"] else next(iter(one["spec"]))]
        with contextlib.suppress(Conflict):
            self.world.make(one)

    @rule(edit=st.sampled_from(EDITS), name=st.sampled_from(("", *NAMES)))
    def change(self, edit: tuple[str, str, object], name: str) -> None:
        kind, path, value = edit
        with contextlib.suppress(NotFound, KeyError, IndexError, TypeError, AttributeError):
            self.world.edit(kind, lambda one: at(one["spec"], path, value), name)

    @rule(
        kind=st.sampled_from(KINDS), name=st.sampled_from(("", *NAMES)), spec=st.sampled_from([None, {}, "x"])
    )
    def break_(self, kind: str, name: str, spec: object) -> None:
        with contextlib.suppress(NotFound):
            self.world.edit(kind, lambda one: one.update(spec=spec), name)

    @rule(kind=st.sampled_from(KINDS), name=st.sampled_from(("", *NAMES)), text=st.sampled_from("xy"))
    def label(self, kind: str, name: str, text: str) -> None:
        with contextlib.suppress(NotFound):
            self.world.edit(kind, lambda one: one["metadata"].update(labels={"l": text}), name)

    @rule(kind=st.sampled_from(KINDS), name=st.sampled_from(("", *NAMES)))
    def remove(self, kind: str, name: str) -> None:
        self.world.remove(kind, name)

    @rule(name=st.sampled_from(("", *NAMES)), period=st.sampled_from([0, 15, 60]))
    def ask(self, name: str, period: float) -> None:
        def change(one: dict[str, object]) -> None:
            if isinstance(one["spec"], dict):
                one["spec"] |= {"optimize": not period, "period": period}

        with contextlib.suppress(NotFound):
            self.world.edit("Optimizer", change, name)

    # ---- what the operator does --------------------------------------------------------------------

    @rule(kind=st.sampled_from(KINDS))
    def hear(self, kind: str) -> None:
        """One kind's watch goes on; the others stay behind."""
        self.world.hear(kind)

    @rule()
    def look(self) -> None:
        if self.world.kinds.synced:
            with contextlib.suppress(Conflict, NotFound):
                self.world.look()

    @rule(seconds=st.sampled_from([5, 20, 100]))
    def wait(self, seconds: float) -> None:
        self.world.seconds += seconds
        self.world.settle()

    @rule()
    def forget(self) -> None:
        """The API server tells no more of what happened: who has not heard of it must list again."""
        self.world.server.forget()

    # ---- what holds --------------------------------------------------------------------------------

    def ends_right(self) -> None:
        world = self.world
        world.settle()
        world.seconds += 1000  # whatever has a period has run with what there is now
        world.settle()
        there = {
            kind: world.server.items(f"/apis/g/v/{world.kinds.watches[kind].kind.plural}", dict)
            for kind in KINDS
        }
        read = read_namespace(world.kinds.objects(SPACE))
        for kind, found in there.items():
            assert [document(one) for one in world.kinds.all(kind)] == [
                {"metadata": {k: one["metadata"][k] for k in ("namespace", "name")}, "spec": one["spec"]}
                for one in found
            ]
            for one in found:
                self.check(kind, one, read.errors.get(Ref(kind, SPACE, one["metadata"]["name"])))
        assert world.further_writes() == []
        with World(server=world.server) as anew:
            assert anew.further_writes() == []

    def check(self, kind: str, one: dict, error: str | None) -> None:
        status = one["status"]
        assert status["observedGeneration"] == one["metadata"]["generation"]
        ready = next(c for c in status["conditions"] if c["type"] == "Ready")
        if error is not None:
            assert (ready["status"], ready["message"]) == ("False", error)
        if kind == "Optimizer":
            if error is None:
                assert not one["spec"].get("optimize")  # every request is ended
                assert status["done"] or "lastRunTime" not in status
        else:
            assert status["active"] is (error is None)


Anything.TestCase.settings = settings(max_examples=60, stateful_step_count=20)
TestAnything = pytest.mark.slow(Anything.TestCase)
