"""A recommendation as a file for server-side apply, and as the words of a commit and a pull request.

The file depends on what would be set alone, not on watts or moments: the same advice is the same file.
"""

from __future__ import annotations

import hashlib
import re
import string
from pathlib import PurePosixPath

import msgspec

from flyball.adapters.notify import words
from flyball.power.tell import Governed, News, Topic
from flyball.spec.power_plan import PowerAction, Recommendation
from flyball.wire.text import encode_yaml

FIELD_MANAGER = "flyball-power"
PATH = "power/{subject}.yaml"
FIELDS = frozenset({"subject", "domain", "policy"})
PAUSED = "autoscaling.keda.sh/paused-replicas"
_SCALED = "ScaledObject"
_GROUPS = {_SCALED: "keda.sh/v1alpha1", "Deployment": "apps/v1", "StatefulSet": "apps/v1"}
_ODD = re.compile(r"[^A-Za-z0-9_-]+")


class Proposal(msgspec.Struct, frozen=True):
    """What one branch holds."""

    subject: str
    """Domain and policy, as a part of names of branches and files."""
    path: str
    text: str
    title: str
    body: str


def proposal(
    news: News, topic: Topic, one: Recommendation, path: str = PATH
) -> tuple[Proposal | None, tuple[str, ...]]:
    """The file for a recommendation, or None; and what cannot be in it, in a sentence each."""
    documents, left = _documents(news, one)
    if not documents:
        return None, tuple(left)
    subject = subject_of(one)
    head = (
        f"# What Flyball recommends for {_line(one.domain)}, to be applied by itself:\n"
        f"# kubectl apply --server-side --field-manager={FIELD_MANAGER} -f FILE\n"
    )
    text = head + "".join(f"---\n{encode_yaml(d)}" for d in documents)
    where = path.format(subject=subject, domain=_plain(one.domain), policy=_plain(one.policy or "all"))
    return Proposal(subject, where, text, _title(news, one), _body(news, topic, one, left)), tuple(left)


def subject_of(one: Recommendation) -> str:
    """Domain and policy as a name that a branch and a file may have; other ones have other names."""
    digest = hashlib.sha256(f"{one.domain}\n{one.policy}".encode()).hexdigest()[:8]
    return "-".join([*filter(None, (_plain(one.domain), _plain(one.policy))), digest])


def checked_path(template: str) -> str:
    """A template of paths within a repository. ValueError."""
    example = f"Write it as {PATH}"
    try:
        fields = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
        path = PurePosixPath(template.format(**dict.fromkeys(FIELDS, "x")))
    except (ValueError, KeyError, IndexError, AttributeError):
        raise ValueError(f"the path '{template}' has other fields than {sorted(FIELDS)}. {example}") from None
    if not fields <= FIELDS or ("subject" not in fields and fields != {"domain", "policy"}):
        raise ValueError(f"the path '{template}' names no subject: files would be shared. {example}")
    parts = path.parts
    if path.is_absolute() or ".." in parts or ".git" in parts or path.suffix not in (".yaml", ".yml"):
        raise ValueError(f"the path '{template}' is not that of a YAML file in the repository. {example}")
    return template


def _documents(news: News, one: Recommendation) -> tuple[list[dict[str, object]], list[str]]:
    """One patch for each object, and what cannot be one."""
    found: dict[tuple[str, ...], dict[str, object]] = {}
    left: list[str] = []
    for action in one.actions:
        governed = news.governed.get(action.server)
        line = f"{action.lever} of {news.words(action)}"
        if governed is None:
            left.append(f"Not in the patch, as its workload is not known: {line}")
        elif action.lever not in ("hold", "replicas", "pause"):
            left.append(f"Not in the patch, as no field of a scaler holds it: {line}")
        elif not (version := governed.workload.api_version or _GROUPS.get(governed.workload.kind, "")):
            left.append(f"Not in the patch, as the group of {governed.workload.kind} is not known: {line}")
        else:
            ref = governed.workload
            found[governed.namespace, version, ref.kind, ref.name] = _document(action, governed, version)
    return [found[key] for key in sorted(found)], left


def _document(action: PowerAction, governed: Governed, version: str) -> dict[str, object]:
    ref = governed.workload
    metadata: dict[str, object] = {"name": ref.name, "namespace": governed.namespace}
    asked = action.after if governed.most is None else min(action.after, governed.most)
    document: dict[str, object] = {"apiVersion": version, "kind": ref.kind, "metadata": metadata}
    if ref.kind != _SCALED:
        return {**document, "spec": {"replicas": max(asked, governed.least)}}
    if action.lever == "pause":
        metadata["annotations"] = {PAUSED: str(max(asked, 0))}
        return document
    # KEDA refuses a maximum below the minimum, and 0.
    return {**document, "spec": {"maxReplicaCount": max(asked, governed.least, 1)}}


def _title(news: News, one: Recommendation) -> str:
    moved = sorted({news.words(a).rpartition("/")[2] for a in one.actions})
    some = ", ".join(moved[:3]) + (f" and {len(moved) - 3} more" if len(moved) > 3 else "")
    title = _line(f"power: {one.domain}: {some}")
    return title if len(title) <= 120 else f"{title[:117]}..."


def _body(news: News, topic: Topic, one: Recommendation, left: list[str]) -> str:
    lines = [_line(one.reason), "", _line(words.headline(topic)), ""]
    lines += [f"- {_line(words.action_line(news, a))}" for a in one.actions]
    if one.peak is not None:
        lines += ["", f"Where it is not done: a peak of {one.peak:,.0f} W."]
    lines += ["", *map(_line, left)] if left else []
    if one.policy:
        lines += ["", f"Policy: {_line(one.policy)}"]
    return "\n".join(lines)


def _line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _plain(text: str) -> str:
    return _ODD.sub("-", text).strip("-")[:60]
