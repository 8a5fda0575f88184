"""Pull requests by GitHub's REST API: one for a branch, updated, and closed when it is done."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec

from flyball.adapters.notify.http import TIMEOUT, Http
from flyball.adapters.secrets import Secret, Secrets
from flyball.units import Seconds

API = "https://api.github.com"
VERSION = "2022-11-28"
USERNAME, REPOSITORY, TOKEN = "GITHUB_USERNAME", "GITHUB_REPO", "GITHUB_PAT"
_PART = r"[A-Za-z0-9_.-]+"


class _Head(msgspec.Struct, frozen=True):
    sha: str = ""


class Pull(msgspec.Struct, frozen=True):
    """A pull request."""

    number: int
    state: str
    head: _Head = _Head()
    merged_at: str | None = None
    html_url: str = ""


class GitHub:
    """A repository there. ValueError where an option makes no sense; else NotifyError."""

    def __init__(
        self,
        repository: str,
        token: Secret,
        *,
        url: str = API,
        ca_file: Path | None = None,
        timeout: Seconds = TIMEOUT,
    ) -> None:
        """`repository`: owner/name; `url`: of the API, for GitHub Enterprise https://HOST/api/v3."""
        if not re.fullmatch(f"{_PART}/{_PART}", repository) or ".." in repository:
            raise ValueError(f"the repository is '{repository}': write it as owner/name")
        self.repository, self._token = repository, token
        self._http = Http(f"GitHub, {repository}", url, ca_file=ca_file, timeout=timeout)

    def close(self) -> None:
        """End its connections."""
        self._http.close()

    def propose(self, branch: str, commit: str, base: str, title: str, body: str) -> str:
        """Have an open pull request say this; empty, or why there is none.

        One that a person closed stays closed until the branch has another commit.
        """
        last = self._last(branch, base)
        if last is not None and last.state == "open":
            self._send("PATCH", f"/{last.number}", {"title": title, "body": body})
            return ""
        if last is not None and last.merged_at is None and last.head.sha == commit:
            return f"Pull request {last.html_url or last.number} was closed: it is not opened again"
        self._send("POST", "", {"title": title, "body": body, "head": branch, "base": base})
        return ""

    def withdraw(self, branch: str, base: str) -> None:
        """Close the pull request of a branch, where one is open."""
        last = self._last(branch, base)
        if last is not None and last.state == "open":
            self._send("PATCH", f"/{last.number}", {"state": "closed"})

    def _last(self, branch: str, base: str) -> Pull | None:
        owner = self.repository.partition("/")[0]
        asked = {"state": "all", "head": f"{owner}:{branch}", "base": base}
        asked |= {"sort": "created", "direction": "desc", "per_page": "1"}
        pulls: list[Pull] = self._ask("GET", f"?{urlencode(asked)}", list[Pull])
        return pulls[0] if pulls else None

    def _send(self, method: str, path: str, body: dict[str, str]) -> Pull:
        pull: Pull = self._ask(method, path, Pull, body)
        return pull

    def _ask(self, method: str, path: str, kind: Any, body: object = None) -> Any:
        headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": VERSION}
        headers["User-Agent"] = "flyball"
        place = f"/repos/{self.repository}/pulls{path}"
        return self._http.ask(kind, method, place, body=body, token=self._token, headers=headers)


def repository_of(secrets: Secrets) -> tuple[str, str, Secret]:
    """Owner/name, the user and the token, by the document's names. SecretError."""
    user = secrets.need(USERNAME, "pull requests").reveal()
    name = secrets.need(REPOSITORY, "pull requests").reveal()
    return name if "/" in name else f"{user}/{name}", user, secrets.need(TOKEN, "pull requests")
