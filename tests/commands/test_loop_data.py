"""Inferno's data for the loop: files that change, and a tuner elsewhere."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from flyball.client.tuner import TunerClient
from flyball.commands.loop_data import Data, Tuned
from flyball.loop.ports import Configured
from flyball.server.service.run import Options, Serving
from flyball.server.tuner import service
from flyball.spec.calibration import Tuning
from flyball.spec.profile import ChunkedTiming
from flyball.spec.server import Allocation, Load, Server
from flyball.wire.errors import WireError

CARD = {"name": "A100", "type": "A100", "multiplicity": 1, "cost": 40}
ENTRY = {
    "name": "m",
    "acc": "A100",
    "accCount": 1,
    "maxBatchSize": 64,
    "atTokens": 512,
    "perfParms": {"alpha": 20.0, "beta": 0.04, "gamma": 0.001},
}
CLASS = {"name": "Premium", "priority": 1, "modelTargets": [{"model": "m", "slo-itl": 40, "slo-ttft": 1000}]}


def write(folder: Path, cards: int = 8, cost: float = 40) -> None:
    files: dict[str, Any] = {
        "accelerator-data.json": {"accelerators": [CARD | {"cost": cost}]},
        "model-data.json": {"models": [ENTRY]},
        "serviceclass-data.json": {"serviceClasses": [CLASS]},
        "optimizer-data.json": {"optimizer": {}},
        "capacity-data.json": {"count": [{"type": "A100", "count": cards}]},
    }
    for name, document in files.items():
        (folder / name).write_text(json.dumps(document))


@pytest.mark.parametrize("dynamic", [False, True])
def test_capacity_is_read_again_and_the_rest_in_dynamic_mode(tmp_path: Path, dynamic: bool) -> None:
    write(tmp_path)
    data = Data(tmp_path, dynamic)
    first = data.fleet()
    assert data.fleet() is first
    write(tmp_path, cards=4, cost=20)
    now = data.fleet()
    assert now.capacity == {"A100": 4}
    assert (now.accelerators != first.accelerators) is dynamic


def test_a_file_that_breaks_leaves_what_was_read(tmp_path: Path) -> None:
    write(tmp_path)
    data = Data(tmp_path, True)
    first = data.fleet()
    (tmp_path / "model-data.json").write_text("{")
    assert data.fleet() == first
    assert "model-data.json" in data.problem
    write(tmp_path)
    data.fleet()
    assert not data.problem
    with pytest.raises(WireError):
        Data(tmp_path / "none", True)


@pytest.fixture
def tuner() -> Iterator[str]:
    serving = Serving(
        service(Tuning(initial_observations=2, warm_up_cycles=1), lambda: 0.0), Options(port=0, log="off")
    )
    thread = threading.Thread(target=serving.run)
    thread.start()
    yield serving.url
    serving.stop()
    thread.join(10.0)


def test_a_tuner_elsewhere_corrects_the_profiles(tmp_path: Path, tuner: str) -> None:
    write(tmp_path)
    fleet = Data(tmp_path, False).fleet()
    load = Load(1.0, 512.0, 128.0, throughput=1.0)
    replica = Server(
        "s/pod", "m", "Premium", load, max_batch_size=64, max_queue_size=64,
        current=Allocation("A100", 1, 64, itl=0.012, ttft=0.05),
    )  # fmt: skip
    with TunerClient(tuner) as client:
        tuned = Tuned(Configured(fleet), client, lambda: [replica])
        assert tuned.fleet() == fleet  # it has too little to go by
        for i in range(8):
            busier = replace(replica, load=replace(load, arrival_rate=1.0 + 0.3 * i))
            tuned = Tuned(Configured(fleet), client, lambda busier=busier: [busier])  # type: ignore[misc]
            made = tuned.fleet()
    (profile,) = made.profiles
    assert isinstance(profile.timing, ChunkedTiming)
    assert profile.timing != fleet.profiles[0].timing
    assert replace(profile, timing=fleet.profiles[0].timing) == fleet.profiles[0]


def test_a_tuner_that_does_not_answer_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path)
    fleet = Data(tmp_path, False).fleet()
    with TunerClient("http://127.0.0.1:9", timeout=1.0) as client:
        tuned = Tuned(Configured(fleet), client, lambda: [])
        assert tuned.fleet() == tuned.fleet() == fleet
    assert capsys.readouterr().err.count("the tuner:") == 1
