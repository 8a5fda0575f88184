"""The page in a real browser, without network: every chart is drawn, and no script fails."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.commands.samples import sample
from tests.report.builders import data_of, page_of_document
from tests.report.test_page import documents

pytestmark = pytest.mark.slow

BARS = 3
BROWSER = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
BROWSER += ["--window-size=1400,2000", "--host-resolver-rules=MAP * ~NOTFOUND"]  # and no network
# At the end of the page: pick every server, and note what is drawn then and that a row opens.
VISIT_ALL = """
<script>
const pick = document.getElementById("pick");
const drawn = [...pick.options].map((option) => {
  pick.value = option.value; pick.onchange();
  return document.querySelectorAll("#curves canvas").length;
});
const row = document.querySelector("#servers .row");
if (row) row.click();
const open = document.querySelectorAll("#servers .detail:not([hidden])").length;
document.body.dataset.visited = JSON.stringify({ drawn, open });
</script>
"""


class Shown(NamedTuple):
    dom: str
    log: str

    @property
    def canvases(self) -> int:
        return self.dom.count("<canvas")


def shown(html: str, folder: Path) -> Shown:
    """The page after its scripts have run, and what the browser logged."""
    file = folder / "page.html"
    file.write_text(html, "utf-8")
    done = subprocess.run(
        [*BROWSER, f"--user-data-dir={folder / 'profile'}", "--dump-dom", file.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return Shown(done.stdout, done.stderr)


@pytest.mark.parametrize("name", documents())
def test_every_chart_is_drawn_and_no_script_fails(tmp_path: Path, name: str) -> None:
    html = page_of_document(documents()[name])
    data = data_of(html)
    seen = shown(html.replace("</body>", f"{VISIT_ALL}</body>"), tmp_path)
    assert "CONSOLE" not in seen.log
    assert "Uncaught" not in seen.log
    bars = sum(bool(data[kind]["names"]) for kind in ("cost", "latency", "cards"))
    last = len(data["servers"][-1]["charts"]) if data["servers"] else 0
    assert seen.canvases == bars + last
    visited = re.search(r'data-visited="([^"]*)"', seen.dom)
    assert visited
    charts = [len(server["charts"]) for server in data["servers"]]
    rows = int('<tr class="row"' in html)
    assert visited[1].replace("&quot;", '"') == f'{{"drawn":{charts},"open":{rows}}}'.replace(" ", "")


def test_the_first_server_is_drawn_at_once(tmp_path: Path) -> None:
    seen = shown(page_of_document(sample("flyball")), tmp_path)
    assert seen.canvases == BARS + 7
    assert "Uncaught" not in seen.log


def test_a_name_runs_no_script(tmp_path: Path) -> None:
    document = sample("flyball")
    document["servers"][0]["name"] = (
        "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>"
    )
    seen = shown(page_of_document(document), tmp_path)
    assert "<title>Plan</title>" in seen.dom
    assert "CONSOLE" not in seen.log
    assert seen.canvases == BARS + 7


def test_a_script_that_fails_would_be_noticed(tmp_path: Path) -> None:
    html = page_of_document(sample("G3")).replace("</body>", "<script>missing()</script></body>")
    assert "Uncaught ReferenceError" in shown(html, tmp_path).log
