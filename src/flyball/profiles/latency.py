"""The shipped library of latency profiles, measured and op-level."""

from __future__ import annotations

from functools import cache
from importlib import resources

from flyball.spec.library import Entry
from flyball.wire.library import entries_from_csv

LATENCY_FILE = "latency.csv"


@cache
def entries() -> tuple[Entry, ...]:
    """The shipped entries; read once."""
    text = resources.files("flyball.profiles").joinpath(LATENCY_FILE).read_text("utf-8")
    return entries_from_csv(text, LATENCY_FILE)
