"""The expansion of a ModelBooster against what Kthena's own converters made of the same input.

Equal as data: after empty maps and revision labels are taken out, but for the listed defects.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flyball.boosting.adopt import adopted, same
from flyball.boosting.errors import BoosterError
from flyball.boosting.judge import judge
from flyball.boosting.policy import policy_and_binding
from flyball.boosting.route import model_routes
from flyball.boosting.server import model_server
from flyball.boosting.serving import model_serving
from flyball.boosting.settings import Images
from flyball.wire.errors import WireError
from flyball.wire.kthena import REVISION
from flyball.wire.kthena_booster import ModelBooster, read_booster
from flyball.wire.kthena_meta import Document, plain
from tests.conftest import shared_dir

HEAD, INPUTS, V04, V01 = (
    "generated-head",
    "generated-head-upstream-inputs",
    "generated-v0.4.0",
    "generated-v0.1.0",
)
KIND = "Kthena, "

# ---- what differs: which cases, where, why -----------------------------------------------------------

POD = r"spec\.template\.roles\[\w+\]\.(entry|worker)Template\.spec\."
DIFFERS: list[tuple[str, str, str]] = [
    (
        ".*",
        r"metadata\.labels\.registry\.volcano\.sh/managed-by",
        "the label that the documentation names, too",
    ),
    (
        "01-minimal-hf-emptydir",
        POD + r"(initC|c)ontainers\[[\w-]+\]\.(volumeMounts\[b1-weights\]\.mountPath|args|command)",
        "without cacheURI the original mounts the volume at an empty path",
    ),
    (
        "07-config-flag-quirks",
        POD + r"containers\[engine\]\.command",
        "whole numbers in full, lists as words, objects as JSON, null as no flag",
    ),
    (
        "17-nixl-on-single-server-gpu|example-nixl-.*|testdata-pd-disaggregated-model-mooncake",
        POD + r"containers\[(engine|vllm)\]\.command",
        "quoted for the shell",
    ),
    (
        "testdata-model(-.*)?|testdata-pd-disaggregated-model-with-.*",
        r"spec\.template\.(roles\[\w+\]\.replicas|gangPolicy(\.minRoleReplicas(\.\w+)?)?)",
        "without replicas a role has one, not none",
    ),
    (
        "15-affinity-.*|testdata-model|e04-.*",
        r"spec\.workloadSelector\.matchLabels\.modelserving\.volcano\.sh/entry",
        "workers of an instance answer no requests",
    ),
    (
        ".*",
        r"spec\.template\.roles\[(prefill|decode)\]\.entryTemplate\.spec\."
        r"(terminationGracePeriodSeconds|volumes\[dshm\]|containers\[vllm\]\.(lifecycle|volumeMounts\[dshm\]))",
        "shared memory and preStop in disaggregated pods, too",
    ),
    (
        ".*",
        r"spec\.template\.roles\[prefill\]\.entryTemplate\.spec\.containers\[runtime\]\.envFrom",
        "envFrom in the sidecar of prefill, too",
    ),
    (
        "e04-vllm-two-servers",
        POD + r"containers\[engine\]\.command",
        "of two servers the last in every respect",
    ),
]
DIFFERS_V04 = [
    (".*", r"metadata\.ownerReferences\[\w+\]\.(blockOwnerDeletion|controller)", "v1 has it on all children"),
    (".*", r"spec\.schedulerName", "empty there; v1 leaves it out"),
    (".*", POD + r"containers\[engine\]\.lifecycle\.preStop\.exec\.command", "the script of v1"),
    ("09-spec-name-.*", r"spec\.modelName", "v1 has spec.name as the model's name"),
    ("07-pods-omitted-.*", r"spec\.template\.roles\[leader\]\.workerReplicas", "-1 there"),
]

# ---- comparison ------------------------------------------------------------------------------------


def cases(folder: str) -> list[Path]:
    shared = shared_dir()
    assert shared
    return sorted(path for path in (shared / "vectors" / "kthena" / folder).iterdir() if path.is_dir())


ALL = [case for folder in (HEAD, INPUTS, V04) for case in cases(folder)]


@functools.cache
def load(path: Path) -> Any:
    return yaml.load(path.read_text("utf-8"), Loader=yaml.CSafeLoader)


def booster_of(case: Path) -> ModelBooster:
    return read_booster(load(case / "input.yaml"), case.name)


def cleaned(value: Any) -> Any:
    """Without empty maps and lists, revision labels and what is the cluster's."""
    if isinstance(value, list):
        return [cleaned(one) for one in value]
    if not isinstance(value, dict):
        return value
    left_out = (REVISION, "creationTimestamp", "status")
    found = {key: cleaned(one) for key, one in value.items() if key not in left_out}
    return {key: one for key, one in found.items() if one not in ({}, [])}


def differences(found: Any, expected: Any, path: str = "") -> Iterator[str]:
    """Paths at which two documents differ; items that have a name are named by it."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in sorted(found.keys() | expected.keys()):
            yield from differences(found.get(key), expected.get(key), f"{path}.{key}".removeprefix("."))
    elif named(found) and named(expected) and path.rpartition(".")[2] != "env":
        assert len({*map(name_of, found)}) == len(found)
        left, right = ({name_of(one): one for one in items} for items in (found, expected))
        shared = [name for name in left if name in right]
        if shared != [name for name in right if name in left]:
            yield f"{path}: order"
        for name in sorted(left.keys() | right.keys()):
            yield from differences(left.get(name), right.get(name), f"{path}[{name}]")
    elif found != expected:
        yield path


def named(items: Any) -> bool:
    return isinstance(items, list) and all(isinstance(one, dict) and "name" in one for one in items)


def name_of(item: dict[str, Any]) -> str:
    return str(item["name"])


def rows_for(case: Path) -> list[tuple[str, str, str]]:
    rows = DIFFERS + (DIFFERS_V04 if case.parent.name == V04 else [])
    return [row for row in rows if re.fullmatch(row[0], case.name)]


def children_of(case: Path) -> dict[str, Document | str]:
    """The children by the file in which they are recorded, or the words of their refusal."""
    booster = booster_of(case)
    (route,) = model_routes(booster)
    found: dict[str, Document | str] = {
        "modelserving.yaml": made(model_serving, booster, Images()),
        "modelserver.yaml": made(model_server, booster),
        "modelroute.yaml": route,
    }
    if pair := policy_and_binding(booster):
        found["autoscalingpolicy.yaml"], found["autoscalingpolicybinding.yaml"] = pair
    return found


def differing(case: Path, file: str, child: Document | str) -> list[str]:
    assert not isinstance(child, str), child
    return [*differences(cleaned(plain(child)), cleaned(load(case / file)))]


def made(make: Any, *arguments: Any) -> Document | str:
    """The child, or the words of its refusal."""
    try:
        return make(*arguments)  # type: ignore[no-any-return]
    except BoosterError as error:
        return str(error)


by_name = pytest.mark.parametrize("case", ALL, ids=lambda case: f"{case.parent.name}/{case.name}")


@by_name
def test_children(case: Path, compared: Counter[str]) -> None:
    children, result = children_of(case), load(case / "result.yaml")
    for file, error in (("modelserving.yaml", "modelServingError"), ("modelserver.yaml", "modelServerError")):
        if error in result:
            assert children.pop(file) == result[error]
            compared[KIND + "refusals of children"] += 1
    known = [path for _, path, _ in rows_for(case)]
    for file, child in children.items():
        found = differing(case, file, child)
        assert [path for path in found if not any(re.fullmatch(one, path) for one in known)] == []
        compared[KIND + "children"] += 1
    recorded = {path.name for path in case.glob("*.yaml") if ".defaulted." not in path.name}
    assert recorded == {"input.yaml", "result.yaml", *children}
    compared[KIND + "cases"] += 1


def test_every_listed_difference_occurs() -> None:
    seen = set()
    for case in ALL:
        for file, child in children_of(case).items():
            if not isinstance(child, str):
                paths = differing(case, file, child)
                seen |= {row for row in rows_for(case) if any(re.fullmatch(row[1], path) for path in paths)}
    assert [row for row in DIFFERS + DIFFERS_V04 if row not in seen] == []


# ---- admission -------------------------------------------------------------------------------------

STRICTER = {
    "e18-bad-cache-scheme": "not support prefix in CacheURI: nfs://x/y",
    "e20-empty-pvc-claim": "must include a PVC claim name",
    "testdata-model-with-pods-omitted": "need 2 devices, and 1 x 1 are 1",
    "testdata-pd-disaggregated-model-mooncake": "need 16 devices, and 1 x 2 are 2",
    "testdata-pd-disaggregated-model-npu": "need 16 devices, and 1 x 1 are 1",
}
"""Admitted there, and then without children or pods that could run."""


@by_name
def test_admission(case: Path, compared: Counter[str]) -> None:
    result, verdict = load(case / "result.yaml"), judge(booster_of(case))
    if case.name in STRICTER:
        assert result["webhookAllowed"]
        assert STRICTER[case.name] in verdict.refusal
        return
    assert verdict.refusal == result.get("webhookMessage", "")
    assert result["webhookAllowed"] is (verdict.refusal == "")
    compared[KIND + "admissions"] += 1


# ---- adoption --------------------------------------------------------------------------------------

RESTARTED = r"01-minimal.*|07-config.*|17-nixl.*|.*-pd-.*|.*disagg.*|e04.*|e1[024].*"
"""Cases whose pods differ by a listed defect."""
TAKEN_OVER = [
    case
    for case in cases(HEAD) + cases(INPUTS)
    if (case / "modelserving.defaulted.yaml").exists() and not re.fullmatch(RESTARTED, case.name)
]


@pytest.mark.parametrize("case", TAKEN_OVER, ids=lambda case: case.name)
def test_what_kthena_made_is_taken_over_without_a_restart(case: Path, compared: Counter[str]) -> None:
    for kind in ("modelserving", "modelserver", "modelroute"):
        existing, child = load(case / f"{kind}.defaulted.yaml"), children_of(case)[f"{kind}.yaml"]
        assert not isinstance(child, str)
        taken = adopted(existing, plain(child))
        if kind == "modelserving":
            before, after = (one["spec"]["template"]["roles"] for one in (existing, taken))
            assert [*map(pods_of, before)] == [*map(pods_of, after)]
        if same(existing, taken):
            assert taken["metadata"]["labels"][REVISION] == existing["metadata"]["labels"][REVISION]
        else:
            assert case.name.startswith(("testdata-model", "15-affinity")), "replicas or entry differ there"
        compared[KIND + "taken over"] += 1


def pods_of(role: dict[str, Any]) -> Any:
    """What decides whether the pods of a role restart: labels with the revision, and the spec."""
    templates = [role["entryTemplate"], role["workerTemplate"]]
    labels = [one.get("metadata", {}).get("labels") for one in templates]
    return role["name"], labels, [cleaned(without_protocol(one["spec"])) for one in templates]


def without_protocol(value: Any) -> Any:
    """What the API server adds to ports."""
    if isinstance(value, list):
        return [without_protocol(one) for one in value]
    if isinstance(value, dict):
        return {key: without_protocol(one) for key, one in value.items() if key != "protocol"}
    return value


# ---- v0.1 ------------------------------------------------------------------------------------------


def test_lora_of_the_first_generation(compared: Counter[str]) -> None:
    """One backend is read; its other pods differ by version, its downloads, flags and route do not."""
    case = cases(V01)[0]
    booster = booster_of(case)
    expected = load(case / "modelserving-0.yaml")["spec"]["template"]["roles"][0]["entryTemplate"]["spec"]
    serving = plain(model_serving(booster, Images()))
    found = serving["spec"]["template"]["roles"][0]["entryTemplate"]["spec"]
    assert found["initContainers"] == cleaned(expected["initContainers"])
    assert found["containers"][1]["command"][-4:] == expected["containers"][1]["command"][-4:]
    route = cleaned(load(case / "modelroute.yaml"))
    paths = [*differences(cleaned(plain(model_routes(booster)[0])), route)]
    owner = "metadata.ownerReferences[lora1]"
    assert sorted(paths) == [
        "metadata.labels.registry.volcano.sh/managed-by",
        f"{owner}.blockOwnerDeletion",
        f"{owner}.controller",
        "spec.rules[default].targetModels",  # the weight 100 there, which is the default
    ]
    compared[KIND + "parts of v0.1"] += 3


def test_several_backends_are_refused_with_the_mend() -> None:
    with pytest.raises(WireError, match="Write one ModelBooster for each"):
        booster_of(cases(V01)[1])
