"""`flyball profiles sweep` at a small engine that batches in real time: what it finds, and how it ends."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from flyball.calibrate.design import design
from flyball.calibrate.sweep import Taken, climb, other_lengths
from flyball.client import TunerClient
from flyball.commands.profiles_sweep_run import Log
from flyball.server.tuner import service
from flyball.spec.calibration import Tuning
from flyball.spec.profile import IterationTiming, Profile
from flyball.wire.catalogue import catalogue_from_own
from flyball.wire.library import entries_from_csv
from flyball.wire.measurements import measurements_from_csv
from flyball.wire.text import decode
from tests.client.scripted import reply, said, scripted
from tests.commands.terminal import Outcome, flyball
from tests.examples.test_examples import ROOT
from tests.server.service.conftest import running

ENGINE = Path(__file__).with_name("fake_engine.py")
TRUTH = {"alpha": 0.005, "beta": 2e-4, "kappa": 2e-6, "delta": 2e-5}
SMALL = ("--in", "40", "--out", "8")
SHORT = (*SMALL, "--each", "8")
slow = pytest.mark.slow


@contextmanager
def engine(**options: Any) -> Iterator[str]:
    """Its address, while it runs."""
    with subprocess.Popen(
        [sys.executable, str(ENGINE), json.dumps(options)], stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(running.stdout.readline())}"
        finally:
            running.kill()


def sweep(url: str, *options: object) -> Outcome:
    return flyball("profiles", "sweep", url, *options)


def profile_in(file: Path) -> Profile:
    (profile,) = catalogue_from_own(decode(file.read_bytes(), "p"), "p").profiles
    return profile


def loads_in(file: Path) -> list[float]:
    return [p.concurrency for p in measurements_from_csv(file.read_text("utf-8"), "runs").points]


def timing_of(profile: Profile) -> IterationTiming:
    assert isinstance(profile.timing, IterationTiming)
    return profile.timing


# ---- what it finds -----------------------------------------------------------------------------


@slow
def test_the_profile_is_that_of_the_engine(tmp_path: Path) -> None:
    runs, made, again = (tmp_path / name for name in ("runs.csv", "profile.yaml", "again.yaml"))
    options = ("--in", 200, "--out", 40, "--loads", "1,4,16", "--each", "700ms", "--prior", "none")
    about = ("--model", "Llama-3.1-8B", "--card", "H100")
    with engine(**TRUTH, model="meta-llama/Llama-3.1-8B-Instruct") as url:
        done = sweep(url, *about, *options, "--csv", runs, "--output", made, "--report", tmp_path / "p.html")
    assert done.code == 0, done.err
    assert loads_in(runs) == [1, 4, 16, 16, 8]
    profile = profile_in(made)
    found = timing_of(profile)
    # Loads and lengths that were not measured, too.
    columns = design([1, 6, 12, 16, 16], [200, 300, 100, 200, 600], [40, 40, 80, 40, 60])
    true, fitted = (
        columns @ np.array([getattr(t, name, 0.0) for name in TRUTH])
        for t in (IterationTiming(**TRUTH), found)
    )
    np.testing.assert_allclose(fitted, true, rtol=0.25)
    assert found.alpha == pytest.approx(TRUTH["alpha"], rel=0.25)
    assert profile.kv_tokens == 64_000  # of the metrics
    # The table shows what was measured; the fit of the file is the fit of the sweep.
    assert re.search(r"^ +3 +1 +20\d +40 ", done.out, re.MULTILINE)
    assert "others" not in done.out
    assert flyball("profiles", "fit", runs, *about, "--prior", "none", "--output", again).code == 0
    assert timing_of(profile_in(again)) == found
    assert (tmp_path / "p.html").stat().st_size > 50_000


@slow
def test_the_library_is_the_prior_and_the_entry_is_one_for_it(tmp_path: Path) -> None:
    mine, about = tmp_path / "mine.csv", ("--model", "Llama-3.1-8B", "--card", "H100")
    with engine(alpha=0.006, chat_only=True) as url:
        asked = (*about, "--served-model", "tiny", "--loads", "1,2", *SHORT)
        done = sweep(url, *asked, "--format", "csv", "--output", mine)
    assert done.code == 0, done.err
    assert "Prior: added up from measured kernels" in done.out
    (entry,) = entries_from_csv(mine.read_text("utf-8"), "mine")
    assert (entry.card, entry.tier, entry.shapes, entry.version) == ("H100", "measured", 3, "0.0.fake")
    shown = flyball("profiles", "list", *about[:2], "--add", mine, "--format", "csv")
    assert shown.out.count("flyball profiles sweep") == 1


async def measured(*given: Any) -> None:
    """In the place of `measure`: points without noise."""
    log = next(each for each in given if isinstance(each, Log))
    log.model = "tiny"
    for step in [*climb((1, 4, 16, 64), 1000, 300, 0), *other_lengths(64, 1000, 300, 0)]:
        columns = design(step.load, step.in_tokens, step.out_tokens)
        itl = float((columns @ np.array(list(TRUTH.values())))[0])
        ttft = 0.01 + itl + TRUTH["delta"] * step.in_tokens
        rate = step.load / (ttft + step.out_tokens * itl)
        times = np.full(8, ttft), np.full(99, itl)
        log.taken.append(
            Taken(step, step.in_tokens, step.out_tokens, *times, rate * step.out_tokens, rate, 20.0)
        )


def test_the_tuner_learns_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flyball.commands.profiles_sweep.measure", measured)
    with running(service(Tuning(), lambda: 0.0)) as tuner:
        done = sweep("http://127.0.0.1:9", "--card", "H100", "--tuner", tuner.removeprefix("http://"))
        with TunerClient(tuner) as client:
            assert client.getparams("tiny", "H100").alpha > 0
    assert done.code == 0, done.err
    assert "fitted to 6 measurements" in done.out
    assert re.search(r"The tuner learned tiny on H100: alpha [\d.]+ ms", done.err)
    done = sweep("http://127.0.0.1:9", "--card", "H100", "--tuner", tuner.removeprefix("http://"))
    assert (done.code, "the connection is refused" in done.err) == (5, True)


# ---- when it stops -----------------------------------------------------------------------------


@slow
def test_it_does_not_climb_past_a_target(tmp_path: Path) -> None:
    runs = tmp_path / "runs.csv"
    with engine(alpha=0.002, beta=0.004, metrics=False) as url:  # 6, 10, 18, 34 ms
        asked = ("--in", 40, "--out", 24, "--each", 4, "--loads", "1,2,4,8", "--max-itl", "mean<13ms")
        done = sweep(url, *asked, "--csv", runs)
    assert done.code == 0, done.err
    assert loads_in(runs) == [1, 2, 4, 2, 1]
    assert "It stopped at 4 in flight, where itl mean<13 ms is missed." in done.out
    assert "It has no metrics of vLLM's" in done.out


@slow
def test_a_full_batch_is_left_out(tmp_path: Path) -> None:
    runs = tmp_path / "runs.csv"
    with engine(places=2) as url:
        done = sweep(url, "--in", 40, "--out", 30, "--each", 6, "--loads", "1,8,16", "--csv", runs)
    assert done.code == 0, done.err
    assert loads_in(runs) == [1, 1, 1]
    assert "At 8 in flight the batch is full: requests wait, so it is left out." in done.out
    assert "\n# left out: 8," in runs.read_text("utf-8")


@slow
def test_the_cache_bounds_the_load_and_others_are_seen(tmp_path: Path) -> None:
    runs = tmp_path / "runs.csv"
    with engine(kv_blocks=10, foreign=3) as url:  # 160 tokens: two requests of 64
        done = sweep(url, "--in", 40, "--out", 24, "--each", 4, "--loads", "1,2,4", "--csv", runs)
    assert done.code == 0, done.err
    assert loads_in(runs) == [1, 2, 2, 1]
    assert "It stopped before 4 in flight: 160 KV tokens." in done.out
    assert "Others use it: 3 requests were there before." in done.out
    assert re.search(r"At 2 in flight others had [23]\.\d requests there", done.out)


@slow
def test_lengths_beyond_the_context_are_left_out() -> None:
    with engine(longest=60) as url:
        done = sweep(url, *SHORT, "--loads", "1,2")
    assert done.code == 0, done.err
    assert "80 input tokens were not measured" in done.out
    assert "longer than 60 tokens" in done.out


@slow
def test_what_was_measured_before_it_failed_is_fitted(tmp_path: Path) -> None:
    runs = tmp_path / "runs.csv"
    with engine(break_at=2) as url:
        done = sweep(url, *SHORT, "--loads", "1,2,4", "--csv", runs)
    assert done.code == 5
    assert "the connection ended before the answer did" in done.err
    assert loads_in(runs) == [1]
    assert "fitted to 1 measurement." in done.out


@slow
@pytest.mark.parametrize("measured", [0, 1])
def test_an_interrupt_keeps_what_was_measured(measured: int, tmp_path: Path) -> None:
    runs = tmp_path / "runs.csv"
    with engine() as url:
        command = [sys.executable, "-m", "flyball", "profiles", "sweep", url, "--csv", str(runs)]
        with subprocess.Popen(
            [*command, "--in", "40", "--out", "8" if measured else "100000", "--each", "8"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            awaited = "step 1" if measured else "Ctrl-C"
            while awaited not in process.stderr.readline():
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    if measured:
        assert "interrupted" in err
        assert 1 in loads_in(runs)
        assert "alpha: a step" in out
    else:
        assert not runs.exists()
        assert "nothing was measured" in err


# ---- what is wrong -----------------------------------------------------------------------------


def test_a_dry_run_sends_nothing() -> None:
    with scripted(said("{}")) as script:
        done = sweep(script.url, "--model", "Llama-3.1-8B", "--card", "H100", "--dry-run")
    assert (done.code, done.err, script.heard) == (0, "", [])
    steps = re.findall(r"^ +\d+ +(\d+) +([\d,]+) +(\d+) ", done.out, re.MULTILINE)
    assert [int(load) for load, _, _ in steps] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 256, 128]
    assert {size for _, size, _ in steps} == {"1,000", "500", "2,000"}
    assert "11 steps, about 5 min" in done.out


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({"key": "secret"}, 2, "answered 401: Unauthorized. Give a file with the key (--api-key-file)."),
        ({"model": "other"}, 2, '--model is "tiny": http://127.0.0.1:.* serves other.'),
        ({"stream": False}, 5, "the answer is no stream but application/json"),
        ({"usage": False}, 5, "the stream does not say how many tokens it took"),
        ({"longest": 5}, 2, "answered 400: longer than 5 tokens"),
    ],
)
def test_an_engine_that_is_not_as_asked(options: dict[str, Any], code: int, message: str) -> None:
    with engine(**options) as url:
        done = sweep(url, *SHORT, "--model", "tiny")
    assert (done.code, done.out) == (code, "")
    assert re.search(message.replace("(", r"\(").replace(")", r"\)"), done.err)


def test_a_key_is_sent(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("# of the replica\nwrong\n", "utf-8")
    with engine(key="secret", longest=5) as url:
        done = sweep(url, *SHORT, "--api-key-file", key)
        assert (done.code, "The key is none of the engine's" in done.err) == (2, True)
        key.write_text("secret\n", "utf-8")
        done = sweep(url, *SHORT, "--api-key-file", key)
        assert (done.code, "longer than 5 tokens" in done.err) == (2, True)


NAMES = said('{"data": [{"id": "tiny"}, {"id": "other"}]}')
PAGE = reply(200, "<html>", "text/html")
MISSING = reply(404, "<html>", "text/html")


@pytest.mark.parametrize(
    ("answers", "code", "message"),
    [
        ([PAGE], 5, "it lists no models"),
        ([MISSING], 2, "Is this an engine with OpenAI's API?"),
        ([reply(503, "loading", "text/plain")], 5, "answered 503: loading."),
        ([said('{"data": []}')], 2, "it serves no model"),
        ([NAMES], 2, "serves 2: tiny, other. Say which."),
        ([None], 5, "no answer within 0.3 s"),
    ],
)
def test_what_is_no_engine(answers: list[bytes | None], code: int, message: str) -> None:
    with scripted(*answers) as script:
        done = sweep(script.url, "--timeout", "0.3")
    assert (done.code, done.out) == (code, "")
    assert message in done.err


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        ('data: {"choices": [{"text": "a"}]}\n\n', "the stream broke off"),
        ("data: [DONE]\n\n", "the stream holds no text"),
        ("data: {\n\n", "its stream cannot be understood"),
        ('data: {"error": {"message": "out of memory"}}\n\n', "out of memory"),
    ],
)
def test_streams_that_are_none(stream: str, message: str) -> None:
    one = said('{"data": [{"id": "tiny"}]}')
    with scripted(one, MISSING, MISSING, reply(200, stream, "text/event-stream")) as script:
        done = sweep(script.url)
    assert (done.code, done.out) == (5, "")
    assert message in done.err
    asked = json.loads(script.heard[-1].body)
    assert asked["stream_options"] == {"include_usage": True}
    assert (asked["ignore_eos"], asked["model"]) == (True, "tiny")
    assert len(asked["prompt"].split()) == 1000


def test_nobody_there() -> None:
    with scripted(b"") as script:
        url = script.url
    done = sweep(url)
    assert (done.code, done.out) == (5, "")
    assert "the connection is refused" in done.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--loads", "1,two"), '--loads is "two"'),
        (("--loads", "0"), "--loads"),
        (("--each", "3"), "--each"),
        (("--each", "soon"), '--each is "soon"'),
        (("--max-itl", "p0<1s"), "--max-itl"),
        (("--in", "0"), "--in is 0"),
        (("--out", "1"), "--out is 1"),
        (("--tuner", "http://"), "--tuner"),
        (("--csv", "/no/such/place/runs.csv"), "--csv"),
        (("--format", "csv", "--output", "mine.csv"), "--format csv"),
        (("--csv", "same", "--output", "same"), "--output"),
        (("--prior", "library"), "--prior"),
        (("--timeout", "0"), "the timeout is 0"),
        (("--api-key-file", "/no/such/key"), "the token cannot be read"),
    ],
)
def test_options_that_make_no_sense(options: tuple[str, ...], message: str) -> None:
    done = sweep("http://127.0.0.1:9", *options)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert sweep("127.0.0.1:9").code == 2


# ---- the guide ---------------------------------------------------------------------------------


@slow
def test_the_guides_command_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guide = (ROOT / "docs" / "guides" / "profiles.md").read_text("utf-8")
    ((address, command),) = re.findall(
        r"```shell-session\n\$ flyball profiles sweep (\S+) ([^\n]*)\n```", guide
    )
    assert address.startswith("http://127.0.0.1:")
    monkeypatch.chdir(tmp_path)
    with engine(model="meta-llama/Llama-3.1-8B") as url:
        done = sweep(url, *shlex.split(command), *SHORT, "--loads", "1")
    assert done.code == 0, done.err
    assert sorted(os.listdir()) == ["profile.yaml", "runs.csv"]
    assert msgspec.structs.asdict(profile_in(Path("profile.yaml")))["model"] == "meta-llama/Llama-3.1-8B"
