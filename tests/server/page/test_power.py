"""The part of the page that shows watts: only where they are looked at, with all that is to be known."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar.testing import TestClient

from flyball.server.page.power import BACK, HIGH, POINTS, ROWS, WIDE, drawing, power_view, thinned
from flyball.server.page.routes import app_of
from flyball.spec.power import Domain, PowerNode, PowerSeen
from flyball.spec.power_plan import Ahead, DomainState, PowerPlan
from tests.server.page.builders import live
from tests.server.page.powered import HORIZONS, NASTY_RACK, WORTH, plan, powered, seen, show

SIZE = 90_000
"""Of the fragments of one cycle, for 28 domains."""


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(app_of(powered()), base_url="http://127.0.0.1") as made:
        yield made


def test_a_fleet_whose_watts_nobody_looks_at_has_no_such_part() -> None:
    with TestClient(app_of(live()[0]), base_url="http://127.0.0.1") as made:
        assert 'id="power-tree"' not in made.get("/").text
        assert 'id="power-tree"' not in made.get("/fragments/fleet").text


def test_the_page_shows_all_that_is_known(client: TestClient) -> None:
    html = client.get("/").text
    text = " ".join(re.sub(r"<[^>]+>", " ", html).split())
    for said in (
        WORTH,
        "hall-1",
        "cannot be held",
        "not all measured",
        "evening",
        "batch is more restrictive for nightly",
        "nightly : at most 4 , then 2",
        "nightly : at most a batch of 64 row-a is short, and it has its least",
        "train : at most 50% of its CPU and 80% of its memory until it is sure to fit again",
        "replicas chat-large 12 to 9",
        "else a peak of 262.0 kW",
        "raise the budget",
    ):
        assert said in text, said
    assert html.count('<svg class="draw"') == 28
    assert html.count('class="rack h') == 24
    assert len(re.findall(r'class="rack h\d hot"', html)) == 1
    assert "<b>&" not in html
    assert NASTY_RACK not in html
    assert re.findall(r"<script(?![^>]* src=)[^>]*>|<style|\sstyle=", html) == []


def test_cells_are_those_of_the_page_and_small(client: TestClient) -> None:
    html, cells = client.get("/").text, client.get("/fragments/fleet")
    for name in ("power-tree", "power-racks", "power-said"):
        assert f'id="{name}"' in html
        assert f'id="{name}"' in cells.text
    assert len(cells.content) < SIZE


def test_a_page_from_before_watts_were_looked_at_is_out_of_date() -> None:
    one, _ = live()
    with TestClient(app_of(one), base_url="http://127.0.0.1") as made:

        def names() -> str:
            found = re.search(r'data-names="(\w+)"', made.get("/").text)
            assert found is not None
            return found[1]

        before = names()
        show(one, 1_000.0)
        after = names()
        assert before != after
        show(one, 1_015.0)
        assert names() == after


def test_of_many_racks_those_in_trouble_are_in_the_tree() -> None:
    found = power_view(seen(count=100), plan(count=100))
    assert len(found.rows) == ROWS
    assert found.unseen == 304 - ROWS
    shown = {row.state.domain for row in found.rows}
    assert {NASTY_RACK, "hall-1", "row-a", "row-b", "row-c"} <= shown
    left = [s for s in plan(count=100).domains if s.domain not in shown]
    assert all(s.level in ("normal", "warn") for s in left)
    assert sum(len(those) for _, those in found.racks) == 300


def test_the_tree_is_in_order_and_says_how_deep() -> None:
    found = power_view(seen(), plan())
    assert [(r.state.domain, r.depth) for r in found.rows][:3] == [
        ("hall-1", 0),
        ("row-a", 1),
        (NASTY_RACK, 2),
    ]
    near = found.rows[0].near
    assert near is not None
    assert near.horizon == 300.0


@pytest.mark.parametrize(
    ("watts", "budget", "inlet", "share", "shade"),
    [
        (3.0, 10.0, None, 0.3, 3),
        (12.0, 10.0, None, 1.2, 9),
        (1.0, None, None, None, 0),
        (1.0, 10.0, 31.0, 0.5, 5),
    ],
)
def test_shades_are_of_the_nearest_limit(
    watts: float, budget: float | None, inlet: float | None, share: float | None, shade: int
) -> None:
    from flyball.spec.power import Thermal

    domain = Domain("r", "Rack", labels={"r": "r"}, thermal=Thermal(44.0, 18.0))
    one = DomainState("r", "normal", watts, True, budget, inlet=inlet)
    nodes = (PowerNode("n", {"r": "r"}),)
    ((_, (rack,)),) = power_view(PowerSeen(0.0, 1.0, (domain,), nodes=nodes), PowerPlan((one,))).racks
    assert rack.share == share
    assert rack.shade == shade


watts = st.floats(0.0, 1e7)


@given(st.lists(watts, max_size=300), watts, st.none() | watts, st.lists(watts, min_size=4, max_size=4))
def test_lines_stay_within_the_drawing(
    past: list[float], now: float, budget: float | None, rises: list[float]
) -> None:
    ahead = tuple(
        Ahead(h, (now, now + r / 2, now + r), (0.5, 0.9), 1) for h, r in zip(HORIZONS, rises, strict=True)
    )
    one = DomainState("d", "normal", now, True, budget, threshold=budget, ahead=ahead)
    history = [(BACK * i / max(len(past) - 1, 1), {"d": w}) for i, w in enumerate(past)]
    made = drawing("d", one, history)
    points = [
        tuple(map(float, p.split(","))) for line in (made.past, made.band, made.median) for p in line.split()
    ]
    assert all(0.0 <= x <= WIDE and -0.05 <= y <= HIGH for x, y in points)
    assert len(made.past.split()) <= POINTS + 1
    if past:
        assert made.past.split()[-1].startswith(f"{WIDE / 2:.1f},")
    assert (made.budget is None) == (budget is None)


def test_of_each_stretch_the_highest_is_drawn() -> None:
    past = [(float(i), 5.0 if i == 77 else 1.0) for i in range(400)]
    assert (77.0, 5.0) in thinned(past)
