"""`flyball boost` and `flyball boost render`, as they are typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml

from flyball.adapters.kubernetes.errors import ApiError, Conflict, NotFound
from flyball.boosting import asked
from flyball.boosting.asked import asked_of
from flyball.commands.boost import name_of
from flyball.commands.boost_render import title_of
from flyball.wire.kthena import ANNOTATIONS
from flyball.wire.kthena_booster import read_booster
from flyball.wire.manifests import manifest
from tests.boosting.samples import GPU, document, worker
from tests.commands.terminal import Outcome, flyball, process

MODEL = "meta-llama/Llama-3.1-8B"
TARGETS = ("--ttft", "p95<1s", "--itl", "p95<50ms")
NODE = {
    "metadata": {"name": "n1", "labels": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}},
    "status": {"allocatable": {"nvidia.com/gpu": "8"}, "conditions": [{"type": "Ready", "status": "True"}]},
}


def rendered(*documents: dict[str, Any], options: tuple[object, ...] = ()) -> Outcome:
    return flyball("boost", "render", "-", *options, stdin="---\n".join(map(manifest, documents)).encode())


def children(done: Outcome) -> dict[str, dict[str, Any]]:
    assert done.code == 0, done.err
    return {one["kind"]: one for one in yaml.safe_load_all(done.out)}


def sample(name: str = "chat", **backend: Any) -> dict[str, Any]:
    made = document([worker(resources=GPU)], **backend)
    made["metadata"]["name"] = name
    return made


# ---- boost -------------------------------------------------------------------------------------------


def test_a_dry_run_prints_the_object_and_aside_the_options() -> None:
    said = ("--rate", "1200/min", "--min", 1, "--max", 9, "--class", "Chat", "--cards", "H100,A100")
    done = flyball("boost", MODEL, *TARGETS, *said, "--namespace", "serving", "--dry-run")
    assert done.code == 0
    (made,) = yaml.safe_load_all(done.out)
    assert made == {
        "apiVersion": "workload.serving.volcano.sh/v1alpha1",
        "kind": "ModelBooster",
        "metadata": {
            "name": "llama-3-1-8b",
            "namespace": "serving",
            "annotations": {
                "flyball.dev/class": "Chat",
                "flyball.dev/ttft": "p95<1s",
                "flyball.dev/itl": "p95<50ms",
                "flyball.dev/rate": "1200/min",
                "flyball.dev/accelerator": "H100,A100",
                "flyball.dev/min-replicas": "1",
                "flyball.dev/max-replicas": "9",
            },
        },
        "spec": {
            "backend": {
                "name": "vllm",
                "type": "vLLM",
                "modelURI": f"hf://{MODEL}",
                "replicas": 2,
                "workers": [{"type": "server"}],
            }
        },
    }
    booster = read_booster(made, "it")
    assert (booster.spec.backend.min_replicas, booster.spec.backend.max_replicas) == (1, 9)
    assert asked_of(booster).rate == 20.0
    assert " >  2 x H100" in done.err
    assert "2 x H100, batch 256 at $4,365/month costs least: 20/s" in done.err
    assert "Next best: 4 x A100" in done.err


def test_what_a_dry_run_prints_can_be_rendered() -> None:
    done = flyball("boost", "Llama-3.1-70B", *TARGETS, "--cards", "H100x4", "--dry-run", "--engine", "sglang")
    found = flyball("boost", "render", "-", stdin=done.out.encode())
    serving = children(found)["ModelServing"]
    (role,) = serving["spec"]["template"]["roles"]
    engine = role["entryTemplate"]["spec"]["containers"][1]
    assert engine["resources"]["limits"] == {"nvidia.com/gpu": "4"}
    assert "--tp-size" in engine["command"]
    assert serving["metadata"]["annotations"]["flyball.dev/model"] == "meta-llama/Llama-3.1-70B"
    assert "ModelBooster llama-3-1-70b: 1 x H100x4, batch 256 at $" in found.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((MODEL,), "nothing is promised: give --ttft, --itl or --class"),
        (("Lama-3.1-8B", *TARGETS), 'MODEL is "Lama-3.1-8B": there is no such model. Near: Llama-3.1-8B'),
        (
            ("Llama-3.1-8B-FP8", *TARGETS),
            "has no organisation. Such as meta-llama/Llama-3.1-8B, or hf://ORG/",
        ),
        (("acme/unheard-of", *TARGETS), 'model is "acme/unheard-of": there is no such model'),
        ((MODEL, "--ttft", "soon"), '--ttft is "soon"'),
        ((MODEL, "--ttft", "p95<1ms"), "no card reaches ttft p95 < 1ms"),
        ((MODEL, "--class", "Gold"), '--class is "Gold": there is no such class'),
        ((MODEL, *TARGETS, "--rate", "3/d"), '--rate is "3/d"'),
        ((MODEL, *TARGETS, "--cards", "H1000"), '--cards is "H1000": there is no such card'),
        ((MODEL, *TARGETS, "--cards", "MI300X"), "Name an image for these cards"),
        ((MODEL, *TARGETS, "--min", 3, "--max", 2), "minReplicas cannot be greater than maxReplicas"),
        ((MODEL, *TARGETS, "--name", "8b"), "is no DNS label"),
        ((f"pvc://models/{MODEL}", *TARGETS), "cacheURI must also use pvc://"),
    ],
)
def test_what_is_wrong_is_said_in_terms_of_options(words: tuple[object, ...], message: str) -> None:
    done = flyball("boost", *words, "--dry-run")
    assert (done.code, done.out) == (2, "")
    assert message in done.err


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("Qwen/Qwen3-8B", "qwen3-8b"),
        ("hf://a/Meta_Llama-3.1-8B-Instruct/", "meta-llama-3-1-8b-instruct"),
        ("x/8B", "model-8b"),
        ("x/" + "a-" * 40, ("a-" * 20).strip("-")),
        ("x/-", "model"),
    ],
)
def test_objects_are_named_after_models(model: str, name: str) -> None:
    assert name_of(model) == name


class FakeApi:
    """A cluster with one node of eight H100, which keeps what is applied."""

    namespace = "mine"

    def __init__(self, refuse: ApiError | None = None, forbid: bool = False) -> None:
        self.refuse, self.forbid = refuse, forbid
        self.applied: list[tuple[str, dict[str, Any], str, bool]] = []

    def items(self, path: str, kind: Any, **_: object) -> list[Any]:
        import msgspec

        if self.forbid:
            raise ApiError("GET", path, 403, "Forbidden", "nodes is forbidden")
        return [msgspec.convert(NODE, kind)] if path.endswith("/nodes") else []

    def apply(self, path: str, body: dict[str, Any], _: Any, manager: str, force: bool = True) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.applied.append((path, body, manager, force))

    def close(self) -> None:
        pass


def on(api: FakeApi, *words: object) -> Outcome:
    with mock.patch("flyball.adapters.kubernetes.api.Api", return_value=api):
        return flyball("boost", MODEL, *TARGETS, *words)


def test_the_object_is_applied_and_chosen_from_the_cards_that_there_are() -> None:
    api = FakeApi()
    done = on(api, "--rate", "20", "--name", "chat")
    assert done.code == 0
    ((path, body, manager, force),) = api.applied
    root = "/apis/workload.serving.volcano.sh/v1alpha1/namespaces/mine/modelboosters"
    assert (path, manager, force) == (f"{root}/chat", "flyball-boost", False)
    assert body["metadata"]["namespace"] == "mine"
    assert " >  2 x H100" in done.out
    assert "A100" not in done.out
    assert "ModelBooster mine/chat is written" in done.err
    anywhere = on(FakeApi(forbid=True), "--rate", "20")
    assert "B200" in anywhere.out


def test_as_yaml_the_object_alone_is_on_standard_output() -> None:
    api = FakeApi()
    done = on(api, "--namespace", "serving", "--output", "yaml")
    assert yaml.safe_load(done.out) == api.applied[0][1]
    assert api.applied[0][1]["metadata"]["namespace"] == "serving"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            NotFound("PATCH", "/x", 404, "NotFound", "no such kind"),
            "flyball crds modelbooster | kubectl apply",
        ),
        (Conflict("PATCH", "/x", 409, "Conflict", "kubectl owns it"), "kubectl owns it"),
        (ApiError("PATCH", "/x", 403, "Forbidden", "not you"), "not you"),
    ],
)
def test_a_cluster_that_refuses_is_named(error: ApiError, message: str) -> None:
    done = on(FakeApi(error))
    assert done.code == 5
    assert message in done.err


# ---- render ------------------------------------------------------------------------------------------


def test_children_are_printed() -> None:
    found = children(rendered(sample()))
    assert [*found] == ["ModelServing", "ModelServer", "ModelRoute"]
    assert found["ModelServing"]["metadata"]["ownerReferences"][0]["uid"] == "u-1"


def test_several_documents_files_and_lists_are_read(tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.json"
    one.write_text(manifest(sample("a")) + "---\nkind: ConfigMap\n---\n" + manifest(sample("b")))
    two.write_text(yaml.safe_dump({"kind": "ModelBoosterList", "items": [sample("c")]}))
    done = flyball("boost", "render", one, two)
    names = [each["metadata"]["name"] for each in yaml.safe_load_all(done.out)]
    assert names == [x for name in "abc" for x in (f"{name}-b1", f"{name}-b1", name)]
    assert "passed over: ConfigMap" in done.err


def test_policies_and_images_can_be_said() -> None:
    policy = {"metrics": [{"metricName": "m", "targetValue": 3}]}
    made = sample(minReplicas=1, maxReplicas=3, replicas=None)
    made["spec"]["autoscalingPolicy"] = policy
    kinds = {
        one: [*children(rendered(made, options=("--policies", one)))][3:] for one in ("v0.4", "v1", "none")
    }
    assert kinds == {
        "v0.4": ["AutoscalingPolicy", "AutoscalingPolicyBinding"],
        "v1": ["AutoscalingPolicy"],
        "none": [],
    }
    assert "serves no AutoscalingPolicy" in rendered(made, options=("--policies", "none")).err
    images = ("--images", "downloader=x/d:1,runtime=y/r:2")
    (role,) = children(rendered(sample(), options=images))["ModelServing"]["spec"]["template"]["roles"]
    pod = role["entryTemplate"]["spec"]
    assert [pod["initContainers"][0]["image"], pod["containers"][0]["image"]] == ["x/d:1", "y/r:2"]


def test_what_was_never_stored_has_no_owner_and_selects_its_own_pods() -> None:
    made = [sample("a"), sample("b")]
    for one in made:
        del one["metadata"]["uid"]
    documents = [*yaml.safe_load_all(rendered(*made).out)]
    assert all("ownerReferences" not in one["metadata"] for one in documents)
    key = "workload.serving.volcano.sh/model-uid"
    servers = [
        one["spec"]["workloadSelector"]["matchLabels"][key]
        for one in documents
        if one["kind"] == "ModelServer"
    ]
    servings = [one["metadata"]["labels"][key] for one in documents if one["kind"] == "ModelServing"]
    assert servers == servings
    assert len({*servers}) == 2


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"type": "MindIE"}, (), "ModelBooster serving/chat: validation failed:"),
        ({"workers": [{"type": "server", "image": "a b"}]}, (), "image cannot contain whitespace"),
        ({"modelURI": 3}, (), "standard input: spec.backend.modelURI"),
        ({}, ("--images", "downloader"), "allowed is downloader=IMAGE,runtime=IMAGE"),
        ({}, ("--images", "loader=x"), '--images is "loader": there is no such image. Near: downloader'),
    ],
)
def test_what_is_refused_is_said(change: dict[str, Any], options: tuple[str, ...], message: str) -> None:
    made = sample()
    made["spec"]["backend"] |= change
    done = rendered(made, options=options)
    assert (done.code, done.out) == (2, "")
    assert message in done.err


def test_where_there_is_no_booster_that_is_said(tmp_path: Path) -> None:
    assert "no file is given" in flyball("boost", "render").err
    assert "there is no ModelBooster in it" in flyball("boost", "render", "-", stdin=b"kind: Pod\n").err
    gone = flyball("boost", "render", tmp_path / "gone.yaml")
    assert (gone.code, "cannot be read" in gone.err) == (2, True)


def test_a_booster_that_cannot_be_sized_says_why() -> None:
    made = document([{"type": "server"}], None, {"flyball.dev/ttft": "p95<1ms"})
    done = rendered(made)
    assert done.code == 2
    assert "ModelBooster serving/chat: targets is" in done.err
    assert title_of(read_booster(made, "it")) == "ModelBooster serving/chat"


def test_help_has_examples() -> None:
    for words in (("boost",), ("boost", "render")):
        done = flyball(*words, "--help")
        assert done.code == 0
        assert "Examples" in done.out


@pytest.mark.slow
def test_as_a_process_it_reads_standard_input() -> None:
    done = process("boost", "render", "-", stdin=manifest(sample()).encode())
    assert [*children(done)] == ["ModelServing", "ModelServer", "ModelRoute"]


GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "modelbooster.md").read_text("utf-8")


def test_the_object_of_the_guide_can_be_rendered() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    found = children(flyball("boost", "render", "-", stdin=text.encode()))
    assert found["ModelServing"]["metadata"]["annotations"]["flyball.dev/asked-by"] == "chat"


def test_the_commands_of_the_guide_work() -> None:
    for line in re.findall(r"^    flyball (boost .* --dry-run) > booster.yaml$", GUIDE, re.MULTILINE):
        done = flyball(*shlex.split(line))
        for command in re.findall(r"^    flyball (boost render booster.yaml.*)$", GUIDE, re.MULTILINE):
            words = ["-" if word == "booster.yaml" else word for word in shlex.split(command)]
            assert children(flyball(*words, stdin=done.out.encode()))


def test_the_guide_has_every_annotation_and_field() -> None:
    said = {
        value for name, value in vars(asked).items() if name.isupper() and str(value).startswith(asked.OWN)
    }
    written = said - {asked.OWN, asked.ASKED_BY, asked.MIN, asked.MAX}
    for key in written | set(ANNOTATIONS):
        assert f"`{key}`" in GUIDE, key
