"""For how long requests may wait: in a class of one's own form, in the kind, and on a workload."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from flyball.adapters.kubernetes.labels import said_by
from flyball.adapters.kubernetes.objects import Metadata
from flyball.spec.service_class import ServiceClass
from flyball.testing.make import make_fleet, make_server
from flyball.wire.errors import WireError
from flyball.wire.kinds.documents import Objects, read_namespace
from flyball.wire.own import fleet_from_own, own_document


def document(**more: Any) -> dict[str, Any]:
    return {
        "apiVersion": "flyball/v1",
        "kind": "Fleet",
        "accelerators": [{"name": "A", "price": 1}],
        "profiles": [
            {"model": "m", "accelerator": "A", "alpha": "6ms", "beta": "1ms", "kappa": 0, "delta": "1us"}
        ],
        "classes": [{"name": "Batch", **more}],
        "servers": [],
    }


@pytest.mark.parametrize(("written", "seconds"), [("2h", 7200.0), ("90min", 5400.0), ("0", 0.0)])
def test_ones_own_form(written: str, seconds: float) -> None:
    (made,) = fleet_from_own(document(deferrable=written), "fleet.yaml").service_classes
    assert made.deferrable == seconds
    assert fleet_from_own(document(), "fleet.yaml").service_classes[0].deferrable == 0.0


@pytest.mark.parametrize("wrong", [-1, "soon", "2", True, "p95<2h"])
def test_what_is_no_time_is_refused_with_its_place(wrong: object) -> None:
    with pytest.raises(WireError, match=r"classes\[0\].deferrable"):
        fleet_from_own(document(deferrable=wrong), "fleet.yaml")


def test_written_and_read_again_it_is_the_same() -> None:
    fleet = make_fleet([make_server("bulk", 1.0, "Bronze")], generation="flyball")
    waits = tuple(replace(c, deferrable=5400.0) for c in fleet.service_classes)
    fleet = replace(fleet, service_classes=waits)
    written = own_document(fleet)
    assert {one["deferrable"] for one in written["classes"]} == {"5400s"}  # type: ignore[attr-defined]
    read = fleet_from_own(written, "fleet.yaml").service_classes
    assert [(c.name, c.deferrable) for c in read] == [(c.name, 5400.0) for c in waits]


def of_kind(**more: Any) -> tuple[tuple[ServiceClass, ...], dict[str, str]]:
    made = {
        "apiVersion": "inferno.platform.ai/v1alpha1",
        "kind": "ServiceClass",
        "metadata": {"name": "batch", "namespace": "llm"},
        "spec": {"name": "Batch", "priority": 90, "data": [{"model": "m", "slo-itl": 80}], **more},
    }
    read = read_namespace(Objects(service_classes=(made,)))
    return read.fleet.service_classes, {str(ref): message for ref, message in read.errors.items()}


def test_the_kind() -> None:
    (made,), errors = of_kind(deferrable="2h")
    assert (made.deferrable, errors) == (7200.0, {})
    assert of_kind()[0][0].deferrable == 0.0
    none, errors = of_kind(deferrable="late")
    assert none == ()
    assert "spec.deferrable" in errors["ServiceClass llm/batch"]


def test_a_workload() -> None:
    def said(value: str) -> Any:
        return said_by(Metadata(annotations={"flyball.dev/deferrable": value}), "Deployment llm/bulk")

    assert (said("2h").deferrable, said("0").deferrable) == (7200.0, 0.0)
    assert said_by(Metadata(), "Deployment llm/bulk").deferrable is None
    wrong = said("soon")
    assert wrong.deferrable is None
    assert "flyball.dev/deferrable" in wrong.problems[0]
