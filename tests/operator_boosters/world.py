"""What keeps ModelBoosters, step by step: no threads, a clock of its own."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from flyball.adapters.kubernetes.errors import ClusterError, Gone, NotFound
from flyball.adapters.kubernetes.watch import Watch
from flyball.boosting.adopt import adopted, settled
from flyball.boosting.errors import BoosterError
from flyball.boosting.expand import expand
from flyball.operator.booster import Boosters
from flyball.operator.booster_around import Surroundings
from flyball.operator.booster_kinds import BOOSTER, CHILDREN, PODS, BoosterKinds
from flyball.wire.errors import WireError
from flyball.wire.kthena_booster import read_booster
from tests.boosting import samples
from tests.operator.api import Document
from tests.operator.world import Leading
from tests.operator_boosters.server import Applying

SPACE = "serving"
BEGAN = 1_790_000_000.0
PLURALS = tuple(kind.plural for kind in CHILDREN.values())


class Cluster:
    """Objects, and one who keeps them; another one may come in its place."""

    def __init__(self) -> None:
        self.server = Applying()
        self.server.unserved = {"autoscalingpolicybindings"}
        self.lease = Leading()
        self.seconds = 0.0
        self.events: list[tuple[str, str, str, bool]] = []
        self.restart()

    def restart(self) -> None:
        """One who knows nothing comes in the place of the one that was."""
        self.due: set[tuple[str, str]] = set()
        self.again: dict[tuple[str, str], float] = {}
        api = self.server.api()
        self.kinds = BoosterKinds(api, lambda key: self.due.add(key), now=lambda: self.seconds)
        self.around = Surroundings(api, self.kinds, "flyball", every=0.0)
        self.boosters = Boosters(
            api,
            self.lease,
            self.kinds,
            self.around,
            told=lambda stored, reason, message, warning: self.events.append(
                (stored.metadata.name, reason, message, warning)
            ),
            wall=lambda: f"2026-01-01T00:00:{self.seconds:09.3f}Z",
            now=lambda: self.seconds,
        )
        self._known: Any = None
        self.wait(0.0)

    # ---- objects -----------------------------------------------------------------------------------

    def make(self, document: Document | None = None, name: str = "chat", **backend: Any) -> None:
        """A ModelBooster."""
        made = copy.deepcopy(document) if document else samples.document(**backend)
        made["metadata"] |= {"name": name, "namespace": SPACE}
        made["metadata"].pop("uid", None)
        self.server.post(BOOSTER.path(SPACE), made, dict)

    def foreign(self, kind: str, name: str, **metadata: Any) -> None:
        """An object of somebody else."""
        spec = {"modelName": "theirs", "rules": []} if kind == "ModelRoute" else {"theirs": 1}
        about = {"name": name, "namespace": SPACE, "labels": {}, **metadata}
        self.server.post(CHILDREN[kind].path(SPACE), {"kind": kind, "metadata": about, "spec": spec}, dict)

    def pod(self, name: str, serving: str, status: Document) -> None:
        """A pod of a ModelServing."""
        about = {"name": name, "namespace": SPACE, "labels": {"modelserving.volcano.sh/name": serving}}
        self.server.post(PODS.path(SPACE), {"metadata": about, "spec": {}}, dict)
        self.server.user(PODS.path(SPACE, name), lambda one: one.update(status=status))

    def booster(self, name: str = "chat") -> Document:
        return self.server.document(BOOSTER.path(SPACE, name))

    def edit(self, change: Callable[[Document], object], name: str = "chat") -> None:
        self.server.user(BOOSTER.path(SPACE, name), change)

    def child(self, kind: str, name: str = "chat-b1") -> Document:
        return self.server.document(CHILDREN[kind].path(SPACE, name))

    def touch(self, kind: str, change: Callable[[Document], object], name: str = "chat-b1") -> None:
        self.server.user(CHILDREN[kind].path(SPACE, name), change)

    def available(self, word: str = "True", name: str = "chat-b1") -> None:
        status = {"conditions": [{"type": "Available", "status": word}]}
        self.touch("ModelServing", lambda one: one.update(status=status), name)

    def names(self) -> list[str]:
        """Kinds and names of all children."""
        return [f"{one['kind']} {one['metadata']['name']}" for one in self.server.objects(*PLURALS)]

    def said(self, type: str, name: str = "chat") -> tuple[str, str, str]:
        """Status, reason and message of a condition."""
        for one in self.booster(name).get("status", {}).get("conditions", ()):
            if one["type"] == type:
                return one["status"], one["reason"], one["message"]
        return "", "", ""

    # ---- time --------------------------------------------------------------------------------------

    def wait(self, seconds: float) -> None:
        self.seconds += seconds
        self.server.date = BEGAN + self.seconds

    def hear(self, watch: Watch[Any]) -> None:
        """One kind's watch goes on."""
        try:
            if not watch._version:
                watch._list()
            watch._follow()
        except Gone:
            watch._version = ""
            self.hear(watch)
        except NotFound:
            watch.absent = True
            watch._version = ""

    def hear_all(self) -> None:
        for watch in self.kinds._all():
            self.hear(watch)
        around = self.around()
        if self._known is not None and around != self._known:
            self.due |= {(one.metadata.namespace, one.metadata.name) for one in self.kinds.boosters.all()}
        self._known = around

    def look(self, key: tuple[str, str]) -> None:
        """One look, with what was heard so far."""
        self.due.discard(key)
        try:
            after = self.boosters.look(key)
        except ClusterError:
            self.due.add(key)  # as `Work` does
            raise
        self.again.pop(key, None)
        if after is not None:
            self.again[key] = self.seconds + after

    def settle(self) -> None:
        """Look until nobody wants to be looked at."""
        for _ in range(60):
            self.hear_all()
            collected = self.server.collect()
            self.due |= {key for key, at in self.again.items() if at <= self.seconds}
            if not self.due and not collected:
                return
            for key in sorted(self.due):
                with suppress(ClusterError):
                    self.look(key)
        raise AssertionError(f"it never ends: {self.server.writes[-10:]}")

    def further_writes(self) -> list[str]:
        """What one who comes anew writes, and one more look at everything."""
        before = len(self.server.asked)
        for anew in (True, False):
            if anew:
                self.restart()
            self.settle()
            for one in self.kinds.boosters.all():
                self.look((one.metadata.namespace, one.metadata.name))
        return self.server.asked[before:]

    # ---- what must hold ----------------------------------------------------------------------------

    def wanted(self, name: str = "chat") -> list[Document]:
        """The children that a ModelBooster should have; what reads and expands it may raise."""
        around = self.around()
        document = {**self.booster(name), "kind": "ModelBooster"}
        return expand(
            read_booster(document, f"ModelBooster {SPACE}/{name}"), around.images, around.settings
        ).documents()

    def wanted_or_why(self, name: str) -> list[Document] | str:
        """The same, or why there are none."""
        try:
            return self.wanted(name)
        except (BoosterError, WireError) as error:
            return str(error)

    def right(self, name: str = "chat") -> bool:
        """Whether a ModelBooster has exactly its children, as they should be."""
        uid = self.booster(name)["metadata"]["uid"]
        owned = {
            (one["kind"], one["metadata"]["name"]): one
            for one in self.server.objects(*PLURALS)
            if any(owner["uid"] == uid for owner in one["metadata"].get("ownerReferences") or ())
        }
        wanted = {(one["kind"], one["metadata"]["name"]): one for one in self.wanted(name)}
        return owned.keys() == wanted.keys() and all(
            settled(owned[key], adopted(owned[key], wanted[key], keep_replicas=True)) for key in wanted
        )
