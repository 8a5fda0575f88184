"""A branch of a git remote with one file more, by the program `git`, without a work tree.

Nothing of the user's configuration, hooks or helpers is used; credentials go by the environment of a command.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from flyball.adapters.notify.http import NotifyError, bare, shown
from flyball.adapters.secrets import Secret
from flyball.units import Seconds

TIMEOUT: Seconds = 60.0
_KEPT = ("PATH", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_USER, _PASSWORD = "FLYBALL_GIT_USERNAME", "FLYBALL_GIT_PASSWORD"
_ASKPASS = f"""#!/bin/sh
case "$1" in
    Username*) printf '%s\\n' "${_USER}" ;;
    *) printf '%s\\n' "${_PASSWORD}" ;;
esac
"""
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_./-]*[A-Za-z0-9_/])?")


class Author(msgspec.Struct, frozen=True):
    """Who commits and signs off."""

    name: str = "Flyball"
    email: str = "flyball@localhost"

    def __post_init__(self) -> None:
        for text in (self.name, self.email):
            if not text.strip() or not text.isprintable() or set(text) & set("<>"):
                raise ValueError(f"the author is '{self.name}', '{self.email}': write a name and an address")

    @property
    def words(self) -> str:
        """As git writes it."""
        return f"{self.name} <{self.email}>"


class Pushed(msgspec.Struct, frozen=True):
    """What a branch is after."""

    commit: str
    """Its head; empty: the base has all of it already, and there is no branch."""
    changed: bool


class Repository:
    """A remote and the branch that proposals are for. ValueError where an option makes no sense."""

    def __init__(
        self,
        remote: str,
        base: str = "main",
        *,
        author: Author = Author(),  # noqa: B008 - frozen
        username: str = "",
        password: Secret | None = None,
        key_file: Path | None = None,
        known_hosts: Path | None = None,
        timeout: Seconds = TIMEOUT,
        git: str = "git",
    ) -> None:
        """`remote`: address or path without credentials; `username`, `password`: over https; `key_file`,
        `known_hosts`: over ssh; `timeout`: for one command."""
        parts = urlsplit(remote)
        if not remote or remote.startswith("-") or not remote.isprintable() or "::" in remote:
            raise ValueError("the git remote is not an address. Write it as https://host/owner/name.git")
        if parts.password is not None or (parts.username is not None and parts.scheme != "ssh"):
            raise ValueError("the git remote holds credentials: give them apart, where they are not shown")
        if parts.scheme == "http" and password is not None and parts.hostname not in _LOOPBACK:
            raise ValueError(f"{remote} would send the password in the clear: write https://")
        self.remote, self.base, self.author = remote, checked_branch(base), author
        ssh = ["ssh", "-oBatchMode=yes"]
        ssh += [f"-oIdentityFile={key_file}", "-oIdentitiesOnly=yes"] if key_file else []
        ssh += [f"-oUserKnownHostsFile={known_hosts}", "-oStrictHostKeyChecking=yes"] if known_hosts else []
        self._ssh = shlex.join(ssh)
        self._username, self._password, self._timeout, self._git = username, password, timeout, git

    def branches(self, prefix: str) -> dict[str, str]:
        """Heads of the branches that begin so, by name. NotifyError."""
        with self._folder() as folder:
            return self._branches(folder, f"refs/heads/{prefix}*")

    def put(self, branch: str, path: str, text: str, message: str) -> Pushed:
        """Have a file on a branch, by a commit where it is another there. NotifyError.

        The branch goes on where it is; where the base has its file already, it was merged, and begins anew.
        """
        checked_branch(branch)
        with self._folder() as folder:
            heads = self._branches(folder, f"refs/heads/{self.base}", f"refs/heads/{branch}")
            if self.base not in heads:
                problem = f"there is no branch '{self.base}'"
                raise NotifyError(self._place, problem, "Push one, or name another base")
            self._run(folder, "init", "-q", "--bare")
            self._fetch(folder, *heads)
            # As fetched, which may be later than what was listed.
            base = self._head(folder, self.base)
            head = self._head(folder, branch) if branch in heads else None
            wanted = text.encode()
            on_base = self._read(folder, base, path)
            if on_base == wanted:
                if head is not None:
                    self._push(folder, branch, "", head)
                return Pushed("", head is not None)
            on_branch = None if head is None else self._read(folder, head, path)
            if head is not None and on_branch == wanted:
                return Pushed(head, False)
            merged = head is None or (on_branch is not None and on_branch == on_base)
            commit = self._commit(folder, base if merged or head is None else head, path, wanted, message)
            self._push(folder, branch, commit, head or "")
            return Pushed(commit, True)

    def delete(self, branch: str) -> bool:
        """Take a branch away; whether it was there. NotifyError."""
        checked_branch(branch)
        with self._folder() as folder:
            head = self._branches(folder, f"refs/heads/{branch}").get(branch)
            if head is None:
                return False
            self._run(folder, "init", "-q", "--bare")
            self._push(folder, branch, "", head)
            return True

    @property
    def _place(self) -> str:
        return f"git remote {bare(self.remote)}"

    def _branches(self, folder: Path, *patterns: str) -> dict[str, str]:
        said = self._run(folder, "ls-remote", "--heads", "--", self.remote, *patterns)
        lines = (line.split("\t", 1) for line in said.decode(errors="replace").splitlines())
        found = {name.removeprefix("refs/heads/"): sha for sha, name in lines}
        # A pattern also finds what ends as it does.
        return {n: s for n, s in found.items() if any(_fits(f"refs/heads/{n}", p) for p in patterns)}

    def _fetch(self, folder: Path, *branches: str) -> None:
        refs = [f"+refs/heads/{name}:refs/heads/{name}" for name in branches]
        self._run(folder, "fetch", "-q", "--depth=1", "--no-tags", "--", self.remote, *refs)

    def _head(self, folder: Path, branch: str) -> str:
        return self._run(folder, "rev-parse", f"refs/heads/{branch}").decode().strip()

    def _read(self, folder: Path, commit: str, path: str) -> bytes | None:
        """A file of a commit; None where there is none."""
        listed = self._run(folder, "ls-tree", "-z", commit, "--", f":(literal){path}").decode(
            errors="replace"
        )
        kind = listed.split()[1:3] if listed else []
        return self._run(folder, "cat-file", "blob", kind[1]) if kind[:1] == ["blob"] else None

    def _commit(self, folder: Path, parent: str, path: str, data: bytes, message: str) -> str:
        def said(*arguments: str, given: bytes = b"") -> str:
            return self._run(folder, *arguments, given=given).decode().strip()

        said("read-tree", parent)
        blob = said("hash-object", "-w", "--stdin", given=data)
        said("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}")
        text = f"{message.strip()}\n\nSigned-off-by: {self.author.words}\n"
        return said("commit-tree", said("write-tree"), "-p", parent, "-F", "-", given=text.encode())

    def _push(self, folder: Path, branch: str, commit: str, before: str) -> None:
        ref = f"refs/heads/{branch}"
        # Only over what was seen: somebody else's commit is never lost.
        lease = f"--force-with-lease={ref}:{before}"
        self._run(folder, "push", "-q", lease, "--", self.remote, f"{commit}:{ref}")

    def _run(self, folder: Path, *arguments: str, given: bytes = b"") -> bytes:
        command = [self._git, "-c", "core.hooksPath=/dev/null", "-c", "credential.helper=", *arguments]
        try:
            status, answer, told = _ran(command, folder, self._environment(folder), given, self._timeout)
        except subprocess.TimeoutExpired:
            problem = f"git {arguments[0]} did not end within {self._timeout:g} s"
            raise NotifyError(self._place, problem, "See whether it is up, or allow more time") from None
        except OSError as error:
            problem = f"{self._git} cannot be run ({error.strerror})"
            raise NotifyError(self._place, problem, "Install git") from None
        if status == 0:
            return answer
        problem = bare(shown(told)) or f"it ended with {status}"
        if self._password is not None:
            problem = self._password.hidden_in(problem)
        raise NotifyError(self._place, f"git {arguments[0]}: {problem}", _mend(problem))

    def _environment(self, folder: Path) -> Mapping[str, str]:
        found = {name: os.environ[name] for name in (*_KEPT, *_PROXIES) if name in os.environ}
        found |= {
            "HOME": str(folder),
            "GIT_DIR": str(folder / "repository"),
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": "file:https:http:ssh",
            "GIT_SSH_COMMAND": self._ssh,
        }
        for role in ("AUTHOR", "COMMITTER"):
            found |= {f"GIT_{role}_NAME": self.author.name, f"GIT_{role}_EMAIL": self.author.email}
        if self._password is not None:
            found["GIT_ASKPASS"] = str(folder / "askpass")
            found |= {_USER: self._username or "git", _PASSWORD: self._password.reveal()}
        return found

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="flyball-git-") as name:
            folder = Path(name)
            askpass = folder / "askpass"
            askpass.write_text(_ASKPASS)
            askpass.chmod(0o700)
            yield folder


def _ran(
    command: list[str], folder: Path, environment: Mapping[str, str], given: bytes, timeout: Seconds
) -> tuple[int, bytes, bytes]:
    """Status, output and errors. What it started ends with it, else the pipes would stay open."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
    ) as process:
        try:
            answer, told = process.communicate(given, timeout)
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, answer, told


def checked_branch(name: str) -> str:
    """A name that a branch may have. ValueError."""
    parts = name.split("/")
    if (
        not _NAME.fullmatch(name)
        or ".." in name
        or any(p.endswith(".lock") or p[:1] in ("", ".") for p in parts)
    ):
        raise ValueError(f"'{name}' is no name of a branch: write letters, digits, and _ . - / between them")
    return name


def _fits(ref: str, pattern: str) -> bool:
    return ref.startswith(pattern[:-1]) if pattern.endswith("*") else ref == pattern


def _mend(problem: str) -> str:
    text = problem.lower()
    if "stale info" in text or "fetch first" in text or "non-fast-forward" in text:
        return "Somebody else pushed; it is tried again"
    if "authentication" in text or "could not read" in text or "permission" in text or "403" in text:
        return "Give credentials that may push there"
    return "See the address, and whether it can be reached"
