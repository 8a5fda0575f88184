"""What is known of the models, on the page: rows, badges, bars, and the charts of a server's model."""

from __future__ import annotations

import re

import msgspec
import pytest
from litestar.testing import TestClient
from msgspec.structs import replace

from flyball.decide.memory import Memory
from flyball.server.page.live import Live
from flyball.server.page.routes import app_of
from flyball.server.page.words import ago, places
from flyball.spec.decision import Decision
from flyball.spec.known import Known
from flyball.spec.learned import Learned, Point
from flyball.spec.profile import IterationTiming, Profile
from flyball.testing.make import make_fleet, make_server
from tests.server.page.builders import KNOWN, cycle, live, seen

FRESH = replace(KNOWN, accelerator="B", itl=0.027, readings=0, points=0, at=None, miss=0.0, distrust=1.0)
PLAIN = replace(KNOWN, model="m")
PROFILE = Profile("m", "A", IterationTiming(10e-3, 5e-5, 4e-8, 2e-5))


def showing(*known: Known, memory: Memory | None = None) -> Live:
    """A live fleet whose last cycle had that account."""
    one, _ = live()
    fleet = replace(make_fleet([make_server("s"), make_server("t")]), profiles=(PROFILE,))
    made = cycle(fleet, seen("s"), seen("t"), time=220.0)
    made = replace(made, decision=Decision("flyball", 220.0, known=known))
    one._seen = 5, made.snapshot, memory
    one.board.add(5, made)
    return one


def asked(one: Live, *paths: str) -> list[str]:
    with TestClient(app_of(one), base_url="http://127.0.0.1") as client:
        return [client.get(path).text for path in paths]


def known_of(html: str) -> str:
    found = re.search(r'<div id="known">(.*?)</table></div>', html, re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", found[1]).split()) if found else ""


def test_a_row_for_each_pair() -> None:
    page, cells = asked(showing(KNOWN, FRESH, PLAIN), "/", "/fragments/fleet")
    text = known_of(page)
    assert text == known_of(cells)
    assert (
        "&lt;m&gt; on A 24 27 ms 31 ms +15% 28.7 ms to 33.5 ms 38 readings at 3 loads last 2 min ago" in text
    )
    assert "distrust ×1.09" in text
    assert text.count("nothing seen yet; the profile holds") == 1
    assert page.count('href="/servers/s#h-known"') == 1  # no server shows more of the others


def test_a_server_has_the_rows_of_its_model() -> None:
    page, cells = asked(showing(KNOWN, PLAIN), "/servers/s", "/fragments/server?name=s")
    assert known_of(page) == known_of(cells)
    assert known_of(page).count("on A") == 1


def test_with_no_account_the_page_says_so() -> None:
    (page,) = asked(showing(), "/")
    assert "No account of profiles yet" in page


def test_the_charts_of_a_model() -> None:
    point = Point(12.0, 4.0, 1000.0, 200.0, 0.02, weight=5.0, at=100.0)
    memory = Memory(learned={"m on A": Learned(points=(point,), readings=5)})
    (charts,) = asked(showing(PLAIN, KNOWN, memory=memory), "/known?name=s")
    (chart,) = msgspec.json.decode(charts)
    assert chart["title"] == "On A"
    assert chart["points"] == ["seen"]
    assert sum(v is not None for v in chart["lines"]["seen"]) == 1
    assert asked(showing(), "/known?name=s") == ["[]"]
    assert "there is no server" in asked(showing(), "/known?name=none")[0]


def test_bars_show_half_to_twice_and_stay_within() -> None:
    low, middle, high = places(replace(KNOWN, itl=KNOWN.profile_itl))
    assert middle == pytest.approx(50.0)
    assert 50.0 - low == pytest.approx(high - 50.0)
    assert places(replace(KNOWN, itl=10 * KNOWN.profile_itl)) == (100.0, 100.0, 100.0)
    assert places(replace(KNOWN, itl=KNOWN.profile_itl / 10)) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("age", "text"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"), (200_000, "2 d")],
)
def test_ages(age: float, text: str) -> None:
    assert ago(age) == f"{text} ago"
