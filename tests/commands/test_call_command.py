"""`flyball call` against real services, and against one that behaves as the originals do."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import yaml

from flyball.client.operations import HEALTH, OPTIMIZER, QUEUE, TUNER
from flyball.commands.call import usual_url
from flyball.commands.call_options import CALLED
from flyball.server.optimizer.service import service as optimizer_service
from flyball.server.queue import EXAMPLE
from flyball.server.queue import service as queue_service
from flyball.server.tuner import REPLICA
from flyball.server.tuner import service as tuner_service
from flyball.spec.calibration import Tuning
from tests.client.scripted import reply, said, scripted
from tests.commands.samples import OWN, sample, two_servers, written
from tests.commands.terminal import Outcome, flyball, process
from tests.server.service.conftest import running
from tests.wire.inferno_samples import FILES, parts_of


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(optimizer_service(stateful=True)) as address:
        yield address


def call(url: str, *arguments: object, stdin: bytes = b"") -> Outcome:
    return flyball("call", *arguments, "--url", url, stdin=stdin)


def test_a_plan_and_its_exit_codes(url: str, tmp_path: Path) -> None:
    enough = written(tmp_path / "enough.json", two_servers(cards=20))
    short = written(tmp_path / "short.json", two_servers(cards=4))
    done = call(url, "optimizeOne", enough)
    assert (done.code, done.err) == (0, "")
    document = json.loads(done.out)
    assert list(document) == ["allocations"]
    assert "alpha" not in done.out
    assert done.out.startswith('{\n    "allocations"')
    partly = call(url, "optimizeOne", short)
    assert partly.code == 3
    assert json.loads(partly.out)["unserved"]["code"]["reason"] == "no_capacity"
    explained = call(url, "optimizeOne", enough, "--explain", "--solver", "greedy")
    assert json.loads(explained.out)["explained"]["plan"]["solver"] == "greedy"
    nobody = written(tmp_path / "nobody.json", two_servers(cards=0))
    none = call(url, "optimizeone", nobody)
    assert none.code == 3
    assert "no feasible allocation for servers: [chat, code]" in none.err


def test_forms_of_input_and_output(url: str, tmp_path: Path) -> None:
    document = two_servers(cards=20)
    expected = call(url, "optimizeOne", written(tmp_path / "a.json", document)).out
    assert call(url, "optimizeOne", "-", stdin=json.dumps(document).encode()).out == expected
    as_yaml = tmp_path / "fleet.yaml"
    as_yaml.write_text(yaml.safe_dump(document))
    assert call(url, "optimizeOne", as_yaml).out == expected
    folder = tmp_path / "fleet"
    folder.mkdir()
    for section, content in parts_of(document).items():
        written(folder / FILES[section], {section: content})
    assert call(url, "optimizeOne", folder).out == expected
    assert yaml.safe_load(call(url, "optimizeOne", folder, "--format", "yaml").out) == json.loads(expected)
    target = tmp_path / "answer.json"
    written_out = call(url, "optimizeOne", folder, "-o", target)
    assert (written_out.code, written_out.out, target.read_text()) == (0, "", expected)
    assert call(url, "optimizeOne", "-", "-o", "-", stdin=json.dumps(document).encode()).out == expected


def test_plans_of_ones_own_form(url: str, tmp_path: Path) -> None:
    own = written(tmp_path / "own.json", OWN)
    done = call(url, "plan", own, "--what-if", "load*2", "--solver", "greedy", "--budget", 5)
    assert done.code == 0
    answer = json.loads(done.out)
    assert answer["before"]["cost"] < answer["plan"]["cost"]
    table = call(url, "plan", own, "--what-if", "load[chat]*2", "--format", "table", "--explain")
    assert table.code == 0
    for words in ("allocation", "H100", "Change:", "fixed by", "3 of 3 servers served"):
        assert words in table.out
    folder = tmp_path / "inferno"
    folder.mkdir()
    written(folder / "system.json", sample("G1"))
    assert "wait / target" in call(url, "plan", folder, "--format", "table").out
    wrong = call(url, "plan", own, "--what-if", "lod*2")
    assert (wrong.code, wrong.out) == (2, "")
    assert "lod" in wrong.err


def test_names_and_changes(url: str, tmp_path: Path) -> None:
    assert (
        call(url, "setAccelerators", "-", stdin=b'{"accelerators": [{"name": "a/b", "type": "T"}]}').code == 0
    )
    assert json.loads(call(url, "getAccelerator", "a/b").out)["type"] == "T"
    assert json.loads(call(url, "addServiceClass", "gold", "7").out)["priority"] == 7
    assert json.loads(call(url, "applyAllocation").out) == "Done"
    assert list(json.loads(call(url, "optimize", "-", stdin=b"unlimited: true").out)) == ["allocations"]
    assert json.loads(call(url, "removeAccelerator", "a/b").out)["name"] == "a/b"
    gone = call(url, "removeAccelerator", "a/b")
    assert (gone.code, gone.out) == (2, "")
    assert "answered 404: accelerator a/b not found" in gone.err
    assert call(url, "healthz").out == "ok\n"
    assert "# TYPE" in call(url, "metrics").out


def test_the_queue_analysis(tmp_path: Path) -> None:
    question = written(tmp_path / "question.json", msgspec.to_builtins(EXAMPLE))
    with running(queue_service()) as address:
        assert json.loads(call(address, "solve", question).out)["offeredRPS"] == EXAMPLE.rate
        assert json.loads(call(address, "optimize", question).out)["feasible"] is True
        wrong = call(address, "target", "-", stdin=b'{"maxBatchSize": 0}')
        assert wrong.code == 2
        assert "maxBatchSize" in wrong.err


def test_the_model_tuner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replicas = written(tmp_path / "replicas.json", [msgspec.to_builtins(REPLICA)])
    with running(tuner_service(Tuning(initial_observations=1), lambda: 1.8e9)) as address:
        learned = json.loads(call(address, "tune", replicas).out)["models"][0]
        assert learned["perfParms"]["alpha"] > 0
        monkeypatch.setenv("TUNER_PORT", address.rpartition(":")[2])
        shown = flyball("call", "getparams", "granite_8b", "H100")
        assert (shown.code, json.loads(shown.out)["alpha"]) == (0, learned["perfParms"]["alpha"])
        assert json.loads(flyball("call", "warmup").out) == {"warmingUp": True}
        assert yaml.safe_load(flyball("call", "Calibration-Status", "--format", "yaml").out)["statuses"]
        merged = flyball("call", "merge", "-", stdin=b"models: []")
        assert json.loads(merged.out)["models"][0]["name"] == "granite_8b"
        short = call(address, "calibrate", replicas)
        assert (short.code, short.out) == (2, "")
        assert "answered 422: calibration produced no results" in short.err
        assert "answered 404: no parameters found" in call(address, "getparams", "none", "H100").err


def test_tokens(tmp_path: Path) -> None:
    tokens, wrong = tmp_path / "tokens", tmp_path / "wrong"
    tokens.write_text("right\n")
    wrong.write_text("wrong\n")
    with running(optimizer_service(), token_file=tokens) as address:
        assert call(address, "getServers", "--token-file", tokens).code == 0
        for options, words in (([], "Give a token"), (["--token-file", wrong], "none of the service's")):
            refused = call(address, "getServers", *options)
            assert refused.code == 2
            assert words in refused.err
    assert "the token cannot be read" in call(address, "getServers", "--token-file", tmp_path / "none").err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "say what to ask for, one of addAccelerator, "),
        (["getServr"], "no operation 'getServr'; did you mean getServer or"),
        (["qqq"], "no operation 'qqq'; There are addAccelerator"),
        (["getServer"], "getServer takes name: 0 given"),
        (["getServers", "chat"], "getServers takes nothing more: 1 given"),
        (["getparams", "granite"], "getparams takes model accelerator: 1 given"),
        (["tune"], "tune takes FILE: 0 given. The file holds replicas; - is standard input"),
        (["warmup", "--explain"], "--explain does not go with warmup"),
        (["getModelAcceleratorPerf", "a"], "takes name acc: 1 given"),
        (["optimizeOne"], "optimizeOne takes FILE: 0 given. The file holds a system; - is standard input"),
        (["optimizeOne", "/nowhere"], "/nowhere: cannot be read (No such file or directory)"),
        (["setServers", "/"], "/: is a directory, setServers takes one file"),
        (["optimizeOne", "-"], "standard input: holds nothing"),
        (["getServers", "--solver", "greedy"], "--solver does not go with getServers"),
        (["optimizeOne", "-", "--what-if", "load*2"], "--what-if does not go with optimizeOne"),
        (["getServers", "--format", "table"], "--format table does not go with getServers"),
        (["metrics", "--format", "json"], "--format does not go with metrics"),
        (["getServer", ""], "the name is empty"),
        (["getServers", "--timeout", "0"], "the timeout is 0"),
        (["getServers", "--url", "localhost"], "begins with http://"),
        (["getServers", "--solver", "best"], "best"),
    ],
)
def test_what_makes_no_sense_is_told(arguments: list[str], words: str) -> None:
    done = flyball("call", *arguments)
    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert "Traceback" not in done.err


def test_the_wrong_form_is_told_before_it_is_sent(tmp_path: Path) -> None:
    own = written(tmp_path / "own.json", OWN)
    with scripted(said("{}")) as script:
        told = call(script.url, "optimizeOne", own)
        assert (told.code, "Ask for plan with it" in told.err) == (2, True)
        told = call(script.url, "plan", tmp_path)
        assert (told.code, "Ask for plan, and name that file" in told.err) == (2, True)
        told = call(script.url, "setServers", own, "-o", own)
        assert (told.code, "would write over what is read" in told.err) == (2, True)
        assert script.heard == []


def test_as_the_originals_answer(tmp_path: Path) -> None:
    """Servers that got nothing are missing there, in silence."""
    document = written(tmp_path / "fleet.json", two_servers())
    chat = {"accelerator": "A100", "numReplicas": 2, "maxBatch": 16, "cost": 80}
    times = {"itlAverage": 25.5, "ttftAverage": None}
    answer = said(json.dumps({"allocations": {"chat": {**chat, **times}}}))
    with scripted(answer) as script:
        done = call(script.url, "optimizeOne", document)
        assert done.code == 3
        table = call(script.url, "optimizeOne", document, "--format", "table")
        assert table.code == 3
        assert re.search(r"chat +2 x A100, batch 16 +never +25\.5 ms +\$0\.80/h", table.out)
        assert re.search(r"code +not served", table.out)
        assert all(h.line == "POST /optimizeOne?explain=true HTTP/1.1" for h in script.heard)
    waiting = {**chat, "waitAverage": 3, "mix": [chat, {**chat, "accelerator": "G2"}]}
    both = {"allocations": {"chat": waiting, "code": {"accelerator": "", "numReplicas": 0}}}
    with scripted(said(json.dumps(both))) as script:
        table = call(script.url, "optimizeOne", document, "--format", "table")
        assert table.code == 0
        assert re.search(r"2 x A100, batch 16 \+ 2 x G2, batch 16 +3 ms +0 ms +\$1\.60/h", table.out)
        assert "wait" in table.out
        assert "scaled to zero" in table.out


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (reply(400), 2, "flyball plan"),
        (reply(404, "404 page not found", "text/plain"), 2, "no such route"),
        (reply(302), 2, "redirections"),
        (reply(500), 5, "Its log says more"),
        (said("{"), 5, "cannot be understood"),
        (said('{"message": "all is well"}'), 5, "$.allocations is not there"),
        (b"", 5, "the connection ended"),
    ],
)
def test_what_is_no_answer_has_its_code(answer: bytes, code: int, words: str, tmp_path: Path) -> None:
    document = written(tmp_path / "fleet.json", two_servers())
    with scripted(answer) as script:
        done = call(script.url, "optimizeOne", document)
    assert (done.code, done.out) == (code, "")
    assert words in done.err


def test_what_cannot_be_written(url: str, tmp_path: Path) -> None:
    done = call(url, "getServers", "-o", tmp_path)
    assert done.code == 4
    assert "is a directory" in done.err.lower()


def test_where_the_service_is(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = {"INFERNO_HOST": "", "INFERNO_PORT": "", "TUNER_HOST": "", "TUNER_PORT": ""}
    both = {"INFERNO_HOST": "0.0.0.0", "INFERNO_PORT": "3302", "TUNER_HOST": "tuner", "TUNER_PORT": "3304"}
    assert usual_url({}, "health") == usual_url(nothing, "stateful") == "http://127.0.0.1:8080"
    assert usual_url({}, "tuner") == usual_url(nothing, "tuner") == "http://127.0.0.1:8081"
    assert usual_url(both, "optimizer") == "http://127.0.0.1:3302"
    assert usual_url(both, "tuner") == "http://tuner:3304"
    assert usual_url({"INFERNO_HOST": "::"}, "queue") == "http://[::1]:8080"
    with scripted(said("[]")) as script:
        monkeypatch.setenv("INFERNO_PORT", script.url.rpartition(":")[2])
        assert flyball("call", "getModels") == (0, "[]\n", "")


def test_the_help_lists_every_operation() -> None:
    listed = set()
    for name, *names in (found.split() for found in re.findall("`([^`]+)`", CALLED)):
        operation = {**OPTIMIZER, **QUEUE, **TUNER, **HEALTH}[name]
        assert len(names) == len(operation.names + operation.queried) + bool(operation.body), name
        listed.add(name)
    assert listed == {*OPTIMIZER, *QUEUE, *TUNER, *HEALTH}
    shown = flyball("call", "--help")
    assert shown.code == 0
    assert "getModelAcceleratorPerf granite_13b A100" in shown.out


def test_as_a_process(url: str, tmp_path: Path) -> None:
    document = json.dumps(two_servers(cards=20)).encode()
    port = {"INFERNO_PORT": url.rpartition(":")[2]}
    done = process("call", "optimizeOne", "-", stdin=document, environment=port)
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out)["allocations"]["chat"]["accelerator"] == "A100"
    with scripted(b"") as script:
        address = script.url
    nobody = process("call", "getServers", "--url", address)
    assert (nobody.code, nobody.out) == (5, "")
    assert nobody.err.endswith("the connection is refused. Start the service, or correct host and port.\n")


def test_on_a_terminal_plans_are_tables(url: str, tmp_path: Path) -> None:
    document = written(tmp_path / "fleet.json", two_servers(cards=20))
    command = [sys.executable, "-m", "flyball", "call", "optimizeOne", str(document), "--url", url]
    leader, follower = pty.openpty()
    environment = {**os.environ, "COLUMNS": "160", "TERM": "dumb"}
    with subprocess.Popen(
        command, stdout=follower, stderr=subprocess.DEVNULL, env=environment
    ) as running_one:
        os.close(follower)
        shown = b""
        while True:
            try:
                more = os.read(leader, 65536)
            except OSError:  # how a terminal on Linux ends
                break
            if not more:
                break
            shown += more
    os.close(leader)
    assert running_one.returncode == 0
    assert b"2 of 2 servers served" in shown
    assert b"x A100, batch" in shown
