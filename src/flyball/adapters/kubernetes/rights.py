"""What somebody may do: access reviews for all that reading and acting need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.objects import Read

AUTHORIZATION = "/apis/authorization.k8s.io/v1"
THREADS = 8


class Right(msgspec.Struct, frozen=True):
    """Some verbs on one resource."""

    verbs: tuple[str, ...]
    resource: str
    group: str = ""
    subresource: str = ""
    namespace: str = ""
    """"": in all."""
    needed_to: str = ""
    without: str = ""
    """What is not possible without it; "": nothing is."""

    @property
    def name(self) -> str:
        """deployments.apps/scale, as kubectl writes it."""
        resource = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{resource}/{self.subresource}" if self.subresource else resource


_WORKLOADS = ("deployments", "statefulsets")
READ = (
    *(Right(("list",), name, "apps", needed_to="see workloads") for name in _WORKLOADS),
    Right(("list",), "pods", needed_to="see replicas, and the cards that others take"),
)
OPTIONAL = (
    Right(("list",), "nodes", needed_to="see cards", without="capacity is not known"),
    Right(
        ("list",),
        "horizontalpodautoscalers",
        "autoscaling",
        needed_to="see HPAs",
        without="what an HPA scales too is not noticed",
    ),
    Right(("list",), "resourcequotas", needed_to="see quotas", without="quotas of cards are not noticed"),
)
ACT = (
    *(
        Right(("get", "patch"), name, "apps", needed_to="note how it was found, and apply batch and cards")
        for name in _WORKLOADS
    ),
    *(Right(("update",), name, "apps", "scale", needed_to="set replicas") for name in _WORKLOADS),
    Right(("patch",), "pods", needed_to="say which go first", without="idle replicas do not go first"),
    Right(("create", "patch"), "events", needed_to="write Events", without="no Event says why"),
)
OWN = (
    Right(("get", "create", "patch"), "leases", "coordination.k8s.io", needed_to="lead"),
    Right(
        ("get", "list", "create", "update", "patch", "delete"),
        "configmaps",
        needed_to="remember, recommend, and be frozen",
    ),
)
"""In the namespace of the loop's own objects."""


class _Status(Read, frozen=True):
    allowed: bool = False


class _Review(Read, frozen=True):
    status: _Status = _Status()


def placed(rights: Iterable[Right], namespace: str) -> tuple[Right, ...]:
    """The same in one namespace."""
    return tuple(msgspec.structs.replace(right, namespace=namespace) for right in rights)


def lacking(api: Api, rights: Sequence[Right], account: str = "") -> dict[Right, tuple[str, ...]]:
    """The verbs that are not allowed, by right; those that are whole are absent. ClusterError.

    `account`: NAMESPACE/NAME of a service account; "": of whoever asks.
    """
    asked = [(right, verb) for right in rights for verb in right.verbs]
    with ThreadPoolExecutor(THREADS, "flyball-rights") as pool:
        answers = list(pool.map(lambda one: _allowed(api, one[0], one[1], account), asked))
    found: dict[Right, tuple[str, ...]] = {}
    for (right, verb), allowed in zip(asked, answers, strict=True):
        if not allowed:
            found[right] = (*found.get(right, ()), verb)
    return found


def _allowed(api: Api, right: Right, verb: str, account: str) -> bool:
    asked = {
        "verb": verb,
        "group": right.group,
        "resource": right.resource,
        "subresource": right.subresource,
        "namespace": right.namespace,
    }
    spec: dict[str, object] = {"resourceAttributes": {key: value for key, value in asked.items() if value}}
    kind = "SelfSubjectAccessReview"
    if account:
        namespace, _, name = account.partition("/")
        kind = "SubjectAccessReview"
        spec |= {
            "user": f"system:serviceaccount:{namespace}:{name}",
            "groups": [
                "system:serviceaccounts",
                f"system:serviceaccounts:{namespace}",
                "system:authenticated",
            ],
        }
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec}
    return api.post(f"{AUTHORIZATION}/{kind.lower()}s", body, _Review).status.allowed
