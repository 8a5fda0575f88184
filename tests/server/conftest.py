"""The tests in a browser are collected where there is one."""

from __future__ import annotations

import shutil

CHROMIUM = shutil.which("chromium")
collect_ignore_glob = [] if CHROMIUM else ["*/test_*_in_a_browser.py"]
