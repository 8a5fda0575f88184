"""From the original to Flyball and back, and from one Flyball to the next: nothing that is stored is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import yaml

from flyball.adapters.ledger import Ledger
from flyball.decide.memory import Memory
from tests.clusters import eventually
from tests.operator_cluster.desk import Desk, Object, holds, made, sample
from tests.operator_cluster.replicas import ACCOUNT, HOME, deployed
from tests.operator_cluster.test_governed import LABEL, NAME, replicas, workload
from tests.operator_kinds import original

pytestmark = pytest.mark.slow

FINALIZER = "inferno.platform.ai/finalizer"
ELSE = "example.com/keeps-it"
NAMES = [f"{plural}.inferno.platform.ai" for plural in original.PLURALS.values()]


def originals(desk: Desk) -> None:
    """The original's definitions, in place of whatever is there."""
    text = yaml.safe_dump_all([original.crd(kind) for kind in original.PLURALS])
    desk.kubectl("apply", "-f", "-", stdin=text)
    desk.kubectl("wait", "--for=condition=Established", "crd", *NAMES)
    unknown = made("Server", "unknown", name="s", **{"class": "c", "model": "m", "mode": "act"})
    eventually(lambda: "spec.mode" in desk.try_apply(unknown, dry=True))


@pytest.fixture(scope="module")
def left(desk: Desk, kinds: None) -> Iterator[str]:
    """A namespace as the original has left it, and Flyball deployed where that was."""
    desk.make("uninstall")
    originals(desk)
    desk.kubectl("create", "namespace", "left")
    for one in stored():
        desk.kubectl("create", "-n", "left", "-f", "-", stdin=yaml.safe_dump(one))
        word = "done" if one["kind"] == "Optimizer" else "active"
        words = ("patch", one["kind"], one["metadata"]["name"], "-n", "left", "--subresource", "status")
        desk.kubectl(*words, "--type", "merge", "-p", json.dumps({"status": {word: True}}))
    with deployed(desk, "cluster"):
        yield "left"
        desk.kubectl("delete", "namespace", "left", "--wait=false")
    desk.make("install")
    desk.forget()


def stored() -> list[Object]:
    """Its sample; a Model that our definitions refuse; a Server that somebody else holds on to, too."""
    odd = made("Model", "odd", name="odd", data=[])
    odd["spec"]["data"] = [
        {"acc": "A100", "accCount": 1, "alpha": -1.0, "beta": 0.4, "maxBatchSize": 8, "atTokens": 512}
    ]
    held = made("Server", "held", name="held", **{"class": "Premium", "model": "granite-13b"})
    found = [*sample(), odd, held]
    for one in found:
        one["metadata"]["finalizers"] = [FINALIZER]
    held["metadata"]["finalizers"].append(ELSE)
    return found


def planned(desk: Desk, space: str) -> Object:
    """What the sample's Server is to have."""
    desk.kubectl("patch", "server", NAME, "-n", space, "--type", "json", "-p", AGAIN)
    desk.optimize(namespace=space)
    eventually(lambda: not desk.get("optimizer", "inferno", space)["spec"]["optimize"])
    wanted = ["A100", 2, 16, 80]
    keys = ("accelerator", "numReplicas", "maxBatch", "cost")
    found: Object = eventually(
        lambda: (
            (one := desk.get("server", NAME, space)["spec"]["desiredAlloc"])
            and [one.get(key) for key in keys] == wanted
            and one
        )
    )
    return found


AGAIN = '[{"op": "replace", "path": "/spec/desiredAlloc/accelerator", "value": "G2"}]'


def test_what_the_original_stored_is_planned_goes_back_and_can_be_deleted(desk: Desk, left: str) -> None:
    with desk.running("operator", "--namespace", HOME, "--no-loop", account=ACCOUNT) as operator:
        for one in stored():
            kind, name = one["kind"], one["metadata"]["name"]
            there = eventually(
                lambda kind=kind, name=name: (  # type: ignore[misc]
                    (found := desk.get(kind, name, left))["status"].get("observedGeneration") and found
                )
            )
            assert there["metadata"]["finalizers"] == one["metadata"]["finalizers"]
            ready = "False Invalid" if name == "odd" else "True Accepted"
            assert holds(there, "Ready") == ready, (kind, name)
        desired = planned(desk, left)
        # Back to the original: what it knows of is as it was, and decided.
        originals(desk)
        there = desk.get("server", NAME, left)
        assert there["spec"]["desiredAlloc"] == desired
        assert there["status"] == {"active": True}
        assert desk.get("optimizer", "inferno", left)["status"] == {"done": True}
        # And to us again, while the operator has run all the time.
        desk.make("install")
        desk.forget()
        desk.kubectl("wait", "--for=condition=Established", "crd", *NAMES)
        assert planned(desk, left) == desired

        # Nobody but us can take off what the original's controller has put on them.
        desk.kubectl("delete", "server", "held", "-n", left, "--wait=false")
        eventually(lambda: desk.get("server", "held", left)["metadata"]["finalizers"] == [ELSE])
        for one in stored():
            if one["metadata"]["name"] != "held":
                desk.kubectl("delete", one["kind"], one["metadata"]["name"], "-n", left, "--timeout=30s")
        assert desk.get("server", "held", left)["metadata"]["finalizers"] == [ELSE]
        free = '{"metadata": {"finalizers": null}}'
        desk.kubectl("patch", "server", "held", "-n", left, "--type", "merge", "-p", free)
        assert "Traceback" not in operator.words
    assert "No resources found" in desk.kubectl("get", "inferno", "-n", left)


def test_another_flyball_goes_on_where_the_last_one_ended(desk: Desk, left: str, tmp_path: Path) -> None:
    desk.kubectl("create", "namespace", "moved")
    objects = sample()
    objects[3]["spec"] |= {"mode": "act", "maxNumReplicas": 9}
    words = ("operator", "--namespace", HOME, "--period", "2", "--ledger")
    with desk.running(*words, str(tmp_path / "first.sqlite"), account=ACCOUNT):
        desk.apply(*objects, workload(240), namespace="moved")
        eventually(lambda: replicas(desk, "moved") > 1)
        wanted = desk.get("server", NAME, "moved")["spec"]["desiredAlloc"]["numReplicas"]
        eventually(lambda: replicas(desk, "moved") == wanted)
        eventually(lambda: cycles(tmp_path / "first.sqlite") > 3)
    kept = desk.get("configmap", "flyball-memory", HOME)
    before = desk.get("deployment", "granite", "moved")
    with desk.running(*words, str(tmp_path / "second.sqlite"), account=ACCOUNT):
        memory = eventually(lambda: remembers(tmp_path / "second.sqlite"))
        assert any(LABEL in name for name in memory.servers)
        eventually(lambda: cycles(tmp_path / "second.sqlite") > 3)
    after = desk.get("deployment", "granite", "moved")
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert desk.get("server", NAME, "moved")["spec"]["desiredAlloc"]["numReplicas"] == wanted
    assert desk.get("configmap", "flyball-memory", HOME)["metadata"]["uid"] == kept["metadata"]["uid"]
    desk.kubectl("delete", "namespace", "moved", "--wait=false")


def remembers(file: Path) -> Memory | None:
    """From which its first cycle decided."""
    if not file.exists():
        return None
    ledger = Ledger(file, "test")
    try:
        numbers = ledger.numbers(1, 1 << 60)
        if not numbers:
            return None
        memory = ledger.start_of(numbers[0])[1]
        return msgspec.msgpack.decode(memory, type=Memory | None)
    finally:
        ledger.close()


def cycles(file: Path) -> int:
    ledger = Ledger(file, "test")
    try:
        return len(ledger.numbers(1, 1 << 60))
    finally:
        ledger.close()
