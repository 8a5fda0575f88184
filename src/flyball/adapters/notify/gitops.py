"""Recommendations as branches of a git repository: merging is approving.

Stateless in what matters: the remote says what was proposed, so a restart proposes nothing twice.
"""

from __future__ import annotations

from typing import Any

from flyball.adapters.notify.git import TIMEOUT, Author, Repository, checked_branch
from flyball.adapters.notify.github import GitHub, repository_of
from flyball.adapters.notify.http import NotifyError
from flyball.adapters.notify.patches import PATH, Proposal, checked_path, proposal
from flyball.adapters.secrets import Secrets
from flyball.power.tell import News
from flyball.units import Seconds

PREFIX = "flyball/power/"
QUIET: Seconds = 300.0


class GitOps:
    """One repository. ValueError where an option makes no sense."""

    def __init__(
        self,
        repository: Repository,
        github: GitHub | None = None,
        *,
        path: str = PATH,
        prefix: str = PREFIX,
        quiet: Seconds = QUIET,
    ) -> None:
        """`path`: of files, with {subject}, {domain}, {policy}; `prefix`: of branches; all that begin so are
        ours and go when nothing is recommended, so each cluster needs its own; `quiet`: for so many seconds a
        branch gets no other commit."""
        checked_branch(f"{prefix}x")
        if not prefix.endswith(("/", "-")):
            raise ValueError(
                f"branches begin with '{prefix}': let it end with / or -, that none else begins so"
            )
        self._repository, self._github = repository, github
        self._path, self._prefix, self._quiet = checked_path(path), prefix, quiet
        self._told: dict[str, tuple[str, Seconds]] = {}
        """By branch: the text of its file, and when."""
        self._stale: set[str] | None = None
        """Branches there that may be over; None: not looked yet."""
        self._left: set[str] = set()
        """What was already said not to be in a patch."""

    @classmethod
    def of(
        cls, secrets: Secrets, *, base: str = "main", author: Author | None = None, **options: Any
    ) -> GitOps:
        """On github.com, with the document's names: GITHUB_USERNAME, GITHUB_REPO, GITHUB_PAT."""
        name, user, token = repository_of(secrets)
        remote = f"https://github.com/{name.removesuffix('.git')}.git"
        repository = Repository(
            remote, base, author=author or Author(), username=user, password=token, timeout=TIMEOUT
        )
        return cls(repository, GitHub(name.removesuffix(".git"), token), **options)

    def close(self) -> None:
        """End its connections."""
        if self._github is not None:
            self._github.close()

    def tell(self, news: News) -> tuple[str, ...]:
        """Have a branch for each recommendation, and none for those that are over."""
        problems: list[str] = []
        unpatched: set[str] = set()
        wanted: dict[str, Proposal] = {}
        for topic in news.topics:
            for one in topic.recommendations:
                found, left = proposal(news, topic, one, self._path)
                problems += [said for said in left if said not in self._left]
                unpatched.update(left)
                if found is not None:
                    wanted[self._prefix + found.subject] = found
        self._left = unpatched
        try:
            if self._stale is None:
                self._stale = set(self._repository.branches(self._prefix))
        except NotifyError as error:
            return (*problems, str(error))
        for branch in sorted((self._stale | set(self._told)) - set(wanted)):
            problems += self._withdraw(branch)
        for branch, found in sorted(wanted.items()):
            text, at = self._told.get(branch, ("", None))
            if text != found.text and (at is None or news.now - at >= self._quiet):
                problems += self._propose(branch, found, news.now)
        return tuple(problems)

    def _propose(self, branch: str, found: Proposal, now: Seconds) -> tuple[str, ...]:
        message = f"{found.title}\n\n{found.body}"
        said = ""
        try:
            pushed = self._repository.put(branch, found.path, found.text, message)
            if self._github is not None:
                base = self._repository.base
                if pushed.commit:
                    said = self._github.propose(branch, pushed.commit, base, found.title, found.body)
                else:
                    self._github.withdraw(branch, base)
        except NotifyError as error:
            return (str(error),)
        self._told[branch] = found.text, now
        return (said,) if said else ()

    def _withdraw(self, branch: str) -> tuple[str, ...]:
        try:
            if self._github is not None:
                self._github.withdraw(branch, self._repository.base)
            self._repository.delete(branch)
        except NotifyError as error:
            return (str(error),)
        self._told.pop(branch, None)
        if self._stale is not None:
            self._stale.discard(branch)
        return ()
