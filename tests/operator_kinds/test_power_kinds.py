"""The kinds of power: structural, described, the document's two policies as written, objects to nouns."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from flyball.spec.power import AbsoluteCap, RelativeCap, Slot
from flyball.wire.errors import WireError
from flyball.wire.kinds.kind import Definition, crd
from flyball.wire.kinds.power import DEFINITIONS
from flyball.wire.kinds.power_documents import discovered, domain_of, policy_of, profile_of, window_of
from flyball.wire.kinds.power_specs import PERCENT, WINDOW
from flyball.wire.text import decode
from tests.operator_kinds.samples import at
from tests.operator_kinds.structural import faults, fields, misfits

Document = dict[str, Any]
SCHEMAS = {d.kind: crd(d)["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for d in DEFINITIONS}

INFERENCE = """
apiVersion: flyball.dev/v1alpha1
kind: PowerPolicy
metadata: {name: inference, namespace: llm}
spec:
  threshold: 90%
  observationWindow: 4 Hours
  targets: {selector: {matchLabels: {workload: inference}}}
"""
TRAINING = """
apiVersion: flyball.dev/v1alpha1
kind: PowerPolicy
metadata: {name: training, namespace: llm}
spec:
  threshold: 80%
  observationWindow: 1 Hours
  targets: {selector: {matchLabels: {workload: training}}}
  levers: [hold, pause]
"""
DOMAIN = """
apiVersion: flyball.dev/v1alpha1
kind: PowerDomain
metadata: {name: rack-7}
spec:
  level: Rack
  parentRef: {name: row-a}
  nodeSelector: {matchLabels: {example.com/rack: r07}}
  budget:
    watts: 40000
    schedule:
      - {start: "17:00", end: "20:00", watts: 32000, reason: peak tariff}
      - {start: "2026-12-01T17:00:00Z", end: "2026-12-01T21:00:00Z", watts: 20000}
  limits: {breakerWatts: 44000}
  thermal: {maxInletCelsius: 32, kelvinPerKilowatt: {rack-7: 0.1, rack-8: 0.05}}
  ungoverned: {watts: 400}
"""
PROFILE = """
apiVersion: flyball.dev/v1alpha1
kind: DevicePowerProfile
metadata: {name: h100}
spec:
  match: {gpuProduct: NVIDIA-H100-80GB-HBM3}
  tdpWatts: 700
  idleWatts: 72.5
  residentIdleWatts: 121.7
  table: [{phase: decode, batch: 64, watts: 380}]
"""
RECOMMENDATION = """
apiVersion: flyball.dev/v1alpha1
kind: PowerRecommendation
metadata: {name: rack-7-1, namespace: llm}
spec:
  reason: rack-7 draws 41.2 kW of 40 kW
  actions: [{lever: replicas, target: Deployment/summaries, from: 6, to: 4, expectedWatts: 1300}]
  expiresAt: 2026-12-01T17:10:00Z
"""
TEXTS = {
    "PowerDomain": DOMAIN,
    "PowerPolicy": INFERENCE,
    "PowerRecommendation": RECOMMENDATION,
    "DevicePowerProfile": PROFILE,
}


def read(text: str) -> Document:
    return decode(text.encode(), "sample")  # type: ignore[return-value]


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda d: d.kind)
def test_schemas_are_structural_described_and_their_columns_are_there(definition: Definition) -> None:
    schema = SCHEMAS[definition.kind]
    assert list(faults(schema)) == []
    there = {path for path, _ in fields(schema)} | {"$.metadata.creationTimestamp"}
    for path, below in fields(schema):
        if path != "$.metadata":
            assert re.fullmatch(r"[A-Za-z0-9(\"].*[.]", below.get("description", "")), path
    for column in crd(definition)["spec"]["versions"][0]["additionalPrinterColumns"]:
        assert column["jsonPath"].partition("[")[0].replace(".", "$.", 1) in there


@pytest.mark.parametrize("kind", TEXTS)
def test_samples_fit(kind: str) -> None:
    assert list(misfits(SCHEMAS[kind], read(TEXTS[kind]))) == []


def test_watts_celsius_and_percent_are_numbers_with_their_unit() -> None:
    for schema in SCHEMAS.values():
        for path, below in fields(schema):
            word = next((w for w in ("Watts", "Celsius", "Percent") if path.endswith(w)), None)
            if word and below.get("type") == "number":
                assert word.lower() in below["description"].lower(), path


def test_the_two_policies_of_the_document_work_as_written() -> None:
    assert list(misfits(SCHEMAS["PowerPolicy"], read(TRAINING))) == []
    inference, training = policy_of(read(INFERENCE)), policy_of(read(TRAINING))
    assert inference.cap == RelativeCap(0.9, "Peak", 4 * 3600.0)
    assert training.cap == RelativeCap(0.8, "Peak", 3600.0)
    assert (inference.mode, inference.levers) == ("Recommend", ("hold", "replicas"))
    assert (training.labels, training.levers) == ({"workload": "training"}, ("hold", "pause"))


def test_a_policy_says_all_that_it_can_say() -> None:
    one = read(INFERENCE)
    one["spec"] |= {
        "threshold": 40000,
        "mode": "Enforce",
        "of": "Average",
        "priority": 3,
        "protect": {"neverShed": True, "minReplicas": 2},
        "algorithm": {"name": "perf-per-watt", "parameters": {"margin": 0.1}},
        "domainRefs": [{"name": "rack-7"}],
        "outputs": ["slack"],
    }
    assert list(misfits(SCHEMAS["PowerPolicy"], one)) == []
    found = policy_of(one)
    assert found.cap == AbsoluteCap(40000.0)
    assert (found.protected, found.min_replicas, found.priority) == (True, 2, 3)
    assert (found.algorithm, found.parameters, found.domains) == (
        "perf-per-watt",
        {"margin": 0.1},
        ("rack-7",),
    )


def test_a_domain_with_its_schedule() -> None:
    found = domain_of(read(DOMAIN))
    at_17 = datetime(2026, 12, 1, 17, tzinfo=UTC).timestamp()
    assert found.schedule == (
        Slot(17 * 3600.0, 20 * 3600.0, 32000.0, True, "peak tariff"),
        Slot(at_17, at_17 + 4 * 3600.0, 20000.0),
    )
    assert (found.parent, found.breaker, found.ungoverned) == ("row-a", 44000.0, 400.0)
    assert found.thermal is not None
    assert found.thermal.kelvin_per_watt == {"rack-7": 1e-4, "rack-8": 5e-5}
    assert profile_of(read(PROFILE)).resident_idle == 121.7


def test_racks_are_found_by_a_node_label() -> None:
    found = discovered(domain_of(read(DOMAIN)), "example.com/rack", ["r2", "r1", "r2"])
    assert [(d.name, d.level, d.parent, d.labels) for d in found] == [
        ("rack-7-r1", "Rack", "rack-7", {"example.com/rack": "r1"}),
        ("rack-7-r2", "Rack", "rack-7", {"example.com/rack": "r2"}),
    ]


@pytest.mark.parametrize(
    ("text", "path", "value", "said"),
    [
        (INFERENCE, "threshold", "190%", "a threshold is watts, as 40000, or a share"),
        (INFERENCE, "threshold", "0%", "a threshold is watts, as 40000, or a share"),
        (INFERENCE, "threshold", 0, "a threshold is watts"),
        (INFERENCE, "observationWindow", "0h", "spec.observationWindow"),
        (INFERENCE, "algorithm", {"name": "a", "parameters": {"x": [1]}}, "allowed is a number, text"),
        (INFERENCE, "mode", "Act", "invalid enum value 'Act'"),
        (DOMAIN, "budget", {"watts": 50000}, "over breakerWatts. Lower budget.watts"),
        (DOMAIN, "discover", "example.com/rack", "discover and nodeSelector. Keep one"),
        (
            DOMAIN,
            "budget",
            {"schedule": [{"start": "17:00", "end": "2026-12-01T17:00:00Z", "watts": 1}]},
            "start and end are both",
        ),
        (
            DOMAIN,
            "budget",
            {"schedule": [{"start": "2026-12-01T17:00:00Z", "end": "2026-12-01T16:00:00Z", "watts": 1}]},
            "Let it end later",
        ),
        (PROFILE, "idleWatts", 800, "watts do not rise"),
    ],
)
def test_what_is_wrong_is_said(text: str, path: str, value: object, said: str) -> None:
    one = read(text)
    at(one["spec"], path, value)
    reader = {"PowerPolicy": policy_of, "PowerDomain": domain_of, "DevicePowerProfile": profile_of}
    with pytest.raises(WireError, match=re.escape(said)) as caught:
        reader[one["kind"]](one)
    assert one["metadata"]["name"] in str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("4h", 14400.0),
        ("4 Hours", 14400.0),
        ("1 Hours", 3600.0),
        ("30min", 1800.0),
        ("1.5 h", 5400.0),
        ("0.5h", 1800.0),
        ("10.0s", 10.0),
    ],
)
def test_windows(text: str, seconds: float) -> None:
    assert window_of(text) == seconds


@pytest.mark.parametrize("text", ["", "4", "4d", "h", "-4h", "4 h x", "0h", "0.00 h"])
def test_windows_that_are_none(text: str) -> None:
    assert not re.search(WINDOW, text)
    with pytest.raises(ValueError, match="a time with its unit"):
        window_of(text)


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("90%", True),
        ("100 %", True),
        ("12.5%", True),
        ("190%", False),
        ("90", False),
        ("0%", False),
        ("0.0%", False),
        ("0.5%", True),
        ("100.0%", True),
        ("100.5%", False),
    ],
)
def test_percents(text: str, fits: bool) -> None:
    assert (re.search(PERCENT, text) is not None) is fits
