"""The kinds of power before a real API server: what it takes, what it refuses and where, what it shows."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

import pytest

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.errors import ApiError
from tests.operator_cluster.desk import Desk
from tests.operator_kinds.samples import at
from tests.operator_kinds.test_power_kinds import TEXTS, TRAINING, read
from tests.power_recommend_cluster.conftest import SPACE

pytestmark = pytest.mark.slow

POLICY, DOMAIN, PROFILE, SAID = "PowerPolicy", "PowerDomain", "DevicePowerProfile", "PowerRecommendation"
PLURALS = {
    POLICY: "powerpolicies",
    DOMAIN: "powerdomains",
    PROFILE: "devicepowerprofiles",
    SAID: "powerrecommendations",
}
WRONG: tuple[tuple[str, str, object, str], ...] = (
    (POLICY, "threshold", "190%", "spec.threshold.*a threshold is watts, as 40000, or a share, as 90%"),
    (POLICY, "threshold", "0%", "spec.threshold.*a threshold is watts"),
    (POLICY, "threshold", 0, "spec.threshold.*a threshold is watts"),
    (POLICY, "threshold", True, "spec.threshold.*must be of type integer,string"),
    (POLICY, "observationWindow", "4", "spec.observationWindow.*should match"),
    (POLICY, "observationWindow", "0h", "spec.observationWindow.*should match"),
    (POLICY, "mode", "Act", 'spec.mode: Unsupported value: "Act": supported values'),
    (POLICY, "levers", ["throttle"], r"spec.levers\[0\]: Unsupported value"),
    (POLICY, "levers", ["hold", "hold"], r"spec.levers\[1\]: Duplicate value"),
    (POLICY, "priority", 0, "spec.priority.*greater than or equal to 1"),
    (POLICY, "domainRefs", [{"name": "a"}, {"name": "a"}], r"spec.domainRefs\[1\]: Duplicate value"),
    (POLICY, "targets", {"selectors": {}}, 'unknown field "spec.targets.selectors"'),
    (POLICY, "protect", {"minReplicas": -1}, "spec.protect.minReplicas"),
    (POLICY, "outputs", ["pager"], r"spec.outputs\[0\]: Unsupported value"),
    (DOMAIN, "level", "Shelf", "spec.level: Unsupported value"),
    (DOMAIN, "budget", {"watts": 50000}, "spec.budget.watts.*over breakerWatts: lower budget.watts"),
    (DOMAIN, "discover", "example.com/rack", "spec.discover.*keep one"),
    (
        DOMAIN,
        "budget",
        {"schedule": [{"start": "17:00", "end": "2026-12-01T17:00:00Z", "watts": 1}]},
        r"spec.budget.schedule\[0\].*both moments or both times of day",
    ),
    (
        DOMAIN,
        "budget",
        {"schedule": [{"start": "25:00", "end": "26:00", "watts": 1}]},
        r"spec.budget.schedule\[0\].start",
    ),
    (DOMAIN, "thermal", {"supplyCelsius": 18}, "spec.thermal.maxInletCelsius: Required value"),
    (DOMAIN, "telemetry", {"sources": ["ipmi"]}, r"spec.telemetry.sources\[0\]: Unsupported value"),
    (PROFILE, "idleWatts", 800, "spec.residentIdleWatts.*watts do not rise"),
    (PROFILE, "match", {}, "spec.match.gpuProduct: Required value"),
    (SAID, "expiresAt", "soon", "spec.expiresAt.*date-time"),
    (SAID, "actions", [{"lever": "replicas"}], r"spec.actions\[0\].target: Required value"),
)


def make(api: Api, one: dict[str, Any], **params: str) -> dict[str, Any]:
    """Made, with nothing passed over that the schema does not know."""
    space = "" if one["kind"] in (DOMAIN, PROFILE) else f"/namespaces/{SPACE}"
    path = f"/apis/flyball.dev/v1alpha1{space}/{PLURALS[one['kind']]}"
    return api.post(path, one, dict[str, Any], fieldValidation="Strict", **params)


@pytest.mark.parametrize(
    ("kind", "path", "value", "said"), WRONG, ids=lambda value: str(value)[:30].replace("/", "_")
)
def test_what_is_wrong_is_refused_with_its_place(
    administrator: Api, kind: str, path: str, value: object, said: str
) -> None:
    one = read(TEXTS[kind])
    at(one["spec"], path, value)
    with pytest.raises(ApiError, match=re.compile(said, re.DOTALL)):
        make(administrator, one, dryRun="All")


def test_the_documents_two_policies_and_all_samples_are_taken_and_shown(
    desk: Desk, administrator: Api
) -> None:
    for text in (*TEXTS.values(), TRAINING):
        make(administrator, read(text))
    rows = desk.kubectl("get", "ppol", "-n", SPACE, "--no-headers").splitlines()
    assert [re.split(" {2,}", row)[:4] for row in rows] == [
        ["inference", "Recommend", "90%", "4 Hours"],
        ["training", "Recommend", "80%", "1 Hours"],
    ]
    status = {"watts": 31250.5, "budgetWatts": 40000, "headroomWatts": -120.0, "level": "shed"}
    domain = "/apis/flyball.dev/v1alpha1/powerdomains/rack-7"
    administrator.patch(f"{domain}/status", {"status": status}, dict)
    (row,) = desk.kubectl("get", "pdom", "--no-headers").splitlines()
    assert row.split()[:7] == ["rack-7", "Rack", "row-a", "31250.5", "40000", "-120", "shed"]
    wide = desk.kubectl("get", "prec", "-n", SPACE, "-o", "wide", "--no-headers")
    assert "rack-7 draws 41.2 kW of 40 kW" in wide
    assert "2026-12-01T17:10:00Z" in wide  # and no age, which of what is to come is none
    desk.kubectl(
        "patch", "ppol", "inference", "-n", SPACE, "--type=merge", "-p", '{"spec":{"threshold":40000}}'
    )
    assert " 40000 " in desk.kubectl("get", "ppol", "inference", "-n", SPACE)
    assert "a share of what they drew" in desk.kubectl("explain", "powerpolicy.spec.threshold")


def test_a_recommendation_does_not_change(administrator: Api) -> None:
    one = deepcopy(read(TEXTS[SAID]))
    one["metadata"]["name"] = "stays"
    make(administrator, one)
    path = f"/apis/flyball.dev/v1alpha1/namespaces/{SPACE}/powerrecommendations/stays"
    with pytest.raises(ApiError, match="does not change: make another one"):
        administrator.patch(path, {"spec": {"reason": "another"}}, dict)
    administrator.patch(f"{path}/status", {"status": {"phase": "Proposed"}}, dict)
