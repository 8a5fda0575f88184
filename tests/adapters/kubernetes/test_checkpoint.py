"""The memory kept in a real cluster: whole, seldom, by the leader only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.checkpoint import EVERY, NAME, Checkpoint
from flyball.adapters.kubernetes.lease import RENEW_DEADLINE, Lease
from flyball.sandbox.cluster import Sandbox
from tests.adapters.kubernetes.governing import Time, leading

pytestmark = pytest.mark.slow


@pytest.fixture
def api(sandbox: Sandbox) -> Iterator[Api]:
    with closing(Api(sandbox.kubeconfig)) as api:
        yield api


@pytest.fixture
def lease(api: Api, namespace: str) -> Lease:
    return leading(api, namespace)


def random(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def parts(api: Api, namespace: str) -> dict[str, str]:
    all_of = api.items(f"/api/v1/namespaces/{namespace}/configmaps", dict)
    versions = {one["metadata"]["name"]: one["metadata"]["resourceVersion"] for one in all_of}
    return {name: version for name, version in versions.items() if name.startswith(NAME)}


def test_it_comes_back_as_it_was_kept(api: Api, lease: Lease, namespace: str) -> None:
    checkpoint = Checkpoint(api, lease, namespace)
    assert checkpoint.read() == (None, "")
    assert checkpoint.keep(b"memory" * 1000) == ""
    assert Checkpoint(api, lease, namespace).read() == (b"memory" * 1000, "")


def test_it_is_kept_seldom_and_only_where_it_changed(api: Api, lease: Lease, namespace: str) -> None:
    clock = Time()
    checkpoint = Checkpoint(api, lease, namespace, now=clock)
    checkpoint.keep(b"one")
    before = parts(api, namespace)
    clock.seconds += EVERY - 1.0
    checkpoint.keep(b"two")
    assert parts(api, namespace) == before
    clock.seconds += 1.0
    checkpoint.keep(b"one")
    assert parts(api, namespace) == before
    checkpoint.keep(b"two")
    assert parts(api, namespace) != before


def test_it_is_only_made_when_it_is_time(api: Api, lease: Lease, namespace: str) -> None:
    clock, made = Time(), []

    def memory() -> bytes:
        made.append(clock.seconds)
        return b"memory %d" % len(made)

    checkpoint = Checkpoint(api, lease, namespace, now=clock)
    for _ in range(5):
        assert checkpoint.keep(memory) == ""
        clock.seconds += EVERY / 2
    assert len(made) == 3
    assert Checkpoint(api, lease, namespace).read() == (b"memory 3", "")
    checkpoint.keep(memory, now=True)
    assert len(made) == 4
    checkpoint.keep(b"three", now=True)  # a clean exit
    assert Checkpoint(api, lease, namespace).read()[0] == b"three"


def test_what_is_large_is_in_several_and_those_of_before_are_removed(
    api: Api, lease: Lease, namespace: str
) -> None:
    checkpoint = Checkpoint(api, lease, namespace)
    large = random(2_000_000)
    assert checkpoint.keep(large) == ""
    assert len(parts(api, namespace)) == 3
    assert Checkpoint(api, lease, namespace).read() == (large, "")
    assert checkpoint.keep(random(1_000_000, 1), now=True) == ""
    assert len(parts(api, namespace)) == 2
    assert Checkpoint(api, lease, namespace).read() == (random(1_000_000, 1), "")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ({"binaryData": {"memory": "AAAA"}}, "cannot be unpacked"),
        ({"binaryData": None}, "has no memory in it"),
        ({"data": {"digest": "0"}}, "its digest is another one"),
        ({"data": {"parts": f"{NAME}-no-1"}}, "is not there"),
    ],
)
def test_a_damaged_one_is_said_and_replaced(
    api: Api, lease: Lease, namespace: str, harm: dict[str, object], said: str
) -> None:
    Checkpoint(api, lease, namespace).keep(b"memory")
    api.patch(f"/api/v1/namespaces/{namespace}/configmaps/{NAME}", harm, dict)
    checkpoint = Checkpoint(api, lease, namespace)
    memory, note = checkpoint.read()
    assert memory is None
    assert said in note
    assert checkpoint.keep(b"new") == ""
    assert Checkpoint(api, lease, namespace).read() == (b"new", "")


def test_a_part_that_was_cut_off_is_damage(api: Api, lease: Lease, namespace: str) -> None:
    Checkpoint(api, lease, namespace, part=1000).keep(random(1500))
    api.patch(f"/api/v1/namespaces/{namespace}/configmaps/{NAME}", {"data": {"parts": ""}}, dict)
    assert "it is not whole" in Checkpoint(api, lease, namespace).read()[1]


def test_only_the_leader_keeps_it(api: Api, namespace: str) -> None:
    clock = Time()
    lease = leading(api, namespace, now=clock)
    checkpoint = Checkpoint(api, lease, namespace)
    checkpoint.keep(b"one")
    clock.seconds += RENEW_DEADLINE
    checkpoint.keep(b"two", now=True)
    assert Checkpoint(api, lease, namespace).read()[0] == b"one"


def test_what_another_leader_wrote_is_not_overwritten_unseen(api: Api, lease: Lease, namespace: str) -> None:
    first, second = (Checkpoint(api, lease, namespace) for _ in range(2))
    first.keep(b"one")
    second.read()
    second.keep(b"two", now=True)
    assert "somebody else wrote" in first.keep(b"old", now=True)
    assert Checkpoint(api, lease, namespace).read()[0] == b"two"


def test_a_death_between_the_parts_leaves_what_was_kept(api: Api, lease: Lease, namespace: str) -> None:
    checkpoint = Checkpoint(api, lease, namespace, part=1000)
    checkpoint.keep(random(2500))
    whole = parts(api, namespace)

    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "put", dies)  # the head is the last that is written
        with pytest.raises(KeyboardInterrupt):
            checkpoint.keep(random(2500, 1), now=True)
    assert len(parts(api, namespace)) > len(whole)
    assert Checkpoint(api, lease, namespace).read() == (random(2500), "")
    again = Checkpoint(api, lease, namespace, part=1000)
    assert again.keep(random(2500, 2), now=True) == ""
    assert len(parts(api, namespace)) == len(whole)
