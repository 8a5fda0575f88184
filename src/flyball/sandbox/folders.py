"""Where the sandbox keeps things: built files for all, the state of each by its name."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Of built files and of a toolchain, kept per user."""
    return _base("XDG_CACHE_HOME", ".cache")


def state_folder() -> Path:
    """Of the sandboxes that run, one folder each."""
    return _base("XDG_STATE_HOME", ".local/state")


def _base(variable: str, usual: str) -> Path:
    given = os.environ.get(variable, "")
    # The specification has relative paths ignored.
    return (Path(given) if given.startswith("/") else Path.home() / usual) / "flyball" / "sandbox"
