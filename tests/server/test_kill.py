"""The state file of a real process: killed at any moment, full disks, foreign files, two at once."""

from __future__ import annotations

import http.client
import json
import resource
import threading
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from flyball.adapters.state_file import StateFile, StateFileError
from flyball.server.optimizer.changes import desire, storable
from flyball.wire.inferno_shapes import AcceleratorShape, AllocationShape, LoadShape, PartShape, ServerShape
from flyball.wire.inferno_system import System
from tests.server.process import Process

CLIENTS = 4


class Writer(threading.Thread):
    """Sets two accelerators in one change, again and again, to a cost that counts up."""

    def __init__(self, process: Process, number: int, count: int) -> None:
        super().__init__(daemon=True)
        self.client, self.number = process.client(), number
        self.acknowledged = self.sent = count

    def run(self) -> None:
        with self.client:
            while True:
                cost = self.sent + 1
                both = [{"name": f"{self.number}-{end}", "type": "t", "cost": cost} for end in "ab"]
                self.sent = cost
                try:
                    answer = self.client.post("/setAccelerators", {"accelerators": both})
                except (OSError, http.client.HTTPException):
                    return  # killed
                assert answer["accelerators"][0]["cost"] == cost
                self.acknowledged = cost


def campaign(path: Path, kills: int, seed: int) -> int:
    """Kill so often; after each restart all acknowledged changes are there, whole. Returns their number."""
    rng = np.random.default_rng(seed)
    least, most = [0] * CLIENTS, [0] * CLIENTS
    for _ in range(kills + 1):
        with Process("--stateful", "--state", str(path)) as process:
            with process.client() as client:
                shown = {a["name"]: a["cost"] for a in client.get("/getAccelerators")}
            for i in range(CLIENTS):
                first, second = (shown.get(f"{i}-{end}", 0) for end in "ab")
                assert first == second, "half of a change"
                assert least[i] <= first <= most[i], (
                    "an acknowledged change is lost, or one was never asked for"
                )
                least[i] = first
            writers = [Writer(process, i, least[i]) for i in range(CLIENTS)]
            for writer in writers:
                writer.start()
            time.sleep(rng.uniform(0.0, 0.2))
            process.kill()
            for writer in writers:
                writer.join(60)
            least, most = [w.acknowledged for w in writers], [w.sent for w in writers]
        beside = {file.name for file in path.parent.iterdir()}
        assert beside <= {path.name, f"{path.name}.lock", f".{path.name}.part"}
    return sum(least)


@pytest.mark.slow
def test_what_was_acknowledged_outlives_kills(tmp_path: Path) -> None:
    assert campaign(tmp_path / "state.json", kills=8, seed=1) > 50


@pytest.mark.soak
def test_what_was_acknowledged_outlives_200_kills(tmp_path: Path) -> None:
    made = campaign(tmp_path / "state.json", kills=200, seed=2)
    print(f"200 kills, {made:,} changes acknowledged, none lost")


def test_what_a_killed_writer_left_is_taken_away(tmp_path: Path) -> None:
    left = tmp_path / ".state.json.part"
    left.write_bytes(b'{"kind": "Inf')
    file = StateFile(tmp_path / "state.json")
    assert file.read() is None
    assert not left.exists()
    file.close()


def test_one_file_by_two_names_has_one_lock(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "elsewhere" / "state.json")
    file = StateFile(tmp_path / "elsewhere" / "state.json")
    with pytest.raises(StateFileError, match="in use by another process"):
        StateFile(link)
    file.close()


@pytest.mark.slow
def test_a_second_process_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    with Process("--stateful", "--state", str(path)) as first, first.client() as client:
        client.get("/addModel/m")
        kept = path.read_bytes()
        with Process("--stateful", "--state", str(path)) as second:
            code, said = second.ended()
        assert code == 2
        assert f"{path}: is in use by another process" in said
        assert path.read_bytes() == kept
        assert client.get("/getModels") == ["m"]


GOOD = json.dumps({"kind": "InfernoSystem", "version": 1, "system": {}})


@pytest.mark.slow
@pytest.mark.parametrize("content", [GOOD[:-3], '{"accelerators": []}'], ids=["truncated", "foreign"])
def test_a_file_that_cannot_be_used_is_refused_by_the_process(tmp_path: Path, content: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(content)
    with Process("--stateful", "--state", str(path)) as process:
        code, said = process.ended()
    assert code == 2
    assert str(path) in said
    assert "is no state of an optimizer" in said
    assert path.read_text() == content


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 4096,
        b"\xff\xfe",
        b"[" * 100_000,
        b"null",
        GOOD.replace("1", "2").encode(),
        GOOD.replace("InfernoSystem", "Fleet").encode(),
        GOOD.replace("{}", '{"servers": {"s": {}}}').encode(),
        GOOD.replace("{}", '{"capacity": {"t": 1e400}}').encode(),
        *(GOOD[:end].encode() for end in range(1, len(GOOD), 7)),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_and_stays(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(content)
    file = StateFile(path)
    with pytest.raises(StateFileError, match=r"state\.json: is .*\. (Restore|Name another)"):
        file.read()
    file.close()
    assert path.read_bytes() == content


@pytest.mark.slow
def test_a_full_disk_keeps_the_old_state_in_memory_and_on_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    most = 20_000

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    with Process("--stateful", "--state", str(path), before=small) as process, process.client() as client:
        client.get("/addModel/first")
        kept = path.read_bytes()
        many = [{"name": f"a{i}", "type": "t"} for i in range(1000)]
        status, _, data = client.ask("POST", "/setAccelerators", {"accelerators": many})
        assert status == 500
        said = json.loads(data)["message"]
        assert said.startswith(f"{path}: the state cannot be kept (File too large), so nothing has changed")
        assert client.get("/getAccelerators") == []
        assert path.read_bytes() == kept
        assert not list(tmp_path.glob(".*.part"))
        client.get("/addModel/second")  # what fits is kept again
        process.kill()
    with Process("--stateful", "--state", str(path)) as process, process.client() as client:
        assert client.get("/getModels") == ["first", "second"]


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), 1e13, -1e13, 1.5])
def test_whatever_a_plan_gives_can_be_read_again(tmp_path: Path, value: float) -> None:
    part = PartShape("A", 1, 4, cost=abs(value), itl_average=value, ttft_average=value)
    given = AllocationShape(
        "A", 1, 4, cost=abs(value), itl_average=value, wait_average=value,
        load=LoadShape(arrival_rate=value, throughput=value), mix=(part,),
    )  # fmt: skip
    before = System(servers={"s": ServerShape("s")}, accelerators={"A": AcceleratorShape("A")})
    after = desire(before, {"s": given})(before)
    file = StateFile(tmp_path / "state.json")
    file.write(after)
    assert file.read() == after
    file.close()
    kept = after.servers["s"].desired_alloc
    assert kept is not None
    assert (kept == given) == (value == 1.5)
    assert storable(kept) == kept
    assert msgspec.json.decode(msgspec.json.encode(kept), type=AllocationShape) == kept
