"""Flags, selectors and cards in pod templates: set, put back, and refused where that would not be safe."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.adapters.kubernetes.engine import said_by
from flyball.adapters.kubernetes.governed import Settings
from flyball.adapters.kubernetes.objects import PodSpec
from flyball.adapters.kubernetes.template import (
    Edit,
    Unsafe,
    batch_flag,
    edits_of,
    said_of,
    settings_of,
    with_cards,
)

BATCH = "--max-num-seqs"
GPU = "nvidia.com/gpu"
KEY = "nvidia.com/gpu.product"


def template(*containers: dict[str, Any], **more: Any) -> PodSpec:
    return msgspec.convert({"containers": list(containers), **more}, PodSpec)


def vllm(*args: str, **more: Any) -> dict[str, Any]:
    limits = {"limits": {GPU: "1"}}
    return {"name": "e", "image": "vllm/vllm-openai", "args": list(args), "resources": limits, **more}


def edited(spec: PodSpec, edits: tuple[Edit, ...]) -> PodSpec:
    """As the API server would edit it."""
    whole = {"spec": {"template": {"spec": msgspec.to_builtins(spec)}}}
    for edit in edits:
        *path, last = [
            part.replace("~1", "/").replace("~0", "~") for part in edit.path.removeprefix("/").split("/")
        ]
        at: Any = whole
        for part in path:
            at = at[int(part)] if isinstance(at, list) else at[part]
        assert (at.get(last) or None) == edit.was
        at[last] = edit.value
    cleaned = msgspec.json.decode(msgspec.json.encode(whole))["spec"]["template"]["spec"]
    for one in cleaned["containers"]:
        for field in ("args", "command"):
            one[field] = one[field] or []
    return msgspec.convert(cleaned, PodSpec)


@pytest.mark.parametrize(
    ("container", "field", "becomes"),
    [
        (vllm("--model", "m", BATCH, "64"), "args", ["--model", "m", BATCH, "96"]),
        (vllm(f"{BATCH}=64", "--model=m"), "args", [f"{BATCH}=96", "--model=m"]),
        (vllm("--model", "m"), "args", ["--model", "m", BATCH, "96"]),
        (vllm("64", command=["vllm", "serve", "m", BATCH]), "args", ["96"]),
        (vllm(command=["vllm", "serve", "m"]), "args", [BATCH, "96"]),
        (
            vllm(command=["/usr/bin/vllm", "serve", "m", f"{BATCH}=64"]),
            "command",
            ["/usr/bin/vllm", "serve", "m", f"{BATCH}=96"],
        ),
        (
            vllm("-c", f"sleep 64; exec vllm serve m \\\n  {BATCH} '64' --port 64"),
            "args",
            ["-c", f"sleep 64; exec vllm serve m \\\n  {BATCH} '96' --port 64"],
        ),
        (vllm(f"vllm serve m {BATCH}=64", command=["sh", "-c"]), "args", [f"vllm serve m {BATCH}=96"]),
        (
            {"name": "s", "image": "sglang", "args": ["--model-path", "m"], "resources": {}},
            "args",
            ["--model-path", "m", "--max-running-requests", "96"],
        ),
    ],
)
def test_the_batch_is_set_where_the_engine_reads_it_and_put_back(
    container: dict[str, Any], field: str, becomes: list[str]
) -> None:
    side = {"name": "side", "args": ["--max-num-seqs-x", "1"]}
    spec = template(side, container)
    flag = batch_flag(spec)
    wanted = Settings(flags={flag: "96"})
    found = settings_of(spec, wanted)
    (edit,) = edits_of(spec, wanted)
    assert edit.path == f"/spec/template/spec/containers/1/{field}"
    after = edited(spec, (edit,))
    assert getattr(after.containers[1], field) == becomes
    assert said_by(after.containers[1])[1] == 96
    assert edits_of(after, wanted) == ()
    assert edited(after, edits_of(after, found)) == spec


@given(
    st.lists(st.sampled_from(["--model", "m", "--port", "80", "--x=1"]), min_size=1, max_size=6),
    st.integers(1, 9999),
    st.sampled_from([None, "apart", "equals"]),
    st.integers(0, 6),
)
def test_any_batch_is_read_back_and_taken_back(
    words: list[str], batch: int, form: str | None, at: int
) -> None:
    flag = [] if form is None else [BATCH, "64"] if form == "apart" else [f"{BATCH}=64"]
    spec = template(vllm(*words[:at], *flag, *words[at:]))
    wanted = Settings(flags={BATCH: str(batch)})
    after = edited(spec, edits_of(spec, wanted))
    assert settings_of(after, wanted) == wanted
    assert edited(after, edits_of(after, settings_of(spec, wanted))) == spec


@pytest.mark.parametrize(
    ("container", "said"),
    [
        (vllm("vllm serve m", command=["/bin/bash", "-c"]), "in the script"),
        (vllm(f"vllm serve m {BATCH} $SEQS", command=["sh", "-c"]), 'is "$SEQS" and no number'),
        (vllm("-c", f"# {BATCH} 8\nvllm serve m"), "no number"),
        (vllm("--model", "m", BATCH, "$(SEQS)"), 'is "$(SEQS)" and no number'),
        (vllm(f"{BATCH}=8", BATCH, "64"), "2 times"),
        (vllm(), "the image's would be lost"),
        (vllm("--model", "m", command=["/start"]), "may pass no arguments on"),
        (vllm("--model", "m", image="mine"), "which engine it is"),
        (
            vllm("-c", "vllm serve m $MORE", env=[{"name": "MORE", "value": f"{BATCH} 8"}]),
            "comes from an environment variable",
        ),
    ],
)
def test_what_cannot_be_written_safely_is_refused_with_what_to_do(
    container: dict[str, Any], said: str
) -> None:
    with pytest.raises(Unsafe, match=said.replace("$", r"\$").replace("(", r"\(").replace(")", r"\)")):
        batch_flag(template(container))


def test_cards_are_changed_in_limits_requests_and_parallelism_alike() -> None:
    resources = {"limits": {GPU: "2", "cpu": "8"}, "requests": {GPU: 2}}
    spec = template(vllm("--model", "m", "--tensor-parallel-size=2", resources=resources))
    assert with_cards(spec, GPU, 2) == Settings()
    wanted = with_cards(spec, GPU, 4)
    after = edited(spec, edits_of(spec, wanted))
    (container,) = after.containers
    assert container.args[-1] == "--tensor-parallel-size=4"
    assert (container.resources.limits, container.resources.requests) == ({GPU: "4", "cpu": "8"}, {GPU: 4})
    assert said_of(spec, wanted) == f"args --tensor-parallel-size 2 to 4, {GPU} 2 to 4"
    assert edited(after, edits_of(after, settings_of(spec, wanted))) == spec


@pytest.mark.parametrize(
    ("containers", "said"),
    [
        ([vllm("--model", "m")], "would not use 2 cards"),
        ([vllm("--tp", "4")], "is not its number of cards, 1"),
        ([vllm("--tp", "2", "--model", "m"), vllm()], "2 of its containers ask for"),
    ],
)
def test_cards_that_the_engine_would_not_use_are_not_given(
    containers: list[dict[str, Any]], said: str
) -> None:
    with pytest.raises(Unsafe, match=said):
        with_cards(template(*containers), GPU, 4 if len(containers) > 1 else 2)


def test_the_selector_keeps_its_key_and_all_else() -> None:
    spec = template(vllm("--model", "m"), nodeSelector={KEY: "A", "zone": "z"})
    (edit,) = edits_of(spec, Settings(selector={KEY: "B"}))
    assert edit == Edit("/spec/template/spec/nodeSelector/nvidia.com~1gpu.product", "A", "B")
    assert edit.operations()[0] == {"op": "test", "path": edit.path, "value": "A"}
    with pytest.raises(Unsafe, match="by hand"):
        edits_of(spec, Settings(selector={"other": "B"}))
