"""What is told outside, and when. Pure: what stands and what was told to what is to be told now.

One topic for each domain: its level, and what is recommended in it. Watts and moments are not compared, for
they never rest: a change is another level, another feasibility, or other replicas.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from flyball.spec.power import LEVELS, Domain, Level, Lever, Policy, WorkloadRef
from flyball.spec.power_plan import DomainState, PowerAction, Recommendation
from flyball.units import Seconds

Output = Literal["alertmanager", "slack", "gitops"]
Turn = Literal["new", "worse", "better", "changed", "resolved"]
QUIET: Seconds = 60.0
DOMAIN = "power_domain"
"""The label with a topic's domain; its ancestors are power_site, power_row, power_rack and so on."""


class Governed(msgspec.Struct, frozen=True):
    """The object that scales a server."""

    namespace: str
    workload: WorkloadRef
    least: int = 0
    most: int | None = None
    """The user's own maximum; None: none."""

    @property
    def words(self) -> str:
        """As people write it."""
        return f"{self.namespace}/{self.workload.kind}/{self.workload.name}"


class Topic(msgspec.Struct, frozen=True):
    """A domain about which there is something to tell."""

    domain: str
    labels: dict[str, str]
    state: DomainState | None = None
    recommendations: tuple[Recommendation, ...] = ()
    """In force, by policy."""

    @property
    def level(self) -> Level:
        """Of the domain, or the highest for which something is recommended."""
        levels = [r.level for r in self.recommendations] if self.state is None else [self.state.level]
        return max(levels, key=LEVELS.index, default="normal")

    @property
    def feasible(self) -> bool:
        """Whether its budget can be held at all."""
        return self.state is None or self.state.feasible


class News(msgspec.Struct, frozen=True):
    """All that stands now; what is not in it is over."""

    now: Seconds
    topics: tuple[Topic, ...]
    governed: dict[str, Governed] = {}
    """By server."""

    def words(self, action: PowerAction) -> str:
        """What an action is for: the object, or the server where that is not known."""
        found = self.governed.get(action.server)
        return action.server if found is None else found.words


class Gist(msgspec.Struct, frozen=True):
    """What of a topic is compared."""

    level: Level = "normal"
    feasible: bool = True
    moves: tuple[tuple[str, Lever, str, int], ...] = ()
    """Policy, lever, server, and what would be set."""


class Told(msgspec.Struct, frozen=True):
    """What was last told of a domain, and when."""

    gist: Gist
    at: Seconds


class Change(msgspec.Struct, frozen=True):
    """One thing to tell."""

    domain: str
    turn: Turn
    gist: Gist
    topic: Topic | None
    """None: it is resolved."""
    before: Gist


CALM = Gist()


def news_of(
    output: Output,
    domains: Sequence[Domain],
    states: Iterable[DomainState],
    recommendations: Iterable[Recommendation],
    policies: Iterable[Policy],
    now: Seconds,
    governed: Mapping[str, Governed] | None = None,
) -> News:
    """What stands for one output: all domains' levels, and what is recommended by policies that name it."""
    named = {name for p in policies if output in p.outputs for name in (p.name, p.key)}
    found: dict[str, list[Recommendation]] = {}
    for one in recommendations:
        if one.actions and one.expires > now and (not one.policy or one.policy in named):
            found.setdefault(one.domain, []).append(one)
    known = {s.domain: s for s in states}
    topics = []
    for name in sorted({*found, *(n for n, s in known.items() if s.level != "normal" or not s.feasible)}):
        ours = tuple(sorted(found.get(name, ()), key=lambda r: r.policy))
        topics.append(Topic(name, labels_of(domains, name), known.get(name), ours))
    return News(now, tuple(topics), dict(governed or {}))


def labels_of(domains: Sequence[Domain], name: str) -> dict[str, str]:
    """Labels that stay while the tree does: the domain, and by level all that it is a part of."""
    by_name = {d.name: d for d in domains}
    found, at, seen = {DOMAIN: name}, by_name.get(name), set[str]()
    while at is not None and at.name not in seen:
        seen.add(at.name)
        found.setdefault(f"power_{at.level.lower()}", at.name)
        at = by_name.get(at.parent)
    return found


def gist_of(topic: Topic) -> Gist:
    """What of a topic is compared."""
    moves = sorted((r.policy, a.lever, a.server, a.after) for r in topic.recommendations for a in r.actions)
    return Gist(topic.level, topic.feasible, tuple(moves))


def changes(told: Mapping[str, Told], news: News, quiet: Seconds = QUIET) -> tuple[Change, ...]:
    """What is to be told now, the worst first: worse at once, all else `quiet` after the last word."""
    standing = {t.domain: t for t in news.topics}
    found = []
    for domain in sorted({*standing, *told}):
        topic, last = standing.get(domain), told.get(domain)
        gist = CALM if topic is None else gist_of(topic)
        before = CALM if last is None else last.gist
        if gist == before:
            continue
        if last is None or _worse(before, gist) or news.now - last.at >= quiet:
            found.append(Change(domain, _turn(before, gist), gist, topic, before))
    return tuple(sorted(found, key=lambda c: (c.gist.feasible, -LEVELS.index(c.gist.level), c.domain)))


def after(told: Mapping[str, Told], told_now: Iterable[Change], now: Seconds) -> dict[str, Told]:
    """The memory, once changes were told."""
    return {**told, **{c.domain: Told(c.gist, now) for c in told_now}}


def _worse(before: Gist, gist: Gist) -> bool:
    return LEVELS.index(gist.level) > LEVELS.index(before.level) or (before.feasible and not gist.feasible)


def _turn(before: Gist, gist: Gist) -> Turn:
    if gist == CALM:
        return "resolved"
    if before == CALM:
        return "new"
    if _worse(before, gist):
        return "worse"
    return "better" if _worse(gist, before) else "changed"
