"""The page: everybody is on it, whatever they are called, and it needs nothing from elsewhere."""

from __future__ import annotations

import re
from typing import Any

import pytest
from msgspec.structs import replace

from flyball.decide.plan import plan
from flyball.report import page as page_module
from flyball.report.page import page
from flyball.solve.candidates import candidates
from flyball.spec.fleet import Settings
from flyball.testing.make import make_fleet, make_server
from tests.commands.samples import ALL, sample, two_servers
from tests.report.builders import data_of, page_of, page_of_document, visible
from tests.wire.inferno_samples import parts_of

OVER_LOAD = ["Cost over load", "Time to first token over load", "Time between tokens over load"]
OVER_BATCH = ["Impact of the batch size", "Latency at that load", "Region in which the targets hold"]


def documents() -> dict[str, dict[str, Any]]:
    """Fleets of all sorts: every generation, mixes, nothing served, nothing there."""
    mixed = sample("flyball")
    mixed["settings"] = {"heterogeneous": True}
    mixed["capacity"] = {"H100": 1, "L40S": 4}
    mixed["servers"] = [{**mixed["servers"][0], "rate": "17/s"}]
    nothing = two_servers(cards=0)
    out_of_reach = sample("flyball")
    out_of_reach["classes"][0]["targets"] = {"ttft": "mean<1ns"}
    negative = sample("G3")
    parts_of(negative)["servers"][0]["currentAlloc"]["load"]["arrivalRate"] = -1
    in_part = two_servers(cards=4)
    parts_of(in_part)["optimizer"]["saturationPolicy"] = "RoundRobin"
    unlimited = sample("flyball")
    del unlimited["capacity"]
    return {
        **ALL,
        "mixed": mixed,
        "nothing served": nothing,
        "out of reach": out_of_reach,
        "negative": negative,
        "in part": in_part,
        "unlimited": unlimited,
        "empty": {"system": {}},
    }


@pytest.mark.parametrize("name", documents())
def test_a_page_of_any_fleet_is_whole(name: str) -> None:
    html = page_of_document(documents()[name])
    assert html.startswith("<!doctype html>")
    assert html.rstrip().endswith("</html>")
    assert not re.search(r"\b(None|nan|inf|NaN|Infinity|undefined)\b", visible(html))
    assert set(data_of(html)) == {"cost", "cards", "latency", "servers"}


def test_every_server_is_on_the_page_with_its_reasons() -> None:
    servers = [make_server(f"server-{i:03d}", rate=1.0 + i) for i in range(60)]
    fleet = make_fleet(servers, capacity={"A": 20, "B": 20})
    html = page_of(fleet)
    text = visible(html)
    for made in plan(fleet).servers:
        assert f"<td>{made.server}</td>" in html
    assert "could be served, but capacity ran out" in text
    assert "To mend it: Add cards" in text


def test_a_large_fleet_keeps_those_that_are_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "MOST_ROWS", 10)
    servers = [make_server(f"s{i:02d}") for i in range(30)]
    refused = make_server("zz-last", rate=-1.0)
    html = page_of(make_fleet([*servers, refused]))
    assert html.count('<tr class="row"') == 10
    assert "<td>zz-last</td>" in html
    assert "21 more servers, all served, are not shown" in html


def test_thousands_of_servers() -> None:
    fleet = make_fleet(
        [make_server(f"s{i:04d}") for i in range(2500)], settings=Settings(unlimited=True), capacity={}
    )
    html = page_of(fleet)
    assert html.count('<tr class="row"') == 2000
    assert "500 more servers" in html
    assert len(data_of(html)["servers"]) == page_module.MOST_CURVES


def test_names_are_escaped_everywhere() -> None:
    evil = "</script><script>alert(1)</script><!--<img src=x onerror=alert(1)>\u2028&amp;'\""
    document = sample("flyball")
    document["servers"][0]["name"] = evil
    document["accelerators"][1]["name"] = document["profiles"][1]["accelerator"] = "<b>L40S</b>"
    document["capacity"] = {"H100": 8, "L40S": 8}
    document["accelerators"][1]["type"] = "L40S"
    html = page_of_document(document)
    body = html.partition("</head>")[2]
    assert body.count("<script") == 3
    assert "alert(1)</script>" not in body
    assert "<img" not in body
    assert "<b>" not in body
    assert "&lt;b&gt;L40S&lt;/b&gt;" in body
    assert evil in data_of(html)["cost"]["names"]


def test_the_page_needs_nothing_from_elsewhere() -> None:
    html = page_of_document(sample("flyball"))
    without_licence = re.sub(r"/\*!.*?\*/", "", html, flags=re.DOTALL)
    for outside in (r"https?://", r"\bsrc\s*=\s*[\"']", r"\bhref\s*=", r"url\(", r"@import", r"[\"']//\w"):
        assert not re.search(outside, without_licence), outside
    assert "default-src 'none'" in html


def test_the_charts_of_a_server() -> None:
    (chat, batch) = data_of(page_of_document(sample("flyball")))["servers"]
    assert (chat["server"], chat["accelerator"], batch["server"]) == ("chat", "L40S", "batch")
    assert [c["title"] for c in chat["charts"]] == [*OVER_LOAD, "Occupancy over load", *OVER_BATCH]
    for chart in chat["charts"]:
        assert chart["x"] == sorted(chart["x"])
        assert all(len(line) == len(chart["x"]) for line in chart["lines"].values())
    first = chat["charts"][1]
    assert first["limits"] == {"p95 target": 1000.0}
    assert first["marks"] == {"now": 2.0}
    assert set(first["lines"]) == {"mean", "p95"}


def test_the_charts_agree_with_the_decision() -> None:
    fleet = make_fleet([make_server("chat", rate=20.0)], generation="flyball")
    sized = candidates(fleet)
    made = plan(fleet, sized)
    chosen = made.servers[0].allocation
    assert chosen is not None
    charts = {c["title"]: c for c in data_of(page("x", fleet, made, sized))["servers"][0]["charts"]}
    region = charts["Region in which the targets hold"]
    nearest = min(range(len(region["x"])), key=lambda i: abs(region["x"][i] - chosen.max_batch_size))
    assert region["marks"] == {"chosen": chosen.max_batch_size}
    assert region["lines"]["all targets"][nearest] >= chosen.max_rate * 0.9
    for name, line in region["lines"].items():
        assert all(
            all_ <= one + 1e-6 for all_, one in zip(region["lines"]["all targets"], line, strict=True)
        ), name
    cost = charts["Cost over load"]
    now = min(range(len(cost["x"])), key=lambda i: abs(cost["x"][i] - 20.0))
    assert cost["lines"][chosen.accelerator][now] == pytest.approx(chosen.cost)


def test_generation_1_has_the_wait_in_the_place_of_the_first_token() -> None:
    html = page_of_document(sample("G1"))
    data = data_of(html)
    assert "ttft" not in visible(html)
    assert "wait / target" in data["latency"]
    assert [c["title"] for c in data["servers"][0]["charts"]][1] == "Wait over load"
    assert "wait" in data["servers"][0]["charts"][5]["lines"]


def test_a_mix_is_shown_in_all_its_parts() -> None:
    text = visible(page_of_document(documents()["mixed"]))
    assert re.search(r"\d x H100, batch 32\s* \+ \d x L40S, batch 16", text)
    assert "its load divided over several accelerators" in text


def test_bars_show_latency_over_target_and_cards_over_capacity() -> None:
    data = data_of(page_of_document(sample("flyball")))
    assert data["cards"] == {"names": ["H100", "L40S"], "used": [0.0, 3.0], "available": [8.0, 8.0]}
    assert data["cost"] == {"names": ["chat", "batch", "night"], "$/h": [2.0, 1.0, 0.0]}
    ratio = dict(zip(data["latency"]["names"], data["latency"]["ttft / target"], strict=True))
    assert 0 < ratio["chat"] < 1
    assert ratio["batch"] is None


def test_the_page_of_a_change_shows_what_changes() -> None:
    before = make_fleet([make_server("a"), make_server("b"), make_server("gone")])
    after = make_fleet([make_server("a"), make_server("b", rate=40.0), make_server("new")])
    html = page_of(after, before)
    change = html.partition("<h2>Change</h2>")[2].partition("</section>")[0]
    assert "3 servers change" in change
    names = re.findall(r"<tr><td>(\w+)</td>", change)
    assert names == ["b", "gone", "new"]
    assert set(data_of(html)["cost"]) == {"names", "before, $/h", "after, $/h"}


def test_the_same_plan_gives_the_same_page() -> None:
    assert page_of_document(sample("flyball")) == page_of_document(sample("flyball"))


def test_the_page_does_not_change_the_fleet() -> None:
    fleet = make_fleet([make_server("a")])
    kept = replace(fleet)
    page_of(fleet)
    assert fleet == kept
