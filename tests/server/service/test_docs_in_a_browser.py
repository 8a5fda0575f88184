"""The page that describes a service, in a real browser and without anything from elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import expect, sync_playwright

from tests.server.conftest import CHROMIUM
from tests.server.service.conftest import running
from tests.server.service.sample import sample

pytestmark = pytest.mark.slow
WAIT = 30_000  # ms, for what comes within one or two
PICTURES = os.environ.get("FLYBALL_PICTURES")
"""A folder for pictures of the page, for people to look at."""


def test_the_page_describes_and_tries() -> None:
    arguments = [
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ]
    with sync_playwright() as playwright, running(sample()) as url:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        said: list[str] = []
        asked: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{url}/docs")
        expect(page.locator(".title")).to_contain_text("The sample", timeout=WAIT)
        expect(page).to_have_title("The sample", timeout=WAIT)
        expect(page.locator(".opblock")).to_have_count(4)
        thing = page.locator(".opblock", has_text="/things/{name}")
        thing.locator(".opblock-summary").click()
        thing.get_by_role("button", name="Try it out").click()
        thing.get_by_placeholder("name").fill("abacus")
        thing.get_by_role("button", name="Execute").click()
        expect(thing.locator(".live-responses-table .response .microlight").first).to_contain_text("abacus")
        if PICTURES:
            page.screenshot(path=Path(PICTURES) / "docs.png", full_page=True)
        browser.close()
    assert said == []
    assert {each for each in asked if not each.startswith((url, "data:"))} == set()


def test_its_parts_are_kept_by_browsers() -> None:
    with running(sample()) as url:
        page = httpx2.get(f"{url}/docs")
        assert "script-src 'self'" in page.headers["content-security-policy"]
        assert "<script>" not in page.text
        part = httpx2.get(f"{url}/docs/docs.js")
        assert part.headers["content-type"] == "text/javascript; charset=utf-8"
        again = httpx2.get(f"{url}/docs/docs.js", headers={"If-None-Match": part.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        for name in ("docs.html", "swagger-ui.LICENSE", "..%2fservice.py", "nothing"):
            assert httpx2.get(f"{url}/docs/{name}").status_code == 404
