"""Topics as alerts of Alertmanager's API v2 (`postableAlert`).

An alert is its labels: none of them moves with watts or levels. What gets worse is another alert, so that
`severity` can route: the warning goes on while the critical one fires.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from flyball.adapters.notify import words
from flyball.power.tell import News, Topic
from flyball.spec.power import LEVELS, Level
from flyball.spec.power_plan import Recommendation
from flyball.units import Seconds

NEAR, SHEDDING = "FlyballPowerNear", "FlyballPowerShedding"
INFEASIBLE, RECOMMENDED = "FlyballPowerInfeasible", "FlyballPowerRecommendation"
LINES = 20
"""Actions that an annotation lists."""


class Alert(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is posted."""

    labels: dict[str, str]
    annotations: dict[str, str]
    startsAt: str  # noqa: N815
    endsAt: str  # noqa: N815
    generatorURL: str = ""  # noqa: N815

    @property
    def key(self) -> Key:
        """What makes it this alert."""
        return tuple(sorted(self.labels.items()))


Key = tuple[tuple[str, str], ...]


class Firing(msgspec.Struct, frozen=True):
    """An alert that stands, before its times are known."""

    labels: dict[str, str]
    annotations: dict[str, str]
    gist: str
    """Another one is worth telling at once."""

    @property
    def key(self) -> Key:
        """What makes it this alert."""
        return tuple(sorted(self.labels.items()))


def firing(news: News, labels: Mapping[str, str]) -> tuple[Firing, ...]:
    """All alerts that stand; `labels` are put onto each."""
    return tuple(f for topic in news.topics for f in _firing(news, topic, labels))


def alert(one: Firing, starts: Seconds, ends: Seconds, generator: str = "") -> Alert:
    """What is posted; times are Unix seconds, and `ends` is now where it is resolved."""
    return Alert(one.labels, one.annotations, words.stamp(starts), words.stamp(ends), generator)


def _firing(news: News, topic: Topic, labels: Mapping[str, str]) -> Iterator[Firing]:
    def named(name: str, severity: str, **more: str) -> dict[str, str]:
        return {**labels, **topic.labels, **more, "alertname": name, "severity": severity}

    told = {"summary": words.headline(topic)}
    if topic.state is not None and topic.state.notes:
        told["description"] = ". ".join(topic.state.notes)
    if topic.level != "normal":
        yield Firing(named(NEAR, "warning"), told, topic.level)
    if _at_least(topic.level, "shed"):
        yield Firing(named(SHEDDING, "critical"), told, topic.level)
    if not topic.feasible:
        said = {**told, "description": words.impossible(topic)}
        yield Firing(named(INFEASIBLE, "critical"), said, "")
    for one in topic.recommendations:
        policy = {"power_policy": one.policy} if one.policy else {}
        yield Firing(named(RECOMMENDED, "info", **policy), _recommended(news, one), _gist(one))


def _recommended(news: News, one: Recommendation) -> dict[str, str]:
    lines = [words.action_line(news, a) for a in one.actions[:LINES]]
    if more := len(one.actions) - len(lines):
        lines.append(f"and {more} more")
    told = {"summary": one.reason, "description": "\n".join(lines)}
    if one.peak is not None:
        told["if_not_taken"] = f"peak of {one.peak:,.0f} W"
    return told


def _gist(one: Recommendation) -> str:
    return "\n".join(sorted(f"{a.lever} {a.server} {a.after}" for a in one.actions))


def _at_least(level: Level, least: Level) -> bool:
    return LEVELS.index(level) >= LEVELS.index(least)
