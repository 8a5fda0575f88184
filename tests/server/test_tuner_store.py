"""What the tuner has learned, kept in a file: whole after a restart, a kill, a full disk."""

from __future__ import annotations

import http.client
import json
import math
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flyball.adapters.kept import KeptFile, StateFileError
from flyball.adapters.learned_file import LearnedFile
from flyball.adapters.state_file import StateFile
from flyball.calibrate.inferno.pair import States
from flyball.calibrate.inferno.tuner import calibrate, tune
from flyball.server.tuner import Tuner, service
from flyball.spec.calibration import Tuning
from tests.calibrate.inferno.points import LOADS, all_shown, shown
from tests.server.process import Client, Process
from tests.server.replicas import replica
from tests.server.service.conftest import running

QUICK = Tuning(initial_observations=2, warm_up_cycles=2)
WINDOW = Tuning(estimator="sliding-window", initial_observations=2, window_size=3, warm_up_cycles=2)
WRITERS = 3
GETS = ("/calibration-status", "/warmup", "/getparams?model=m0&accelerator=H100")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "learned.json"


@pytest.fixture
def file(path: Path) -> Iterator[LearnedFile]:
    with closing(LearnedFile(path)) as made:
        yield made


def of_all_kinds(tuning: Tuning) -> States:
    """One pair that collects, one that is learned, one that cannot be told, one that is calibrated."""
    states: States = {}
    for load in LOADS:
        observed = {("learned/漢", "H100"): [shown(load)], ("same", ""): [shown(LOADS[0])]}
        states, _ = tune(states, observed, tuning, 1.5)
    states, _ = tune(states, {("new", "H100"): [shown(LOADS[0])]}, tuning, 2.5)
    states, _ = calibrate(states, {("measured", "A100"): all_shown()}, tuning, 3.5)
    single = Tuning(initial_observations=1)
    return tune(states, {("single", "H100"): [shown(LOADS[0])]}, single, 4.5)[0]


@pytest.mark.parametrize("tuning", [QUICK, WINDOW], ids=["ekf", "sliding-window"])
def test_what_is_written_is_read_to_the_bit(file: LearnedFile, tuning: Tuning) -> None:
    assert file.read() is None
    states = of_all_kinds(tuning)
    assert states["single", "H100"].condition_number is None
    file.write(states)
    found = file.read()
    assert found == states
    assert list(found or ()) == list(states)
    both = [
        tune(each, {("single", "H100"): [shown(LOADS[2])]}, tuning, 5.5) for each in (states, found or {})
    ]
    assert both[0] == both[1], "and it goes on as if nothing had been"


def damaged(file: LearnedFile, path: Path, **changes: Any) -> bytes:
    """A file with one figure of its only pair changed."""
    file.write({("m", "a"): of_all_kinds(QUICK)["learned/漢", "H100"]})
    document = json.loads(path.read_bytes())
    for name, value in changes.items():
        place = document
        *above, last = name.split("__")
        for key in above:
            place = place[int(key) if key.isdigit() else key]
        place[last] = value
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "InfernoSystem"},
        {"version": 2},
        {"more": 1},
        {"pairs": {}},
        {"pairs__0__state": {}},
        {"pairs__0__state__learned__timing__alpha": 0},
        {"pairs__0__state__learned__timing__beta": -1e-5},
        {"pairs__0__state__learned__timing__gamma": None},
        {"pairs__0__state__learned__nis": None},
        {"pairs__0__state__learned__covariance": [[1.0, 2.0]]},
        {"pairs__0__state__last_fit": {"type": "chunked", "alpha": 0, "beta": 1, "gamma": 1}},
    ],
    ids=str,
)
def test_a_file_that_cannot_be_used_is_refused_and_stays(
    file: LearnedFile, path: Path, changes: dict[str, Any]
) -> None:
    assert damaged(file, path) == json.dumps(json.loads(path.read_bytes())).encode()
    assert file.read()
    content = damaged(file, path, **changes)
    path.write_bytes(content)
    with pytest.raises(StateFileError, match=r"learned\.json: is .*\. (Restore|Name another)"):
        file.read()
    assert path.read_bytes() == content


def test_each_service_refuses_the_other_s_file(tmp_path: Path) -> None:
    kinds: tuple[type[KeptFile[Any]], ...] = (StateFile, LearnedFile)
    for writer, reader in (kinds, kinds[::-1]):
        path = tmp_path / writer.kind
        content = json.dumps({"kind": writer.kind, "version": 1, "system": {}, "pairs": []})
        path.write_text(content)
        words = f"is {writer.kind} of version 1, not {reader.kind} of version 1. Name another file"
        with closing(reader(path)) as file, pytest.raises(StateFileError, match=words):
            file.read()


def test_another_version_is_named_however_it_looks(path: Path) -> None:
    path.write_text(json.dumps({"kind": "LearnedParameters", "version": 2, "learned": {"m on H": [8, 1, 0]}}))
    words = "is LearnedParameters of version 2, not LearnedParameters of version 1. Name another file"
    with closing(LearnedFile(path)) as file, pytest.raises(StateFileError, match=words):
        file.read()


def test_where_it_cannot_be_kept_nothing_changes() -> None:
    full: list[bool] = []

    def keep(_: States) -> None:
        if full:
            raise OSError(28, "No space left on device", "/somewhere/learned.json")

    with running(service(QUICK, lambda: 1.8e9, keep=keep)) as url, Client(url) as client:
        client.ask("POST", "/tune", [replica(model="m0")])
        client.post("/tune", [replica(LOADS[2], model="m0")])
        before = [client.get(path) for path in GETS]
        full.append(True)
        for path in ("/tune", "/calibrate"):
            status, _, data = client.ask("POST", path, [replica(load, model="m0") for load in LOADS])
            assert status == 500
            said = "/somewhere/learned.json: what was learned cannot be kept (No space left on device), so"
            assert json.loads(data)["error"].startswith(said)
            assert [client.get(path) for path in GETS] == before
        full.clear()
        assert client.post("/tune", [replica(LOADS[3], model="m0")])["models"]
        assert client.get(GETS[0])["statuses"][0]["obsCount"] == 3


def test_a_call_that_teaches_nothing_writes_nothing() -> None:
    kept: list[States] = []
    tuner = Tuner(QUICK, lambda: 0.0, keep=kept.append)
    tuner.learn(tune, {})
    assert kept == []


class Writer(threading.Thread):
    """Shows a replica of its own model again and again, and counts what was heard."""

    def __init__(self, process: Process, number: int, count: int) -> None:
        super().__init__(daemon=True)
        self.client, self.number = process.client(), number
        self.acknowledged = self.sent = count

    def run(self) -> None:
        with self.client:
            while True:
                self.sent += 1
                shown = [replica(LOADS[self.sent % len(LOADS)], f"m{self.number}")]
                try:
                    status, _, _ = self.client.ask("POST", "/tune", shown)
                except (OSError, http.client.HTTPException):
                    return  # killed
                assert status in (200, 422)
                self.acknowledged += 1


@pytest.mark.slow
def test_what_was_acknowledged_outlives_kills(path: Path) -> None:
    rng = np.random.default_rng(1)
    options = ("tuner", "--state", str(path), "--initial-observations", "3")
    least, most = [0] * WRITERS, [0] * WRITERS
    for _ in range(4):
        with Process(*options) as process:
            with process.client() as client:
                statuses = client.get("/calibration-status")["statuses"]
            counts = {each["model"]: each["obsCount"] for each in statuses}
            for i in range(WRITERS):
                count = counts.get(f"m{i}", 0)
                assert least[i] <= count <= most[i], "what was acknowledged is lost, or counted twice"
                least[i] = count
            writers = [Writer(process, i, least[i]) for i in range(WRITERS)]
            for writer in writers:
                writer.start()
            time.sleep(rng.uniform(0.2, 0.8))
            process.kill()
            for writer in writers:
                writer.join(60)
        least, most = [w.acknowledged for w in writers], [w.sent for w in writers]
    assert min(least) > 3, "all have been learned"
    with Process(*options) as process, process.client() as client:
        before = [client.get(path) for path in GETS]
        process.kill()
    assert all(math.isfinite(before[2][name]) for name in ("alpha", "beta", "gamma"))
    with Process(*options) as process, process.client() as client:
        assert [client.get(path) for path in GETS] == before
    assert {each.name for each in path.parent.iterdir()} <= {
        path.name,
        f"{path.name}.lock",
        f".{path.name}.part",
    }
