"""The live page in a real browser, as a person uses it: a simulated fleet is governed while it is watched."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect, sync_playwright

from flyball.adapters.ledger import Ledger
from flyball.adapters.scenarios import scenario_of
from flyball.commands.live import begin, listening, live_of
from flyball.server.page.live import Live
from flyball.server.page.routes import app_of
from tests.server.conftest import CHROMIUM

pytestmark = pytest.mark.slow

WAIT = 30_000  # ms, for what comes within one or two
PICTURES = os.environ.get("FLYBALL_PICTURES")
"""A folder for pictures of the page, for people to look at."""
DESKTOP = {"width": 1440, "height": 900}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Live, str]]:
    """A governed fleet at 60 times its speed, and the address of its page."""
    path = tmp_path_factory.mktemp("live") / "ledger.sqlite"
    ledger = Ledger(path, "0")
    live, stage = live_of(scenario_of("outage"), 1, 60.0, ledger)
    begin(live, stage, 120.0)
    sock, stop = listening(0), threading.Event()
    server = uvicorn.Server(uvicorn.Config(app_of(live, str(path)), log_config=None, lifespan="off"))
    threads = [
        threading.Thread(target=stage.play, args=(live.cycle, stop), daemon=True),
        threading.Thread(target=server.run, args=([sock],), daemon=True),
    ]
    for thread in threads:
        thread.start()
    yield live, f"http://127.0.0.1:{sock.getsockname()[1]}"
    live.close()
    stop.set()
    stage.wake()
    server.should_exit = True
    for thread in threads:
        thread.join(20.0)
        assert not thread.is_alive()
    ledger.close()
    sock.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        arguments = [
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        ]
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield made
        made.close()


@pytest.fixture
def page(browser: Browser, fleet: tuple[Live, str]) -> Iterator[Page]:
    """A page whose console stays empty."""
    fleet[0].set_speed(60.0)
    made = browser.new_page(viewport=DESKTOP)  # type: ignore[arg-type]
    said: list[str] = []
    made.on("console", lambda message: said.append(message.text))
    made.on("pageerror", lambda error: said.append(str(error)))
    made.goto(fleet[1])
    expect(made.locator("#link")).to_have_text("live", timeout=WAIT)
    yield made
    made.close()
    assert said == []


def picture(page: Page, name: str) -> None:
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"{name}.png", full_page=True)


def test_time_goes_on_and_figures_change_by_themselves(page: Page) -> None:
    expect(page.locator("canvas")).to_have_count(4, timeout=WAIT)
    before = page.locator("#clock").inner_text()
    cells = page.locator("#s0-demand").inner_text()
    expect(page.locator("#clock")).not_to_have_text(before, timeout=WAIT)
    expect(page.locator("#s0-demand")).not_to_have_text(cells, timeout=WAIT)


def test_a_node_that_is_lost_is_seen_with_the_decisions_that_follow(
    page: Page, fleet: tuple[Live, str]
) -> None:
    page.locator("#b-double").click()
    expect(page.locator("#world .said")).to_contain_text("times its own", timeout=WAIT)
    page.locator("#b-lose").click()
    expect(page.locator("#world .said")).to_contain_text("failed", timeout=WAIT)
    expect(page.locator("#moves .world").first).to_contain_text("failed", timeout=WAIT)
    expect(page.locator("#moves")).to_contain_text("because", timeout=WAIT)
    newest = page.locator("#moves li:not(.world) time").first
    expect(newest).not_to_have_text(newest.inner_text(), timeout=WAIT)
    expect(page.locator("#b-return")).to_be_enabled()
    page.locator("#b-return").click()
    expect(page.locator("#world .said")).to_contain_text("back", timeout=WAIT)
    picture(page, "fleet")


def test_the_speed_is_set_and_a_paused_fleet_stands_still(page: Page, fleet: tuple[Live, str]) -> None:
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#clock")).to_contain_text("paused", timeout=WAIT)
    expect(page.locator("#speed-0")).to_have_attribute("aria-pressed", "true")
    with fleet[0].stage._turn:  # type: ignore[union-attr]
        pass  # a period that had begun is over
    page.wait_for_timeout(1000)
    stands = page.locator("#clock").inner_text()
    page.wait_for_timeout(1000)
    assert page.locator("#clock").inner_text() == stands
    page.locator("#speed-60").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#speed-60")).to_have_attribute("aria-pressed", "true", timeout=WAIT)
    expect(page.locator("#speed-60")).to_be_focused()
    expect(page.locator("#clock")).not_to_have_text(stands, timeout=WAIT)


def test_what_if_is_answered_on_the_page(page: Page) -> None:
    page.get_by_label("Load ×").fill("3")
    page.get_by_role("button", name="Plan it").click()
    expect(page.locator("#imagined")).to_contain_text("load*3", timeout=WAIT)
    expect(page.locator("#imagined")).to_contain_text("→")
    page.get_by_label("In words").fill("lode*2")
    page.keyboard.press("Enter")
    expect(page.locator("#imagined .error")).to_be_visible(timeout=WAIT)


def test_a_server_has_its_own_page(page: Page) -> None:
    page.locator("tbody th a").first.click()
    expect(page.locator("h1")).to_contain_text("priority", timeout=WAIT)
    expect(page.locator("#options tr.chosen")).to_have_count(1, timeout=WAIT)
    expect(page.locator("#curves canvas").first).to_be_visible(timeout=WAIT)
    expect(page.locator("#lines canvas")).to_have_count(4, timeout=WAIT)
    expect(page.locator("#moves")).to_contain_text("flyball replay")
    picture(page, "server")


def test_what_is_known_of_models_is_shown_and_drawn(page: Page, fleet: tuple[Live, str]) -> None:
    expect(page.locator("#known tbody tr").first).to_be_visible(timeout=WAIT)
    seen = page.locator("#known tr", has_text="reading").first
    expect(seen).to_be_visible(timeout=WAIT)  # it has run for some minutes by then
    seen.locator("a").click()
    expect(page.locator("h1")).to_contain_text("priority", timeout=WAIT)
    expect(page.locator("#known-plots canvas").first).to_be_visible(timeout=WAIT)
    expect(page.locator("#known-plots .u-legend").first).to_contain_text("profile", timeout=WAIT)


def test_time_lines_are_those_of_the_server_that_is_picked(page: Page) -> None:
    expect(page.locator("#lines .u-legend").nth(3)).to_contain_text("kW", timeout=WAIT)
    page.locator("#lines-of").select_option(index=1)
    expect(page.locator("#lines .u-legend").nth(3)).not_to_contain_text("kW", timeout=WAIT)


def test_focus_and_scrolling_stay_while_cells_change(page: Page) -> None:
    page.locator("tbody th a").nth(1).focus()
    cells = page.locator("#s0-demand").inner_text()
    expect(page.locator("#s0-demand")).not_to_have_text(cells, timeout=WAIT)
    expect(page.locator("tbody th a").nth(1)).to_be_focused()


def test_the_keyboard_gets_everywhere(page: Page) -> None:
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    reached = {}
    for _ in range(60):
        page.keyboard.press("Tab")
        name, outline = page.evaluate(
            "(e => [e.id || e.getAttribute('href'), getComputedStyle(e).outlineStyle])"
            "(document.activeElement)"
        )
        reached[name] = outline
    wanted = {"speed-0", "b-double", "b-lose", "b-cut", "i-text", "b-imagine", "lines-of"}
    assert wanted <= set(reached)
    assert "none" not in {reached[name] for name in wanted}


@pytest.mark.parametrize("width", [360, 390, 768, 1000, 1100])
def test_no_width_scrolls_sideways(page: Page, width: int) -> None:
    for path in ("", page.locator("tbody th a").first.get_attribute("href") or ""):
        page.set_viewport_size({"width": width, "height": 740})
        page.goto(re.sub(r"/$", "", page.url.split("/servers")[0]) + path)
        expect(page.locator("canvas").nth(3)).to_be_attached(timeout=WAIT)
        if path:
            expect(page.locator("#options table")).to_be_attached(timeout=WAIT)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        picture(page, f"{'server' if path else 'fleet'}-{width}")


@pytest.mark.parametrize("width", [1100, 1280, 1440])
def test_the_servers_are_seen_whole(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    hidden = page.evaluate("(e => e.scrollWidth - e.clientWidth)(document.querySelector('.servers'))")
    assert hidden == 0


def test_every_control_has_a_name(page: Page) -> None:
    nameless = page.evaluate(
        """[...document.querySelectorAll("button, select, input:not([type=hidden]), a")]
             .filter((e) => !(e.textContent.trim() || e.labels?.length || e.ariaLabel))
             .map((e) => e.outerHTML)"""
    )
    assert nameless == []


def test_a_script_that_fails_would_be_noticed(browser: Browser, fleet: tuple[Live, str]) -> None:
    page = browser.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(fleet[1])
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<i style=\"color: red\">x</i>')")
    page.wait_for_timeout(200)
    assert any("Content Security Policy" in text for text in said)
    page.close()
