"""The part of the page that shows watts, in a real browser."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect, sync_playwright

from flyball.commands.live import listening
from flyball.server.page.live import Live
from flyball.server.page.routes import app_of
from tests.server.conftest import CHROMIUM
from tests.server.page.powered import WORTH, powered, show

pytestmark = pytest.mark.slow

WAIT = 30_000
PICTURES = os.environ.get("FLYBALL_PICTURES")
"""A folder for pictures of the page, for people to look at."""


@pytest.fixture(scope="module")
def fleet() -> Iterator[tuple[Live, str]]:
    live, sock = powered(), listening(0)
    server = uvicorn.Server(uvicorn.Config(app_of(live), log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, args=([sock],), daemon=True)
    thread.start()
    yield live, f"http://127.0.0.1:{sock.getsockname()[1]}"
    live.close()
    server.should_exit = True
    thread.join(20.0)
    sock.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield made
        made.close()


@pytest.fixture
def page(browser: Browser, fleet: tuple[Live, str], request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page whose console stays empty."""
    scheme = getattr(request, "param", "light")
    made = browser.new_page(viewport={"width": 1440, "height": 900}, color_scheme=scheme)
    said: list[str] = []
    made.on("console", lambda message: said.append(message.text))
    made.on("pageerror", lambda error: said.append(str(error)))
    made.goto(fleet[1])
    expect(made.locator("#link")).to_have_text("live", timeout=WAIT)
    yield made
    made.close()
    assert said == []


@pytest.mark.parametrize("page", ["light", "dark"], indirect=True)
def test_watts_are_shown_and_go_on_by_themselves(
    page: Page, fleet: tuple[Live, str], request: pytest.FixtureRequest
) -> None:
    expect(page.locator("#power-said")).to_contain_text(WORTH)
    before = page.locator("#power-tree tbody td.n").first.inner_text()
    last = fleet[0].board.last
    assert last is not None
    show(fleet[0], last.time + 900.0)
    expect(page.locator("#power-tree tbody td.n").first).not_to_have_text(before, timeout=WAIT)
    colours = page.evaluate(
        "[...document.querySelectorAll('.rack')].map((e) => getComputedStyle(e).backgroundColor)"
    )
    assert len(set(colours)) > 3, "racks differ by their heat"
    widths = page.evaluate(
        "[...document.querySelectorAll('.draw')].map((e) => e.getBoundingClientRect().width)"
    )
    assert min(widths) > 100
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"power-{request.node.callspec.id}.png", full_page=True)


@pytest.mark.parametrize("width", [360, 768, 1100])
def test_no_width_scrolls_sideways(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 740})
    expect(page.locator(".power")).to_be_visible(timeout=WAIT)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
