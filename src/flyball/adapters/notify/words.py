"""Topics in words, for all outputs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from flyball.power.tell import News, Topic
from flyball.spec.power_plan import PowerAction, Recommendation
from flyball.units import Seconds

Stamp = str


def stamp(at: Seconds) -> Stamp:
    """Unix seconds as RFC 3339."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def headline(topic: Topic) -> str:
    """A domain in a line."""
    state = topic.state
    if state is None:
        return f"{topic.domain}: {topic.level}"
    draws = f"{state.watts:,.0f} W" if state.complete else f"about {state.watts:,.0f} W (not all measured)"
    budget = "" if state.budget is None else f" of {state.budget:,.0f} W"
    reason = f" ({state.budget_reason})" if state.budget_reason else ""
    return f"{topic.domain}: {topic.level}, draws {draws}{budget}{reason}"


def impossible(topic: Topic) -> str:
    """That a budget cannot be held; empty where it can."""
    if topic.feasible:
        return ""
    return "Floors, protection and resident idle do not fit under the budget: raise it, or protect less"


def action_line(news: News, action: PowerAction) -> str:
    """One action with what it saves and costs."""
    watts = f"saves {action.watts:,.0f} W" if action.watts >= 0 else f"gives back {-action.watts:,.0f} W"
    lost = f", loses {action.lost:,.0f} tokens/s" if action.lost > 0 else ""
    return f"{action.lever}: {news.words(action)} {action.before} to {action.after}, {watts}{lost}"


def actions(recommendations: Iterable[Recommendation]) -> list[PowerAction]:
    """All actions, in their order."""
    return [a for r in recommendations for a in r.actions]
