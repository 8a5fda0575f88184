"""What is recommended, in actions and in a sentence."""

from __future__ import annotations

import pytest

from flyball.power.filter import filtered
from flyball.power.recommend import lost_tokens, recommendation
from flyball.spec.power_plan import DomainState, PowerAction
from tests.power.test_filter import server, view

STATE = DomainState("d", "emergency", 41200.0, True, 40000.0)


def test_actions_say_watts_and_tokens_the_least_important_first() -> None:
    # bulk draws 800 + 800 W, gold 400; with two replicas bulk has room for 400 of its 800 W.
    bulk = server("bulk", 8, load=800.0, tokens=1000.0)
    seen = view(1000.0, server("gold", 4, priority=1), bulk, at_once=True)
    found = recommendation(seen, filtered(seen, {}), STATE, 100.0, "night", peak=42000.0)
    assert found is not None
    assert found.actions == (PowerAction("replicas", "bulk", 8, 2, 1000.0, 500.0),)
    assert found.reason == "d draws 41,200 of 40,000 W, level emergency: saves 1,000 W"
    assert (found.policy, found.expires, found.peak) == ("night", 700.0, 42000.0)


def test_what_stays_above_is_said() -> None:
    seen = view(100.0, server("a", 4, least=3), at_once=True)
    found = recommendation(seen, filtered(seen, {}), STATE, 0.0)
    assert found is not None
    assert found.reason.endswith("saves 100 W, 200 W stay above")


def test_what_it_wants_and_may_not_have_is_held_back() -> None:
    more = view(400.0, server("a", 4, wanted=5))
    found = recommendation(more, filtered(more, {}), STATE, 0.0, levers={"a": "hold"})
    assert found is not None
    assert found.actions == (PowerAction("hold", "a", 4, 4, 100.0, 0.0),)
    enough = view(9e9, server("a", 4, wanted=5))
    assert recommendation(enough, filtered(enough, {}), STATE, 0.0) is None


def test_nothing_to_do_is_no_recommendation() -> None:
    seen = view(9e9, server("a", 4))
    assert recommendation(seen, filtered(seen, {}), STATE, 0.0) is None


@pytest.mark.parametrize(("replicas", "lost"), [(4, 0.0), (2, 0.0), (1, 50.0), (0, 100.0)])
def test_tokens_are_lost_only_beyond_full_draw(replicas: int, lost: float) -> None:
    assert lost_tokens(server("a", 4, load=400.0, tokens=100.0), replicas) == lost
