"""A reconciler over an API server in memory, step by step: no threads but its own, and a clock of its own."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from flyball.adapters.kubernetes.errors import Conflict, Gone, NotFound, Unreachable
from flyball.operator.kinds import KINDS, Kinds, Stored
from flyball.operator.planning import Planner, built_in
from flyball.operator.reconciler import Held, Reconciler
from flyball.wire.kinds.inferno_objects import Ref
from tests.operator.api import Document, Server
from tests.operator_kinds.samples import at, sample

SPACE = "infer"


class Leading:
    """A lease that is held until it is told otherwise."""

    def __init__(self) -> None:
        self.term: int | None = 0


class World:
    """Objects, their watches, and what looks at them."""

    def __init__(self, planner: Planner = built_in, server: Server | None = None) -> None:
        self.server = server or Server()
        self.lease = Leading()
        self.seconds = 1000.0
        self.events: list[tuple[str, str, bool]] = []
        self.held: Mapping[Ref, Held] = {}
        self.due: set[str] = set()
        self.again: dict[str, float] = {}
        self.kinds = Kinds(self.server.api(), lambda ref: self.due.add(ref.namespace))
        self.reconciler = Reconciler(
            self.server.api(),
            self.lease,
            self.kinds,
            planner,
            held=lambda: self.held,
            told=lambda stored, ref, reason, message, warning: self.events.append(
                (str(ref), reason, warning)
            ),
            wall=lambda: f"2026-01-01T00:00:00.{self.seconds:g}Z",
            now=lambda: self.seconds,
        )

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self.reconciler.close()

    # ---- objects -----------------------------------------------------------------------------------

    def make(self, *documents: Document) -> None:
        for one in documents:
            kind = KINDS[one["kind"]]
            self.server.post(kind.path(one["metadata"]["namespace"]), copy.deepcopy(one), Stored)

    def samples(self, *leave_out: str) -> None:
        self.make(*(sample(kind, SPACE) for kind in KINDS if kind not in leave_out))

    def edit(self, kind: str, change: Callable[[Document], None], name: str = "") -> None:
        """As a user does: whatever stands there is read, and written back."""
        path = self.path(kind, name)
        document = self.server.document(path)
        change(document)
        self.server.put(path, document, dict)

    def set(self, kind: str, path: str, value: object, name: str = "") -> None:
        self.edit(kind, lambda one: at(one["spec"], path, value), name)

    def remove(self, kind: str, name: str = "") -> None:
        self.server.delete(self.path(kind, name))

    def spec(self, kind: str, name: str = "") -> Any:
        return self.server.document(self.path(kind, name))["spec"]

    def status(self, kind: str, name: str = "") -> Document:
        found: Document = self.server.document(self.path(kind, name)).get("status", {})
        return found

    def condition(self, kind: str, type: str, name: str = "") -> tuple[str, str, str]:
        for one in self.status(kind, name).get("conditions", ()):
            if one["type"] == type:
                return one["status"], one["reason"], one["message"]
        return "", "", ""

    def path(self, kind: str, name: str = "") -> str:
        return KINDS[kind].path(SPACE, name or sample(kind)["metadata"]["name"])

    def planned(self) -> tuple[object, ...]:
        """What the Server of the samples is to have."""
        desired = self.spec("Server")["desiredAlloc"]
        return tuple(desired.get(key) for key in ("accelerator", "numReplicas", "maxBatch", "cost"))

    # ---- time --------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Hear of everything that happened; listed first, and again where that is too old."""
        for kind in self.kinds.watches:
            self.hear(kind)

    def hear(self, kind: str) -> None:
        """The same, of one kind."""
        watch = self.kinds.watches[kind]
        if not watch.synced:
            watch._list()
        try:
            watch._follow()
        except Gone:
            watch._list()

    def die_after(self, writes: int) -> None:
        """Nothing more reaches the API server after so many writes."""
        last = len(self.server.writes) + writes

        def cut(method: str, path: str) -> None:
            if len(self.server.writes) >= last:
                raise Unreachable("memory", method, path, "this process was killed")

        self.server.before = cut

    def look(self, namespace: str = SPACE) -> float | None:
        """One look, with what was heard so far."""
        self.due.discard(namespace)
        try:
            after = self.reconciler.look(namespace)
        except Exception:
            self.due.add(namespace)  # as `Work` does
            raise
        if after is None:
            self.again.pop(namespace, None)
        else:
            self.again[namespace] = self.seconds + after
        return after

    def settle(self) -> None:
        """Look until nobody wants to be looked at; what was written meanwhile is no failure."""
        for _ in range(40):
            self.watch()
            self.due |= {space for space, at in self.again.items() if at <= self.seconds}
            if not self.due:
                return
            for namespace in sorted(self.due):
                with suppress(Conflict, NotFound):
                    self.look(namespace)
        raise AssertionError(f"it never ends: {self.server.writes[-10:]}")

    def further_writes(self) -> list[str]:
        """What one more look at everything writes."""
        self.watch()
        before = len(self.server.writes)
        asked = len(self.server.asked)
        for namespace in self.kinds.namespaces():
            self.look(namespace)
        return self.server.asked[asked:] or self.server.writes[before:]
