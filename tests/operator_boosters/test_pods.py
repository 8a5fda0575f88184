"""Why pods do not run, as their status says it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from flyball.operator.booster_pods import BoostedPod, failure


def said(*containers: Any, conditions: Any = (), init: Any = ()) -> str:
    status = {
        "containerStatuses": list(containers),
        "initContainerStatuses": list(init),
        "conditions": list(conditions),
    }
    return failure(msgspec.convert({"metadata": {"name": "p"}, "status": status}, BoostedPod))


def waits(reason: str, last: str = "", restarts: int = 0) -> dict[str, Any]:
    ended = {"lastState": {"terminated": {"reason": last}}} if last else {}
    return {"state": {"waiting": {"reason": reason}}, "restartCount": restarts, **ended}


def runs(last: str = "", restarts: int = 0) -> dict[str, Any]:
    return {**waits("", last, restarts), "state": {"running": {}}}


def ended(reason: str, restarts: int = 0) -> dict[str, Any]:
    return {"state": {"terminated": {"reason": reason}}, "restartCount": restarts}


@pytest.mark.parametrize("waiting", ["", "ContainerCreating", "PodInitializing"])
def test_what_is_on_its_way_is_no_failure(waiting: str) -> None:
    assert said(waits(waiting)) == ""
    assert said(runs()) == ""
    assert said(runs(), init=[ended("Completed")]) == ""


@pytest.mark.parametrize("waiting", ["ImagePullBackOff", "ErrImagePull"])
def test_an_image_that_does_not_come_is_one_reason_between_the_tries(waiting: str) -> None:
    assert said(runs(), waits(waiting)) == "ImagePullBackOff"
    assert said(init=[waits(waiting)]) == "ImagePullBackOff"


@pytest.mark.parametrize(
    "one", [ended("OOMKilled"), runs("OOMKilled", 1), waits("CrashLoopBackOff", "OOMKilled", 2)]
)
def test_out_of_memory_is_one_reason_between_the_tries(one: Any) -> None:
    assert said(one) == "OOMKilled"


@pytest.mark.parametrize("one", [waits("CrashLoopBackOff", "Error", 2), runs("Error", 2), ended("Error", 2)])
def test_crashes_are_one_reason_between_the_tries(one: Any) -> None:
    assert said(one) == "CrashLoopBackOff"


def test_the_first_crash_may_be_the_last() -> None:
    assert said(ended("Error")) == ""


def test_other_reasons_are_told_as_they_are() -> None:
    assert said(waits("CreateContainerConfigError")) == "CreateContainerConfigError"
    assert said(waits("CreateContainerConfigError", "Error", 1)) == "CreateContainerConfigError"


def test_a_pod_without_a_node() -> None:
    def scheduled(**fields: str) -> Any:
        return {"type": "PodScheduled", "status": "False", "message": "", **fields}

    message = "0/7 nodes are available: 7 Insufficient nvidia.com/gpu. preemption: 0/7 nodes are available: x"
    found = said(conditions=[scheduled(reason="Unschedulable", message=message)])
    assert found == "Unschedulable: 0/7 nodes are available: 7 Insufficient nvidia.com/gpu."
    assert said(conditions=[scheduled(reason="SchedulingGated")]) == ""
    assert said(conditions=[scheduled(status="True", reason="")]) == ""


def test_a_pod_that_serves_has_no_failure() -> None:
    assert said(runs("OOMKilled", 3), conditions=[{"type": "Ready", "status": "True"}]) == ""
