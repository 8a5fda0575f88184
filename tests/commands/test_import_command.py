"""`flyball import wva`, as it is typed."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from flyball.adapters.kubernetes.labels import Said, said_by
from flyball.adapters.kubernetes.objects import Metadata
from flyball.wire.kinds.documents import Objects, read_namespace
from flyball.wire.kinds.inferno import DEFINITIONS
from flyball.wire.kinds.kind import Definition
from flyball.wire.text import decode, encode_yaml
from flyball.wire.wva_objects import FIELDS
from tests.commands.terminal import flyball
from tests.wire.wva_samples import CLASSES, LLAMA, PRICES, Document, bare, profiled, single

ANNOTATE = "# kubectl annotate"


def file(folder: Path, *objects: Document) -> Path:
    path = folder / "given.yaml"
    path.write_text("---\n".join(map(encode_yaml, objects)), encoding="utf-8")
    return path


def objects_in(text: str) -> list[Document]:
    found = [decode(part.encode(), "printed") for part in text.split("---\n")]
    assert all(isinstance(one, dict) for one in found)
    return found  # type: ignore[return-value]


def test_objects_are_printed_as_the_operator_reads_them(tmp_path: Path) -> None:
    done = flyball("import", "wva", file(tmp_path, profiled(), PRICES, CLASSES))
    assert done.code == 0
    found = objects_in(done.out)
    known: dict[str, Definition] = {d.kind: d for d in DEFINITIONS}
    assert all(f"{known[one['kind']].group}/v1alpha1" == one["apiVersion"] for one in found)
    sorted_ = {f: tuple(o for o in found if o["kind"] == kind) for f, kind in FIELDS.items()}
    read = read_namespace(Objects(**sorted_))
    assert read.errors == read.blocked == {}
    assert [s.name for s in read.fleet.servers] == ["chat"]
    assert "# kubectl label deployment chat -n infer --overwrite inferno.server.name=chat" in done.out
    assert "infer/chat" in done.err
    assert "Premium" in done.err


def test_bounds_of_variants_are_said_workload_by_workload(tmp_path: Path) -> None:
    given = file(
        tmp_path,
        *(single("a", "chat-a", "A100", maxReplicas=3), single("b", "chat-b", "H100", minReplicas=2)),
        *(PRICES, CLASSES),
    )
    done = flyball("import", "wva", given)
    assert (
        f"{ANNOTATE} deployment chat-a -n infer --overwrite flyball.dev/accelerator=A100 flyball.dev/max=3"
        in done.out
    )
    assert (
        f"{ANNOTATE} deployment chat-b -n infer --overwrite flyball.dev/accelerator=H100 flyball.dev/min=2"
        in done.out
    )
    assert "# kubectl label deployment chat-b -n infer --overwrite inferno.server.name=chat-a" in done.out


def test_annotations_say_the_same_without_objects(tmp_path: Path) -> None:
    done = flyball("import", "wva", file(tmp_path, profiled(), PRICES, CLASSES), "--as", "annotations")
    assert done.code == 0
    label, annotate = (shlex.split(line) for line in done.out.splitlines())
    assert label[:7] == ["kubectl", "label", "deployment", "chat", "-n", "infer", "--overwrite"]
    labels, annotations = (dict(word.split("=", 1) for word in words[7:]) for words in (label, annotate))
    assert labels == {"inferno.server.managed": "true", "inferno.server.name": "chat"}
    said: Said = said_by(Metadata(labels=labels, annotations=annotations), "chat")
    assert said.problems == ()
    assert (said.model, said.accelerator, said.name) == (LLAMA, "A100", "chat")
    assert [(t.metric, t.limit, t.statistic) for t in said.targets] == [
        ("ttft", 0.5, "mean"),
        ("itl", 0.024, "mean"),
    ]


def test_a_directory_has_a_file_for_each_namespace(tmp_path: Path) -> None:
    other = bare("va", "mail")
    other["metadata"]["namespace"] = "b"
    given = file(tmp_path, profiled(), other, PRICES, CLASSES)
    folder = tmp_path / "made"
    assert flyball("import", "wva", given, "-o", folder).code == 0
    assert {path.name for path in folder.iterdir()} == {"b.yaml", "infer.yaml"}
    assert flyball("import", "wva", given, "-o", folder, "--as", "annotations", "--namespace", "b").code == 0
    assert {path.name for path in folder.iterdir()} == {"b.yaml", "infer.yaml", "b.sh"}
    (tmp_path / "taken").write_text("")
    done = flyball("import", "wva", given, "-o", tmp_path / "taken")
    assert (done.code, "cannot be written" in done.err) == (4, True)


def test_standard_input() -> None:
    done = flyball("import", "wva", "-", stdin=encode_yaml(bare()).encode())
    assert done.code == 0
    assert "kind: Server" in done.out


def test_what_is_wrong_is_said_and_the_rest_taken_over(tmp_path: Path) -> None:
    done = flyball("import", "wva", file(tmp_path, bare(), bare("bad", minReplicas=-1)))
    assert done.code == 3
    assert "left out: VariantAutoscaling infer/bad: spec.minReplicas is -1" in done.err
    assert "kind: Server" in done.out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "give files, or --from-cluster"),
        (["x.yaml", "--from-cluster"], 2, "give files, or --from-cluster"),
        (["absent.yaml"], 2, "absent.yaml: cannot be read"),
        (["empty.yaml"], 2, "no VariantAutoscaling was found"),
        (["--from-cluster", "--kubeconfig", "absent"], 5, "absent"),
    ],
)
def test_exit_codes(
    words: list[str], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.yaml").write_text("kind: Deployment\n")
    done = flyball("import", "wva", *words)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
