"""Branches in a real repository, and pull requests on a server that answers as GitHub's API."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonschema_rs
import pytest

from flyball.adapters.notify.git import Author, Repository, checked_branch
from flyball.adapters.notify.github import GitHub, repository_of
from flyball.adapters.notify.gitops import GitOps
from flyball.adapters.notify.http import NotifyError
from flyball.adapters.notify.patches import checked_path, proposal, subject_of
from flyball.adapters.secrets import Secret, Secrets
from flyball.power.tell import News
from flyball.spec.power_plan import PowerAction, Recommendation
from flyball.wire.text import decode
from tests.adapters.notify.builders import Answer, Fake, Request, advice, fake, news, state

AUTHOR = Author("Flyball", "flyball@fleet.example")


def git(folder: Path, *arguments: str, given: str = "") -> str:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    for role in ("AUTHOR", "COMMITTER"):
        environment |= {f"GIT_{role}_NAME": "Human", f"GIT_{role}_EMAIL": "human@fleet.example"}
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env=environment,
        input=given,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """A bare repository with one commit on main."""
    bare = tmp_path / "remote.git"
    bare.mkdir()
    git(bare, "init", "-q", "--bare", "-b", "main")
    blob = git(bare, "hash-object", "-w", "--stdin", given="our fleet\n")
    tree = git(bare, "mktree", given=f"100644 blob {blob}\tREADME\n")
    git(bare, "update-ref", "refs/heads/main", git(bare, "commit-tree", tree, "-m", "first"))
    return bare


def heads(remote: Path) -> dict[str, str]:
    lines = git(remote, "for-each-ref", "--format=%(refname:short) %(objectname)").splitlines()
    return dict(line.split(" ") for line in lines)


def merge(remote: Path, branch: str) -> None:
    """As by "squash and merge"."""
    tree = git(remote, "rev-parse", f"{branch}^{{tree}}")
    commit = git(remote, "commit-tree", tree, "-p", "main", "-m", "squashed")
    git(remote, "update-ref", "refs/heads/main", commit)


def ops(remote: Path, github: GitHub | None = None, **options: Any) -> GitOps:
    return GitOps(Repository(str(remote), author=AUTHOR, timeout=30), github, **options)


BRANCH = f"flyball/power/{subject_of(advice())}"
FILE = f"power/{subject_of(advice())}.yaml"


def test_a_recommendation_is_one_commit_with_one_patch(remote: Path) -> None:
    one = ops(remote)
    assert one.tell(news(0, (state(),), (advice(3),))) == ()
    found = heads(remote)
    assert set(found) == {"main", BRANCH}
    assert BRANCH.startswith("flyball/power/rack-7-prod-chat-")
    assert git(remote, "diff", "--name-status", "main", BRANCH) == f"A\t{FILE}"
    text = git(remote, "show", f"{BRANCH}:{FILE}")
    assert decode(text.encode(), "patch") == {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": "llama", "namespace": "prod"},
        "spec": {"maxReplicaCount": 3},
    }
    message = git(remote, "log", "-1", "--format=%an <%ae>%n%B", BRANCH).splitlines()
    assert message[:2] == [AUTHOR.words, "power: rack-7: llama"]
    assert message[-1] == "Signed-off-by: Flyball <flyball@fleet.example>"
    assert "- replicas: prod/ScaledObject/llama 5 to 3, saves 1,400 W, loses 90 tokens/s" in message


def test_the_same_again_makes_no_commit_not_even_after_a_restart(remote: Path) -> None:
    ops(remote).tell(news(0, (state(),), (advice(3),)))
    before = heads(remote)
    other = (advice(3, reason="in other words"),)
    ops(remote).tell(news(1, (state(watts=9_999.0),), other))
    assert heads(remote) == before


def test_another_advice_goes_onto_the_branch_and_none_takes_it_away(remote: Path) -> None:
    one = ops(remote)
    one.tell(news(0, (state(),), (advice(3),)))
    first = heads(remote)[BRANCH]
    one.tell(news(100, (state(),), (advice(2),)))
    assert heads(remote)[BRANCH] == first, "not more often than each five minutes"
    one.tell(news(300, (state(),), (advice(2),)))
    assert git(remote, "rev-parse", f"{BRANCH}^") == first
    assert "maxReplicaCount: 2" in git(remote, "show", f"{BRANCH}:{FILE}")
    ops(remote).tell(news(400))
    assert set(heads(remote)) == {"main"}, "also by one that did not make it"


def test_what_a_person_committed_to_the_branch_stays(remote: Path) -> None:
    one = ops(remote)
    one.tell(news(0, (state(),), (advice(3),)))
    tree = git(remote, "rev-parse", f"{BRANCH}^{{tree}}")
    theirs = git(remote, "commit-tree", tree, "-p", BRANCH, "-m", "a word of mine")
    git(remote, "update-ref", f"refs/heads/{BRANCH}", theirs)
    one.tell(news(300, (state(),), (advice(2),)))
    assert git(remote, "rev-parse", f"{BRANCH}^") == theirs


def test_a_merged_branch_begins_anew_on_the_base(remote: Path) -> None:
    one = ops(remote)
    one.tell(news(0, (state(),), (advice(3),)))
    merge(remote, BRANCH)
    one.tell(news(300, (state(),), (advice(2),)))
    assert git(remote, "rev-parse", f"{BRANCH}^") == heads(remote)["main"]
    again = ops(remote)
    again.tell(news(400, (state(),), (advice(3),)))
    assert set(heads(remote)) == {"main"}, "the base says so already"


def test_the_patch_holds_only_what_changes_and_keeps_to_bounds() -> None:
    actions = (
        PowerAction("replicas", "llama", 5, 0),
        PowerAction("replicas", "mistral", 4, 2),
        PowerAction("concurrency", "mistral", 64, 32),
        PowerAction("replicas", "unheard", 4, 2),
    )
    given = news(0, (state(),), (advice(actions=actions),))
    found, left = proposal(given, given.topics[0], given.topics[0].recommendations[0])
    assert found is not None
    documents = [decode(part.encode(), "patch") for part in found.text.split("---\n")[1:]]
    assert documents == [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "mistral", "namespace": "prod"},
            "spec": {"replicas": 2},
        },
        {
            "apiVersion": "keda.sh/v1alpha1",
            "kind": "ScaledObject",
            "metadata": {"name": "llama", "namespace": "prod"},
            "spec": {"maxReplicaCount": 1},
        },
    ]
    assert left == (
        "Not in the patch, as no field of a scaler holds it: concurrency of prod/Deployment/mistral",
        "Not in the patch, as its workload is not known: replicas of unheard",
    )


@pytest.mark.parametrize(
    ("lever", "after", "expected"),
    [("pause", 0, {"autoscaling.keda.sh/paused-replicas": "0"}), ("hold", 9, {"maxReplicaCount": 6})],
)
def test_pausing_is_an_annotation_and_the_users_maximum_holds(
    lever: Any, after: int, expected: dict[str, Any]
) -> None:
    given = news(0, (state(),), (advice(actions=(PowerAction(lever, "llama", 5, after),)),))
    found, _ = proposal(given, given.topics[0], given.topics[0].recommendations[0])
    assert found is not None
    document = decode(found.text.encode(), "patch")
    assert isinstance(document, dict)
    assert document.get("spec", document["metadata"].get("annotations")) == expected


def test_what_is_in_no_patch_is_said_once(remote: Path) -> None:
    one = ops(remote)
    given = news(0, (state(),), (advice(actions=(PowerAction("placement", "llama", 5, 5),)),))
    assert len(one.tell(given)) == 1
    assert one.tell(given) == ()
    assert set(heads(remote)) == {"main"}


def test_subjects_are_names_that_git_takes_and_differ() -> None:
    given = [("a", "b/c"), ("a", "b-c"), ("a-b", "c"), ("a..b/../.lock", ""), ("…", "~^: x")]
    found = [subject_of(Recommendation(d, p, "warn", (), "", 0)) for d, p in given]
    assert len(set(found)) == len(found)
    for subject in found:
        assert checked_branch(f"flyball/{subject}")


@pytest.mark.parametrize(
    "path",
    ["/etc/{subject}.yaml", "../{subject}.yaml", ".git/{subject}.yaml", "a.yaml", "{subject}", "{x}.yaml"],
)
def test_paths_that_make_no_sense(path: str) -> None:
    with pytest.raises(ValueError, match="the path"):
        checked_path(path)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("https://me:hunter2@host/a.git", "holds credentials"),
        ("--upload-pack=touch", "not an address"),
        ("ext::sh -c touch", "not an address"),
    ],
)
def test_remotes_that_make_no_sense(address: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        Repository(address)
    assert "hunter2" not in str(caught.value)


def test_the_base_must_be_there(remote: Path) -> None:
    one = GitOps(Repository(str(remote), "trunk"))
    (problem,) = one.tell(news(0, (state(),), (advice(3),)))
    assert problem.endswith("there is no branch 'trunk'. Push one, or name another base.")


def test_credentials_go_to_git_and_nowhere_else(tmp_path: Path) -> None:
    """A program in git's place says what it was given, asks for the password, and fails with it."""
    program = tmp_path / "git"
    program.write_text('#!/bin/sh\necho "$@" > ARGUMENTS\n"$GIT_ASKPASS" "Username for x" > USER\n'
                       '"$GIT_ASKPASS" "Password for x" >&2\nexit 1\n'.replace("ARGUMENTS", f"{tmp_path}/a")
                       .replace("USER", f"{tmp_path}/u"))  # fmt: skip
    program.chmod(0o700)
    one = Repository("https://h.example/a.git", username="me", password=Secret("hunter2"), git=str(program))
    with pytest.raises(NotifyError) as caught:
        one.branches("x/")
    assert str(caught.value).startswith("git remote https://h.example/a.git: git ls-remote: ***.")
    assert (tmp_path / "u").read_text() == "me\n"
    assert "hunter2" not in (tmp_path / "a").read_text()


@contextmanager
def served(folder: Path, password: str) -> Iterator[str]:
    """Repositories over HTTP, by git's own backend, for the user `me` with a password; the address."""
    expected = "Basic " + base64.b64encode(f"me:{password}".encode()).decode()
    program = f"{git(folder, '--exec-path')}/git-http-backend"

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Authorization") != expected:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            path, _, query = self.path.partition("?")
            environment = {"PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(folder), "PATH_INFO": path}
            environment |= {"GIT_HTTP_EXPORT_ALL": "1", "REQUEST_METHOD": self.command, "QUERY_STRING": query}
            environment |= {"REMOTE_USER": "me", "CONTENT_TYPE": self.headers.get("Content-Type") or ""}
            environment |= {"HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding") or ""}
            environment |= {"GIT_PROTOCOL": self.headers.get("Git-Protocol") or ""}
            done = subprocess.run([program], env=environment, input=data, capture_output=True, timeout=30)
            head, _, body = done.stdout.partition(b"\r\n\r\n")
            fields = [line.split(": ", 1) for line in head.decode().split("\r\n")]
            self.send_response(int(dict(fields).get("Status", "200").split()[0]))
            for name, value in fields:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _any  # noqa: N815

        def log_message(self, *given: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/remote.git"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_over_http_with_a_password(remote: Path) -> None:
    def at(password: str) -> GitOps:
        return GitOps(
            Repository(address, author=AUTHOR, username="me", password=Secret(password), timeout=30)
        )

    with served(remote.parent, "hunter2") as address:
        (problem,) = at("guessed").tell(shed(0, 3))
        assert "Authentication failed" in problem
        assert problem.endswith("Give credentials that may push there.")
        assert "guessed" not in problem
        one = at("hunter2")
        assert one.tell(shed(0, 3)) == ()
        assert one.tell(shed(300, 2)) == ()
        assert git(remote, "rev-list", "--count", f"main..{BRANCH}") == "2"
        assert one.tell(news(301)) == ()
    assert set(heads(remote)) == {"main"}


def test_what_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    program = tmp_path / "git"
    program.write_text(f"#!/bin/sh\nsleep 30 &\necho $! > {tmp_path}/child\nwait\n")
    program.chmod(0o700)
    one = Repository("https://h.example/a.git", git=str(program), timeout=1)
    with pytest.raises(NotifyError, match=r"git ls-remote did not end within 1 s"):
        one.branches("x/")
    child = Path("/proc", (tmp_path / "child").read_text().strip(), "stat")
    for _ in range(100):
        if not child.exists() or child.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.05)
    pytest.fail("what it started goes on")


def test_a_push_over_somebody_elses_is_refused(remote: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Repository(str(remote), author=AUTHOR)
    one.put("flyball/x", "a.yaml", "a: 1\n", "first")
    commit = one._commit

    def meanwhile(*given: Any) -> str:
        git(remote, "update-ref", "refs/heads/flyball/x", heads(remote)["main"])
        return commit(*given)

    monkeypatch.setattr(one, "_commit", meanwhile)
    with pytest.raises(NotifyError, match="Somebody else pushed; it is tried again"):
        one.put("flyball/x", "a.yaml", "a: 2\n", "second")
    assert heads(remote)["flyball/x"] == heads(remote)["main"]


# ---- GitHub ------------------------------------------------------------------------------------

TEXT = {"type": "string", "minLength": 1}
CREATE = {
    "type": "object",
    "required": ["head", "base", "title"],
    "additionalProperties": False,
    "properties": {
        "title": {**TEXT, "maxLength": 256},
        "head": TEXT,
        "base": TEXT,
        "body": {"type": "string", "maxLength": 65536},
        "draft": {"type": "boolean"},
        "maintainer_can_modify": {"type": "boolean"},
    },
}
UPDATE = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "title": {**TEXT, "maxLength": 256},
        "body": {"type": "string", "maxLength": 65536},
        "state": {"enum": ["open", "closed"]},
        "base": TEXT,
    },
}
"""Request bodies of POST and PATCH /repos/{owner}/{repo}/pulls, as published."""


class Hub:
    """Pull requests of one repository."""

    def __init__(self, remote: Path) -> None:
        self.remote, self.pulls = remote, list[dict[str, Any]]()

    def answer(self, request: Request) -> Answer:
        assert request.headers["authorization"] == "Bearer ghp_1"
        assert request.headers["accept"] == "application/vnd.github+json"
        assert request.headers["x-github-api-version"] == "2022-11-28"
        parts = urlsplit(request.path)
        assert parts.path.startswith("/repos/me/fleet/pulls")
        if request.method == "GET":
            asked = {k: v[0] for k, v in parse_qs(parts.query).items()}
            owner, _, branch = asked["head"].partition(":")
            assert (owner, asked["state"], asked["base"]) == ("me", "all", "main")
            return 200, [p for p in reversed(self.pulls) if p["branch"] == branch][:1], {}
        if request.method == "POST":
            jsonschema_rs.validator_for(CREATE).validate(request.body)
            if any(p["branch"] == request.body["head"] and p["state"] == "open" for p in self.pulls):
                return 422, {"message": "A pull request already exists"}, {}
            sha = heads(self.remote)[request.body["head"]]
            pull = {"number": len(self.pulls) + 1, "state": "open", "head": {"sha": sha}, "merged_at": None}
            self.pulls.append({**pull, "branch": request.body["head"], **request.body, "head": pull["head"]})
            return 201, self.pulls[-1], {}
        jsonschema_rs.validator_for(UPDATE).validate(request.body)
        pull = self.pulls[int(parts.path.rpartition("/")[2]) - 1]
        pull |= request.body
        return 200, pull, {}


def hubbed(remote: Path, told: Fake) -> GitOps:
    return ops(remote, GitHub("me/fleet", Secret("ghp_1"), url=told.url))


def shed(now: float, after: int) -> News:
    return news(now, (state(),), (advice(after),))


def test_a_pull_request_is_opened_updated_and_closed(remote: Path) -> None:
    hub = Hub(remote)
    with fake(hub.answer) as told:
        one = hubbed(remote, told)
        assert one.tell(shed(0, 3)) == ()
        assert [(p["number"], p["state"], p["title"]) for p in hub.pulls] == [
            (1, "open", "power: rack-7: llama")
        ]
        asked = len(told.requests)
        one.tell(shed(1, 3))
        assert len(told.requests) == asked, "nothing new, nothing asked"
        one.tell(shed(300, 2))
        assert len(hub.pulls) == 1
        assert "5 to 2" in hub.pulls[0]["body"]
        hubbed(remote, told).tell(shed(301, 2))
        assert len(hub.pulls) == 1, "a restart opens no second one"
        one.tell(news(302))
    assert hub.pulls[0]["state"] == "closed"
    assert set(heads(remote)) == {"main"}


def test_what_a_person_closed_stays_closed_until_the_advice_is_another(remote: Path) -> None:
    hub = Hub(remote)
    with fake(hub.answer) as told:
        one = hubbed(remote, told)
        one.tell(shed(0, 3))
        hub.pulls[0]["state"] = "closed"
        (said,) = hubbed(remote, told).tell(shed(1, 3))
        assert said == "Pull request 1 was closed: it is not opened again"
        assert len(hub.pulls) == 1
        assert one.tell(shed(300, 2)) == ()
    assert [p["state"] for p in hub.pulls] == ["closed", "open"]


def test_a_failed_pull_request_is_tried_again_and_tells_no_token(remote: Path) -> None:
    hub = Hub(remote)
    broken = [True]

    def answer(request: Request) -> Answer:
        return (401, "Bad credentials: ghp_1", {}) if broken[0] else hub.answer(request)

    with fake(answer) as told:
        one = hubbed(remote, told)
        (problem,) = one.tell(shed(0, 3))
        assert problem.startswith("GitHub, me/fleet answered 401: Bad credentials: ***. Give a token")
        first = heads(remote)
        broken[0] = False
        assert one.tell(shed(1, 3)) == ()
    assert heads(remote) == first, "the branch was there already"
    assert [p["state"] for p in hub.pulls] == ["open"]


def test_the_documents_names() -> None:
    given = {"GITHUB_USERNAME": "me", "GITHUB_REPO": "fleet", "GITHUB_PAT": "ghp_1"}
    assert repository_of(Secrets(environment=given))[:2] == ("me/fleet", "me")
    assert repository_of(Secrets(environment={**given, "GITHUB_REPO": "us/it"}))[0] == "us/it"
    one = GitOps.of(Secrets(environment=given))
    assert one._repository.remote == "https://github.com/me/fleet.git"
    with pytest.raises(ValueError, match="owner/name"):
        GitHub("fleet", Secret("x"))
