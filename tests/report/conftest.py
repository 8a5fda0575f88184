"""The tests in a browser are collected where there is one."""

from __future__ import annotations

import shutil

collect_ignore = [] if shutil.which("chromium") else ["test_in_a_browser.py"]
