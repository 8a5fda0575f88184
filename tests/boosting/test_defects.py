"""What Kthena's expansion gets wrong, and what is made instead: the rows of docs/deviations.md."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.boosting.config import flags
from flyball.wire.kthena import DOCUMENTED_MANAGED_BY, ENTRY, MANAGED_BY
from tests.boosting.samples import (
    GPU,
    NIXL,
    booster,
    children,
    command,
    container,
    disaggregated,
    pods,
    worker,
)

WORDS = {
    "kv-transfer-config": NIXL % "kv_both",
    "spaced": "two  words",
    "quotes": """it's "so" $(id) `id` \\n""",
    "star": "*",
    "b-lines": "one\ntwo",
}
ENGINE = ["-m", "vllm.entrypoints.openai.api_server", "--model", "/cache/0a0d0a"]
RECORDER = '#!/bin/sh\nprintf "%s\\0" "$(basename "$0")" "$@" >> "$RECORD"; printf "\\n\\0" >> "$RECORD"\n'


def argvs(script: list[str], path: Path) -> list[list[str]]:
    """What a real shell starts, in order: the name of each program and its arguments."""
    bin_ = path / "bin"
    node = path / "examples" / "online_serving"
    for folder in (bin_, node):
        folder.mkdir(parents=True)
    for file in (bin_ / "python3", bin_ / "pip", node / "multi-node-serving.sh"):
        file.write_text(RECORDER)
        file.chmod(0o644 if file.suffix else 0o755)  # the script is made executable by the command itself
    env = {"PATH": f"{bin_}:{os.environ['PATH']}", "RECORD": str(path / "record")}
    subprocess.run(script, cwd=path, env=env, check=True, timeout=60)
    calls = (path / "record").read_text().split("\0\n\0")
    return [call.split("\0") for call in calls if call]


def expected_flags() -> list[str]:
    return [word for name in sorted(WORDS) for word in (f"--{name}", WORDS[name])]


def test_flags_reach_the_engine_through_the_shell_as_they_are(tmp_path: Path) -> None:
    script = command(booster([worker(resources=GPU, config=WORDS)]))
    assert script[:2] == ["bash", "-c"]
    pip, engine = argvs(script, tmp_path)
    assert pip == ["pip", "install", "-U", "--no-cache-dir", "nixl"]
    assert engine[:4] == ["python3", *ENGINE[:3]]
    assert engine[5:] == expected_flags()


def test_flags_reach_the_engine_of_a_ray_cluster_as_they_are(tmp_path: Path) -> None:
    config = WORDS | {"kv-transfer-config": WORDS["kv-transfer-config"].replace("Nixl", "Mooncake")}
    script = command(booster([worker(pods=3, resources=GPU, config=config)]))
    pip, leader, engine = argvs(script, tmp_path)
    assert pip == ["pip", "install", "mooncake-transfer-engine"]
    assert leader == ["multi-node-serving.sh", "leader", "--ray_cluster_size=3", "--num-gpus=1"]
    transfer = engine.index("--kv-transfer-config")
    assert engine[transfer + 1] == config["kv-transfer-config"]
    assert engine[-2:] == ["--distributed_executor_backend", "ray"]
    assert len(engine) == 5 + len(expected_flags()) + 2


def test_flags_of_disaggregated_engines_reach_them_as_they_are(tmp_path: Path) -> None:
    roles = {"prefill": "kv_producer", "decode": "kv_consumer"}
    fields = [{"resources": GPU, "config": {"kv-transfer-config": NIXL % kind}} for kind in roles.values()]
    made = disaggregated(*fields)
    for role, kind in roles.items():
        (tmp_path / role).mkdir()
        _, engine = argvs(command(made, role, "vllm"), tmp_path / role)
        assert engine[-2:] == ["--kv-transfer-config", NIXL % kind]


def test_the_worker_of_a_ray_cluster_joins_it(tmp_path: Path) -> None:
    script = command(booster([worker(pods=2)]), "leader-worker", "b1-vllm-worker")
    filled = [word.replace("$(ENTRY_ADDRESS)", "chat-b1-0.serving") for word in script]  # by Kubernetes
    assert argvs(filled, tmp_path) == [["multi-node-serving.sh", "worker", "--ray_address=chat-b1-0.serving"]]


def test_whole_numbers_are_written_in_full() -> None:
    numbers = {
        "a": 1_000_000,
        "b": 1_048_576,
        "c": 1e6,
        "d": 0.9,
        "e": -5,
        "f": 1e22,
        "g": 131_072,
        "h": 2**60,
    }
    values = [*flags(numbers)][1::2]
    assert values == ["1000000", "1048576", "1000000", "0.9", "-5", "1e+22", "131072", str(2**60)]


@given(st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_is_read_back_as_it_was(value: float) -> None:
    (_, text) = flags({"n": value})
    assert float(text) == float(value)
    if isinstance(value, int):
        assert int(text) == value


def test_objects_and_lists_are_no_go_maps() -> None:
    inner: dict[str, Any] = {"b": 1, "a": [1, "x", None, True]}
    assert [*flags({"o": inner})] == ["--o", '{"a":[1,"x",null,true],"b":1}']
    assert [*flags({"l": ["p", "q", 3]})] == ["--l", "p", "q", "3"]
    assert json.loads([*flags({"l": [inner]})][1]) == [inner]
    assert [*flags({"null": None, "none": [], "bare": "", "yes": True})] == ["--bare", "--yes", "true"]


def test_without_cache_uri_the_volume_is_mounted_somewhere() -> None:
    pod = pods(booster(cacheURI=None))["leader"]
    mounts = [
        one for of in (*pod["containers"], *pod["initContainers"]) for one in of.get("volumeMounts", [])
    ]
    assert {one["mountPath"] for one in mounts} == {"/models", "/dev/shm"}
    directory = pod["initContainers"][0]["args"][-1]
    assert directory.startswith("/models/")
    assert directory in container(pod, "engine")["command"]


def test_a_role_without_replicas_has_one() -> None:
    for fields, count in (({"replicas": None}, 1), ({"replicas": 0}, 0), ({"replicas": 4}, 4)):
        given = {key: one for key, one in worker(**fields).items() if one is not None}
        template = children(booster([given]))["ModelServing"]["spec"]["template"]
        assert template["roles"][0]["replicas"] == count
        assert template["gangPolicy"] == {"minRoleReplicas": {"leader": count}}


def test_pods_left_out_are_one() -> None:
    (role,) = children(booster([worker()]))["ModelServing"]["spec"]["template"]["roles"]
    assert role["workerReplicas"] == 0


@pytest.mark.parametrize(("count", "only_entry"), [(1, False), (2, True)])
def test_workers_of_a_ray_cluster_are_no_endpoints(count: int, only_entry: bool) -> None:
    selector = children(booster([worker(pods=count)]))["ModelServer"]["spec"]["workloadSelector"]
    assert (selector["matchLabels"].get(ENTRY) == "true") is only_entry


def test_both_sidecars_of_a_disaggregated_model_have_the_secrets() -> None:
    secrets = [{"secretRef": {"name": "tokens"}}]
    found = pods(disaggregated(envFrom=secrets))
    for role in ("prefill", "decode"):
        assert container(found[role], "runtime")["envFrom"] == secrets


def test_disaggregated_pods_have_shared_memory() -> None:
    found = pods(disaggregated())
    for role in ("prefill", "decode"):
        assert {"name": "dshm", "emptyDir": {"medium": "Memory"}} in found[role]["volumes"]
        assert {"name": "dshm", "mountPath": "/dev/shm"} in container(found[role], "vllm")["volumeMounts"]


def test_disaggregated_pods_end_their_requests_before_they_stop() -> None:
    found = pods(disaggregated({"config": {"port": 9000}}, {"config": {"port": 9000}}))
    alone = container(pods(booster([worker(config={"port": 9000})]))["leader"], "engine")["lifecycle"]
    for role in ("prefill", "decode"):
        assert container(found[role], "vllm")["lifecycle"] == alone
        assert found[role]["terminationGracePeriodSeconds"] == 300


def test_the_script_that_waits_is_one_for_a_real_shell(tmp_path: Path) -> None:
    """Idle, it ends at once; without metrics as well."""
    script = container(pods(booster())["leader"], "engine")["lifecycle"]["preStop"]["exec"]["command"]
    idle = '# HELP vllm:num_requests_running x\nvllm:num_requests_running{a="b"} 0.0\n'
    for name, answer in {"idle": idle + idle.replace("running", "waiting"), "gone": ""}.items():
        folder = tmp_path / name
        folder.mkdir()
        curl = folder / "curl"
        (folder / "answer").write_text(answer)
        curl.write_text(f"#!/bin/sh\ncat {folder}/answer\n")
        curl.chmod(0o755)
        local = [word.replace("/proc/1/fd/1", str(folder / "log")) for word in script]
        subprocess.run(local, env={"PATH": f"{folder}:{os.environ['PATH']}"}, check=True, timeout=60)
        said = (folder / "log").read_text()
        assert ("safe to terminate" if name == "idle" else "unavailable") in said


def test_children_carry_both_labels_of_their_manager_and_pods_only_one() -> None:
    found = children(booster())
    for child in found.values():
        labels = child["metadata"]["labels"]
        assert labels[MANAGED_BY] == "workload.serving.volcano.sh"
        assert labels[DOCUMENTED_MANAGED_BY] == "registry.volcano.sh"
    (role,) = found["ModelServing"]["spec"]["template"]["roles"]
    assert DOCUMENTED_MANAGED_BY not in role["entryTemplate"]["metadata"]["labels"]
