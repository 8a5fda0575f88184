"""What is told outside of watts: Alertmanager, Slack and a git repository, each in a thread of its own.

An output that is away, or is set up wrongly, costs what it would have told, never the loop: why it was not
told is kept for the conditions of the policies that name it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from flyball.adapters.notify import slack
from flyball.adapters.notify.alertmanager import Alertmanager
from flyball.adapters.notify.background import Background
from flyball.adapters.notify.git import Author, Repository
from flyball.adapters.notify.github import REPOSITORY
from flyball.adapters.notify.gitops import PREFIX, GitOps
from flyball.adapters.notify.patches import PATH
from flyball.adapters.secrets import Secrets
from flyball.operator.power_recommended import scaler_of
from flyball.power.tell import Governed, News, Output, news_of
from flyball.spec.power import PowerSeen
from flyball.spec.power_plan import PowerPlan
from flyball.units import Seconds

OUTPUTS: tuple[Output, ...] = ("alertmanager", "slack", "gitops")
ALERTMANAGER, REMOTE = "ALERTMANAGER_URL", "GITOPS_REPO_URL"
USERNAME, TOKEN = "GITOPS_USERNAME", "GITOPS_TOKEN"
"""Of a remote that is not on github.com: GITHUB_PAT is not shown to others."""
AGAIN: Seconds = 60.0
"""Between tries to set up an output that could not be."""
LOOKING: Seconds = 60.0
"""So long a process that was just started withdraws no proposals: it does not know yet what stands."""
MENDS = {
    "alertmanager": f"set {ALERTMANAGER}",
    "slack": f"set {slack.WEBHOOK}, or {slack.TOKEN} and {slack.CHANNEL}",
    "gitops": f"set {REPOSITORY}, or {REMOTE}",
}


class OutputOptions(msgspec.Struct, frozen=True):
    """Where to tell; what is empty is looked for by the document's names, and else is not told."""

    alertmanagers: tuple[str, ...] = ()
    """Addresses before /api/v2; else those of ALERTMANAGER_URL, with commas between them."""
    token_file: Path | None = None
    """Of Alertmanager."""
    ca_file: Path | None = None
    labels: dict[str, str] = {}
    """Of all alerts, as the cluster's name."""
    page: str = ""
    """Where alerts and messages lead to."""
    remote: str = ""
    """Of git, without credentials; else GITOPS_REPO_URL, else GITHUB_REPO on github.com."""
    base: str = "main"
    path: str = PATH
    prefix: str = PREFIX
    """Of branches; each cluster needs its own."""
    author: str = ""
    """Address of commits."""
    key_file: Path | None = None
    known_hosts: Path | None = None
    """Over ssh."""


Channel = Alertmanager | slack.Slack | GitOps


class _Output:
    """One output, and why it could not be told last."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.problems: tuple[str, ...] = ()

    def tell(self, news: News) -> tuple[str, ...]:
        try:
            self.problems = self.channel.tell(news)
        except Exception as error:
            self.problems = (f"{type(self.channel).__name__} failed ({type(error).__name__})",)
        return self.problems


class PowerOutputs:
    """All outputs that are set up."""

    def __init__(
        self,
        options: OutputOptions,
        secrets: Secrets,
        *,
        leads: Callable[[], bool] = lambda: True,
        now: Callable[[], Seconds] = time.monotonic,
    ) -> None:
        """`leads`: only while that holds anything is told."""
        self._options, self._secrets, self._leads, self._now = options, secrets, leads, now
        self._outputs: dict[Output, tuple[_Output, Background]] = {}
        self._broken: dict[Output, tuple[str, Seconds]] = {}
        """Why an output could not be set up, and when that was tried."""
        self._named: frozenset[str] = frozenset()
        self._began: Seconds | None = None

    def close(self, limit: Seconds = 5.0) -> None:
        """Tell what waits, for so many seconds at most, and end."""
        for output, background in self._outputs.values():
            background.close(limit / len(OUTPUTS))
            output.channel.close()

    def wait(self, limit: Seconds) -> bool:
        """Wait until nothing is left to tell; whether that came within so many seconds for each."""
        return all(background.wait(limit) for _, background in self._outputs.values())

    @property
    def untold(self) -> dict[str, str]:
        """By output that a policy names or that is set up: why it is not told."""
        found: dict[str, str] = {}
        for name in OUTPUTS:
            if name in self._outputs:
                if problems := self._outputs[name][0].problems:
                    found[name] = "; ".join(problems)
            elif name in self._broken and (why := self._broken[name][0]):
                found[name] = f"{name}: {why}"
            elif name in self._named:
                found[name] = f"{name} is not set up: {MENDS[name]}"
        return found

    def tell(self, seen: PowerSeen, plan: PowerPlan) -> tuple[str, ...]:
        """Tell soon what stands; returns at once what could not be told before, in a sentence each."""
        policies = tuple(policy for policy in seen.policies if policy.mode != "Observe")
        self._named = frozenset(name for policy in policies for name in policy.outputs)
        if not self._leads():
            self._began = None
            return ()
        now = self._now()
        self._began = now if self._began is None else self._began
        problems: list[str] = []
        for name in OUTPUTS:
            background = self._set_up(name, now, problems)
            looking = name == "gitops" and now - self._began < LOOKING
            if background is not None and not looking:
                governed = governed_of(seen)
                news = news_of(
                    name, seen.domains, plan.domains, plan.recommendations, policies, seen.now, governed
                )
                problems += background.tell(news)
        return tuple(problems)

    def _set_up(self, name: Output, now: Seconds, problems: list[str]) -> Background | None:
        """The output; None: nothing says where it is, or it cannot be set up now."""
        if name in self._outputs:
            return self._outputs[name][1]
        if name in self._broken and now - self._broken[name][1] < AGAIN:
            return None
        why = ""
        try:
            channel = self._made(name)
        except ValueError as error:
            channel, why = None, str(error)
            problems.append(f"{name} is not told: {why}")
        if channel is None:
            self._broken[name] = why, now
            return None
        self._broken.pop(name, None)
        output = _Output(channel)
        self._outputs[name] = output, Background(output)
        return self._outputs[name][1]

    def _made(self, name: Output) -> Channel | None:
        """ValueError; None: nothing says where it is."""
        options, secrets = self._options, self._secrets
        if name == "alertmanager":
            urls = options.alertmanagers or _words(self._text(ALERTMANAGER))
            if not urls:
                return None
            return Alertmanager(
                urls,
                labels=options.labels,
                token_file=options.token_file,
                ca_file=options.ca_file,
                page=options.page,
            )
        if name == "slack":
            if not (secrets.find(slack.WEBHOOK) or secrets.find(slack.TOKEN)):
                return None
            return slack.Slack.of(secrets, page=options.page)
        author = Author(email=options.author) if options.author else Author()
        given: dict[str, Any] = {"path": options.path, "prefix": options.prefix}
        if remote := options.remote or self._text(REMOTE):
            repository = Repository(
                remote,
                options.base,
                author=author,
                username=self._text(USERNAME),
                password=secrets.find(TOKEN),
                key_file=options.key_file,
                known_hosts=options.known_hosts,
            )
            return GitOps(repository, **given)
        if secrets.find(REPOSITORY) is None:
            return None
        return GitOps.of(secrets, base=options.base, author=author, **given)

    def _text(self, name: str) -> str:
        found = self._secrets.find(name)
        return "" if found is None else found.reveal()


def governed_of(seen: PowerSeen) -> Mapping[str, Governed]:
    """What patches change, by workload, with its user's bounds."""
    return {
        one.name: Governed(one.namespace, ref, one.least, one.most)
        for one in seen.workloads
        if (ref := scaler_of(one)) is not None
    }


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())
