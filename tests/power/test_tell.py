"""What is told when: once for each change, at once where it got worse, else after a while."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.power.tell import Change, News, Told, after, changes, gist_of, labels_of, news_of
from flyball.spec.power import LEVELS, Domain, Level, Policy
from flyball.spec.power_plan import DomainState, PowerAction, Recommendation

DOMAINS = (Domain("hall", "Site"), Domain("r7", "Rack", parent="hall"))
POLICY = Policy("chat", namespace="prod", outputs=("slack",))


def state(level: Level, watts: float = 1.0, feasible: bool = True, domain: str = "r7") -> DomainState:
    return DomainState(domain, level, watts, True, 2.0, feasible=feasible)


def advice(to: int, expires: float = 1e9, policy: str = "prod/chat", watts: float = 1.0) -> Recommendation:
    return Recommendation("r7", policy, "warn", (PowerAction("replicas", "a", 5, to, watts),), "", expires)


def news(now: float, *states: DomainState, advised: tuple[Recommendation, ...] = ()) -> News:
    return news_of("slack", DOMAINS, states, advised, (POLICY,), now)


class Listener:
    def __init__(self) -> None:
        self.told: dict[str, Told] = {}

    def hear(self, given: News) -> list[str]:
        found: tuple[Change, ...] = changes(self.told, given)
        self.told = after(self.told, found, given.now)
        return [f"{c.domain} {c.turn}" for c in found]


def test_each_change_is_told_once() -> None:
    one = Listener()
    assert one.hear(news(0, state("normal"))) == []
    assert one.hear(news(1, state("warn"))) == ["r7 new"]
    assert one.hear(news(2, state("warn", watts=9.0))) == [], "watts alone are no news"
    assert one.hear(news(3, state("shed"))) == ["r7 worse"], "at once"
    assert one.hear(news(4, state("warn"))) == [], "what gets better may wait"
    assert one.hear(news(64, state("warn"))) == ["r7 better"]
    assert one.hear(news(65, state("warn"), advised=(advice(3),))) == []
    assert one.hear(news(130, state("warn"), advised=(advice(3),))) == ["r7 changed"]
    assert one.hear(news(200, state("warn"), advised=(advice(3, watts=7.0),))) == []
    assert one.hear(news(201)) == ["r7 resolved"]
    assert one.hear(news(300)) == []


def test_infeasible_is_said_at_once_and_first() -> None:
    one = Listener()
    assert one.hear(news(0, state("warn"))) == ["r7 new"]
    given = news(1, state("warn", feasible=False), state("emergency", domain="hall"))
    assert one.hear(given) == ["r7 worse", "hall new"]


def test_what_is_expired_or_of_others_is_not_told() -> None:
    assert news(10, advised=(advice(3, expires=10.0),)).topics == ()
    assert news(10, advised=(advice(3, policy="other/one"),)).topics == ()
    assert len(news(10, advised=(advice(3, policy=""),)).topics) == 1
    assert news_of("gitops", DOMAINS, (), (advice(3),), (POLICY,), 0).topics == ()


def test_labels_name_all_that_a_domain_is_in() -> None:
    assert labels_of(DOMAINS, "r7") == {"power_domain": "r7", "power_rack": "r7", "power_site": "hall"}
    circle = (Domain("a", "Row", parent="b"), Domain("b", "Site", parent="a"))
    assert labels_of(circle, "a") == {"power_domain": "a", "power_row": "a", "power_site": "b"}
    assert labels_of(DOMAINS, "gone") == {"power_domain": "gone"}


@given(st.lists(st.tuples(st.floats(0, 40), st.sampled_from(LEVELS), st.integers(0, 3)), max_size=30))
def test_in_the_end_what_was_told_is_what_stands(steps: list[tuple[float, Level, int]]) -> None:
    one, now, count = Listener(), 0.0, 0
    given = news(0)
    for pause, level, to in steps:
        now += pause
        given = news(now, state(level), advised=(advice(to),) if to else ())
        rose = LEVELS.index(level) > LEVELS.index(one.told["r7"].gist.level if one.told else "normal")
        heard = one.hear(given)
        count += len(heard)
        assert heard or not rose, "what got worse is told at once"
    last = News(now + 1_000, given.topics)
    one.hear(last)
    assert [one.told[t.domain].gist for t in last.topics] == [gist_of(t) for t in last.topics]
    if not last.topics and one.told:
        assert one.told["r7"].gist.level == "normal"
    assert one.hear(last) == []
    assert count <= len(steps)


@pytest.mark.parametrize(("level", "expected"), [("normal", 0), ("hold", 1)])
def test_a_calm_domain_is_no_topic(level: Level, expected: int) -> None:
    assert len(news(0, state(level)).topics) == expected
