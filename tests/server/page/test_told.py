"""What was decided and why, over HTTP: /v1/servers of the controller, and its client."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from flyball.report.accounts import Account
from flyball.server.controller import controller
from flyball.server.page.live import Live
from flyball.server.service.service import app_of
from tests.server.page.builders import NASTY, live


def client_of(one: Live) -> TestClient[Litestar]:
    return TestClient(app_of(controller(one, lambda: "")), base_url="http://127.0.0.1")


@pytest.fixture(scope="module")
def one() -> Live:
    return live()[0]


@pytest.fixture(scope="module")
def client(one: Live) -> Iterator[TestClient[Litestar]]:
    with client_of(one) as made:
        yield made


def test_each_server_is_told_of(one: Live, client: TestClient[Litestar]) -> None:
    told = msgspec.json.decode(client.get("/v1/servers").content, type=list[Account])
    assert [account.server for account in told] == sorted([NASTY, "server-01", "server-02"])
    steps = {s.server: s for s in one.runner.last[1].decision.steps}  # type: ignore[index, union-attr]
    for account in told:
        assert account.demand == steps[account.server].demand
        assert account.gets
        assert account.why
        assert account.last_change is not None  # the first cycle started all of them


@pytest.mark.parametrize("name", ["server-01", NASTY])
def test_one_server_is_told_of_whatever_its_name(client: TestClient[Litestar], name: str) -> None:
    answer = client.get(f"/v1/servers/{quote(name, safe='')}")
    assert answer.status_code == 200
    assert msgspec.json.decode(answer.content, type=Account).server == name


def test_a_server_that_is_not_there_is_refused_with_those_that_are(client: TestClient[Litestar]) -> None:
    answer = client.get("/v1/servers/nobody")
    assert answer.status_code == 404
    assert "there is no server 'nobody'; there are: " in answer.json()["message"]
    assert "server-01" in answer.json()["message"]


def test_before_the_first_cycle_there_is_nothing_to_tell() -> None:
    with client_of(live(cycles=0)[0]) as client:
        answer = client.get("/v1/servers")
    assert answer.status_code == 404
    assert "nothing was decided yet" in answer.json()["message"]


def test_a_strange_host_is_refused(client: TestClient[Litestar]) -> None:
    assert client.get("/v1/servers", headers={"Host": "evil.example"}).status_code == 403
