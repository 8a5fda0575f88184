"""What may be stored: contradictions are refused with their place, what is not there yet is a warning."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.operator.admission import review
from flyball.operator.kinds import FIELDS
from flyball.wire.admission import Asked, Verdict, _Kind
from flyball.wire.kinds.documents import Objects
from tests.operator_kinds.samples import KINDS, Document, sample

SPACE = "infer"
NOTHING = Objects()
ALL = Objects(**{FIELDS[kind]: (sample(kind, SPACE),) for kind in KINDS})


def asked(document: Any, old: Any = None, kind: str = "", name: str = "") -> Asked:
    return Asked("1", _Kind(kind=kind), "UPDATE" if old else "CREATE", SPACE, name, document, old)


def judged(document: Any, there: Objects = ALL, old: Any = None, kind: str = "") -> Verdict:
    return review(
        asked(document, old, kind or document.get("kind", "")),
        lambda namespace: there if namespace == SPACE else NOTHING,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_samples_may_be_stored(kind: str) -> None:
    assert judged(sample(kind, SPACE)).refusal == ""
    assert judged(sample(kind, SPACE), NOTHING).refusal == ""


@pytest.mark.parametrize(
    ("document", "path"),
    [
        (sample("Accelerator", SPACE, power__idle=500), "spec.power"),
        (sample("Server", SPACE, minNumReplicas=3, maxNumReplicas=2), "spec.maxNumReplicas"),
        (sample("Server", SPACE, model=5), "spec.model"),
        (sample("ServiceClass", SPACE, data__1__model="granite-13b"), "spec.data[1]"),
        (sample("Model", SPACE, data__1__acc="A100"), "spec.data[1]"),
        (sample("Capacity", SPACE, count__1__type="A100"), "spec.count[1]"),
        (sample("Optimizer", SPACE, period=-1), "spec.period"),
    ],
)
def test_what_contradicts_itself_is_refused_with_its_place(document: Document, path: str) -> None:
    verdict = judged(document)
    name = document["metadata"]["name"]
    assert verdict.refusal.startswith(f"{document['kind']} {SPACE}/{name}: {path}")
    assert verdict.warnings == ()


def test_without_a_spec_it_is_refused() -> None:
    for spec in (None, [], "x"):
        assert "spec" in judged(sample("Server", SPACE) | {"spec": spec}).refusal


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("Model", ["there is no Accelerator of the name A100", "there is no Accelerator of the name G2"]),
        ("ServiceClass", ["there is no Model of the name granite-13b", "Model of the name llama0-70b"]),
        ("Server", ["there is no Model of the name granite-13b", "no Accelerator of the name A100"]),
    ],
)
def test_what_is_not_there_yet_is_a_warning(kind: str, said: list[str]) -> None:
    verdict = judged(sample(kind, SPACE), NOTHING)
    assert verdict.refusal == ""
    assert len(verdict.warnings) == len(said)
    for warning, text in zip(verdict.warnings, said, strict=True):
        assert text in warning


def test_what_is_all_there_has_no_warning() -> None:
    assert judged(sample("Server", SPACE)).warnings == ()
    wishes = sample("Server", SPACE, accelerators=["A100", "H100"])
    assert judged(wishes).warnings == ("there is no Accelerator of the name H100 in this namespace yet",)


def test_what_does_not_go_with_the_others_is_a_warning() -> None:
    twin = sample("Accelerator", SPACE)
    twin["metadata"]["name"] = "twin"
    (warning,) = judged(twin).warnings
    assert "has this name already" in warning
    other = sample("Model", SPACE, data=[{"acc": "A100", "perfParms": {"alpha": 1, "beta": 1, "gamma": 1}}])
    other["metadata"]["name"] = "other"
    other["spec"]["name"] = "other"
    there = Objects(accelerators=ALL.accelerators, models=(*ALL.models, *_named_models("x", "y")))
    verdict = judged(other, there)
    assert verdict.refusal == ""
    assert "generation" in verdict.warnings[0]


def _named_models(*names: str) -> list[Document]:
    found = []
    for name in names:
        one = sample("Model", SPACE, name=name)
        one["metadata"]["name"] = name
        found.append(one)
    return found


def test_an_update_is_judged_in_place_of_what_is_there() -> None:
    changed = sample("Accelerator", SPACE, cost=50)
    assert judged(changed, ALL, sample("Accelerator", SPACE)) == Verdict()


def test_what_stays_as_it_is_may_stay() -> None:
    bad = sample("Server", SPACE, minNumReplicas=3, maxNumReplicas=2)
    labelled = bad | {"metadata": bad["metadata"] | {"labels": {"a": "b"}, "finalizers": []}}
    assert judged(labelled, ALL, bad) == Verdict()
    assert judged(labelled | {"spec": None}, ALL, bad | {"spec": None}) == Verdict()
    worse = sample("Server", SPACE, minNumReplicas=4, maxNumReplicas=2)
    assert judged(worse, ALL, bad).refusal


def test_deletions_and_other_kinds_are_none_of_ours() -> None:
    assert judged(None, ALL, sample("Server", SPACE), "Server") == Verdict()
    assert judged({"spec": 5}, ALL, None, "Deployment") == Verdict()


def test_a_name_that_the_api_server_makes_up() -> None:
    document = sample("Accelerator", SPACE)
    document["metadata"] = {"generateName": "a-"}
    assert judged(document, NOTHING) == Verdict()


FIELD_NAMES = (
    *("name", "data", "acc", "model", "count", "type", "currentAlloc", "accelerators", "accelerator", "load"),
    *("power", "optimizer", "targets", "priority", "slo-itl", "alpha", "beta", "class"),
)
GARBAGE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=6),
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(
            st.sampled_from(FIELD_NAMES),
            below,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(
    st.sampled_from([*KINDS, "Pod", ""]),
    st.dictionaries(st.sampled_from(["metadata", "spec", "status"]), GARBAGE),
    st.none() | st.dictionaries(st.sampled_from(["metadata", "spec"]), GARBAGE),
    st.sampled_from([NOTHING, ALL]),
)
def test_garbage_never_raises(kind: str, new: Document, old: Document | None, there: Objects) -> None:
    verdict = judged(new, there, old, kind)
    assert isinstance(verdict, Verdict)
    assert all(isinstance(text, str) for text in (verdict.refusal, *verdict.warnings))


@given(st.sampled_from(KINDS), st.data())
def test_a_sample_with_garbage_in_it_never_raises(kind: str, data: st.DataObject) -> None:
    one = sample(kind, SPACE)
    one["spec"][data.draw(st.sampled_from(sorted(one["spec"])))] = data.draw(GARBAGE)
    assert isinstance(judged(one, ALL), Verdict)
