"""The status of each object, out of what was read and what was decided."""

from __future__ import annotations

import pytest

from flyball.operator.planning import Outcome, Result, built_in, nothing
from flyball.operator.statuses import camel, is_news, of_optimizer, of_other, of_server
from flyball.wire.kinds.decided import Decided
from flyball.wire.kinds.documents import Namespace, Objects, read_namespace
from flyball.wire.kinds.inferno_objects import Ref
from tests.operator_kinds.samples import KINDS, Document, sample

SPACE = "infer"
SERVER = Ref("Server", SPACE, "premium-granite-13b")
NAME = "Premium-granite-13b"
OPTIMIZER = Ref("Optimizer", SPACE, "inferno")
NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"
DECIDED = Result(
    Decided("cheapest", {"accelerator": "A100", "numReplicas": 2, "cost": 80.0}, "itl"), True, "fine", ""
)


def namespace(**changes: Document) -> Namespace:
    return read_namespace(Objects(*((changes.get(kind, sample(kind, SPACE)),) for kind in KINDS)))


def server(before: Document, generation: int, result: Result | None, now: str = NOW) -> Document:
    return of_server(namespace(), SERVER, NAME, before, generation, result, now)


def words(status: Document) -> dict[str, tuple[str, str]]:
    return {one["type"]: (one["status"], one["reason"]) for one in status["conditions"]}


def test_a_server_that_nobody_decided_for_is_but_ready() -> None:
    status = server({}, 1, None)
    assert words(status) == {"Ready": ("True", "Accepted")}
    assert (status["active"], status["observedGeneration"]) == (True, 1)
    assert "desiredAlloc" not in status


def test_what_was_decided_stands_until_something_else_is() -> None:
    first = server({}, 1, DECIDED)
    assert words(first) == {
        "Ready": ("True", "Accepted"),
        "Feasible": ("True", "Cheapest"),
        "Limited": ("False", "Enough"),
        "Stale": ("False", "Decided"),
    }
    assert (first["desiredAlloc"], first["lastDecisionTime"]) == (DECIDED.decided.desired, NOW)
    second = server(first, 1, None, LATER)
    assert second == first
    assert not is_news(first, second)


def test_the_same_decision_again_is_no_news_and_another_is() -> None:
    first = server({}, 1, DECIDED)
    assert not is_news(first, server(first, 1, DECIDED, LATER))
    close = Decided("cheapest", {"accelerator": "A100", "numReplicas": 2, "cost": 80.0001}, "itl")
    assert not is_news(first, server(first, 1, Result(close, True, "fine"), LATER))
    more = Decided("cheapest", {"accelerator": "A100", "numReplicas": 3, "cost": 80.0}, "itl")
    assert is_news(first, server(first, 1, Result(more, True, "fine"), LATER))
    assert is_news(first, server(first, 2, DECIDED))  # of another generation


def test_nothing_is_left_of_what_it_got_where_it_gets_nothing_now() -> None:
    first = server({}, 1, DECIDED)
    status = server(first, 1, Result(Decided("no_capacity"), False, "no cards", "A100 is short"), LATER)
    assert status["desiredAlloc"] is None
    assert status["bindingConstraint"] is None
    assert words(status)["Feasible"] == ("False", "NoCapacity")
    assert words(status)["Limited"] == ("True", "Short")
    assert is_news(first, status)
    stored = {key: value for key, value in status.items() if value is not None}
    assert not is_news(stored, server(stored, 1, None, LATER))


def test_a_change_after_the_decision_makes_it_stale_until_the_next() -> None:
    first = server({}, 1, DECIDED)
    changed = server(first, 2, None)
    assert words(changed)["Stale"] == ("True", "Changed")
    assert words(server(changed, 2, None))["Stale"] == ("True", "Changed")
    assert words(server(changed, 2, DECIDED))["Stale"] == ("False", "Decided")
    assert "Stale" not in words(server(server({}, 1, None), 2, None))  # nothing was decided


def test_an_error_goes_before_what_it_lacks() -> None:
    bad = sample("Server", SPACE, minNumReplicas=3, maxNumReplicas=2)
    read = namespace(Server=bad)
    status = of_server(read, SERVER, "", {}, 1, None, NOW)
    assert words(status) == {"Ready": ("False", "Invalid")}
    assert status["active"] is False
    lacking = namespace(Server=sample("Server", SPACE, model="another"))
    status = of_server(lacking, SERVER, NAME, {}, 1, None, NOW)
    assert words(status) == {"Ready": ("False", "Lacking")}
    assert "another" in status["conditions"][0]["message"]
    assert status["active"] is True


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("Server", "Optimizer")])
def test_the_other_kinds_say_whether_they_are_planned_with(kind: str) -> None:
    good = sample(kind, SPACE)
    ref = Ref(kind, SPACE, good["metadata"]["name"])
    status = of_other(namespace(), ref, {"old": 1}, 4, NOW)
    assert (status["active"], status["observedGeneration"], words(status)["Ready"][0]) == (True, 4, "True")
    bad = {"metadata": good["metadata"], "spec": None}
    status = of_other(namespace(**{kind: bad}), ref, status, 5, LATER)
    assert (status["active"], words(status)["Ready"][0]) == (False, "False")


# ---- optimizers ----------------------------------------------------------------------------------


def optimizer(before: Document, outcome: Outcome | None, problem: str = "", now: str = NOW) -> Document:
    return of_optimizer(namespace(), OPTIMIZER, before, 1, outcome, problem, now)


def test_an_optimizer_that_was_never_asked_is_not_done() -> None:
    status = optimizer({}, None)
    assert status["done"] is False
    assert "active" not in status
    assert not is_news(status, optimizer(status, None, now=LATER))


def test_an_outcome_is_done_with_its_figures() -> None:
    outcome = built_in(namespace().fleet)
    status = optimizer({}, outcome)
    assert (status["done"], status["cost"], status["served"], status["unserved"]) == (True, 80, 1, 0)
    assert status["lastRunTime"] == NOW
    assert not is_news(status, optimizer(status, outcome, now=LATER))
    kept = optimizer(status, None, now=LATER)
    assert (kept["done"], kept["lastRunTime"]) == (True, NOW)


def test_at_most_ten_of_those_that_are_not_served_are_named() -> None:
    outcome = Outcome({f"s{i:02}": nothing("no") for i in range(12)}, 0.0)
    status = optimizer({}, outcome)
    (said,) = [one["message"] for one in status["conditions"] if one["type"] == "Feasible"]
    assert said == "not served, or not whole: " + ", ".join(f"s{i:02}" for i in range(10)) + ", ..."
    assert status["unserved"] == 12


def test_a_problem_takes_back_that_it_is_done() -> None:
    done = optimizer({}, built_in(namespace().fleet))
    status = optimizer(done, None, "nobody is there", LATER)
    assert (status["done"], status["lastRunTime"]) == (False, NOW)
    assert words(status)["Ready"] == ("False", "Unanswered")
    assert words(optimizer(status, None))["Ready"] == ("True", "Accepted")


def test_words_are_in_camel_case() -> None:
    assert [camel(word) for word in ("no_capacity", "kept", "", "_")] == [
        "NoCapacity",
        "Kept",
        "Unknown",
        "Unknown",
    ]
