"""Accounts of what was decided: their figures, their lines, and whose sentences are whose."""

from __future__ import annotations

import pytest

from flyball.report.accounts import Account, Change, accounts, ago, lines, names
from flyball.spec.decision import Decision, Hold, Order, Step
from flyball.spec.fleet import replica_prices
from flyball.spec.plan import Option
from flyball.spec.snapshot import Scrape, Snapshot
from flyball.testing.make import make_fleet, make_server

FLEET = make_fleet([make_server("chat"), make_server("chat-2")])


def account(*steps: Step, said: tuple[str, ...] = ()) -> Account:
    decision = Decision("flyball", 100.0, steps)
    return accounts(Snapshot(FLEET, Scrape(100.0)), decision, said)[0]


def step(was: int, now: int, accelerator: str = "A", **more: object) -> Step:
    orders = (Order("chat", accelerator, now),)
    return Step("chat", orders, (Order("chat", "A", was),), demand=3.0, **more)  # type: ignore[arg-type]


def test_a_change_has_its_reason_its_hold_and_its_cost() -> None:
    hold = Hold("step", 6, 4)
    made = account(step(2, 4, "B", cause="demand", holds=(hold,), offered=2.5))
    assert (made.server, made.has, made.gets, made.changes) == ("chat", "2 x A", "4 x B", True)
    assert made.cost_per_hour == 4 * 1.5
    assert made.more_per_hour == 4 * 1.5 - 2 * 1.0
    assert made.holds == ("6 wanted, 4 allowed: no more at once",)
    text = "\n".join(lines(made, now=112.0))
    assert "chat (m, Gold): 2 x A to 4 x B, decided 12 s ago" in text
    assert "2.5 req/s offered, 3 req/s provided for" in text
    assert "$6.00/h (+$4.00/h)" in text


def test_what_stays_names_no_goal_that_it_has() -> None:
    def option(accelerator: str, replicas: int) -> Option:
        return Option(accelerator, replicas, 64, 2.0, 2.0, 0.02, 0.1, 0.5, 3.0, None, "itl")

    made = account(step(2, 2, goal=option("A", 2)))
    assert not made.changes
    assert made.goal == ""
    assert lines(made)[0] == "chat (m, Gold): stays at 2 x A"
    assert account(step(2, 2, goal=option("B", 1))).goal == "1 x B"


def test_a_server_of_which_nothing_was_decided_says_so() -> None:
    assert "nothing was decided" in account().why


def test_the_last_change_is_told() -> None:
    made = Account("chat", gets="2 x A", last_change=Change(40.0, "1 to 2 x A", "more is needed"))
    assert "  changed    2 min ago: 1 to 2 x A because more is needed" in lines(made, now=160.0)


@pytest.mark.parametrize(
    ("text", "server", "about"),
    [
        ("chat: nothing says which model", "chat", True),
        ("Deployment infer/chat is left as it is", "chat", True),
        ("'chat': of 3 pods 1 unknown", "chat", True),
        ("it is chat.", "chat", True),
        ("chat-2: nothing says which model", "chat", False),
        ("old-chat goes", "chat", False),
        ("chats", "chat", False),
        ("chat-2 and chat", "chat", True),
    ],
)
def test_sentences_belong_to_the_server_that_they_name(text: str, server: str, about: bool) -> None:
    assert names(text, server) is about
    assert (text in account(step(2, 2), said=(text,)).notes) is about


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-3, "0 s ago"), (12, "12 s ago"), (119, "119 s ago"), (300, "5 min ago"), (3 * 86400, "3 days ago")],
)
def test_how_long_ago(seconds: float, words: str) -> None:
    assert ago(seconds) == words


def test_a_price_that_is_not_known_is_none() -> None:
    price = replica_prices(FLEET)
    assert price("m", "B") == 1.5
    assert price("m", "Z") == 0.0
