"""What the API server refuses: told, asked again, and mended where that can be."""

from __future__ import annotations

import pytest

from flyball.adapters.kubernetes.errors import ApiError
from flyball.operator.booster import PATIENCE
from tests.boosting import samples
from tests.operator.api import Document
from tests.operator_boosters.world import SPACE, Cluster

KEY = (SPACE, "chat")


def test_what_the_api_server_refuses_is_told_and_tried_again() -> None:
    cluster = Cluster()
    cluster.server.refuses = lambda method, path, body: (
        (422, "spec.template: Invalid value") if "modelservings" in path else None
    )
    cluster.make()
    cluster.settle()
    assert "spec.template: Invalid value" in cluster.said("Failed")[2]
    cluster.server.refuses = lambda method, path, body: None
    cluster.wait(1000.0)
    cluster.settle()
    assert cluster.right()
    assert cluster.said("Failed")[0] == "False"


def test_a_part_that_an_apply_cannot_take_away_is_replaced() -> None:
    """As the API server does where somebody else wrote into it: it would leave null, which is refused."""
    cluster = Cluster()
    cluster.make(document=samples.document(spec={"rateLimit": {"inputTokensPerUnit": 5, "unit": "minute"}}))
    cluster.settle()

    def refuses(method: str, path: str, body: Document) -> tuple[int, str] | None:
        is_apply = method == "PATCH" and "modelroutes" in path
        drops = is_apply and "rateLimit" not in body["spec"]
        stands = "rateLimit" in cluster.child("ModelRoute", "chat")["spec"] if drops else False
        return (422, "it is invalid: spec.rateLimit must be of type object") if stands else None

    cluster.server.refuses = refuses
    cluster.edit(lambda one: one["spec"].pop("rateLimit"))
    cluster.settle()
    assert "rateLimit" not in cluster.child("ModelRoute", "chat")["spec"]
    assert cluster.right()
    assert cluster.said("Failed")[0] != "True"
    assert cluster.further_writes() == []


def test_what_may_pass_is_told_when_it_lasts() -> None:
    cluster = Cluster()
    cluster.server.refuses = lambda method, path, body: (
        (500, "failed calling webhook") if "modelroutes" in path else None
    )
    cluster.make()
    cluster.hear_all()
    with pytest.raises(ApiError):
        cluster.look(KEY)
    assert "status" not in cluster.booster()
    cluster.wait(PATIENCE)
    with pytest.raises(ApiError):
        cluster.look(KEY)
    assert "failed calling webhook" in cluster.said("Failed")[2]
    cluster.server.refuses = lambda method, path, body: None
    cluster.settle()
    assert cluster.said("Failed")[0] == "False"
