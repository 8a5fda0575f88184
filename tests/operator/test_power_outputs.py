"""What is told outside: only what policies name, by outputs that may be away, and never in the loop's way."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flyball.adapters.secrets import Secrets
from flyball.commands.power_outputs_options import Outputs
from flyball.operator.power_outputs import AGAIN, LOOKING, OutputOptions, PowerOutputs, governed_of
from flyball.power.tell import Governed
from flyball.sandbox.monitoring import ALERTMANAGER as PROGRAM
from flyball.sandbox.monitoring import find_program
from flyball.sandbox.network import answers, free_ports
from flyball.spec.power import Domain, Policy, PowerSeen, PowerWorkload, WorkloadRef
from flyball.spec.power_plan import DomainState, PowerAction, PowerPlan, Recommendation
from flyball.wire.text import decode
from tests.adapters.notify.builders import Answer, Request, fake
from tests.clusters import is_here

DOMAINS = (Domain("hall", "Site"), Domain("r1", "Rack", "hall"), Domain("r2", "Rack", "hall"))
LLAMA = PowerWorkload(
    "llama", "llm", {}, (WorkloadRef("Deployment", "llama"), WorkloadRef("ScaledObject", "llama")), 5, 1, 8
)
MISTRAL = PowerWorkload("mistral", "llm", {}, (WorkloadRef("Deployment", "mistral"),), 4)
EVERYWHERE = Policy("chat", "llm", outputs=("alertmanager", "slack", "gitops"))
HOOK = "SLACK_WEBHOOK_URL"


def seen(*policies: Policy, now: float = 1_000.0) -> PowerSeen:
    return PowerSeen(now, 30.0, DOMAINS, policies or (EVERYWHERE,), workloads=(LLAMA, MISTRAL))


def state(domain: str, level: Any = "shed") -> DomainState:
    return DomainState(domain, level, 9_500.0, True, 10_000.0)


def advice(
    domain: str = "r1", *, after: int = 3, policy: str = "llm/chat", now: float = 1_000.0
) -> Recommendation:
    actions = (
        PowerAction("replicas", "llama", 5, after, 1_400.0, 90.0),
        PowerAction("replicas", "mistral", 4, 2, 700.0),
    )
    return Recommendation(domain, policy, "shed", actions, "above its threshold", now + 600.0)


def plan(*states: DomainState, advised: tuple[Recommendation, ...] = ()) -> PowerPlan:
    return PowerPlan(states, recommendations=advised)


@contextmanager
def outputs(options: OutputOptions = OutputOptions(), **more: Any) -> Iterator[PowerOutputs]:  # noqa: B008
    environment = more.pop("environment", {})
    made = PowerOutputs(options, Secrets(environment=environment), **more)
    try:
        yield made
    finally:
        made.close()


def test_what_is_not_set_up_is_said_of_those_that_are_named() -> None:
    with outputs() as made:
        assert made.tell(seen(Policy("chat", "llm", outputs=("slack",))), plan()) == ()
        assert made.untold == {
            "slack": "slack is not set up: set SLACK_WEBHOOK_URL, or SLACK_BOT_TOKEN and SLACK_CHANNEL"
        }
        watching = Policy("chat", "llm", mode="Observe", outputs=("slack",))
        made.tell(seen(watching), plan())
        assert made.untold == {}


def test_only_policies_that_name_an_output_are_told_there_and_none_that_observe() -> None:
    with fake() as told, outputs(environment={"ALERTMANAGER_URL": f" {told.url}, "}) as made:
        by_slack = Policy("slack-only", "llm", outputs=("slack",))
        silent = Policy("silent", "llm", mode="Observe", outputs=("alertmanager",))
        both = (advice(policy="llm/slack-only"), advice(policy="llm/silent"), advice("r2"))
        made.tell(seen(EVERYWHERE, by_slack, silent), plan(state("r1"), advised=both))
        assert made.wait(10.0)
        alerts = told.bodies()[0]
    named = [
        (a["labels"]["alertname"], a["labels"]["power_domain"], a["labels"].get("power_policy"))
        for a in alerts
    ]
    assert ("FlyballPowerShedding", "r1", None) in named
    advised = [one for one in zip(named, alerts, strict=True) if one[0][0] == "FlyballPowerRecommendation"]
    ((name, alert),) = advised
    assert name[1:] == ("r2", "llm/chat")
    assert alert["annotations"]["description"].startswith("replicas: llm/ScaledObject/llama 5 to 3")


def test_an_output_that_is_away_is_told_of_and_the_others_go_on() -> None:
    ill = [True]

    def answer(request: Request) -> Answer:
        return (500, "broken", {}) if ill[0] else (200, "ok", {})

    with fake(answer) as hook, fake() as manager:
        environment = {HOOK: f"{hook.url}/services/T/B/secret", "ALERTMANAGER_URL": manager.url}
        with outputs(environment=environment) as made:
            assert made.tell(seen(), plan(state("r1"))) == ()
            assert made.wait(10.0)
            assert len(manager.requests) == 1
            assert sorted(made.untold) == ["gitops", "slack"], "one is not set up at all"
            assert "500" in made.untold["slack"]
            assert "secret" not in made.untold["slack"]
            ill[0] = False
            (said,) = made.tell(seen(), plan(state("r1")))
            assert "500" in said
            assert made.wait(10.0)
            assert list(made.untold) == ["gitops"]


def test_one_that_hangs_holds_up_nobody() -> None:
    release = threading.Event()

    def answer(request: Request) -> Answer:
        release.wait(20.0)
        return 200, "ok", {}

    with fake(answer) as hook, outputs(environment={HOOK: hook.url}) as made:
        try:
            for _ in range(50):  # each would wait for the one before, if any did
                made.tell(seen(), plan(state("r1")))
            assert not made.wait(0.0)
        finally:
            release.set()
        assert made.wait(10.0)
        assert len(hook.requests) == 1, "of what came meanwhile only the last is told, and that is the same"


def test_a_wrong_secret_is_told_and_tried_again_once_it_is_mended() -> None:
    clock, environment = [0.0], {HOOK: "<your-slack-webhook-url>"}
    with fake() as hook, outputs(environment=environment, now=lambda: clock[0]) as made:
        (said,) = made.tell(seen(), plan(state("r1")))
        assert (
            said == f"slack is not told: {HOOK}: holds the example's placeholder. Put the value in its place."
        )
        environment[HOOK] = hook.url
        assert made.tell(seen(), plan(state("r1"))) == ()
        assert "placeholder" in made.untold["slack"]
        clock[0] += AGAIN
        assert made.tell(seen(), plan(state("r1"))) == ()
        assert made.wait(10.0)
        assert len(hook.requests) == 1
        assert "slack" not in made.untold


def test_only_the_leader_tells() -> None:
    leads = [False]
    with fake() as hook, outputs(environment={HOOK: hook.url}, leads=lambda: leads[0]) as made:
        made.tell(seen(), plan(state("r1")))
        assert made.wait(10.0)
        assert hook.requests == []
        leads[0] = True
        made.tell(seen(), plan(state("r1")))
        assert made.wait(10.0)
        assert len(hook.requests) == 1


def test_patches_are_for_what_scales_with_its_users_bounds() -> None:
    assert governed_of(seen()) == {
        "llama": Governed("llm", WorkloadRef("ScaledObject", "llama"), 1, 8),
        "mistral": Governed("llm", WorkloadRef("Deployment", "mistral"), 0, None),
    }


# ---- with a real git and a real Alertmanager ---------------------------------------------------


def git(folder: Path, *arguments: str, given: str = "") -> str:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    for role in ("AUTHOR", "COMMITTER"):
        environment |= {f"GIT_{role}_NAME": "Human", f"GIT_{role}_EMAIL": "human@fleet.example"}
    command = ["git", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, input=given, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """A bare repository with one commit on main."""
    bare = tmp_path / "fleet.git"
    bare.mkdir()
    git(bare, "init", "-q", "--bare", "-b", "main")
    tree = git(
        bare,
        "mktree",
        given=f"100644 blob {git(bare, 'hash-object', '-w', '--stdin', given='ours')}\tREADME\n",
    )
    git(bare, "update-ref", "refs/heads/main", git(bare, "commit-tree", tree, "-m", "first"))
    return bare


def branches(remote: Path) -> dict[str, str]:
    lines = git(
        remote, "for-each-ref", "--format=%(refname:short) %(objectname)", "refs/heads/flyball"
    ).splitlines()
    return dict(line.split(" ") for line in lines)


def patch(remote: Path, branch: str) -> list[Any]:
    name = git(remote, "diff", "--name-only", "main", branch)
    text = git(remote, "show", f"{branch}:{name}")
    return [decode(part.encode(), name) for part in text.split("---\n")[1:]]


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_a_process_that_just_started_withdraws_no_proposal(remote: Path) -> None:
    clock = [0.0]
    options = OutputOptions(remote=str(remote))
    standing = plan(advised=(advice(),))
    with outputs(options, now=lambda: clock[0]) as first:
        first.tell(seen(), standing)
        clock[0] += LOOKING
        assert first.tell(seen(), standing) == ()
        assert first.wait(60.0)
    before = branches(remote)
    assert len(before) == 1
    with outputs(options, now=lambda: clock[0]) as second:
        second.tell(seen(), plan())
        assert second.wait(60.0)
        assert branches(remote) == before, "it does not know yet what stands"
        clock[0] += LOOKING
        second.tell(seen(), plan())
        assert second.wait(60.0)
    assert branches(remote) == {}


@contextmanager
def alertmanager(folder: Path) -> Iterator[str]:
    """A real one, on a port of loopback, that groups by site."""
    (port,) = free_ports(1)
    settings = folder / "alertmanager.yml"
    settings.write_text("route: {receiver: none, group_by: [power_site]}\nreceivers: [{name: none}]\n")
    command = [str(find_program(PROGRAM)), f"--config.file={settings}", f"--storage.path={folder}/data"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60.0
        while not answers(port, "/-/ready"):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.slow
@pytest.mark.skipif(
    not (is_here(PROGRAM) and shutil.which("git")), reason="Alertmanager or git is not installed"
)
def test_a_real_alertmanager_and_a_real_remote_are_told_and_told_when_it_is_over(
    tmp_path: Path, remote: Path
) -> None:
    clock = [0.0]

    def told(
        made: PowerOutputs, now: float, *states: DomainState, advised: tuple[Recommendation, ...]
    ) -> None:
        clock[0] = now
        assert made.tell(seen(now=now), plan(*states, advised=advised)) == ()
        assert made.wait(60.0)
        assert made.untold == {"slack": made.untold["slack"]}

    with alertmanager(tmp_path) as url:

        def get(path: str) -> Any:
            with urllib.request.urlopen(f"{url}/api/v2/{path}", timeout=10) as answer:
                return json.load(answer)

        options = OutputOptions(alertmanagers=(url,), remote=str(remote), labels={"cluster": "c1"})
        with outputs(options, now=lambda: clock[0]) as made:
            made.tell(seen(now=0.0), plan())
            first = LOOKING
            both = (state("r1"), state("r2", "warn"))
            told(made, first, *both, advised=(advice(now=first),))
            (group,) = get("alerts/groups")
            assert group["labels"] == {"power_site": "hall"}
            firing = {(a["labels"]["alertname"], a["labels"]["power_domain"]) for a in group["alerts"]}
            assert firing == {
                ("FlyballPowerNear", "r1"),
                ("FlyballPowerShedding", "r1"),
                ("FlyballPowerRecommendation", "r1"),
                ("FlyballPowerNear", "r2"),
            }
            assert {a["labels"]["cluster"] for a in group["alerts"]} == {"c1"}
            ((branch, commit),) = branches(remote).items()
            assert patch(remote, branch) == [
                {
                    "apiVersion": "apps/v1",
                    "kind": "Deployment",
                    "metadata": {"name": "mistral", "namespace": "llm"},
                    "spec": {"replicas": 2},
                },
                {
                    "apiVersion": "keda.sh/v1alpha1",
                    "kind": "ScaledObject",
                    "metadata": {"name": "llama", "namespace": "llm"},
                    "spec": {"maxReplicaCount": 3},
                },
            ]
            told(made, first + 15.0, *both, advised=(advice(now=first + 15.0),))
            assert branches(remote) == {branch: commit}, "the same advice is the same commit"
            later = first + 400.0
            told(made, later, state("r1", "hold"), both[1], advised=(advice(after=4, now=later),))
            ((same, next_commit),) = branches(remote).items()
            assert same == branch
            assert git(remote, "rev-parse", f"{branch}^") == commit, "updated, not made twice"
            assert next_commit != commit
            assert patch(remote, branch)[1]["spec"] == {"maxReplicaCount": 4}
            critical = "alerts?filter=severity%3D%22critical%22"
            until = time.monotonic() + 20.0
            while get(critical) and time.monotonic() < until:
                time.sleep(0.1)
            assert get(critical) == [], "resolved"
            assert len(get("alerts")) == 3
            told(made, later + 1.0, advised=())
            assert branches(remote) == {}
            until = time.monotonic() + 20.0
            while get("alerts") and time.monotonic() < until:
                time.sleep(0.1)
            assert get("alerts") == []


def test_options_name_the_places_and_the_files_of_secrets(tmp_path: Path) -> None:
    with fake() as manager, fake() as hook:
        (tmp_path / ".env").write_text(f"{HOOK}={hook.url}/services/x # ours\n")
        given = Outputs(
            (manager.url,), env_file=tmp_path / ".env", cluster_name="c1", page_url="https://fly.example/"
        )
        made = given.made(lambda: True)
        try:
            made.tell(seen(), plan(state("r1")))
            assert made.wait(10.0)
        finally:
            made.close()
    assert {a["labels"]["cluster"] for a in manager.bodies()[0]} == {"c1"}
    assert "https://fly.example/" in json.dumps(hook.bodies()[0])
    with pytest.raises(ValueError, match="no name of a branch"):
        Outputs(cluster_name="a b").made(lambda: True)
