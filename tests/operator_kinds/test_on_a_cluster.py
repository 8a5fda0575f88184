"""Our definitions before a real API server: taken, explained, shown, and kind to what the original stored."""

from __future__ import annotations

import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from flyball.commands.crds import texts_of
from flyball.sandbox.build import program
from flyball.sandbox.cluster import Sandbox
from flyball.wire.kinds.inferno import DEFINITIONS
from flyball.wire.kinds.kind import Definition
from flyball.wire.kinds.schema import Schema
from flyball.wire.text import decode, encode_yaml
from tests.clusters import eventually, read_kinds
from tests.operator_kinds import original
from tests.operator_kinds.cases import BOUNDS, RULES, Case
from tests.operator_kinds.samples import KINDS, TEXTS, Document, at, sample

pytestmark = pytest.mark.slow

DEFINED = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
GROUP = "/apis/inferno.platform.ai/v1alpha1"
PATCH = {"Content-Type": "application/merge-patch+json"}
TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
MODERN = {
    d.kind: decode(text.encode(), d.kind)
    for d, text in zip(DEFINITIONS, texts_of(DEFINITIONS).values(), strict=True)
}


class Api:
    """The API server, as the administrator."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.kubeconfig = sandbox.kubeconfig
        self.http = httpx2.Client(
            base_url=sandbox.url,
            headers={"Authorization": f"Bearer {sandbox.token}"},
            verify=ssl.create_default_context(cafile=str(sandbox.authority)),
            timeout=60,
        )

    def define(self, documents: list[Any]) -> None:
        """Make or change definitions, and wait until each is established as it is now."""
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=documents)
        for one in documents:
            eventually(lambda name=one["metadata"]["name"]: self.established(name))  # type: ignore[misc]

    def established(self, name: str) -> bool:
        found = self.http.get(f"{DEFINED}/{name}").json()
        conditions = {c["type"]: c["status"] for c in found.get("status", {}).get("conditions", [])}
        assert conditions.get("NonStructuralSchema") != "True", conditions
        return conditions.get("Established") == "True" == conditions.get("NamesAccepted")

    def kubectl(self, *words: str, stdin: list[Any] | None = None) -> str:
        given = "---\n".join(map(encode_yaml, stdin or ()))
        with tempfile.TemporaryDirectory() as fresh:  # what it remembers of the server's kinds would be old
            command = [*program("kubectl"), f"--kubeconfig={self.kubeconfig}", f"--cache-dir={fresh}", *words]
            done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def path(self, kind: str, namespace: str, name: str = "") -> str:
        path = f"{GROUP}/namespaces/{namespace}/{original.PLURALS[kind]}"
        return f"{path}/{name}" if name else path

    def create(self, one: Document, namespace: str, dry: bool = False) -> httpx2.Response:
        asked = {"dryRun": "All", "fieldValidation": "Strict"} if dry else {"fieldValidation": "Strict"}
        return self.http.post(self.path(one["kind"], namespace), params=asked, json=one)


@pytest.fixture(scope="package")
def api(sandbox: Sandbox) -> Iterator[Api]:
    """With our definitions in place."""
    made = Api(sandbox)
    made.define(list(MODERN.values()))
    yield made
    read_kinds(made.kubectl)
    made.kubectl("delete", "crd", *(d.name for d in DEFINITIONS))
    made.http.close()


def taken(api: Api, one: Document, namespace: str, dry: bool = False) -> Document:
    """The object as it was stored. A definition that was just changed may take a moment to be served."""

    def tried() -> httpx2.Response | None:
        answer = api.create(one, namespace, dry)
        return None if answer.status_code in (404, 503) else answer

    answer = eventually(tried)
    assert answer is not None
    assert answer.status_code == 201, answer.text
    return answer.json()  # type: ignore[no-any-return]


def test_the_definitions_are_established_and_their_short_names_are_free(api: Api) -> None:
    lists = [api.http.get("/api/v1").json()]
    for group in api.http.get("/apis").json()["groups"]:
        for version in group["versions"]:
            answer = api.http.get(f"/apis/{version['groupVersion']}")
            lists += [answer.json()] if answer.status_code == 200 else []
    names: dict[str, set[tuple[str, str]]] = {}
    for one in lists:
        group = one["groupVersion"].rpartition("/")[0]
        for resource in one["resources"]:
            words = (*resource.get("shortNames", ()), resource["name"], resource.get("singularName", ""))
            for word in words:
                names.setdefault(word, set()).add((group, resource["name"]))
    for definition in DEFINITIONS:
        for word in (*definition.short_names, definition.plural, definition.singular):
            assert names[word] == {("inferno.platform.ai", definition.plural)}, word
    listed = api.kubectl("get", "inferno", "--all-namespaces")
    assert not listed


@pytest.mark.parametrize("kind", KINDS)
def test_the_original_s_sample_applies_unchanged(api: Api, namespace: str, kind: str) -> None:
    one = decode(TEXTS[kind].encode(), kind)
    api.kubectl("apply", "--namespace", namespace, "-f", "-", stdin=[one])
    name = sample(kind)["metadata"]["name"]
    stored = api.http.get(api.path(kind, namespace, name)).json()
    assert stored["spec"] == sample(kind)["spec"]


@pytest.mark.parametrize("case", [*RULES, *BOUNDS], ids=lambda c: f"{c.kind}.{c.path}")
def test_what_is_wrong_is_refused_in_words(api: Api, namespace: str, case: Case) -> None:
    good, bad = sample(case.kind), sample(case.kind)
    at(good["spec"], case.path, case.good)
    at(bad["spec"], case.path, case.bad)
    taken(api, good, namespace, dry=True)
    answer = api.create(bad, namespace, dry=True)
    assert answer.status_code in (400, 422), answer.text
    assert case.said in answer.json()["message"]
    assert f"spec.{case.path.partition('.')[0]}" in answer.json()["message"]


def test_a_server_s_bounds_of_replicas_are_in_order(api: Api, namespace: str) -> None:
    taken(api, sample("Server", minNumReplicas=2, maxNumReplicas=2), namespace, dry=True)
    answer = api.create(sample("Server", minNumReplicas=3, maxNumReplicas=2), namespace, dry=True)
    assert answer.status_code == 422
    assert "minNumReplicas is over maxNumReplicas" in answer.json()["message"]


def test_defaults_are_those_of_the_original_and_little_more(api: Api, namespace: str) -> None:
    least = {
        "Accelerator": {"cost": 40},
        "Model": {"data": [{"acc": "A100"}]},
        "ServiceClass": {"data": [{"model": "m"}]},
        "Server": {"model": "m"},
        "Capacity": {"count": [{"type": "A100"}]},
        "Optimizer": {},
    }
    added: dict[str, Any] = {
        "Accelerator": {"cost": 40, "multiplicity": 1},
        "Model": {"data": [{"acc": "A100", "accCount": 1}]},
        "ServiceClass": {"priority": 0, "data": [{"model": "m"}]},
        "Capacity": {"count": [{"type": "A100", "count": 0}]},
    }
    for kind in KINDS:
        stored = taken(api, {**sample(kind), "spec": least[kind]}, namespace, dry=True)
        assert stored["spec"] == added.get(kind, least[kind])


def fields(schema: Schema, path: str) -> Iterator[tuple[str, str]]:
    """Every field below, and its description."""
    for name, below in schema.get("properties", {}).items():
        yield f"{path}.{name}", below.get("description", "")
        yield from fields(below.get("items", below), f"{path}.{name}")


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda d: d.kind)
def test_kubectl_explains_every_field(api: Api, definition: Definition) -> None:
    modern: Any = MODERN[definition.kind]
    properties = modern["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    told = api.kubectl("explain", f"{definition.plural}.inferno.platform.ai", "--recursive")
    for part in ("spec", "status"):
        for path, description in fields(properties[part], part):
            assert description, path
            assert path.rpartition(".")[2] in told
    deepest = max(fields(properties["spec"], "spec"), key=lambda field: field[0].count("."))
    said = api.kubectl("explain", f"{definition.plural}.inferno.platform.ai.{deepest[0]}")
    assert " ".join(deepest[1].split()) in " ".join(said.split())


def test_columns_show_what_was_decided(api: Api, namespace: str) -> None:
    taken(api, sample("Server"), namespace)
    name = sample("Server")["metadata"]["name"]
    now = "2026-01-01T00:00:00Z"
    conditions = [
        {"type": kind, "status": status, "reason": "Told", "message": "so", "lastTransitionTime": now}
        for kind, status in (("Ready", "True"), ("Feasible", "False"))
    ]
    status = {
        "active": True,
        "reason": "cheapest",
        "bindingConstraint": "wait",
        "observedGeneration": 1,
        "lastDecisionTime": now,
        "conditions": conditions,
        "currentAlloc": {"accelerator": "A100", "numReplicas": 4},
        "desiredAlloc": {"accelerator": "A100", "numReplicas": 2, "cost": 80.5},
        "nextBest": {"accelerator": "G2", "numReplicas": 1},
    }
    path = f"{api.path('Server', namespace, name)}/status"
    answer = api.http.patch(
        path, headers=PATCH, json={"status": status}, params={"fieldValidation": "Strict"}
    )
    assert answer.status_code == 200, answer.text
    table = api.http.get(api.path("Server", namespace), headers=TABLE).json()
    shown = dict(zip([c["name"] for c in table["columnDefinitions"]], table["rows"][0]["cells"], strict=True))
    assert shown.pop("Age")
    assert shown == {
        "Name": name,
        "Class": "Premium",
        "Model": "granite-13b",
        "Accelerator": "A100",
        "Replicas": 2,
        "Has": 4,
        "Cost": 80.5,
        "Reason": "cheapest",
        "Ready": "True",
        "Feasible": "False",
        "Mode": None,
        "Binding": "wait",
        "Next best": "G2",
        "Problem": "so",
    }
    twice = [*conditions, conditions[0]]
    answer = api.http.patch(path, headers=PATCH, json={"status": {"conditions": twice}})
    assert answer.status_code == 422
    assert "Duplicate value" in answer.text


STORED: dict[str, Document] = {
    "full": {},
    "Accelerator": {"power": {"idle": 500, "full": 100, "midPower": 700, "midUtil": 1}, "cost": -1},
    "Model": {"data.0.alpha": -1, "data.1.acc": "A100", "data.0.maxBatchSize": -7},
    "ServiceClass": {"data.0.slo-itl": -40, "priority": 2_000_000_000_000, "data.1.model": "granite-13b"},
    "Server": {"currentAlloc.accelerator": "", "currentAlloc.numReplicas": -3, "desiredAlloc": None},
    "Capacity": {"count.1.type": "A100"},
}
"""What the original stores without a word, beside its samples."""
BARE: dict[str, Document] = {kind: {"metadata": {"name": "bare"}} for kind in KINDS}


def stored_by_the_original(kind: str) -> list[Document]:
    """Its sample, one that is nonsense, and one without a spec."""
    odd = sample(kind)
    for path, value in STORED.get(kind, {}).items():
        at(odd["spec"], path, value)
    odd["metadata"]["name"] = "odd"
    head = {"apiVersion": odd["apiVersion"], "kind": kind}
    return [sample(kind), odd, {**head, **BARE[kind]}]


def test_what_the_original_stored_lives_on_and_goes_back(api: Api, namespace: str) -> None:
    try:
        api.define([original.crd(kind) for kind in KINDS])
        eventually(lambda: gone(api, namespace))  # the old schema is served
        before = [taken(api, one, namespace) for kind in KINDS for one in stored_by_the_original(kind)]
        api.define(list(MODERN.values()))
        eventually(lambda: not gone(api, namespace))
        for one in before:
            lives_on(api, one, namespace)
        api.define([original.crd(kind) for kind in KINDS])
        eventually(lambda: gone(api, namespace))
        for one in before:
            kind, name = one["kind"], one["metadata"]["name"]
            stored = api.http.get(api.path(kind, namespace, name)).json()
            assert stored.get("spec") == one.get("spec")
            word = "done" if kind == "Optimizer" else "active"
            assert stored["status"] == {word: True}
            renamed = {"metadata": {"labels": {"was": "here"}}}
            answer = api.http.patch(api.path(kind, namespace, name), headers=PATCH, json=renamed)
            assert answer.status_code == 200, answer.text
    finally:
        api.define(list(MODERN.values()))


def gone(api: Api, namespace: str) -> bool:
    """Whether `mode`, which the original does not know, is refused."""
    one = sample("Server", mode="act")
    one["metadata"]["name"] = "asked"
    return api.create(one, namespace, dry=True).status_code == 400


def lives_on(api: Api, one: Document, namespace: str) -> None:
    """Its status can be written, its labels changed, and its spec is as it was."""
    path = api.path(one["kind"], namespace, one["metadata"]["name"])
    now = "2026-01-01T00:00:00Z"
    ready = {"type": "Ready", "status": "True", "reason": "Read", "message": "", "lastTransitionTime": now}
    word = "done" if one["kind"] == "Optimizer" else "active"
    status = {word: True, "observedGeneration": 1, "conditions": [ready]}
    for below, change in (("/status", {"status": status}), ("", {"metadata": {"labels": {"x": "y"}}})):
        answer = api.http.patch(path + below, headers=PATCH, json=change)
        assert answer.status_code == 200, f"{one['kind']} {one['metadata']['name']}: {answer.text}"
    assert api.http.get(path).json().get("spec") == one.get("spec")
    if one["kind"] == "Optimizer" and "spec" in one:  # how a plan is asked for, and how it is answered
        answer = api.http.patch(path, headers=PATCH, json={"spec": {"optimize": True}})
        assert answer.status_code == 200, answer.text
        answer = api.http.patch(path, headers=PATCH, json={"spec": {"optimize": False}})
        assert answer.status_code == 200, answer.text
