"""Templates of the live page, with what they need to put figures into words."""

from __future__ import annotations

import math
from collections.abc import Callable
from urllib.parse import quote

import jinja2

from flyball.report import known, moves, sentences
from flyball.report.html import templates
from flyball.spec.known import Known
from flyball.units import SECONDS_PER_HOUR, SECONDS_PER_MINUTE, Seconds

STATES = {
    "ok": "keeps its targets",
    "late": "slower than promised",
    "starting": "no replica is ready yet",
    "none": "has no replica",
    "unseen": "cannot be seen",
}
KINDS = ("state", "demand", "replicas", "first", "itl", "cost")
"""Cells of a row that change."""
EPOCH = 1e9
"""Times above this are seconds since 1970."""
_DAY = 24 * SECONDS_PER_HOUR


def environment(replay: Callable[[int], str]) -> jinja2.Environment:
    """Templates that escape everything. `replay` is the command that decides a cycle again."""
    made = templates("flyball.server.page")
    made.filters.update(
        clock=clock,
        duration=sentences.duration,
        money=sentences.money,
        what=sentences.what,
        rate=moves.rate,
        held=moves.held,
        short=short,
        server_url=server_url,
        remarks=known.remarks,
        ends=known.ends,
        places=places,
        ago=ago,
    )
    made.globals.update(states=STATES, kinds=KINDS, replay=replay)
    return made


def clock(time: Seconds) -> str:
    """Day and time: 0 d 01:30:15; of seconds since 1970, the time of the day in UTC."""
    days, rest = divmod(int(time), int(_DAY))
    hours, rest = divmod(rest, int(SECONDS_PER_HOUR))
    minutes, seconds = divmod(rest, int(SECONDS_PER_MINUTE))
    told = f"{hours:02}:{minutes:02}:{seconds:02}"
    return f"{told} UTC" if time >= EPOCH else f"{days} d {told}" if days else told


def ago(age: Seconds) -> str:
    """40 s ago, 12 min ago, 3 h ago."""
    for length, unit in ((_DAY, "d"), (SECONDS_PER_HOUR, "h"), (SECONDS_PER_MINUTE, "min")):
        if age >= 2 * length:
            return f"{age / length:.0f} {unit} ago"
    return f"{age:.0f} s ago"


def places(one: Known) -> tuple[float, float, float]:
    """Where 10 %, median and 90 % lie in a bar from half the profile's time between tokens to twice, in %."""
    low, high = known.ends(one)
    at = (50.0 + 50.0 * math.log2(x / one.profile_itl) for x in (low, one.itl, high))
    low, middle, high = (min(max(x, 0.0), 100.0) for x in at)
    return low, middle, high


def short(model: str) -> str:
    """A model without its organisation."""
    return model.rpartition("/")[2]


def server_url(name: str) -> str:
    """The address of a server's page."""
    return f"/servers/{quote(name, safe='')}"
