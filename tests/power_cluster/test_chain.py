"""The whole chain: exporters, Prometheus, the operator, KEDA, the HPA, pods, and exporters again."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.governed import DEPLOYMENT
from flyball.adapters.kubernetes.listing import PODS, SCALED_OBJECTS
from flyball.adapters.kubernetes.placement import PLACEMENT
from flyball.adapters.kubernetes.power_original import ORIGINAL
from flyball.power.filter import Steps
from flyball.power.patience import LONGEST
from flyball.sandbox.build import KEDA, is_built, program
from flyball.sandbox.cluster import Options, Sandbox
from flyball.sandbox.fleet import fleet_from
from flyball.sandbox.monitoring import TARGETS
from flyball.sandbox.part import Scrape
from tests.clusters import LIMIT, deployment, eventually, is_here, needed
from tests.kubernetes.stage import Command, get
from tests.operator_cluster.desk import holds
from tests.power_cluster.edge import JOBS, Edge
from tests.power_cluster.test_levers import COST, NOTES, _written, document, ours, scaled

pytestmark = pytest.mark.slow

SPEED, PERIOD = 20.0, 30.0
"""Seconds of the operator's in one of ours, and of its own between cycles: its patience is of minutes."""
BACK = LIMIT + LONGEST / SPEED
"""Seconds within which watts are given back: cycles that come late make the operator more patient."""
FLEET = b"""
kind: SandboxFleet
nodes:
  - {accelerator: H200, name: hot, count: 1, cards: 8, rack: hot}
  - {accelerator: H200, name: cool, count: 1, cards: 8, rack: cool}
"""
HOT, COOL = "hot-1", "cool-1"
FOREIGN = 1000.0
"""Watts in the hot rack that are not of the cluster."""
MOST = 8
"""Replicas that the ScaledObject's user allows."""
DRAWN, BUDGET, LOWERED = 6_880, 20_000, 6_600
"""Watts of the whole hall under load, and what may be drawn there at first and then."""
SPACE = "llm"
OBJECTS = f"""
apiVersion: flyball.dev/v1alpha1
kind: PowerDomain
metadata: {{name: hall}}
spec: {{level: Site, budget: {{watts: {BUDGET}}}, limits: {{maxExceedanceSeconds: 3600}}}}
---
apiVersion: flyball.dev/v1alpha1
kind: PowerDomain
metadata: {{name: cool}}
spec:
  level: Rack
  parentRef: {{name: hall}}
  nodeSelector: {{matchLabels: {{topology.kubernetes.io/rack: cool}}}}
---
apiVersion: flyball.dev/v1alpha1
kind: PowerDomain
metadata: {{name: hot}}
spec:
  level: Rack
  parentRef: {{name: hall}}
  nodeSelector: {{matchLabels: {{topology.kubernetes.io/rack: hot}}}}
  thermal: {{supplyCelsius: 18, maxInletCelsius: 19.6, kelvinPerKilowatt: {{hot: 0.3}}}}
---
apiVersion: flyball.dev/v1alpha1
kind: DevicePowerProfile
metadata: {{name: h200}}
spec: {{match: {{gpuProduct: NVIDIA-H200}}, tdpWatts: 700, idleWatts: 75, residentIdleWatts: 120}}
---
apiVersion: flyball.dev/v1alpha1
kind: PowerPolicy
metadata: {{name: brake, namespace: {SPACE}}}
spec: {{mode: Enforce, targets: {{selector: {{matchLabels: {{app: chat}}}}}}}}
"""


@pytest.fixture(scope="module")
def hall() -> Iterator[Sandbox]:
    """Two racks, with Prometheus and KEDA."""
    needed()
    if not is_built(KEDA):
        pytest.skip("KEDA is not built: `flyball sandbox build keda` does it, in ten minutes")
    if not is_here("prometheus"):
        pytest.skip("there is no prometheus")
    options = Options(
        fleet=fleet_from(FLEET, "the hall"),
        cold_start=0.5,
        parts=("prometheus", "keda"),
        scrape=Scrape(every=1.0),
        arguments={"kube-controller-manager": ("--horizontal-pod-autoscaler-sync-period=1s",)},
    )
    with Sandbox.start(options) as started:
        yield started


class Hall:
    """What its people see and say."""

    def __init__(self, sandbox: Sandbox, api: Api, edge: Edge, folder: Path) -> None:
        self._sandbox, self._api, self.edge = sandbox, api, edge
        self._watched = folder / "allowed"
        self.seen: list[Counter[str]] = []
        """Pods by node, at each look."""

    def _command(self, *words: str) -> list[str]:
        return [*program("kubectl"), f"--kubeconfig={self._sandbox.kubeconfig}", "-n", SPACE, *words]

    def kubectl(self, *words: str, stdin: str = "") -> None:
        """Type it."""
        done = subprocess.run(self._command(*words), input=stdin, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Keep every maximum of the ScaledObject, of however short a life."""
        words = ("get", "scaledobject", "chat", "--watch", "-o", 'jsonpath={.spec.maxReplicaCount}{"\\n"}')
        with self._watched.open("w") as out, subprocess.Popen(self._command(*words), stdout=out) as process:
            try:
                yield
            finally:
                process.terminate()

    @property
    def allowed(self) -> list[int]:
        """What the ScaledObject allowed so far, one after the other."""
        return [number for number, _ in groupby(map(int, self._watched.read_text().split()))]

    def domain(self) -> dict[str, Any]:
        return self._api.get("/apis/flyball.dev/v1alpha1/powerdomains/hall", dict[str, Any])

    def policy(self) -> dict[str, Any]:
        path = f"/apis/flyball.dev/v1alpha1/namespaces/{SPACE}/powerpolicies/brake"
        return self._api.get(path, dict[str, Any])

    def scaled(self) -> dict[str, Any]:
        return document(self._api, SCALED_OBJECTS, SPACE, "chat")

    def pods(self) -> list[dict[str, Any]]:
        """That are not ending."""
        found = self._api.items(PODS.path(SPACE), dict[str, Any], selector="app=chat")
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def look(self) -> Counter[str]:
        """Pods by node, whatever else is ours of what anybody could see being the number and the marks."""
        assert ours(self.scaled()) in (set(), NOTES | {"/spec/maxReplicaCount"})
        assert ours(document(self._api, DEPLOYMENT, SPACE, "chat")) == set()
        pods = self.pods()
        for pod in pods:
            if of_us := ours(pod):
                assert of_us == {f"/metadata/annotations/{COST}"}
        self.seen.append(by_node(pods))
        return self.seen[-1]

    def told(self) -> str:
        """What happened so far and where it stands, for who has to find out why a test failed."""
        looks = [dict(one) for one, _ in groupby(self.seen)]
        kinds = ("autoscaling/v2/{}/horizontalpodautoscalers", "flyball.dev/v1alpha1/{}/powerpolicies")
        paths = [f"/apis/{kind.format(f'namespaces/{SPACE}')}" for kind in kinds]
        others = [one for path in paths for one in self._api.items(path, dict[str, Any])]
        now = [*self.pods(), self.scaled(), self.domain(), *others]
        return json.dumps({"pods": looks, "maxima": self.allowed, "watts": self.edge.watts(), "now": now})


def by_node(pods: Sequence[Mapping[str, Any]]) -> Counter[str]:
    return Counter(pod["spec"].get("nodeName", "") for pod in pods)


@pytest.fixture
def people(hall: Sandbox, tmp_path: Path) -> Iterator[Hall]:
    """Eight pods over both racks under load, of which exporters tell; the hot rack is warm of others, too."""
    with closing(Api(hall.kubeconfig)) as api, closing(Api(hall.kubeconfig)) as of_edge:
        edge = Edge(of_edge, SPACE, (HOT, COOL), {HOT: FOREIGN})
        edge.load, edge.demand = 4.0, MOST
        one = Hall(hall, api, edge, tmp_path)
        with edge.served() as address:
            (hall.folder / TARGETS).write_text(json.dumps(edge.targets(address)))
            api.post("/api/v1/namespaces", {"metadata": {"name": SPACE}}, dict)
            api.post(DEPLOYMENT.path(SPACE), chat(), dict)
            eventually(lambda: by_node(one.pods()) == {HOT: 4, COOL: 4})
            eventually(lambda: is_scraped(hall.urls["prometheus"]))
            api.post(SCALED_OBJECTS.path(SPACE), scaler(hall.urls["prometheus"]), dict)
            with one.watching():
                yield one


def is_scraped(prometheus: str) -> bool:
    """Whether Prometheus has the pages of all exporters."""
    status, body = get(prometheus, f"/api/v1/query?{urlencode({'query': 'sum(up)'})}")
    found = json.loads(body)["data"]["result"] if status == 200 else []
    return bool(found) and float(found[0]["value"][1]) == len(JOBS)


def chat() -> dict[str, Any]:
    """A Deployment of which the pods go where there are cards."""
    made: dict[str, Any] = deployment("chat", node="", replicas=MOST)
    template = made["spec"]["template"]
    template["metadata"]["labels"][PLACEMENT] = "enabled"
    template["spec"].pop("nodeSelector")
    template["spec"]["terminationGracePeriodSeconds"] = 1
    return made


def scaler(prometheus: str) -> dict[str, object]:
    """A ScaledObject that follows the demand at once."""
    asked = {"serverAddress": prometheus, "query": "demanded_pods", "threshold": "1"}
    quickly = {
        "scaleDown": {"stabilizationWindowSeconds": 0},
        "scaleUp": {"policies": [{"type": "Pods", "value": MOST, "periodSeconds": 1}]},
    }
    return scaled(
        "chat",
        "",
        maxReplicaCount=MOST,
        triggers=[{"type": "prometheus", "metadata": asked}],
        advanced={"horizontalPodAutoscalerConfig": {"behavior": quickly}},
    )


@contextmanager
def operator(people: Hall, sandbox: Sandbox, folder: Path) -> Iterator[None]:
    """As a user starts it for a trial, and the objects that he writes."""
    words = (
        *("operator", "--local", "--power", "--period", PERIOD, "--speed", SPEED),
        *("--prometheus", sandbox.urls["prometheus"], "--webhook-port", 0, "--port", 0),
    )
    one = Command(words, folder, "operator", {"KUBECONFIG": str(sandbox.kubeconfig)})
    try:
        assert one.url
        people.kubectl("apply", "-f", "-", stdin=OBJECTS)
        yield
    except BaseException:
        one.process.kill()
        one.process.wait()
        print(one.said[-6000:])
        print(people.told())
        raise
    assert one.end() == 0
    assert "Traceback" not in one.said


def test_a_lower_budget_takes_pods_from_the_hot_rack_and_all_comes_back(
    hall: Sandbox, people: Hall, tmp_path: Path
) -> None:
    edge, before = people.edge, people.scaled()
    with operator(people, hall, tmp_path):
        domain = eventually(lambda: holds(found := people.domain(), "TelemetryHealthy") and found)
        assert holds(domain, "TelemetryHealthy").startswith("True")
        assert domain["status"]["watts"] == pytest.approx(DRAWN, rel=0.01)
        assert edge.watts() == pytest.approx(DRAWN)
        assert people.look() == {HOT: 4, COOL: 4}
        assert people.allowed == [MOST]

        lower = json.dumps({"spec": {"budget": {"watts": LOWERED}}})
        people.kubectl("patch", "powerdomain", "hall", "--type=merge", "-p", lower)
        eventually(lambda: HOT not in people.look() and edge.watts() < LOWERED)
        assert holds(people.policy(), "Held") == "True Enforced"
        assert people.domain()["status"]["budgetWatts"] == LOWERED
        steps = people.allowed
        assert len(steps) >= 4
        for had, has in pairwise(steps):
            assert 0 < had - has <= Steps().of(had)
        looks = [one for one, _ in groupby(people.seen)]
        # The hot rack is emptied first; the pods of one order go in any order.
        assert all(had[HOT] == 0 or had[COOL] == 4 or has[HOT] == 0 for had, has in pairwise(looks))
        assert set(people.look()) == {COOL}
        assert people.scaled()["metadata"]["annotations"][ORIGINAL] == str(MOST)

        edge.load, edge.demand = 0.3, 1  # as it falls, nothing is in the way of what its user allows
        eventually(lambda: people.look() == {COOL: 1} and people.scaled()["spec"] == before["spec"], BACK)
        assert people.domain()["status"]["budgetWatts"] == LOWERED

        edge.load, edge.demand = 4.0, MOST  # what comes is in the cool rack, and goes as before
        grown = eventually(lambda: (pods := people.look()) and pods[COOL] > 2 and pods)
        assert HOT not in grown
        eventually(lambda: people.look() == {COOL: people.allowed[-1]} and edge.watts() < LOWERED)

        people.kubectl("delete", "powerpolicy", "brake")
        eventually(lambda: people.scaled()["spec"] == before["spec"])
        there = people.scaled()
        assert ours(there) == set()
        assert there["metadata"].get("annotations", {}) == before["metadata"].get("annotations", {})
        assert _written(there) == _written(before)
        eventually(lambda: people.look().total() == MOST)
        assert all(ours(pod) == set() for pod in people.pods())
