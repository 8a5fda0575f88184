"""The first minute: a Deployment gets a label, and what would be right for it can be read, and why."""

from __future__ import annotations

from typing import Any

import pytest

from flyball.adapters.kubernetes.errors import NotFound
from flyball.adapters.kubernetes.freeze import CONFIG_MAP
from flyball.adapters.kubernetes.governed import DEPLOYMENT
from flyball.adapters.kubernetes.labels import MANAGED
from flyball.adapters.kubernetes.recommend import NAME
from tests.clusters import eventually
from tests.kubernetes.stage import Stage, data_of, server

pytestmark = pytest.mark.slow

MINUTE = 60.0
MODEL = "mistralai/Mistral-7B-Instruct-v0.3"
"""Which nobody has profiled: how fast it is comes from its size and the card's data sheet."""


def parts_of(there: dict[str, Any]) -> tuple[Any, ...]:
    """All of a Deployment that is not its status, and who wrote to it."""
    metadata = there["metadata"]
    known = {"labels", "annotations", "generation", "finalizers", "ownerReferences"}
    managers = {(one["manager"], one.get("subresource", "")) for one in metadata["managedFields"]}
    return there["spec"], {key: metadata.get(key) for key in known}, managers


def test_the_first_recommendation_within_a_minute(stage: Stage, space: str) -> None:
    # At its real pace, as it is a minute of the user's: the load is what the labels say.
    words = ("loop", 10, "--mode", "recommend", "--port", 0, "--watch", space, "--namespace", space)
    made = server("mine", "A100", model=MODEL, rpm=3000, tokens_in=500, tokens_out=200)
    labels = made["metadata"]["labels"]
    del labels[MANAGED]
    stage.create(space, made)
    with stage.command(*words) as loop:
        assert loop.url
        stage.pass_by(20)
        with pytest.raises(NotFound):  # nothing is said of what is not labelled
            stage.api.get(CONFIG_MAP.path(space, NAME), dict)
        label = {"metadata": {"labels": {MANAGED: "true"}}}
        path = DEPLOYMENT.path(space, "mine")
        stage.api.patch(path, label, dict, fieldManager="user")
        eventually(lambda: stage.ready(space, "mine") == 1)
        before = stage.read(space, "mine")

        def recommended() -> Any:
            try:
                return data_of(stage.api.get(CONFIG_MAP.path(space, NAME), dict), "mine")
            except NotFound:
                return None

        found = eventually(recommended, MINUTE)
        ((reason, message),) = eventually(lambda: stage.events(space, "mine"), 10.0)
    assert (found["server"], found["mode"]) == ("mine", "recommend")
    (variant,) = found["variants"]
    assert (variant["workload"], variant["accelerator"]) == ("mine", "A100")
    assert variant["replicas"] >= 2
    assert found["cost_per_hour"] > 0
    assert reason == "Recommended"
    assert f"1 to {variant['replicas']} replicas on A100 would be right: {found['reason']}" in message
    assert len(found["reason"]) > 10
    # Nothing of its own was touched.
    assert parts_of(stage.read(space, "mine")) == parts_of(before)
    assert not {m for m, _ in parts_of(before)[2] if "flyball" in m}
