"""Webhooks as the API server knows them: their keys in a Secret, and whom it trusts."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.errors import Conflict, NotFound
from flyball.adapters.kubernetes.governed import Kind
from flyball.adapters.kubernetes.objects import Metadata, Read
from flyball.adapters.kubernetes.write import MANAGER

SECRET = Kind("", "v1", "secrets", "Secret")
VALIDATING = Kind(
    "admissionregistration.k8s.io",
    "v1",
    "validatingwebhookconfigurations",
    "ValidatingWebhookConfiguration",
)
MUTATING = Kind(
    "admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration"
)


class _Secret(Read, frozen=True):
    metadata: Metadata = Metadata()
    data: dict[str, str] = msgspec.field(default_factory=dict)


class SecretFiles:
    """Files in a Secret, which several processes share: who writes first is right."""

    def __init__(self, api: Api, namespace: str, name: str) -> None:
        self._api, self._namespace, self._name = api, namespace, name
        self._version = ""

    def read(self) -> dict[str, bytes]:
        """What is there; empty: nothing, or nothing that can be read. ClusterError."""
        try:
            there = self._api.get(SECRET.path(self._namespace, self._name), _Secret)
        except NotFound:
            self._version = ""
            return {}
        self._version = there.metadata.resource_version
        try:
            return {name: base64.b64decode(text, validate=True) for name, text in there.data.items()}
        except binascii.Error:
            return {}

    def write(self, files: Mapping[str, bytes]) -> bool:
        """Keep files in place of those that were read; False: somebody else wrote since. ClusterError."""
        metadata = {"name": self._name, "namespace": self._namespace}
        body: dict[str, object] = {
            "apiVersion": "v1",
            "kind": SECRET.name,
            "data": {name: base64.b64encode(data).decode() for name, data in files.items()},
        }
        path = SECRET.path(self._namespace, self._name)
        try:
            if self._version:
                body["metadata"] = metadata | {"resourceVersion": self._version}
                there = self._api.put(path, body, _Secret, fieldManager=MANAGER)
            else:
                body["metadata"] = metadata
                there = self._api.post(SECRET.path(self._namespace), body, _Secret, fieldManager=MANAGER)
        except Conflict:
            return False
        except NotFound:
            if not self._version:  # there is no such namespace
                raise
            return False
        self._version = there.metadata.resource_version
        return True


def trust(api: Api, kind: Kind, name: str, bundle: bytes) -> bool:
    """Let the API server trust a bundle for all webhooks of a configuration; whether there is one.

    Nothing is written where it does already. ClusterError; Conflict: somebody wrote meanwhile.
    """
    try:
        there: dict[str, Any] = api.get(kind.path(name=name), dict)
    except NotFound:
        return False
    text = base64.b64encode(bundle).decode()
    clients = [hook["clientConfig"] for hook in there.get("webhooks") or []]
    if any(client.get("caBundle") != text for client in clients):
        for client in clients:
            client["caBundle"] = text
        api.put(kind.path(name=name), there, dict, fieldManager=MANAGER)
    return True


class Checked(msgspec.Struct, frozen=True):
    """Kinds of a group that a webhook is asked about, and at which path."""

    group: str
    plurals: tuple[str, ...]
    path: str


def by_address(name: str, checked: Sequence[Checked], url: str, bundle: bytes) -> dict[str, object]:
    """A validating configuration that asks at an address, and lets all pass where nobody answers."""
    authority = base64.b64encode(bundle).decode()
    return {
        "apiVersion": f"{VALIDATING.group}/{VALIDATING.version}",
        "kind": VALIDATING.name,
        "metadata": {"name": name},
        "webhooks": [
            {
                "name": f"validate.{one.group}",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Ignore",
                "timeoutSeconds": 3,
                "clientConfig": {"url": url.rstrip("/") + one.path, "caBundle": authority},
                "rules": [
                    {
                        "apiGroups": [one.group],
                        "apiVersions": ["*"],
                        "operations": ["CREATE", "UPDATE"],
                        "resources": list(one.plurals),
                    }
                ],
            }
            for one in checked
        ],
    }


def placing_by_address(name: str, label: str, path: str, url: str, bundle: bytes) -> dict[str, object]:
    """A mutating configuration for pods that ask by a label, or whose namespace does; it fails open."""
    client = {"url": url.rstrip("/") + path, "caBundle": base64.b64encode(bundle).decode()}
    pods = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    asked = {"matchLabels": {label: "enabled"}}
    silent = {"key": label, "operator": "NotIn", "values": ["enabled", "disabled"]}
    return {
        "apiVersion": f"{MUTATING.group}/{MUTATING.version}",
        "kind": MUTATING.name,
        "metadata": {"name": name},
        "webhooks": [
            {
                "name": f"{which}.flyball.dev",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Ignore",
                "reinvocationPolicy": "Never",
                "timeoutSeconds": 1,
                "clientConfig": client,
                "rules": [pods],
                **selectors,
            }
            for which, selectors in (
                ("place-pods", {"objectSelector": asked}),
                (
                    "place-pods-of-namespaces",
                    {"namespaceSelector": asked, "objectSelector": {"matchExpressions": [silent]}},
                ),
            )
        ],
    }
