"""The page of a campaign in a real browser, without network: every chart is drawn, and no script fails."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flyball.report.campaign import Figures, Requests, Trail, Used, groups, judge, rows
from flyball.report.campaign_page import campaign_page
from flyball.spec.scenario import Scenario, World
from flyball.testing.make import make_fleet, make_server
from tests.report.builders import data_of
from tests.report.test_campaign import requests
from tests.report.test_in_a_browser import shown

pytestmark = pytest.mark.slow
NASTY = "</script><b>hpa"


def figures(policy: str, seed: int, served: Requests) -> Figures:
    fleet = make_fleet([make_server("a"), make_server("b")])
    trails = [Trail(n, (0.0, 15.0, 60.0), (1, 2, 1), (1, 1, 2), (None, 1.5, 2.0)) for n in "ab"]
    used = Used(1.5, 1.6, 2.0, 6.0 + seed, float("nan"))
    return judge(policy, seed, fleet, {"a": served, "b": served}, used, trails, keep_trails=seed == 1)


def test_charts_are_drawn_and_names_stay_text(tmp_path: Path) -> None:
    fleet = make_fleet([make_server("a"), make_server("b")])
    good, bad = requests([0.1, 0.2], [0.01, 0.02]), requests([9.0], [0.5], offered=4)
    runs = [figures(p, s, r) for p, r in (("keda", good), (NASTY, bad)) for s in (1, 2)]
    scenario = Scenario("small", 60.0, World(fleet, ()), fleet, "A <small> one.")
    html = campaign_page(scenario, groups(fleet), rows(runs, ["keda", NASTY]), runs)
    data = data_of(html)
    assert data["scatter"]["x"] == [7.0, 7.0, 8.0, 8.0]
    assert data["servers"][0]["charts"][0]["lines"]["keda"] == [1, 2, 1]
    page = shown(html, tmp_path)
    assert page.canvases == 1 + 3  # the scatter, and three of the first server
    assert not re.search(r"CONSOLE.*(Uncaught|rror)", page.log), page.log
    assert page.dom.count("&lt;/script&gt;&lt;b&gt;hpa") >= 2
    assert "<b>hpa" not in page.dom.split('<script id="data"')[0]
    assert "100.00 ± 0.00 %" in page.dom
