"""ModelBoosters as users and other controllers of the cluster treat them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

import msgspec

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.errors import NotFound
from flyball.operator.booster_kinds import BOOSTER, CHILDREN, PODS
from tests.boosting import samples
from tests.clusters import eventually
from tests.operator_cluster.desk import Desk, Object, condition

KINDS = {"ModelBooster": BOOSTER, **CHILDREN}
QUIET = 2.0
"""Seconds in which nothing more comes, if nothing is to come."""


class Booth:
    """A namespace, and what stands in it."""

    def __init__(self, desk: Desk, api: Api, space: str) -> None:
        self.desk, self.api, self.space = desk, api, space

    def make(self, name: str = "chat", document: Object | None = None, **backend: Any) -> Object:
        """A ModelBooster."""
        made = document or samples.document(**backend)
        made["metadata"] = {
            "name": name,
            "namespace": self.space,
            "annotations": made["metadata"].get("annotations") or {},
        }
        return self.post("ModelBooster", made)

    def post(self, kind: str, body: Object, manager: str = "kubectl") -> Object:
        return cast(Object, self.api.post(KINDS[kind].path(self.space), body, dict, fieldManager=manager))

    def get(self, kind: str, name: str = "chat-b1") -> Object:
        return cast(Object, self.api.get(KINDS[kind].path(self.space, name), dict))

    def there(self, kind: str, name: str = "chat-b1") -> bool:
        try:
            self.get(kind, name)
        except NotFound:
            return False
        return True

    def booster(self, name: str = "chat") -> Object:
        return self.get("ModelBooster", name)

    def edit(
        self, kind: str, name: str, body: Object, part: str = "", manager: str = "kubectl-edit"
    ) -> Object:
        """A merge patch, as somebody else."""
        path = KINDS[kind].path(self.space, name, part)
        return cast(Object, self.api.patch(path, body, dict, fieldManager=manager))

    def ask(self, body: Object, name: str = "chat") -> Object:
        """Change the spec of a ModelBooster."""
        return self.edit("ModelBooster", name, {"spec": body})

    def delete(self, kind: str, name: str) -> None:
        self.api.delete(KINDS[kind].path(self.space, name))

    def available(self, name: str = "chat-b1", word: str = "True") -> None:
        """What the controller of ModelServings says."""
        about = {"reason": "AllGroupsReady", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        status = {"conditions": [{"type": "Available", "status": word, **about}]}
        self.edit("ModelServing", name, {"status": status}, "status", "kthena")

    def scale(self, replicas: int, name: str = "chat-b1") -> None:
        """Through /scale."""
        self.edit("ModelServing", name, {"spec": {"replicas": replicas}}, "scale", "autoscaler")

    def pod(self, name: str, serving: str = "chat-b1") -> str:
        """One that no scheduler takes; its path."""
        labels = {"modelserving.volcano.sh/name": serving}
        spec = {"schedulerName": "none", "containers": [{"name": "engine", "image": "x"}]}
        self.api.post(
            PODS.path(self.space), {"metadata": {"name": name, "labels": labels}, "spec": spec}, dict
        )
        return PODS.path(self.space, name)

    def becomes(self, pod: str, **status: Any) -> None:
        """What the kubelet, or the scheduler, says of a pod."""
        container = {"name": "engine", "image": "x", "imageID": "", "ready": False, "restartCount": 1}
        found = [{**container, **one} for one in status.pop("containers", [])]
        self.api.patch(f"{pod}/status", {"status": {**status, "containerStatuses": found}}, dict)

    def said(self, type: str, name: str = "chat") -> Object:
        return condition(self.booster(name), type)

    def word(self, type: str, name: str = "chat") -> str:
        return str(self.said(type, name).get("status", ""))

    def observed(self, name: str = "chat") -> bool:
        """Whether the status is of the spec that stands there."""
        one = self.booster(name)
        return one.get("status", {}).get("observedGeneration") == one["metadata"]["generation"]

    def done(self, name: str = "chat") -> None:
        """Wait until the children are as the spec has them."""
        try:
            eventually(lambda: self.observed(name))
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.booster(name).get('status')}") from None

    def names(self) -> list[str]:
        """Kinds and names of all children."""
        return [f"{kind} {one['metadata']['name']}" for kind, one in self.all()]

    def all(self) -> list[tuple[str, Object]]:
        found = []
        for kind in CHILDREN:
            try:
                found += [(kind, one) for one in self.api.items(KINDS[kind].path(self.space), dict)]
            except NotFound:
                continue
        return sorted(found, key=lambda one: (one[0], one[1]["metadata"]["name"]))

    def events(self) -> list[Object]:
        path = f"/api/v1/namespaces/{self.space}/events"
        return [one for one in self.api.items(path, dict) if one["involvedObject"]["kind"] == "ModelBooster"]

    def versions(self) -> dict[str, str]:
        """Of all children and ModelBoosters."""
        boosters = [("ModelBooster", one) for one in self.api.items(BOOSTER.path(self.space), dict)]
        return {
            f"{kind} {one['metadata']['name']}": one["metadata"]["resourceVersion"]
            for kind, one in (*boosters, *self.all())
        }

    def quiet(self) -> None:
        """Assert that nothing is written while nothing happens."""
        before = eventually(lambda: self._still())
        time.sleep(QUIET)
        assert self.versions() == before

    def _still(self) -> dict[str, str] | None:
        before = self.versions()
        time.sleep(0.3)
        return before if self.versions() == before else None


def found(check: Callable[[], object]) -> bool:
    """Whether a check holds; what is not there does not."""
    try:
        return bool(check())
    except (NotFound, KeyError):
        return False


def plain(one: Object) -> Object:
    """As it is compared: what the API server counts is left out."""
    copied: Object = msgspec.json.decode(msgspec.json.encode(one))
    for key in ("managedFields", "resourceVersion", "generation"):
        copied["metadata"].pop(key, None)
    return copied
