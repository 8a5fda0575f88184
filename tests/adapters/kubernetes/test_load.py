"""The load emulator: labels read and written, and what it does to a real cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.disturbance import Disturbance, Load
from flyball.adapters.kubernetes.errors import Conflict
from flyball.adapters.kubernetes.labels import PREFIX, RATE
from flyball.adapters.kubernetes.load import (
    COUNTS,
    NOMINAL,
    POD,
    Emulator,
    Named,
    Unusable,
    labels_of,
    load_of,
    own_labels,
)
from flyball.adapters.kubernetes.objects import Metadata, Pod
from flyball.sandbox.cluster import Sandbox
from flyball.spec.phase import Phase
from tests.clusters import eventually

LOADS = {"load.rpm": "30", "load.numtokens": "2048"}
NEWER = {"load.rpm": "60", "load.intokens": "128", "load.outtokens": "1024"}


# ---- labels ------------------------------------------------------------------------------------


def test_labels_are_read_and_written_in_the_originals_form() -> None:
    load = load_of({RATE: "90", COUNTS[2]: "2048", f"{PREFIX}model": "llama_13b"})
    assert load == Load(1.5, (None, None, 2048))
    assert labels_of(load) == {RATE: "90.0000", COUNTS[2]: "2048"}
    assert labels_of(Load(None, (128, 1024, None))) == {COUNTS[0]: "128", COUNTS[1]: "1024"}


@pytest.mark.parametrize("text", ["", "x", "-1", "1e5", "nan", "inf", "1_0", "2000000000"])
def test_a_label_that_is_no_number_is_named(text: str) -> None:
    with pytest.raises(Unusable, match=rf'label {RATE} "{text}": allowed is a number'):
        load_of({RATE: text})


def kept(nominal: Mapping[str, str], written: Mapping[str, str]) -> dict[str, str]:
    return {NOMINAL: json.dumps({"nominal": nominal, "written": written})}


def test_what_somebody_else_sets_meanwhile_holds_from_then_on() -> None:
    annotations = kept({RATE: "30", COUNTS[2]: "2048"}, {RATE: "41.2", COUNTS[2]: "1999"})
    untouched = Metadata(labels={RATE: "41.2", COUNTS[2]: "1999"}, annotations=annotations)
    assert own_labels(untouched) == {RATE: "30", COUNTS[2]: "2048"}
    set_anew = Metadata(labels={RATE: "90", COUNTS[2]: "1999"}, annotations=annotations)
    assert own_labels(set_anew) == {RATE: "90", COUNTS[2]: "2048"}


def test_an_annotation_that_cannot_be_read_is_named() -> None:
    with pytest.raises(Unusable, match=f'annotation {NOMINAL} "{{}}", which cannot be read'):
        own_labels(Metadata(labels={RATE: "1"}, annotations={NOMINAL: "{}"}))


# ---- in a cluster ------------------------------------------------------------------------------

slow = pytest.mark.slow


@pytest.fixture
def api(sandbox: Sandbox) -> Iterator[Api]:
    one = Api(sandbox.kubeconfig)
    yield one
    one.close()


def workload(
    api: Api, namespace: str, name: str, labels: Mapping[str, str], *, kind: str = "Deployment", **more: Any
) -> None:
    """Make a managed workload; `pods`: how many, which then carry the same load labels."""
    pods = more.get("pods", 0)
    own = {PREFIX + key: value for key, value in labels.items()}
    template = {"app": name, **(own if pods else {})}
    spec: dict[str, Any] = {
        "replicas": pods,
        "selector": {"matchLabels": {"app": name}},
        "template": {
            "metadata": {"labels": template},
            "spec": {"containers": [{"name": "engine", "image": "vllm"}]},
        },
    }
    managed = {PREFIX + "managed": more.get("managed", "true"), PREFIX + "name": name}
    body = {"metadata": {"name": name, "labels": {**managed, **own}}, "spec": spec}
    api.post(f"/apis/apps/v1/namespaces/{namespace}/{kind.lower()}s", body, Named)


def meta(api: Api, namespace: str, name: str, kind: str = "Deployment") -> Metadata:
    return api.get(f"/apis/apps/v1/namespaces/{namespace}/{kind.lower()}s/{name}", Named).metadata


def loads(of: Metadata) -> dict[str, str]:
    """Its load labels by the end of their names."""
    return {key.removeprefix(PREFIX): text for key, text in of.labels.items() if ".load." in key}


def emulator(api: Api, namespace: str, by: Disturbance | None = None, **more: Any) -> Emulator:
    return Emulator(api, by or Disturbance(), np.random.default_rng(1), namespace, **more)


@slow
def test_loads_move_around_what_they_were_and_are_put_back(api: Api, namespace: str) -> None:
    workload(api, namespace, "old", LOADS)
    workload(api, namespace, "new", NEWER, kind="StatefulSet")
    workload(api, namespace, "other", LOADS, managed="false")
    workload(api, namespace, "without", {})
    rates = []
    for _ in range(3):
        restarted = emulator(api, namespace, Disturbance(0.2))
        outcome = restarted.cycle()
        assert [change.name for change in outcome.changes] == ["old", "new"]
        assert outcome.changes[0].before == {"rpm": "30.0000", "numtokens": "2048"}
        now = meta(api, namespace, "old")
        assert json.loads(now.annotations[NOMINAL])["nominal"] == {PREFIX + k: v for k, v in LOADS.items()}
        rates.append(now.labels[RATE])
        assert loads(now) != LOADS
    assert len(set(rates)) == 1  # all started from the undisturbed value, with the same seed
    assert set(loads(meta(api, namespace, "new", "StatefulSet"))) == set(NEWER)
    other = meta(api, namespace, "other")
    assert loads(other) == LOADS
    assert NOMINAL not in other.annotations
    restored = emulator(api, namespace).restore()
    assert {change.name for change in restored.changes} == {"old", "new"}
    for name, kind, original in (("old", "Deployment", LOADS), ("new", "StatefulSet", NEWER)):
        now = meta(api, namespace, name, kind)
        assert loads(now) == original
        assert NOMINAL not in now.annotations
    revision = meta(api, namespace, "old").annotations.get("deployment.kubernetes.io/revision", "1")
    assert revision == "1"  # so no pod was started anew
    assert emulator(api, namespace).restore().changes == ()


@slow
def test_nominal_labels_say_what_a_load_moves_around_and_phases_raise_it(api: Api, namespace: str) -> None:
    workload(api, namespace, "server", {**NEWER, "load.nominal.rpm": "600"})
    still = Disturbance(alpha=0.0)
    half_way = emulator(api, namespace, still, phases=[Phase(60.0, 3.0)]).cycle(30.0)
    assert half_way.multiplier == pytest.approx(2.0)
    assert loads(meta(api, namespace, "server")) == {
        **NEWER,
        "load.nominal.rpm": "600",
        "load.rpm": "1200.0000",
    }
    drifting = Disturbance(alpha=0.0, theta=0.25)
    emulator(api, namespace, drifting).cycle()
    assert meta(api, namespace, "server").labels[RATE] == "1050.0000"  # a quarter of the way back to 600
    emulator(api, namespace).restore()
    assert meta(api, namespace, "server").labels[RATE] == "60"


@slow
def test_what_is_set_by_hand_meanwhile_stays(api: Api, namespace: str) -> None:
    workload(api, namespace, "server", LOADS)
    emulator(api, namespace).cycle()
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/server"
    api.patch(path, {"metadata": {"labels": {RATE: "900"}}}, Named)
    assert emulator(api, namespace).cycle().changes[0].before["rpm"] == "900.0000"
    emulator(api, namespace).restore()
    assert loads(meta(api, namespace, "server")) == {**LOADS, "load.rpm": "900"}


@slow
def test_a_server_that_cannot_be_read_keeps_no_other_waiting(api: Api, namespace: str) -> None:
    workload(api, namespace, "bad", {**LOADS, "load.rpm": "many"})
    workload(api, namespace, "good", LOADS)
    outcome = emulator(api, namespace).cycle()
    assert [change.name for change in outcome.changes] == ["good"]
    (note,) = outcome.notes
    assert note.startswith(f'Deployment {namespace}/bad has the label {RATE} "many": allowed is')
    assert loads(meta(api, namespace, "bad"))["load.rpm"] == "many"


class Meddled(Api):
    """An API server on which somebody else writes just before we do, so often."""

    def __init__(self, sandbox: Sandbox, meddle: Callable[[Api, int], None], times: int) -> None:
        super().__init__(sandbox.kubeconfig)
        self._meddle, self._left, self.conflicts = meddle, times, 0

    def patch(self, path: str, body: Mapping[str, object], kind: Any, **params: str) -> Any:
        if self._left:
            self._left -= 1
            self._meddle(self, self._left)
        try:
            return super().patch(path, body, kind, **params)
        except Conflict:
            self.conflicts += 1
            raise


@slow
def test_a_write_of_somebody_else_in_between_is_kept(sandbox: Sandbox, api: Api, namespace: str) -> None:
    workload(api, namespace, "server", LOADS)
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/server"

    def meddle(_: Api, left: int) -> None:
        api.patch(path, {"metadata": {"labels": {f"{PREFIX}load.rpm": f"{100 + left}", "by": "hand"}}}, Named)

    meddled = Meddled(sandbox, meddle, times=2)
    outcome = emulator(meddled, namespace).cycle()
    meddled.close()
    assert meddled.conflicts == 2
    assert len(outcome.changes) == 1
    now = meta(api, namespace, "server")
    assert now.labels["by"] == "hand"
    assert json.loads(now.annotations[NOMINAL])["nominal"][RATE] == "100"
    emulator(api, namespace).restore()
    assert loads(meta(api, namespace, "server")) == {**LOADS, "load.rpm": "100"}


@slow
def test_who_never_gets_to_write_says_so(sandbox: Sandbox, api: Api, namespace: str) -> None:
    workload(api, namespace, "server", LOADS)
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/server"

    def meddle(_: Api, left: int) -> None:
        api.patch(path, {"metadata": {"labels": {"by": f"hand-{left}"}}}, Named)

    meddled = Meddled(sandbox, meddle, times=50)
    outcome = emulator(meddled, namespace).cycle()
    meddled.close()
    assert outcome.changes == ()
    assert "others wrote it 5 times in between" in outcome.notes[0]
    assert loads(meta(api, namespace, "server")) == LOADS


@slow
def test_pods_with_labels_share_their_servers_load(api: Api, namespace: str) -> None:
    workload(api, namespace, "server", NEWER, pods=3)
    workload(api, namespace, "alone", NEWER)

    def running() -> list[Pod]:
        found = api.items(POD.path(namespace), Pod, selector=f"app=server,{RATE}")
        return found if len(found) == 3 and all(one.status.phase == "Running" for one in found) else []

    eventually(running)
    outcome = emulator(api, namespace, Disturbance(0.2, skew=0.3)).cycle()
    assert [change.kind for change in outcome.changes] == ["Deployment", "Deployment", "Pod", "Pod", "Pod"]
    rate = float(meta(api, namespace, "server").labels[RATE])
    parts = [float(pod.metadata.labels[RATE]) for pod in running()]
    assert sum(parts) == pytest.approx(rate, abs=1e-3)
    assert len(set(parts)) == 3
    assert emulator(api, namespace).restore().notes == ()
    assert all(loads(pod.metadata) == NEWER and NOMINAL not in pod.metadata.annotations for pod in running())


# ---- the command -------------------------------------------------------------------------------


@contextmanager
def process(
    sandbox: Sandbox, namespace: str, *words: str, **environment: str
) -> Iterator[subprocess.Popen[str]]:
    """`flyball emulate` on the sandbox; killed where it still runs in the end."""
    where = ("--kubeconfig", str(sandbox.kubeconfig), "--namespace", namespace)
    command = [sys.executable, "-m", "flyball", "emulate", *words, *where]
    own = {key: text for key, text in os.environ.items() if not key.startswith("INFERNO_")}
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**own, **environment}
    )
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def moved(api: Api, namespace: str, name: str) -> bool:
    return NOMINAL in meta(api, namespace, name).annotations


@slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_ends_it_finds_the_labels_as_they_were(
    sandbox: Sandbox, api: Api, namespace: str, number: signal.Signals
) -> None:
    workload(api, namespace, "server", LOADS)
    with process(sandbox, namespace, "0.2", INFERNO_LOAD_INTERVAL="never", INFERNO_LOAD_ALPHA="0.3") as it:
        eventually(lambda: moved(api, namespace, "server"))
        it.send_signal(number)
        out, err = it.communicate(timeout=60)
    assert (it.returncode, err) == (0, "")
    assert "cycle 1: 1 server\n" in out
    assert f"{namespace}/server  rpm " in out
    assert out.endswith("put back: the labels of 1 object\n")
    assert loads(meta(api, namespace, "server")) == LOADS


@slow
def test_what_a_killed_one_left_is_put_back(sandbox: Sandbox, api: Api, namespace: str) -> None:
    workload(api, namespace, "server", LOADS)
    with process(sandbox, namespace, "0.2") as it:
        eventually(lambda: moved(api, namespace, "server"))
        it.kill()
        it.communicate()
    assert loads(meta(api, namespace, "server")) != LOADS
    with process(sandbox, namespace, "--restore") as it:
        out, err = it.communicate(timeout=60)
    assert (it.returncode, out, err) == (0, "put back: the labels of 1 object\n", "")
    assert loads(meta(api, namespace, "server")) == LOADS
    assert not moved(api, namespace, "server")


@slow
def test_once_leaves_what_it_set_and_count_does_not(sandbox: Sandbox, api: Api, namespace: str) -> None:
    workload(api, namespace, "server", LOADS)
    with process(sandbox, namespace, "--once", "--seed", "4") as it:
        out, _ = it.communicate(timeout=60)
    assert it.returncode == 0
    assert "put back" not in out
    first = meta(api, namespace, "server").labels[RATE]
    with process(sandbox, namespace, "--once", "--seed", "4") as it:
        it.communicate(timeout=60)
    assert meta(api, namespace, "server").labels[RATE] == first != "30"  # from the original, same seed
    with process(sandbox, namespace, "0.1", "--count", "2") as it:
        out, _ = it.communicate(timeout=60)
    assert (it.returncode, out.count(" cycle ")) == (0, 2)
    assert loads(meta(api, namespace, "server")) == LOADS


@slow
def test_an_annotation_that_cannot_be_read_is_left_and_said(
    sandbox: Sandbox, api: Api, namespace: str
) -> None:
    workload(api, namespace, "server", LOADS)
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/server"
    api.patch(path, {"metadata": {"annotations": {NOMINAL: "?"}}}, Named)
    with process(sandbox, namespace, "--restore") as it:
        _, err = it.communicate(timeout=60)
    assert it.returncode == 3
    assert f'Deployment {namespace}/server has the annotation {NOMINAL} "?", which cannot be read' in err
