"""A ModelBooster as it is read, and amounts and durations as Kubernetes writes them."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.wire.errors import WireError
from flyball.wire.kthena import ANNOTATIONS, WORKLOAD_API
from flyball.wire.kthena_booster import ModelBooster, read_booster
from flyball.wire.kthena_meta import plain
from flyball.wire.kthena_text import canonical_duration, canonical_quantity, quantity


def document(annotations: dict[str, Any] | None = None, **backend: Any) -> dict[str, Any]:
    filled = {"name": "b1", "type": "vLLM", "modelURI": "hf://a/b", "workers": [{"image": "x"}], **backend}
    return {
        "apiVersion": WORKLOAD_API,
        "kind": "ModelBooster",
        "metadata": {"name": "chat", "annotations": annotations},
        "spec": {"backend": filled},
    }


@pytest.mark.parametrize(
    ("given", "written"),
    [
        *((2, "2"), (0.5, "500m"), ("1000m", "1"), ("1500m", "1500m"), ("0.1", "100m"), ("1000", "1k")),
        *(("128000", "128k"), ("1500", "1500"), ("64Gi", "64Gi"), ("65536Mi", "64Gi"), ("1.5Gi", "1536Mi")),
        *(("512", "512"), ("0.5Ki", "512"), ("1e3", "1e3"), ("1e4", "10e3"), ("1E", "1E"), ("-2", "-2")),
        *(
            ("0", "0"),
            ("0Gi", "0"),
            ("800m", "800m"),
            ("1n", "1n"),
            ("0.1n", "1n"),
            ("10", "10"),
            ("1u", "1u"),
        ),
    ],
)
def test_amounts_as_kubernetes_writes_them(given: object, written: str) -> None:
    assert canonical_quantity(given, "here") == written


@given(st.integers(0, 10**15), st.sampled_from(["", "m", "k", "M", "Ki", "Mi", "Gi", "e3"]))
def test_an_amount_stays_what_it_is_and_has_one_spelling(number: int, suffix: str) -> None:
    text = f"{number}{suffix}"
    written = canonical_quantity(text, "here")
    assert quantity(written, "here") == quantity(text, "here")
    assert canonical_quantity(written, "here") == written


@pytest.mark.parametrize("value", ["", "many", "1 Gi", "1gi", "--1", "1e", None, True, [], "0x10", "1e999"])
def test_what_is_no_amount_is_refused(value: object) -> None:
    with pytest.raises(WireError, match="is no quantity of Kubernetes"):
        canonical_quantity(value, "here")


@pytest.mark.parametrize(
    ("given", "written"),
    [
        *(("60s", "1m0s"), ("90m", "1h30m0s"), ("10s", "10s"), ("0s", "0s"), ("0", "0s"), ("1.5s", "1.5s")),
        *(
            ("1h", "1h0m0s"),
            ("300ms", "300ms"),
            ("1500us", "1.5ms"),
            ("2µs", "2µs"),
            ("61m1.25s", "1h1m1.25s"),
        ),
    ],
)
def test_durations_as_go_writes_them(given: str, written: str) -> None:
    assert canonical_duration(given, "here") == written
    assert canonical_duration(written, "here") == written


@pytest.mark.parametrize("value", ["", "5", "s", "1 s", "-1s", "1d", "1s2"])
def test_what_is_no_duration_is_refused(value: str) -> None:
    with pytest.raises(WireError, match="is no duration"):
        canonical_duration(value, "here")


def test_annotations_stand_for_fields_that_a_stock_crd_prunes() -> None:
    found = read_booster(
        document(
            {
                "flyball.dev/min-replicas": "1",
                "flyball.dev/max-replicas": "4",
                "flyball.dev/autoscaling-policy": "metrics: [{metricName: m, targetValue: 10}]",
                "flyball.dev/routes": '[{"name": "canary"}]',
                "flyball.dev/rate-limit": '{"inputTokensPerUnit": 5}',
                "flyball.dev/network-topology": '{"groupPolicy": {"mode": "hard"}}',
                "flyball.dev/lora-adapters": '[{"name": "fin", "artifactURL": "hf://a/fin"}]',
            },
            replicas=2,
        ),
        "sample",
    ).spec
    assert (found.backend.replicas, found.backend.min_replicas, found.backend.max_replicas) == (2, 1, 4)
    assert found.autoscaling_policy is not None
    assert found.autoscaling_policy.metrics[0].metric_name == "m"
    assert found.routes is not None
    assert found.routes[0].name == "canary"
    assert found.rate_limit is not None
    assert found.backend.network_topology is not None
    assert found.backend.lora_adapters is not None
    assert len(ANNOTATIONS) == 7


def test_a_field_wins_over_its_annotation() -> None:
    found = read_booster(document({"flyball.dev/min-replicas": "9"}, minReplicas=1, maxReplicas=2), "sample")
    assert found.spec.backend.min_replicas == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "allowed is a ModelBooster"),
        ({"spec": {}}, f"allowed is {WORKLOAD_API} ModelBooster"),
        (document(name="B1"), "spec.backend.name"),
        (document(modelURI="ftp://x"), "spec.backend.modelURI"),
        (document(workers=[]), "spec.backend.workers"),
        (document(workers=[{"type": "helper"}]), "spec.backend.workers[0].type"),
        (document(minReplicas=-1), "spec.backend.minReplicas"),
        (document({"flyball.dev/max-replicas": "{"}), "metadata.annotations[flyball.dev/max-replicas]"),
        (document({"flyball.dev/max-replicas": 4}), "metadata.annotations[flyball.dev/max-replicas]"),
        (document({"flyball.dev/max-replicas": "many"}), "spec.backend.maxReplicas"),
    ],
)
def test_what_is_refused_says_where(given: object, words: str) -> None:
    with pytest.raises(WireError, match=re.escape(words)):
        read_booster(given, "sample")


def test_what_is_read_is_written_again() -> None:
    given = document(replicas=1, cacheURI="pvc://c", env=[{"name": "A", "valueFrom": {"fieldRef": {}}}])
    found = read_booster(given, "sample")
    assert msgspec.convert(plain(found), ModelBooster) == found
    assert plain(found)["spec"] == given["spec"]
