"""dist/ and manifests/: what is committed is what is generated, and it is one installation."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml

from flyball.commands.crds import definitions
from tests.conftest import COMPARED, shared_dir
from tests.install.made import (
    CHART,
    EVERYTHING,
    GENERATE,
    OPERATOR,
    OVERLAYS,
    ROOT,
    VALUES,
    container,
    helm,
    key,
    of_kind,
    overlay,
    read,
    rendered,
    run,
    shown,
)

slow = pytest.mark.slow

IMAGE = "flyball:0.1.0"
SAMPLES = ROOT / "manifests" / "yamls"
KINDS = ("Accelerator", "Model", "ServiceClass", "Server", "Capacity", "Optimizer")


@slow
def test_what_is_committed_is_what_is_generated(tmp_path: Path) -> None:
    run(sys.executable, str(GENERATE), "write", "--into", str(tmp_path))
    made = {
        str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()
    }
    there = [ROOT / "dist" / "install.yaml", SAMPLES / "deploy.yaml", *CHART.rglob("*")]
    committed = {str(path.relative_to(ROOT)): path.read_text() for path in there if path.is_file()}
    assert committed.keys() == made.keys(), "make build-installer"
    assert [name for name, text in made.items() if committed[name] != text] == [], "make build-installer"


@slow
def test_what_the_chart_no_longer_has_is_taken_away(tmp_path: Path) -> None:
    old = tmp_path / "dist" / "chart" / "templates" / "old.yaml"
    old.parent.mkdir(parents=True)
    old.write_text("old")
    run(sys.executable, str(GENERATE), "write", "--into", str(tmp_path))
    assert not old.exists()
    assert (old.parent / "rights.yaml").exists()


def test_the_kinds_are_all_there_and_nothing_else() -> None:
    (listed,) = read((ROOT / "deploy" / "crds" / "kustomization.yaml").read_text())
    files = {f"{one.group}_{one.plural}.yaml" for one in definitions()}
    assert set(listed["resources"]) == files
    assert {path.name for path in (CHART / "crds").iterdir()} == files


def test_all_manifests_have_the_same_image() -> None:
    found = set()
    for folder in ("deploy", "manifests", "dist"):
        for path in (ROOT / folder).rglob("*.yaml"):
            if OPERATOR not in path.parents and "templates" not in path.parts:
                found |= set(re.findall(r"(?m)^\s*(?:- )?image: ['\"]?(flyball[^\s'\"]*)", path.read_text()))
    assert found == {IMAGE}
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert f"{values['image']['repository']}:{values['image']['tag']}" == IMAGE


@slow
def test_an_image_of_ones_own_goes_everywhere(tmp_path: Path) -> None:
    image = "registry.example:5000/team/flyball:1.2.3"
    for name in OVERLAYS:
        assert container(read(shown(name, image=image)))["image"] == image
    run(sys.executable, str(GENERATE), "write", "--image", image, "--into", str(tmp_path))
    for name in ("dist/install.yaml", "manifests/yamls/deploy.yaml"):
        assert container(read((tmp_path / name).read_text()))["image"] == image
    values = yaml.safe_load((tmp_path / "dist/chart/values.yaml").read_text())
    assert f"{values['image']['repository']}:{values['image']['tag']}" == image


@slow
@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("recommend",), 'there is no "recommend": there are recommend-only, cluster, one-namespace'),
        (
            ("cluster", "--with", "metrics"),
            'there is no "metrics": there are act, wva, boost, power, power-enforce, monitoring',
        ),
        (
            ("cluster", "--image", "registry:5000/flyball"),
            'the image is "registry:5000/flyball": give it a tag',
        ),
    ],
)
def test_what_cannot_be_shown_is_said(words: tuple[str, ...], what: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(f"generate.py: {what}")):
        run(sys.executable, str(GENERATE), "show", *words)


# ---- what an installation is -------------------------------------------------------------------


@slow
@pytest.mark.parametrize("names", EVERYTHING, ids="+".join)
def test_an_overlay_is_whole(names: tuple[str, ...]) -> None:
    objects = overlay(*names)
    assert len({key(one) for one in objects}) == len(objects)
    assert {
        one["metadata"]["labels"]["app.kubernetes.io/name"]
        for one in objects
        if one["kind"] != "CustomResourceDefinition"
    } == {"flyball"}
    operator, local = container(objects), names[0] == "one-namespace"
    mode = "act" if "act" in names or names[0] == "cluster" else "recommend"
    assert f"--mode={mode}" in operator["args"]
    assert ("--wva" in operator["args"]) == ("wva" in names)
    assert ("--boost" in operator["args"]) == ("boost" in names)
    assert ("--power" in operator["args"]) == ("power" in names)
    assert bool(of_kind(objects, "MutatingWebhookConfiguration")) == ("power" in names)
    assert ("--webhook-port=9443" in operator["args"]) == (not local)
    assert bool(of_kind(objects, "ValidatingWebhookConfiguration")) == (not local)
    assert bool(of_kind(objects, "ServiceMonitor", "PrometheusRule")) == ("monitoring" in names)
    variables = {one["name"]: one["value"] for one in operator["env"]}
    assert variables.get("WATCH_NAMESPACE", "") == ("infer" if local else "")
    if local:
        assert of_kind(objects, "ClusterRole", "ClusterRoleBinding") == []
    assert len(of_kind(objects, "CustomResourceDefinition")) == len(definitions())


@slow
@pytest.mark.parametrize("names", EVERYTHING, ids="+".join)
def test_what_is_referred_to_is_there(names: tuple[str, ...]) -> None:
    objects = overlay(*names)
    hang_together(objects)


@slow
@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_what_the_chart_refers_to_is_there(values: dict[str, object], tmp_path: Path) -> None:
    hang_together(read(rendered(values, tmp_path, "other")))


def hang_together(objects: list[dict[str, object]]) -> None:
    """Bindings bind what there is, Services reach the pods' ports, the webhook its Service."""
    there = {key(one) for one in objects}
    (account,) = of_kind(objects, "ServiceAccount")
    for binding in of_kind(objects, "RoleBinding", "ClusterRoleBinding"):
        role = binding["roleRef"]
        namespace = binding["metadata"].get("namespace", "") if role["kind"] == "Role" else ""
        assert (role["kind"], namespace, role["name"]) in there
        (subject,) = binding["subjects"]
        assert (subject["kind"], subject["namespace"], subject["name"]) == key(account)
    bound = {one["roleRef"]["name"] for one in of_kind(objects, "RoleBinding", "ClusterRoleBinding")}
    roles = {one["metadata"]["name"] for one in of_kind(objects, "Role", "ClusterRole")}
    shared = {"flyball-edit", "flyball-view", "flyball-power-edit", "flyball-power-view"}
    assert roles - bound <= shared
    (deployment,) = of_kind(objects, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    ports = {port["name"] for port in container(objects)["ports"]}
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert deployment["spec"]["template"]["spec"]["serviceAccountName"] == account["metadata"]["name"]
    for service in of_kind(objects, "Service"):
        assert service["spec"]["selector"].items() <= labels.items()
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for hook in of_kind(objects, "ValidatingWebhookConfiguration"):
        groups = []
        for one in hook["webhooks"]:
            service = one["clientConfig"]["service"]
            assert ("Service", service["namespace"], service["name"]) in there
            assert (one["failurePolicy"], one["timeoutSeconds"], one["sideEffects"]) == ("Ignore", 3, "None")
            (rule,) = one["rules"]
            (group,) = rule["apiGroups"]
            groups.append(group)
            ours = {kind.plural for kind in definitions() if kind.group == group} or {"modelboosters"}
            assert set(rule["resources"]) == ours
        boosts = "--boost" in container(objects)["args"]
        assert groups == ["inferno.platform.ai", *(["workload.serving.volcano.sh"] if boosts else [])]
    for hook in of_kind(objects, "MutatingWebhookConfiguration"):
        for one in hook["webhooks"]:
            service = one["clientConfig"]["service"]
            assert ("Service", service["namespace"], service["name"]) in there
            assert one["failurePolicy"] == "Ignore"
    for policy in of_kind(objects, "NetworkPolicy"):
        assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
        assert {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]} <= ports
    for monitor in of_kind(objects, "ServiceMonitor"):
        page = next(one for one in of_kind(objects, "Service") if one["metadata"]["name"] == "flyball")
        assert monitor["spec"]["selector"]["matchLabels"].items() <= page["metadata"]["labels"].items()
        assert monitor["spec"]["endpoints"][0]["port"] in {port["name"] for port in page["spec"]["ports"]}


@slow
def test_the_chart_and_the_overlays_say_the_same(tmp_path: Path) -> None:
    for names, values in (
        (("recommend-only",), {}),
        (
            ("cluster", "wva", "boost", "power", "power-enforce", "monitoring"),
            {
                "mode": "act",
                "wva": True,
                "boost": True,
                "power": {"enabled": True, "enforce": True},
                "monitoring": {"enabled": True},
            },
        ),
        (("recommend-only", "power"), {"power": {"enabled": True}}),
        (  # domains and nodes are of no namespace
            ("one-namespace",),
            {"watchNamespace": "infer", "power": {"enabled": True, "enforce": True}},
        ),
        (("one-namespace", "act"), {"mode": "act", "watchNamespace": "infer"}),
    ):
        ours, charts = (
            {key(one): one for one in found if one["kind"] not in ("Namespace", "CustomResourceDefinition")}
            for found in (overlay(*names), read(rendered(values, tmp_path)))
        )
        assert charts.keys() == ours.keys()
        for name, one in ours.items():
            for field in ("rules", "roleRef", "subjects", "webhooks", "data"):
                assert charts[name].get(field) == one.get(field), name
        mine, theirs = container(list(ours.values())), container(list(charts.values()))
        assert theirs["args"] == mine["args"]
        for field in ("image", "resources", "securityContext", "livenessProbe", "readinessProbe"):
            assert theirs[field] == mine[field]
        rules = [of_kind(list(found.values()), "PrometheusRule") for found in (ours, charts)]
        assert [one["spec"] for one in rules[0]] == [one["spec"] for one in rules[1]]


@slow
@pytest.mark.parametrize(
    "wrong",
    [{"mode": "observe"}, {"replicas": "two"}, {"prometheus": {"url": "prometheus:9090"}}, {"replica": 2}],
    ids=str,
)
def test_the_chart_refuses_values_that_mean_nothing(wrong: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="values don't meet the specifications of the schema"):
        rendered(wrong, tmp_path)


@slow
def test_helm_finds_nothing_wrong_with_the_chart(tmp_path: Path) -> None:
    assert "1 chart(s) linted, 0 chart(s) failed" in run(helm(), "lint", "--strict", str(CHART))


# ---- the document's ----------------------------------------------------------------------------


def test_the_samples_are_those_of_the_document() -> None:
    (listed,) = read((SAMPLES / "kustomization.yaml").read_text())
    assert [read((SAMPLES / name).read_text())[0]["kind"] for name in listed["resources"]] == list(KINDS)
    shared = shared_dir()
    if shared is None:
        pytest.skip("the document is not here to be compared with")
    (document,) = (shared / "seeds").glob("000_*.txt")
    blocks = re.findall(r"``` ?yaml\n(apiVersion.*?)```", document.read_text(), re.DOTALL)
    assert [(SAMPLES / name).read_text() for name in listed["resources"]] == blocks
    COMPARED["samples of the document"] += len(blocks)


def test_deploy_is_the_installation_without_the_kinds() -> None:
    whole, sample = (
        read((ROOT / "dist" / "install.yaml").read_text()),
        read((SAMPLES / "deploy.yaml").read_text()),
    )
    assert sample == [one for one in whole if one["kind"] != "CustomResourceDefinition"]
    text = (SAMPLES / "deploy.yaml").read_text()
    assert '# - name: INFERNO_HOST\n        #   value: "inferno-optimizer.inferno.svc.cluster.local"' in text
    # Taken in, the comment is a valid environment.
    took_in = re.sub(r"(?m)^        # (- name: INFERNO|  value:)", r"        \1", text)
    variables = [one["name"] for one in container(read(took_in))["env"]]
    assert variables == ["INFERNO_HOST", "INFERNO_PORT", "INFERNO_STATELESS"]
