"""The commands that look at a cluster, on a real one with Prometheus and engines that run fast."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from flyball.sandbox.cluster import Options, Sandbox
from flyball.sandbox.engines.process import command, start
from flyball.sandbox.network import free_ports
from flyball.sandbox.part import Scrape
from tests.clusters import eventually, fleet, is_here, needed
from tests.commands.terminal import Outcome, flyball
from tests.kubernetes.stage import SPEED, Stage, get, server

COMMANDS = (
    ["doctor"],
    ["why", "chat"],
    ["diff"],
    ["release", "chat"],
    ["freeze"],
    ["unfreeze"],
    ["backtest"],
)
FOUND, MODE = "flyball.dev/found", "flyball.dev/mode"


# ---- without a cluster ---------------------------------------------------------------------------


@pytest.fixture
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    for name in ("INFERNO_PROMETHEUS_URL", "INFERNO_DATA_PATH", "WATCH_NAMESPACE", "FLYBALL_CONTROLLER"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("nothing_set")
@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_without_a_cluster_it_says_how_to_name_one(words: list[str]) -> None:
    (port,) = free_ports(1)
    more = ["--controller", f"http://127.0.0.1:{port}"] if words[0] == "why" else []
    done = flyball(*words, *more)
    assert done.code == 5
    assert "Set KUBECONFIG or give --kubeconfig" in done.out + done.err


@pytest.mark.usefixtures("nothing_set")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["doctor", "--account", "inferno"], "write NAMESPACE/NAME"),
        (["why", "chat", "--controller", "nowhere"], "the address is 'nowhere'"),
    ],
)
def test_what_is_wrong_is_said(words: list[str], said: str) -> None:
    done = flyball(*words)
    assert done.code == 2
    assert said in done.err


# ---- with one ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    needed()
    if not is_here("prometheus"):
        pytest.skip("there is no prometheus")
    folder = tmp_path_factory.mktemp("looked-at")
    (port,) = free_ports(1)
    scrape = Scrape(every=1.0, targets_url=f"http://127.0.0.1:{port}/targets")
    options = Options(fleet=fleet(), cold_start=1.0, parts=("prometheus",), scrape=scrape)
    with Sandbox.start(options) as sandbox:
        engines = start(command(sandbox.kubeconfig, port=port, speed=SPEED, seed=1), folder / "engines.log")
        one = Stage(sandbox, engines.url, folder)
        try:
            yield one
        finally:
            one.api.close()
            engines.stop()


class Place:
    """A namespace, and the commands on it."""

    def __init__(self, stage: Stage, namespace: str) -> None:
        self.stage, self.namespace = stage, namespace

    def run(self, *words: object, watch: bool = True) -> Outcome:
        """A command on this namespace, with its metrics."""
        seen = ("--watch", self.namespace, "--prometheus", self.stage.prometheus, "--speed", SPEED)
        return flyball(*words, "--kubeconfig", self.stage.sandbox.kubeconfig, *(seen if watch else ()))

    def json(self, *words: object) -> Any:
        """What a command says as JSON."""
        return json.loads(self.run(*words, "--json").out)

    def checks(self) -> tuple[int, list[dict[str, str]]]:
        """The exit code of the doctor, and what it found."""
        done = self.run("doctor", "--namespace", self.namespace, "--json")
        return done.code, json.loads(done.out)["checks"]

    def scraped(self, *names: str) -> None:
        """Wait until the metrics of governed servers go back for more than a window."""

        def settled() -> bool:
            query = f'count by (pod) (vllm:num_requests_running{{namespace="{self.namespace}"}} offset 5s)'
            data = get(self.stage.prometheus, f"/api/v1/query?query={quote(query)}")[1]
            found = {one["metric"]["pod"] for one in json.loads(data)["data"]["result"]}
            return all(any(pod.startswith(f"{name}-") for pod in found) for name in names)

        eventually(settled)


@pytest.fixture
def place(stage: Stage, request: pytest.FixtureRequest) -> Iterator[Place]:
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())[:40].strip("-")
    stage.kubectl("create", "namespace", name)
    yield Place(stage, name)
    stage.kubectl("delete", "deployment", "--all", "-n", name)
    stage.kubectl("delete", "pod", "--all", "-n", name, "--grace-period=0", "--force")
    stage.kubectl("delete", "namespace", name, "--wait=false")


CHAT = {"rpm": 600, "tokens_in": 800, "tokens_out": 200, "cls": "Chat"}
CODE = {"rpm": 1200, "tokens_in": 500, "tokens_out": 150, "cls": "Free"}


@pytest.mark.slow
def test_the_doctor_names_what_is_missing_and_its_commands_mend_it(place: Place) -> None:
    stage, ns = place.stage, place.namespace
    plain = server("plain", **CODE)
    del plain["metadata"]["labels"]["inferno.server.managed"]
    stage.create(ns, server("chat", **CHAT), server("odd", model="acme/unheard-of"), plain)
    stage.kubectl("rollout", "status", "deployment", "-n", ns, "--timeout=60s")
    place.scraped("chat")

    code, found = place.checks()
    assert code == 3
    missing = [one for one in found if one["state"] == "missing"]
    assert {one["about"] for one in missing} == {f"Deployment {ns}/odd"}
    assert any("acme/unheard-of" in one["said"] for one in missing)
    assert any(one["about"] == "loop" and one["state"] == "warning" for one in found)
    offered = [one["mend"] for one in found if "plain" in one["said"] and one["about"] == "workloads"]
    assert len(offered) == 1

    patches = [one["mend"] for one in found if one.get("mend", "").startswith("kubectl patch")]
    assert len(patches) == 2  # chat and odd end their pods badly
    named = next(one["mend"] for one in missing if "annotate" in one.get("mend", ""))
    for mend in (*offered, *patches, named.replace("model=NAME", "model=Qwen/Qwen3-8B")):
        stage.kubectl(*shlex.split(mend.partition("   (")[0])[1:])
    stage.kubectl("rollout", "status", "deployment", "-n", ns, "--timeout=60s")
    place.scraped("chat", "odd", "plain")

    code, found = place.checks()
    assert (code, [one for one in found if one["state"] == "missing"]) == (0, [])
    of_chat = [one for one in found if one["about"] == f"Deployment {ns}/chat"]
    assert {one["state"] for one in of_chat} == {"ok"}, of_chat
    assert any("3 workloads of 3 servers" in one["said"] for one in found)

    text = place.run("doctor", "--namespace", ns).out
    assert "13 replicas more" not in text.splitlines()[0]
    assert re.search(r"\d+ ok, \d+ warnings?, 0 missing\.", text)


@pytest.mark.slow
def test_rights_are_looked_at_for_others_too(place: Place) -> None:
    found = place.run("doctor", "--account", f"{place.namespace}/default")
    assert found.code == 3
    account = f"the account {place.namespace}/default"
    assert f"{account} may not list deployments.apps in {place.namespace}" in found.out
    assert f"{account} may not list nodes in all namespaces" in found.out
    assert "missing" not in place.run("doctor").out.splitlines()[1]


@pytest.mark.slow
def test_a_server_is_looked_at_before_while_and_after_a_loop_governs_it(place: Place, tmp_path: Path) -> None:
    stage, ns = place.stage, place.namespace
    code = server("code", "A100", model="Qwen/Qwen3-8B", **CODE)
    spare = server(
        "spare", "A100", model="Qwen/Qwen3-8B", replicas=4, annotations={MODE: "recommend"}, **CODE
    )
    stage.create(ns, code, spare)
    stage.kubectl("rollout", "status", "deployment", "-n", ns, "--timeout=60s")
    place.scraped("code", "spare")
    steady = time.monotonic()
    own, (port,) = ("--namespace", ns), free_ports(1)
    nowhere = ("--controller", f"http://127.0.0.1:{port}")

    # Before: what would change is shown, and nothing written.
    before = stage.read(ns, "code")["metadata"]["generation"]
    made = place.run("diff", *own, "--json")
    assert made.code == 1, made.err
    document = json.loads(made.out)
    row = next(row for row in document["rows"] if row["server"] == "code")
    assert row["has"] == "1 x A100"
    assert re.match(r"[2-9] x A100", row["gets"])
    assert row["more_per_hour"] > 0
    assert not document["remembered"]
    told = place.run("why", "code", *own, *nowhere)
    assert told.code == 0
    assert "no loop answers: decided just now, without a memory of the past" in told.out
    assert stage.read(ns, "code")["metadata"]["generation"] == before

    assert place.run("freeze", *own, watch=False).code == 0
    with stage.loop(ns) as loop:
        loop.more(2)
        assert stage.replicas(ns, "code") == 1
        frozen = place.run("diff", *own)
        assert f"ConfigMap {ns}/flyball has freeze: true" in frozen.out
        assert re.search(r"[12] of 2 workloads would change", frozen.out)
        done = place.run("unfreeze", watch=False)  # it finds the one loop that there is
        assert done.code == 0
        assert f"Not frozen: ConfigMap {ns}/flyball" in done.out
        eventually(lambda: stage.replicas(ns, "code") > 1)

        told = place.run("why", "code", "--controller", loop.url)
        assert told.code == 0
        assert f"told by    the loop at {loop.url}" in told.out
        assert "rests on   on A100, profile: " in told.out
        assert re.search(r"changed +\d+ (s|min) ago: 1 to \d x A100 because ", told.out)
        assert place.run("why", "nobody", "--controller", loop.url).code == 2
        assert {one["about"]: one["state"] for one in place.checks()[1]}["loop"] == "ok"

        # Handed back while the loop runs, it stays so.
        done = place.run("release", f"{ns}/code", watch=False)
        assert done.code == 0
        assert f"Deployment {ns}/code has 1 replica again" in done.out
        loop.more(2)
        there = stage.read(ns, "code")
        assert there["spec"]["replicas"] == 1
        assert there["metadata"]["annotations"][MODE] == "freeze"
        assert FOUND not in there["metadata"]["annotations"]
        again = next(line for line in done.out.splitlines() if "kubectl annotate" in line)
        stage.kubectl(*shlex.split(again)[1:])
        eventually(lambda: stage.replicas(ns, "code") > 1)

    # After: its memory and its recommendations stay, and the past is there to be replayed.
    assert place.json("diff", *own)["remembered"]
    told_of = place.json("why", "spare", *own, *nowhere)
    assert told_of["source"] == "recommendations"
    assert re.fullmatch(r"\d x A100", told_of["account"]["gets"])
    assert "its mode is recommend" in told_of["account"]["notes"][0]

    # Of what was before the load had all come, Flyball would rightly conclude that little is needed.
    since = f"{min(int(time.monotonic() - steady), 20)}s"
    report = tmp_path / "backtest.html"
    done = place.run("backtest", "--since", since, "--step", "1s", *own, "--json", "--report", report)
    assert done.code == 0, done.err
    line = next(one for one in json.loads(done.out)["lines"] if one["server"] == "spare")
    assert line["rate"] == pytest.approx(20.0, rel=0.25)
    was, again, then = (line[way] for way in ("measured", "simulated_as_it_was", "simulated_flyball"))
    assert was["replicas"] == pytest.approx(4.0, abs=0.2)
    assert again["replicas"] == pytest.approx(4.0, abs=0.2)
    assert then["dollars"] < again["dollars"]
    assert was["within"] > 0.9
    assert then["both_within"] > 0.95
    assert "All runs on this page are simulated" in report.read_text()


@pytest.mark.slow
def test_what_cannot_be_told_of_the_past_is_said(place: Place) -> None:
    none = flyball("backtest", "--kubeconfig", place.stage.sandbox.kubeconfig, "--watch", place.namespace)
    assert (none.code, "give --prometheus ADDRESS" in none.err) == (2, True)
    bare = place.run("backtest", "--since", "10s", "--step", "1s")
    assert (bare.code, "see flyball doctor" in bare.err) == (2, True)
    lost = flyball(
        *("backtest", "--kubeconfig", place.stage.sandbox.kubeconfig, "--watch", place.namespace),
        *("--prometheus", "http://127.0.0.1:9", "--step", "soon"),
    )
    assert (lost.code, '--step is "soon"' in lost.err or "--step" in lost.err) == (2, True)


@pytest.mark.slow
def test_a_workload_that_is_not_there_is_not_released(place: Place) -> None:
    done = place.run("release", "nobody", "--namespace", place.namespace, watch=False)
    assert done.code == 2
    assert f"there is no workload nobody in the namespace {place.namespace}" in done.err
    place.stage.create(place.namespace, server("chat", replicas=0))
    done = place.run("release", "deploy/chat", "--namespace", place.namespace, watch=False)
    assert (done.code, "Flyball has changed nothing in it" in done.out) == (0, True)
