"""What was told to be left alone since it was read is left alone, whatever its kind counts as a change."""

from __future__ import annotations

import pytest

from flyball.adapters.kubernetes.objects import Workload, WorkloadMetadata, WorkloadSpec
from flyball.adapters.kubernetes.targets import Target
from flyball.adapters.kubernetes.write import FOUND, _changed, _Seen
from tests.adapters.kubernetes.governing import workload

MODE, MANAGED = "flyball.dev/mode", "inferno.server.managed"


@pytest.mark.parametrize(
    ("labels", "annotations", "said"),
    [
        ({MANAGED: "true"}, {}, ""),
        ({MANAGED: "true"}, {FOUND: "{}"}, ""),
        ({MANAGED: "true"}, {MODE: "freeze"}, "somebody set its flyball.dev/mode to 'freeze'"),
        ({}, {}, "somebody set its inferno.server.managed to None"),
        ({MANAGED: "false"}, {}, "somebody set its inferno.server.managed to 'false'"),
    ],
)
def test_a_mode_set_meanwhile_is_a_change(
    labels: dict[str, str], annotations: dict[str, str], said: str
) -> None:
    was = workload(replicas=2, labels={MANAGED: "true"}, generation=4)
    metadata = WorkloadMetadata(uid=was.uid, labels=labels, annotations=annotations, generation=4)
    there = Workload(metadata=metadata, spec=WorkloadSpec(replicas=2))
    assert _changed(Target(was, "H100", 3), _Seen("7", 4, was.labels), there) == said
