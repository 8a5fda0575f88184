"""Whatever happens in whatever order, and whenever the keeper dies: in the end every child is right."""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from flyball.adapters.kubernetes.errors import ClusterError, Conflict, NotFound
from flyball.operator.booster_kinds import BOOSTER, CHILDREN
from tests.boosting import samples
from tests.operator.api import Document
from tests.operator_boosters.choices import BACKENDS, CHILD_NAMES, DRIFT, KINDS, NAMES, SPECS
from tests.operator_boosters.world import PLURALS, SPACE, Cluster


class Died(BaseException):
    """The keeper, in the middle of a request."""


class Anything(RuleBasedStateMachine):
    """Users, watches that are behind, looks, and a keeper that dies."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster()
        self.theirs: dict[str, Document] = {}
        self.scaled: dict[str, tuple[str, int]] = {}

    def teardown(self) -> None:
        self.ends_right()

    @initialize(backends=st.lists(st.sampled_from(BACKENDS), min_size=3, max_size=3))
    def begin(self, backends: list[dict[str, Any]]) -> None:
        for name, backend in zip(NAMES, backends, strict=True):
            self.make(name, backend)

    # ---- what users do -----------------------------------------------------------------------------

    @rule(name=st.sampled_from(NAMES), backend=st.sampled_from(BACKENDS))
    def make(self, name: str, backend: dict[str, Any]) -> None:
        with suppress(Conflict):
            self.cluster.make(samples.document(**{"name": "b", **backend}), name)
            self.scaled.pop(name, None)

    @rule(name=st.sampled_from(NAMES), backend=st.sampled_from(BACKENDS))
    def change(self, name: str, backend: dict[str, Any]) -> None:
        with suppress(NotFound):
            self.cluster.edit(lambda one: one["spec"]["backend"].update(copy.deepcopy(backend)), name)
            self.scaled.pop(name, None)

    @rule(name=st.sampled_from(NAMES), spec=st.sampled_from(SPECS), there=st.booleans())
    def add_or_drop(self, name: str, spec: dict[str, Any], there: bool) -> None:
        def edit(one: Document) -> None:
            if there:
                one["spec"].update(copy.deepcopy(spec))
                one["spec"]["backend"].update(minReplicas=1, maxReplicas=4)
            else:
                for key in spec:
                    one["spec"].pop(key, None)

        with suppress(NotFound):
            self.cluster.edit(edit, name)
            self.scaled.pop(name, None)

    @rule(name=st.sampled_from(NAMES))
    def remove(self, name: str) -> None:
        self.cluster.server.delete(BOOSTER.path(SPACE, name))
        self.scaled.pop(name, None)

    @rule(name=st.sampled_from(NAMES))
    def begin_to_remove(self, name: str) -> None:
        """In the foreground: it goes after its children."""
        mark = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
        with suppress(NotFound):
            self.cluster.edit(lambda one: one["metadata"].update(mark), name)

    @rule(kind=st.sampled_from(KINDS), name=st.sampled_from(CHILD_NAMES))
    def remove_child(self, kind: str, name: str) -> None:
        self.cluster.server.delete(CHILDREN[kind].path(SPACE, name))
        self.theirs.pop(f"{kind} {name}", None)
        if kind == "ModelServing":
            self.scaled.clear()

    @rule(kind=st.sampled_from(KINDS), name=st.sampled_from(CHILD_NAMES), last=st.booleans())
    def drift(self, kind: str, name: str, last: bool) -> None:
        change = DRIFT[kind][-1 if last else 0]
        if f"{kind} {name}" not in self.theirs:
            with suppress(NotFound):
                self.cluster.touch(kind, lambda one: one["spec"].update(copy.deepcopy(change)), name)

    @rule(
        kind=st.sampled_from(KINDS),
        name=st.sampled_from(CHILD_NAMES),
        key=st.sampled_from(["labels", "annotations"]),
    )
    def mark(self, kind: str, name: str, key: str) -> None:
        if f"{kind} {name}" not in self.theirs:
            with suppress(NotFound):
                self.cluster.touch(kind, lambda one: one["metadata"].setdefault(key, {}).clear(), name)

    @rule(kind=st.sampled_from(KINDS), name=st.sampled_from(CHILD_NAMES))
    def foreign(self, kind: str, name: str) -> None:
        with suppress(Conflict, NotFound):
            self.cluster.foreign(kind, name)
            self.theirs[f"{kind} {name}"] = self.cluster.child(kind, name)

    @rule(name=st.sampled_from(CHILD_NAMES), word=st.sampled_from(["True", "False"]))
    def become(self, name: str, word: str) -> None:
        if f"ModelServing {name}" not in self.theirs:
            with suppress(NotFound):
                self.cluster.available(word, name)

    @rule(name=st.sampled_from(NAMES), replicas=st.integers(0, 9))
    def scale(self, name: str, replicas: int) -> None:
        """What is asked for was written: from now on the number is somebody else's."""
        self.ends_right()
        with suppress(NotFound):
            serving = f"{name}-{self.cluster.booster(name)['spec']['backend']['name']}"
            owners = self.cluster.child("ModelServing", serving)["metadata"].get("ownerReferences") or []
            if [one["name"] for one in owners] == [name]:
                self.cluster.touch("ModelServing", lambda one: one["spec"].update(replicas=replicas), serving)
                self.scaled[name] = serving, replicas

    @rule(plural=st.sampled_from(PLURALS), there=st.booleans())
    def serve(self, plural: str, there: bool) -> None:
        """A kind goes with all its objects, or comes."""
        server = self.cluster.server
        if there:
            server.unserved.discard(plural)
            return
        for one in server.objects(plural):
            server.delete(CHILDREN[one["kind"]].path(SPACE, one["metadata"]["name"]))
            self.theirs.pop(f"{one['kind']} {one['metadata']['name']}", None)
        server.unserved.add(plural)
        self.scaled.clear()

    # ---- what the keeper does ----------------------------------------------------------------------

    @rule(number=st.integers(0, 6))
    def hear(self, number: int) -> None:
        """One kind's watch goes on; the others stay behind."""
        self.cluster.hear([*self.cluster.kinds._all()][number])

    @rule(name=st.sampled_from(NAMES))
    def look(self, name: str) -> None:
        with suppress(ClusterError):
            self.cluster.look((SPACE, name))

    @rule(at=st.integers(1, 6))
    def die(self, at: int) -> None:
        """With the n-th write that it sends, before or after that arrives; another one comes."""
        left = [at]

        def before(method: str, path: str) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Died

        self.cluster.server.before = before
        with suppress(Died):
            self.cluster.settle()
        self.cluster.server.before = lambda method, path: None
        self.cluster.restart()

    @rule()
    def expire(self) -> None:
        self.cluster.server.forget()

    @rule(seconds=st.sampled_from([1.0, 20.0, 200.0]))
    def pass_time(self, seconds: float) -> None:
        self.cluster.wait(seconds)

    # ---- what holds in the end ---------------------------------------------------------------------

    @rule()
    def ends_right(self) -> None:
        cluster, server = self.cluster, self.cluster.server
        cluster.wait(20.0)  # what was made and is not heard of is believed for no longer
        cluster.settle()
        for title, one in self.theirs.items():
            kind, name = title.split()
            assert cluster.child(kind, name) == one, f"{title} was touched"
        boosters = {one["metadata"]["uid"]: one for one in server.objects(BOOSTER.plural)}
        for one in server.objects(*PLURALS):
            owners = one["metadata"].get("ownerReferences") or []
            assert all(owner["uid"] in boosters for owner in owners), "a child of nobody"
        for one in boosters.values():
            if "deletionTimestamp" not in one["metadata"]:
                self.is_right(one)
        for name, (serving, replicas) in self.scaled.items():
            with suppress(NotFound):
                cluster.booster(name)
                assert cluster.child("ModelServing", serving)["spec"]["replicas"] == replicas
        assert cluster.further_writes() == []

    def is_right(self, one: Document) -> None:
        cluster, name = self.cluster, one["metadata"]["name"]
        failed, reason, message = cluster.said("Failed", name)
        status, generation = one["status"], one["metadata"]["generation"]
        told = {each["observedGeneration"] for each in status["conditions"] if each["type"] == "Failed"}
        assert failed != "True" or told == {generation}
        missing = {kind.name for kind in CHILDREN.values() if kind.plural in cluster.server.unserved}
        if missing & {"ModelServing", "ModelServer", "ModelRoute"}:
            assert failed == "True"
            assert "does not serve" in message
            return
        wanted = cluster.wanted_or_why(name)
        if isinstance(wanted, str):
            assert (failed, reason, message) == ("True", "ModelAbnormal", wanted)
            return
        taken = []
        for child in wanted:
            with suppress(NotFound):
                there = cluster.child(child["kind"], child["metadata"]["name"])
                owners = there["metadata"].get("ownerReferences") or []
                if one["metadata"]["uid"] not in [owner["uid"] for owner in owners]:
                    taken.append(f"{child['kind']} {child['metadata']['name']}")
        if taken:
            assert failed == "True"
            assert any(title in message for title in taken)
            return
        assert cluster.right(name), cluster.names()
        assert failed != "True"
        assert status["observedGeneration"] == generation
        assert cluster.said("Initialized", name)[0] == "True"
        serving = next(child for child in wanted if child["kind"] == "ModelServing")
        there = cluster.child("ModelServing", serving["metadata"]["name"])
        stands = [each["status"] for each in there.get("status", {}).get("conditions", ())]
        assert cluster.said("Active", name)[0] == (stands[0] if stands else "False")


TestAnything = pytest.mark.slow(Anything.TestCase)
TestAnything.settings = settings(max_examples=15, stateful_step_count=30)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_five_hundred_random_edits(seed: int) -> None:
    """The same in long rows: what was left by one thing meets what comes much later."""
    random = np.random.default_rng(seed)

    def one(found: Any) -> Any:
        return found[random.integers(len(found))]

    world = Anything()
    child = (lambda: one(KINDS), lambda: one(CHILD_NAMES))
    name, some, flag = (lambda: one(NAMES)), (lambda: one(BACKENDS)), (lambda: bool(random.integers(2)))
    edits: list[tuple[Any, Any]] = [
        *[(world.make, (name, some)), (world.change, (name, some))] * 4,
        *[(world.add_or_drop, (name, lambda: one(SPECS), flag)), (world.drift, (*child, flag))] * 3,
        (world.remove, (name,)),
        (world.begin_to_remove, (name,)),
        (world.remove_child, child),
        (world.mark, (*child, lambda: one(("labels", "annotations")))),
        (world.foreign, child),
        (world.become, (lambda: one(CHILD_NAMES), lambda: one(("True", "False")))),
        (world.scale, (name, lambda: int(random.integers(10)))),
    ]
    meanwhile: list[tuple[Any, Any]] = [
        *[(world.hear, (lambda: int(random.integers(7)),)), (world.look, (name,))] * 4,
        (world.die, (lambda: int(random.integers(1, 7)),)),
        (world.expire, ()),
        (world.pass_time, (lambda: one((1.0, 20.0, 200.0)),)),
    ]
    for number in range(500):
        act, given = one(edits)
        act(*(draw() for draw in given))
        for _ in range(random.integers(4)):
            act, given = one(meanwhile)
            act(*(draw() for draw in given))
        if number % 50 == 20:
            world.serve(one(PLURALS), False)
            world.ends_right()
            world.cluster.server.unserved.clear()
        if number % 10 == 0:
            world.ends_right()
    world.teardown()
