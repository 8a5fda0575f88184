"""The page over HTTP: what it shows, what it takes, and from whom."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from html import escape
from urllib.parse import quote

import msgspec
import pytest
from litestar.testing import TestClient

from flyball.server.page.live import Live
from flyball.server.page.routes import STATIC, app_of
from tests.server.page.builders import NASTY, live

SAME = {"Origin": "http://127.0.0.1"}
HTMX = {**SAME, "HX-Request": "true"}
NASTY_PAGE = f"/servers/{quote(NASTY, safe='')}"
SIZE = 50_000
"""Of one cycle's fragments, for 30 servers."""


def client_of(one: Live) -> TestClient:
    return TestClient(app_of(one, "ledger.sqlite"), base_url="http://127.0.0.1")


@pytest.fixture(scope="module")
def one() -> Live:
    return live()[0]


@pytest.fixture(scope="module")
def client(one: Live) -> Iterator[TestClient]:
    with client_of(one) as made:
        yield made


def ids(html: str) -> list[str]:
    return re.findall(r'\bid="([^"]+)"', html)


PAGES = ["/", NASTY_PAGE, "/servers/server-01"]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_keeps_its_own_policy(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert "'unsafe" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert (
        re.findall(r"<script(?![^>]* src=)[^>]*>|<style|\sstyle=|\son[a-z]+=|javascript:", answer.text) == []
    )
    for source in re.findall(r'(?:src|href)="(/static/[^"]+)"', answer.text):
        assert client.get(source).status_code == 200


@pytest.mark.parametrize("path", PAGES)
def test_names_are_escaped_and_ids_are_unique(client: TestClient, path: str) -> None:
    html = client.get(path).text
    assert "<b>&" not in html
    assert escape(NASTY, quote=False).replace('"', "&#34;") in html or path.endswith("01")
    assert len(ids(html)) == len(set(ids(html)))


@pytest.mark.parametrize(
    ("page", "fragment"), [("/", "/fragments/fleet"), (NASTY_PAGE, f"/fragments/server?name={quote(NASTY)}")]
)
def test_each_cell_of_a_fragment_has_its_place_and_shows_the_same(
    client: TestClient, page: str, fragment: str
) -> None:
    html, cells = client.get(page).text, client.get(fragment).text
    assert ids(cells)
    assert set(ids(cells)) <= set(ids(html))
    for name in ids(cells):
        inside = re.search(rf'<(\w+) [^>]*id="{name}"[^>]*>(.*?)</\1>', cells, re.DOTALL)
        assert inside
        assert " ".join(inside[2].split()) in " ".join(html.split())


def test_a_change_in_the_fleet_is_in_the_next_fragment() -> None:
    one, world = live()
    with client_of(one) as client:
        before = client.get("/fragments/fleet").text
        one.happen("load", "", 40.0)
        for _ in range(3):
            world.run(world.now() + 15.0)
            one.cycle()
        after = client.get("/fragments/fleet").text
    assert before != after
    assert "load  40" in after
    assert 'title="1 starting"' in after or "starting" in after
    assert "because" in after


def test_the_fragments_of_thirty_servers_are_small() -> None:
    one, world = live(30)
    one.happen("load", "", 10.0)
    for _ in range(6):
        world.run(world.now() + 15.0)
        one.cycle()
    with client_of(one) as client:
        assert SIZE / 4 < len(client.get("/fragments/fleet").content) < SIZE


def test_series_are_those_since_a_cycle(client: TestClient) -> None:
    whole = msgspec.json.decode(client.get("/series").content)
    assert len(whole["time"]) == whole["number"] == 4
    rest = msgspec.json.decode(client.get("/series?since=3&server=server-01").content)
    assert rest["time"] == whole["time"][3:]
    assert msgspec.json.decode(client.get("/series?since=4").content)["number"] == 0


def test_a_server_has_candidates_and_curves(client: TestClient) -> None:
    options = client.get("/fragments/options?name=server-01").text
    assert "A replica takes" in options
    assert "chosen" in options
    curves = msgspec.json.decode(client.get("/curves?name=server-01").content)
    assert curves["server"] == "server-01"
    assert len(curves["charts"]) > 4


def test_a_ledger_names_the_command_that_decides_again(client: TestClient) -> None:
    assert "flyball replay 1 --ledger ledger.sqlite" in client.get("/servers/server-01").text


@pytest.mark.parametrize(
    "path", ["/servers/nobody", "/fragments/server?name=x", "/curves?name=x", "/static/x"]
)
def test_what_is_not_there_is_said_in_words(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.text.startswith("there is no ")
    assert "Traceback" not in answer.text


def test_before_the_first_cycle_the_page_says_so() -> None:
    with client_of(live(cycles=0)[0]) as client:
        assert "No cycle has run yet" in client.get("/").text
        assert client.get("/fragments/fleet").status_code == 404
        assert (
            "nothing was decided yet" in client.post("/what-if", data={"text": "load*2"}, headers=HTMX).text
        )


@pytest.mark.parametrize("name", STATIC)
def test_files_are_asked_for_once(client: TestClient, name: str) -> None:
    first = client.get(f"/static/{name}")
    assert first.content
    again = client.get(f"/static/{name}", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


# ---- what if -------------------------------------------------------------------------------------


def test_what_if_tells_the_difference(client: TestClient) -> None:
    html = client.post("/what-if", data={"load": "20", "load_of": ""}, headers=HTMX).text
    assert "<code>load*20</code>" in html
    assert "$/h" in html
    assert "server-01" in html
    assert "<html" not in html


def test_what_if_without_a_script_is_a_page(client: TestClient) -> None:
    html = client.post("/what-if", data={"text": "load*20"}, headers=SAME).text
    assert "<html" in html
    assert "<code>load*20</code>" in html


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({}, "Say what would be different"),
        ({"text": "lode*2"}, "what-if knows no &#39;lode&#39;"),
        ({"load": "x"}, "cannot be read"),
        ({"text": "load[<i>]*2"}, "&lt;i&gt;"),
        ({"capacity": "-4", "capacity_of": "A"}, "must be between 0"),
    ],
)
def test_what_if_says_what_was_wrong(client: TestClient, form: dict[str, str], words: str) -> None:
    answer = client.post("/what-if", data=form, headers=HTMX)
    assert answer.status_code == 200
    assert words in answer.text
    assert 'class="error"' in answer.text


# ---- the world -----------------------------------------------------------------------------------


def test_the_world_can_be_changed() -> None:
    one, world = live()
    with client_of(one) as client:
        speed = client.post("/stage/speed", data={"value": "300"}, headers=HTMX)
        assert one.stage is not None
        assert one.stage.speed == 300
        assert 'id="speed-300" name="value" value="300" aria-pressed="true"' in speed.text
        said = client.post("/stage/event", data={"what": "load", "name": "", "value": "2"}, headers=HTMX)
        assert "load  2" in said.text
        assert world.factor == 2
        plain = client.post(
            "/stage/event", data={"what": "load", "value": "1"}, headers=SAME, follow_redirects=False
        )
        assert (plain.status_code, plain.headers["Location"]) == (303, "/")


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/stage/speed", {"value": "fast"}),
        ("/stage/speed", {"value": "-1"}),
        ("/stage/speed", {}),
        ("/stage/event", {"what": "explode", "value": "1"}),
        ("/stage/event", {"what": "load", "value": "much"}),
    ],
)
def test_what_the_world_cannot_do_is_refused(client: TestClient, path: str, form: dict[str, str]) -> None:
    assert client.post(path, data=form, headers=HTMX).status_code == 400


def test_a_real_fleet_has_no_controls() -> None:
    with client_of(live(real=True)[0]) as client:
        html = client.get("/").text
        assert "/stage/" not in html
        assert "What if" in html
        assert client.post("/stage/speed", data={"value": "1"}, headers=HTMX).status_code == 400


# ---- who may ask ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({"Origin": "http://127.0.0.1"}, True),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({}, False),
        ({"Origin": "http://elsewhere.example"}, False),
        ({"Origin": "http://127.0.0.1:99"}, False),
        ({"Origin": "null"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1"}, False),
        ({"Sec-Fetch-Site": "none", "Origin": "http://elsewhere.example"}, False),
    ],
)
@pytest.mark.parametrize("path", ["/what-if", "/stage/speed", "/stage/event"])
def test_changes_come_from_the_page_itself(
    client: TestClient, path: str, headers: dict[str, str], allowed: bool
) -> None:
    answer = client.post(path, data={"value": "60", "what": "load", "text": "load*1"}, headers=headers)
    assert (answer.status_code != 403) is allowed


@pytest.mark.parametrize(
    ("host", "allowed"),
    [("localhost", True), ("127.0.0.1:8090", True), ("[::1]:80", True), ("evil.example", False), ("", False)],
)
def test_the_page_is_served_under_its_own_names_only(client: TestClient, host: str, allowed: bool) -> None:
    assert client.get("/", headers={"Host": host}).status_code == (200 if allowed else 403)


# ---- news ----------------------------------------------------------------------------------------


def test_cycles_are_news_and_closing_ends_them() -> None:
    one, world = live()
    with client_of(one) as client:

        def go_on() -> None:
            world.run(world.now() + 15.0)
            one.cycle()
            threading.Timer(0.2, one.close).start()

        threading.Timer(0.2, go_on).start()
        text = client.get("/events").text
    events = re.findall(r"id: (\d+)\r\nevent: cycle\r\ndata: (.+)\r\n", text)
    assert [int(number) for number, _ in events] == [4, 5]
    news = msgspec.json.decode(events[-1][1])
    assert (news["number"], news["time"], news["speed"]) == (5, 60.0, 60.0)
    assert news["names"] in client.get("/").text


def test_health(client: TestClient) -> None:
    assert client.get("/healthz").text == "ok\n"
