"""The Helm chart, made from the manifests that kustomize also reads: each file becomes a template."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from string import Template
from typing import Any

import yaml

NAMESPACE, ACCOUNT = "flyball", "flyball"
RELEASED = "{{ .Release.Namespace }}"
GLOBAL = "not .Values.watchNamespace"
WEBHOOK = f"and .Values.webhook.enabled ({GLOBAL})"
POWER = f"and .Values.power.enabled ({GLOBAL})"
"""Domains and nodes are of no namespace."""
HEAD = """\
{{- /* Written by `make build-installer` from deploy/operator: change it there. */ -}}
"""
OWN = (
    *("flyball-cluster", "flyball-edit", "flyball-view"),
    *("flyball-power", "flyball-power-enforce", "flyball-power-edit", "flyball-power-view"),
)
"""Rights that are the cluster's by nature; the others are a namespace's where only one is watched."""
NAMED = re.compile(r"'?\bTOKEN_(\w+?)_END\b'?")
"""A value that a template takes the place of, quotes included."""
BOOSTERS = "boosters"
"""Where a configuration of webhooks holds the one that is asked only where ModelBoosters are kept."""
TEXTS = {
    "NAMESPACE": RELEASED,
    "ROLE": "{{ if .Values.watchNamespace }}Role{{ else }}ClusterRole{{ end }}",
    "BINDING": "{{ if .Values.watchNamespace }}RoleBinding{{ else }}ClusterRoleBinding{{ end }}",
    "WATCHED": "{{ .Values.watchNamespace | quote }}",
    "REPLICAS": "{{ .Values.replicas }}",
    "IMAGE": '"{{ .Values.image.repository }}:{{ .Values.image.tag }}"',
    "PULL": "{{ .Values.image.pullPolicy }}",
    "METRICS": "{{ .Values.networkPolicy.metricsFrom | quote }}",
    "INSTANCE": "{{ .Release.Name }}",
    "SERVICE": "{{ .Release.Service }}",
}
"""In place of TOKEN_X_END."""

ARGUMENTS = {
    "operator": "- operator",
    "--namespace=flyball": f"- --namespace={RELEASED}",
    "--mode=recommend": "- --mode={{ .Values.mode }}",
    "--host=0.0.0.0": "- --host=0.0.0.0",
    "--port=8081": "- --port=8081",
    "--drain=5": "- --drain=5",
    "--webhook-host=0.0.0.0": f"{{{{- if {WEBHOOK} }}}}\n- --webhook-host=0.0.0.0",
    "--webhook-port=9443": "- --webhook-port=9443\n{{- end }}",
}
"""Those of the manifest, which may hold no other, as templates."""
MORE_ARGUMENTS = """\
{{- if .Values.wva }}
- --wva
{{- end }}
{{- if .Values.boost }}
- --boost
{{- end }}
{{- if and .Values.power.enabled (not .Values.watchNamespace) }}
- --power
{{- end }}
{{- range .Values.extraArgs }}
- {{ . | quote }}
{{- end }}"""
VARIABLES = """\
- name: INFERNO_STATELESS
  value: {{ .Values.optimizer.stateless | quote }}
- name: INFERNO_CONTROL_PERIOD
  value: {{ .Values.period | quote }}
{{- with .Values.prometheus.url }}
- name: INFERNO_PROMETHEUS_URL
  value: {{ . | quote }}
{{- end }}
{{- with .Values.watchNamespace }}
- name: WATCH_NAMESPACE
  value: {{ . | quote }}
{{- end }}
{{- if .Values.optimizer.host }}
- name: INFERNO_HOST
  value: {{ .Values.optimizer.host | quote }}
- name: INFERNO_PORT
  value: {{ .Values.optimizer.port | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{- toYaml . | nindent 8 }}
{{- end }}"""
PLACING = """\
{{- with .Values.imagePullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
{{- end }}
{{- with .Values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
{{- end }}
{{- with .Values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
{{- end }}"""

Objects = list[dict[str, Any]]


def files(here: Path, crds: Path, version: str, repository: str, tag: str) -> dict[str, str]:
    """The chart's files by their paths in it. `here`: the folder of the manifests."""

    def read(name: str) -> Objects:
        return [one for one in yaml.safe_load_all((here / name).read_text()) if one["kind"] != "Namespace"]

    rights, (deployment, budget) = read("base/rights.yaml"), read("base/deployment.yaml")
    (page, webhook_service, policy), (webhooks,) = read("base/network.yaml"), read("base/webhook.yaml")
    (of_boosters,) = yaml.safe_load((here / "boost" / "webhook.yaml").read_text())
    webhooks[BOOSTERS] = of_boosters["value"]
    (placing,) = read("power/webhook.yaml")
    monitor, rules = read("monitoring/service-monitor.yaml") + read("monitoring/rules.yaml")
    resources = deployment["spec"]["template"]["spec"]["containers"][0]["resources"]
    values = Template((here / "chart" / "values.yaml").read_text()).substitute(
        repository=repository,
        tag=tag,
        replicas=deployment["spec"]["replicas"],
        resources=indented(dumped(resources), 2),
    )
    about = {
        "apiVersion": "v2",
        "name": "flyball",
        "description": "The governor for LLM inference fleets: its operator, for Inferno's kinds and labels.",
        "type": "application",
        "version": version,
        "appVersion": version,
    }
    always = [(one, "") for one in rights if one["metadata"]["name"] not in OWN]
    whole = [(one, GLOBAL) for one in rights if one["metadata"]["name"] in OWN]
    made = {
        "Chart.yaml": dumped(about),
        "values.yaml": values,
        "values.schema.json": (here / "chart" / "values.schema.json").read_text(),
        "templates/NOTES.txt": (here / "chart" / "NOTES.txt").read_text(),
        "templates/rights.yaml": template(*always, *whole),
        "templates/rights-act.yaml": template(
            *((one, 'eq .Values.mode "act"') for one in read("act/rights.yaml"))
        ),
        "templates/rights-wva.yaml": template(*((one, ".Values.wva") for one in read("wva/rights.yaml"))),
        "templates/rights-boost.yaml": template(
            *((one, ".Values.boost") for one in read("boost/rights.yaml"))
        ),
        "templates/rights-power.yaml": template(*((one, POWER) for one in read("power/rights.yaml"))),
        "templates/rights-power-enforce.yaml": template(
            *((one, f"{POWER} .Values.power.enforce") for one in read("power-enforce/rights.yaml"))
        ),
        "templates/deployment.yaml": template((deployment, ""), (budget, "")),
        "templates/network.yaml": template(
            (page, ""), (webhook_service, WEBHOOK), (policy, ".Values.networkPolicy.enabled")
        ),
        "templates/webhook.yaml": template(
            (webhooks, WEBHOOK), (placing, f"{WEBHOOK} .Values.power.enabled")
        ),
        "templates/monitoring.yaml": template(
            *((one, ".Values.monitoring.enabled") for one in (monitor, rules, dashboard_map()))
        ),
        "dashboards/flyball.json": (here / "monitoring" / "dashboard.json").read_text(),
    }
    for path in sorted(crds.glob("*_*.yaml")):
        made[f"crds/{path.name}"] = path.read_text()
    return made


def dashboard_map() -> dict[str, Any]:
    """The ConfigMap that kustomize generates."""
    meta = {"name": "flyball-dashboard", "namespace": NAMESPACE, "labels": {"grafana_dashboard": "1"}}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": meta,
        "data": {"flyball.json": token("DASHBOARD")},
    }


# ---- one object --------------------------------------------------------------------------------


def template(*objects: tuple[dict[str, Any], str]) -> str:
    """Objects, each only where its condition holds, as one file."""
    texts = [HEAD]
    for one, condition in objects:
        text = "---\n" + placed(one)
        texts.append(f"{{{{- if {condition} }}}}\n{text}{{{{- end }}}}\n" if condition else text)
    return "".join(texts)


def placed(one: dict[str, Any]) -> str:
    """An object as a template."""
    one = json.loads(json.dumps(one))  # the manifests' own stay as they are
    kind, name = one["kind"], one["metadata"]["name"]
    if "namespace" in one["metadata"]:
        one["metadata"]["namespace"] = token("NAMESPACE")
    one["metadata"]["labels"] = {
        "app.kubernetes.io/name": "flyball",
        "app.kubernetes.io/instance": token("INSTANCE"),
        "app.kubernetes.io/managed-by": token("SERVICE"),
        **one["metadata"].get("labels", {}),
    }
    for subject in one.get("subjects", ()):
        subject["namespace"] = token("NAMESPACE")
    if kind in ("ClusterRole", "ClusterRoleBinding") and name not in OWN:
        return in_one_namespace(one)
    special: dict[str, Callable[[dict[str, Any]], str]] = {
        "Deployment": deployed,
        "NetworkPolicy": limited,
        "ValidatingWebhookConfiguration": checked,
        "MutatingWebhookConfiguration": asked,
        "ConfigMap": shown,
        "PrometheusRule": ruled,
    }
    return special.get(kind, rendered)(one)


def in_one_namespace(one: dict[str, Any]) -> str:
    """A right in the whole cluster, or in the one namespace."""
    if one["kind"] == "ClusterRole":
        one["kind"] = token("ROLE")
    else:
        one["kind"], one["roleRef"]["kind"] = token("BINDING"), token("ROLE")
    text = rendered(one)
    name = f"  name: {one['metadata']['name']}\n"
    where = "  {{- with .Values.watchNamespace }}\n  namespace: {{ . | quote }}\n  {{- end }}\n"
    assert text.count(name) >= 1
    return text.replace(name, name + where, 1)


def deployed(one: dict[str, Any]) -> str:
    one["spec"]["replicas"] = token("REPLICAS")
    pod = one["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    arguments = [ARGUMENTS[argument] for argument in container["args"]]
    assert len(arguments) == len(ARGUMENTS)
    assert [variable["name"] for variable in container["env"]] == ["INFERNO_STATELESS"]
    container["image"], container["imagePullPolicy"] = token("IMAGE"), token("PULL")
    container["args"], container["env"], container["resources"] = (
        token("ARGS"),
        token("ENV"),
        token("RESOURCES"),
    )
    pod["placing"] = token("PLACING")
    given = "\n".join([*arguments, MORE_ARGUMENTS])
    text = rendered(one)
    for old, new in (
        (f"args: {token('ARGS')}\n", "args:\n" + indented(given, 8) + "\n"),
        (f"env: {token('ENV')}\n", "env:\n" + indented(VARIABLES, 8) + "\n"),
        (
            f"resources: {token('RESOURCES')}\n",
            "resources:\n          {{- toYaml .Values.resources | nindent 10 }}\n",
        ),
        (f"      placing: {token('PLACING')}\n", PLACING + "\n"),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def limited(one: dict[str, Any]) -> str:
    (source,) = one["spec"]["ingress"][1]["from"]
    source["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] = token("METRICS")
    return rendered(one)


def checked(one: dict[str, Any]) -> str:
    more = one.pop(BOOSTERS)
    for hook in (*one["webhooks"], more):
        hook["clientConfig"]["service"]["namespace"] = token("NAMESPACE")
    assert list(one)[-1] == "webhooks"  # so that one more can be added at the end
    return f"{rendered(one)}{{{{- if .Values.boost }}}}\n{rendered([more])}{{{{- end }}}}\n"


def asked(one: dict[str, Any]) -> str:
    for hook in one["webhooks"]:
        hook["clientConfig"]["service"]["namespace"] = token("NAMESPACE")
    return rendered(one)


def shown(one: dict[str, Any]) -> str:
    text = rendered(one)
    data = '|\n{{ .Files.Get "dashboards/flyball.json" | indent 4 }}'
    return text.replace(token("DASHBOARD"), data)


def ruled(one: dict[str, Any]) -> str:
    """Alerts are templates of Prometheus, which Helm must let pass."""
    spec = one.pop("spec")
    escaped = re.sub(r"\{\{|\}\}", lambda match: f'{{{{ "{match[0]}" }}}}', dumped({"spec": spec}))
    return rendered(one) + escaped


# ---- text --------------------------------------------------------------------------------------


def token(name: str) -> str:
    return f"TOKEN_{name}_END"


def dumped(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, width=1000)


def rendered(one: Any) -> str:
    """As YAML, with templates in place of tokens that have one."""
    return NAMED.sub(lambda match: TEXTS.get(match[1], match[0]), dumped(one))


def indented(text: str, by: int) -> str:
    """Control lines of templates stay at the margin, where they trim the line before."""
    lines = text.removesuffix("\n").split("\n")
    return "\n".join(line if line.startswith("{{-") else " " * by + line for line in lines)
