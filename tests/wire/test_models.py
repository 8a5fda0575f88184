"""Models and service classes as documents: what follows from a shape, what is refused, and how it says so."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.spec.model import Model, Shape
from flyball.spec.service_class import MEAN, ModelTargets, ServiceClass, Target
from flyball.wire import text
from flyball.wire.errors import WireError
from flyball.wire.models import classes_from_own, models_from_own, parse_parameters

DOCUMENT = """
apiVersion: flyball/v1
kind: Models
models:
  - {name: us/plain, parameters: 7B, layers: 32, context: 8k, kvBytesPerToken: 131072, aliases: [us/plain-it]}
  - name: us/shaped
    layers: 2
    context: 4096
    shape: {hidden: 8, heads: 4, kvHeads: 2, ffn: 16, vocab: 100}
  - name: us/mixture
    layers: 3
    context: 4096
    experts: 4
    expertsPerToken: 2
    precision: fp8
    shape: {hidden: 8, heads: 2, vocab: 100, ffn: 32, denseLayers: 1, expertFfn: 4, sharedFfn: 4,
            kvRank: 6, ropeDim: 2, nopeDim: 3, valueDim: 5}
"""


def parsed() -> Any:
    return text.decode(DOCUMENT.encode(), "models.yaml")


def test_what_is_left_out_follows_from_the_shape() -> None:
    plain, shaped, mixture = models_from_own(parsed(), "models.yaml")
    assert plain == Model(
        "us/plain", 7_000_000_000, 7_000_000_000, 32, 131_072, 8000, aliases=("us/plain-it",)
    )
    # head dim 8 / 4; a layer: q and o 8x8 each, k and v 8x4 each, three matrices 8x16; two embeddings
    assert shaped.parameters == shaped.active_parameters == 2 * (2 * 64 + 2 * 32 + 3 * 128) + 2 * 800
    assert (shaped.kv_bytes_per_token, shaped.attention) == (2 * 2 * 2 * 2 * 2, "gqa")
    assert shaped.shape == Shape(8, 4, 100, kv_heads=2, head_dim=2, ffn=16)
    # queries 8x10, down 8x8, up 6x16, out 10x8; one dense layer, two with 4 experts and a shared one
    attention = 3 * (80 + 64 + 96 + 80)
    assert mixture.parameters == attention + 3 * 8 * 32 + 2 * 3 * 8 * 4 * (4 + 1) + 1600
    assert mixture.active_parameters == attention + 3 * 8 * 32 + 2 * 3 * 8 * 4 * (2 + 1) + 800
    assert (mixture.kv_bytes_per_token, mixture.attention) == (3 * (6 + 2) * 2, "mla")
    assert (mixture.experts, mixture.experts_per_token, mixture.precision) == (4, 2, "fp8")


def test_layers_without_a_kv_cache_have_matrices_of_their_own() -> None:
    document = parsed()
    document["models"][1]["layers"] = 4
    document["models"][1]["shape"] |= {"kvLayers": 1, "linear": 1000, "gatedQuery": True}
    model = models_from_own(document, "models.yaml")[1]
    # as above in one layer, with a gate of 8x8; three layers have 1,000 in its place
    assert model.core_parameters == 3 * 64 + 2 * 32 + 3 * 1000 + 4 * 3 * 128 + 800
    assert (model.parameters, model.attention) == (model.core_parameters + 800, "hybrid")
    assert (model.full_layers, model.full_kv_elements, model.query_width) == (1, 8, 8)


@pytest.mark.parametrize(
    ("model", "change", "says"),
    [
        (0, {"parameters": "many"}, r'models\[0\].parameters is "many": allowed is a number of parameters'),
        (0, {"layers": 0}, r"models\[0\].layers is 0: .* from 1"),
        (0, {"contxt": 1}, "Near: context"),
        (0, {"activeParameters": "8B"}, r"activeParameters is 8000000000: is more than all 7,000,000,000"),
        (0, {"attention": "gpa"}, "there is no such attention. Near: gqa"),
        (0, {"precision": "fp16"}, "there is no such precision"),
        (0, {"name": "us/shaped"}, "us/shaped is there already"),
        (0, {"aliases": [1]}, r"models\[0\].aliases\[0\] is 1"),
        (0, {"expertsPerToken": 2}, r"models\[0\].experts: is missing. Say how many experts"),
        (1, {"shape": None}, r"models\[1\].shape is null: allowed is an object with hidden, heads"),
        (1, {"special": "odd"}, r"parameters: is missing. Add parameters, or the shape that it follows from"),
        (1, {"experts": 4, "expertsPerToken": 2}, r"models\[1\].shape.expertFfn: is missing"),
        (2, {"expertsPerToken": 5}, r"expertsPerToken is 5: .* from 1 to 4"),
    ],
)
def test_what_is_wrong_in_a_model_is_said_with_its_place(
    model: int, change: dict[str, object], says: str
) -> None:
    document = parsed()
    document["models"][model] |= change
    with pytest.raises(WireError, match=says) as caught:
        models_from_own(document, "models.yaml")
    assert str(caught.value).startswith("models.yaml: ")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"hidden": 0}, r"models\[1\].shape.hidden is 0"),
        ({"kvheads": 2}, "Near: kvHeads"),
        ({"tied": "yes"}, "true or false"),
        ({"kvLayers": 3}, "kvLayers is 3: .* from 0 to 2"),
        ({"windowLayers": 3, "window": 8}, "windowLayers is 3: is more than the 2 layers with a KV cache"),
        ({"windowLayers": 1}, "window and windowLayers stand together"),
        ({"kvRank": 4}, r"shape.ropeDim: is missing"),
        ({"other": "1kg"}, "allowed is a number of parameters"),
        ({"linear": -1}, "shape.linear is -1: allowed is a number of parameters"),
    ],
)
def test_what_is_wrong_in_a_shape_is_said_with_its_place(change: dict[str, object], says: str) -> None:
    document = parsed()
    document["models"][1]["shape"] |= change
    with pytest.raises(WireError, match=says):
        models_from_own(document, "models.yaml")


@pytest.mark.parametrize("missing", ["parameters", "kvBytesPerToken", "layers", "context", "name"])
def test_what_a_model_without_shape_must_say(missing: str) -> None:
    document = parsed()
    del document["models"][0][missing]
    with pytest.raises(WireError, match=rf"models\[0\].{missing}: is missing"):
        models_from_own(document, "models.yaml")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("8.03B", 8_030_000_000),
        ("494M", 494_000_000),
        ("1.03t", 1_030_000_000_000),
        (7e9, 7_000_000_000),
        ("7k", 7000),
    ],
)
def test_parameters(value: object, expected: int) -> None:
    assert parse_parameters(value, "here") == expected


@pytest.mark.parametrize("value", ["", "B", "8.03 GB", "-1B", 0, None, True, "1e15", "200T", [], "nan"])
def test_other_numbers_of_parameters_are_refused(value: object) -> None:
    with pytest.raises(WireError, match=r"such as 8\.03B"):
        parse_parameters(value, "here")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.integers(0, 2),
    st.sampled_from(
        ["layers", "experts", "expertsPerToken", "shape", "parameters", "aliases", "heads", "ffn"]
    ),
    JSON,
)
def test_anything_anywhere_is_a_model_or_a_wire_error(model: int, key: str, value: object) -> None:
    document = parsed()
    place = document["models"][model]
    (place["shape"] if key in ("heads", "ffn") and "shape" in place else place)[key] = value
    try:
        found = models_from_own(document, "models.yaml")
    except WireError:
        return
    assert all(0 < m.active_parameters <= m.parameters for m in found)


# ---- service classes -----------------------------------------------------------------------------


def test_service_classes_are_read_as_in_a_fleet() -> None:
    document = {
        "kind": "ServiceClasses",
        "classes": [{"name": "Chat", "priority": 5, "targets": {"ttft": "p95<1s", "itl": "mean<50ms"}}],
    }
    targets = (Target("ttft", 1.0, 0.95), Target("itl", 0.05, MEAN))
    assert classes_from_own(document, "c") == (ServiceClass("Chat", 5, (ModelTargets("*", targets),)),)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"kind": "Classes"}, "Near: ServiceClasses"),
        ({"kind": "ServiceClasses", "class": []}, "Near: classes"),
        (
            {"kind": "ServiceClasses", "classes": [{"name": "A", "targets": {"tfft": "1s"}}]},
            r"c: classes\[0\].targets.tfft: there is no such field. Near: ttft",
        ),
        ({"kind": "ServiceClasses", "classes": [{"name": "A"}, {"name": "A"}]}, "A is there already"),
    ],
)
def test_what_is_wrong_in_service_classes_is_said(document: object, says: str) -> None:
    with pytest.raises(WireError, match=says):
        classes_from_own(document, "c")
