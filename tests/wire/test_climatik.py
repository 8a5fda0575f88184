"""PowerCappingConfig in both published shapes."""

from __future__ import annotations

from typing import Any

import pytest

from flyball.spec.power import AbsoluteCap, RelativeCap, WorkloadRef
from flyball.wire.climatik import AVERAGE, PEAK, climatik_status, policy_from_climatik
from flyball.wire.errors import WireError


def config(spec: dict[str, Any], version: str = "v1alpha1") -> dict[str, Any]:
    return {
        "apiVersion": f"climatik-project.io/{version}",
        "kind": "PowerCappingConfig",
        "metadata": {"name": "stress", "namespace": "capping"},
        "spec": spec,
    }


def relative(percent: float, window: float, kind: str = PEAK, **more: object) -> dict[str, Any]:
    share = {"powerCapPercentage": percent, "sampleWindow": window}
    return config({"powerCappingSpec": {"kind": kind, "relativePowerCapInPercentage": share}, **more})


def test_its_own_sample() -> None:
    found = policy_from_climatik(relative(80, 30, workloadType="training", efficiencyLevel="High"))
    assert found.cap == RelativeCap(0.8, "Peak", 60.0)
    assert (found.labels, found.mode, found.levers) == (
        {"climatik-project.io": "stress"},
        "Recommend",
        ("hold", "pause"),
    )
    assert [note.split(" ")[0] for note in found.notes] == ["a", "efficiencyLevel"]


def test_an_average_and_plain_watts() -> None:
    assert policy_from_climatik(relative(90, 14400, AVERAGE)).cap == RelativeCap(0.9, "Average", 14400.0)
    cap = {"kind": "AbsolutePowerCapInWatts", "absolutePowerCapInWatts": {"powerCapInWatts": 1500}}
    found = policy_from_climatik(config({"workloadType": "inference", "powerCappingSpec": cap}), "Enforce")
    assert (found.cap, found.mode, found.levers) == (AbsoluteCap(1500.0), "Enforce", ("hold", "replicas"))


@pytest.mark.parametrize(
    ("field", "version", "kind"),
    [("scaledObjectRefs", "v1alpha1", "ScaledObject"), ("scaleObjectRefs", "v1", "ScaleObject")],
)
def test_the_other_shape(field: str, version: str, kind: str) -> None:
    ref = {"apiVersion": "keda.sh/v1alpha1", "kind": kind, "metadata": {"name": "mistral"}}
    found = policy_from_climatik(config({"powerCapLimit": 1000, field: [ref]}, version))
    assert found.cap == AbsoluteCap(1000.0)
    assert found.workloads == (WorkloadRef("ScaledObject", "mistral", "keda.sh/v1alpha1"),)
    assert found.labels == {}


def test_no_cap_is_only_watched() -> None:
    found = policy_from_climatik(config({"powerCappingSpec": {"kind": "NoPowerCappingSpec"}}), "Enforce")
    assert (found.cap, found.mode) == (None, "Observe")


def test_degrees() -> None:
    kind = "AbsoluteTemperatureThresholdInCelsius"
    limit = {
        "kind": kind,
        "absoluteTemperatureThresholdInCelsius": {"temperatureThresholdInCelsius": 30},
    }
    assert policy_from_climatik(config({"temperatureThresholdSpec": limit})).max_celsius == 30.0
    other = {"kind": "RelativeTemperatureThresholdOfPeakTemperatureInPercentage"}
    found = policy_from_climatik(relative(80, 60, temperatureThresholdSpec=other))
    assert found.max_celsius is None
    assert "is relative: not used" in found.notes[0]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"powerCapLimit": 0, "scaledObjectRefs": []}, "powerCapLimit is 0"),
        ({"powerCappingSpec": {"kind": "Much"}}, "allowed is one of NoPowerCappingSpec"),
        ({"powerCappingSpec": {"kind": PEAK}}, "relativePowerCapInPercentage: is missing"),
        ({"powerCappingSpec": {"kind": "AbsolutePowerCapInWatts"}}, "absolutePowerCapInWatts: is missing"),
        ({"powerCapLimit": "much"}, "spec.powerCapLimit: expected"),
    ],
)
def test_what_is_wrong_is_said(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(WireError, match="capping/stress") as caught:
        policy_from_climatik(config(spec))
    assert said in str(caught.value)


def test_status_is_whole_watts() -> None:
    assert climatik_status(949.6, 1000.2) == {
        "currentPowerConsumption": 950,
        "forecastPowerConsumption": 1000,
    }
