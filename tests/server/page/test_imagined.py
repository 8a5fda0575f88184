"""What if: the text that a form stands for, and what is told of two plans."""

from __future__ import annotations

import pytest

from flyball.decide.what_if import change
from flyball.server.page.imagined import difference, text_of
from flyball.testing.make import make_fleet, make_server
from tests.server.page.builders import live


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ({}, ""),
        ({"load": "2", "load_of": ""}, "load*2"),
        ({"load": "2", "load_of": "s"}, "load[s]*2"),
        ({"capacity": "16", "capacity_of": "A", "load": ""}, "capacity[A]=16"),
        ({"price": "0.5", "price_of": "B", "text": " load*3 "}, "price[B]*0.5, load*3"),
        ({"target": "0.5", "target_of": "itl"}, "itl*0.5"),
    ],
)
def test_a_form_stands_for_a_text(form: dict[str, str], text: str) -> None:
    assert text_of(form) == text
    if text:
        change(make_fleet([make_server()]), text)


def test_more_load_costs_more_and_is_told_by_server() -> None:
    found = difference(live()[0].imagine("load[server-01]*10"))
    assert found.after > found.before
    assert sum(c.cost for c in found.changes) == pytest.approx(found.after - found.before)
    assert found.changes[0].server == "server-01"
    assert found.lost == found.part == found.won == ()


def test_without_cards_nobody_is_served_any_more() -> None:
    found = difference(live(2)[0].imagine("capacity=0"))
    assert len(found.lost) == 2
    assert found.after == 0


def test_no_change_is_no_difference() -> None:
    found = difference(live()[0].imagine("load*1"))
    assert found.changes == ()
    assert found.after == found.before
