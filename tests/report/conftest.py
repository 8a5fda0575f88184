"""The tests in a browser are collected where there is one."""

from __future__ import annotations

import shutil

IN_A_BROWSER = ["test_in_a_browser.py", "test_campaign_in_a_browser.py"]
collect_ignore = [] if shutil.which("chromium") else IN_A_BROWSER
