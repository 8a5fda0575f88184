"""Inferno's six kinds kept in step: what is asked for is planned, and every object says how it stands.

One look is at one namespace as a whole, whatever changed in it: nothing is remembered that the objects do not
say themselves, but when an Optimizer with a period was last run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.errors import ApiError, Conflict, NotFound
from flyball.operator import statuses
from flyball.operator.conditions import turned
from flyball.operator.kinds import LEFT_BEHIND, Kinds, Stored, objects_of, ref_of
from flyball.operator.planning import Outcome, Planner, Result, Unanswered
from flyball.operator.writes import Leads, Writes
from flyball.units import Seconds
from flyball.wire.kinds.decided import unchanged
from flyball.wire.kinds.documents import Namespace, Objects, read_namespace
from flyball.wire.kinds.inferno_objects import Document, Ref

OTHERS = ("Accelerator", "Model", "ServiceClass", "Capacity")
AGAIN: Seconds = 30.0
"""After an optimizer elsewhere did not answer, as in the original."""
WORKERS = 8

T = TypeVar("T")
Told = Callable[[Stored, Ref, str, str, bool], None]
"""Of an object: reason, message, whether it is a warning."""


def moment() -> str:
    """Now, RFC 3339."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Held(msgspec.Struct, frozen=True):
    """What the loop says of a Server whose name labels a workload: it decides for it."""

    current: Document | None
    """As `currentAlloc`, with the load that was measured; None: that is not known now."""


class Reconciler:
    """Looks at namespaces, one at a time."""

    def __init__(
        self,
        api: Api,
        lease: Leads | None,
        kinds: Kinds,
        planner: Planner,
        *,
        held: Callable[[], Mapping[Ref, Held]] = dict,
        told: Told = lambda stored, ref, reason, message, warning: None,
        pushed: Callable[[str, Namespace], str] = lambda namespace, read: "",
        wall: Callable[[], str] = moment,
        now: Callable[[], Seconds] = time.monotonic,
    ) -> None:
        """`held`: Servers for which the loop decides; `told`: Events; `pushed`: tells an optimizer elsewhere
        what there is, and says why it could not."""
        self._api, self._lease, self._kinds, self._planner = api, lease, kinds, planner
        self._held, self._told, self._pushed = held, told, pushed
        self._wall, self._now = wall, now
        self._ran: dict[Ref, tuple[str, Seconds]] = {}
        self._pool = ThreadPoolExecutor(WORKERS, "flyball-statuses")
        self.writes = 0

    def close(self) -> None:
        """Begin nothing more."""
        self._pool.shutdown(cancel_futures=True)

    def look(self, namespace: str) -> Seconds | None:
        """Make one namespace right; returns after how many seconds to look again. ClusterError."""
        writes = Writes(self._api, self._lease, lambda kind, one: self._kinds.watches[kind].seen(one))
        try:
            return self._look(namespace, writes)
        finally:
            self.writes += writes.count

    def _look(self, namespace: str, writes: Writes) -> Seconds | None:
        # What is decided here holds for the objects as they are now: one that is written meanwhile is a
        # Conflict, and another look.
        there = {
            ref_of(kind, stored): stored
            for kind in ("Optimizer", "Server", *OTHERS)
            for stored in self._kinds.all(kind, namespace)
        }
        refused = self._release(there, writes)
        held = self._held()
        objects = with_held(objects_of(there), held)
        read = read_namespace(objects)
        problem = self._pushed(namespace, read)
        decided: dict[str, Result] = {}
        ran: list[tuple[Ref, Outcome | None, str]] = []
        again: list[Seconds] = []
        self._ran = {ref: at for ref, at in self._ran.items() if ref in there or ref.namespace != namespace}
        at: dict[Ref, tuple[str, Seconds]] = {}
        for ref in sorted(ref for ref in there if ref.kind == "Optimizer"):
            outcome, why_not, after = self._run(ref, there[ref], objects, problem)
            if after is not None:
                again.append(after)
            if outcome is not None:
                at[ref] = there[ref].metadata.uid, self._now()
                decided |= outcome.results
            ran.append((ref, outcome, why_not))
        self._results(read, decided, held, there, writes)
        self._statuses(read, decided, held, there, writes)
        for ref, outcome, why_not in ran:  # last: a request is done when all that it led to is written
            self._optimizer(ref, there[ref], read, outcome, why_not, writes)
        self._ran |= at
        if refused is not None:
            raise refused
        return min(again, default=None)

    def _release(self, there: dict[Ref, Stored], writes: Writes) -> ApiError | None:
        """Let go what waits for the original's controller; `there` is without it then.

        Returns why that was refused, which is to hold up nothing else.
        """
        refused: ApiError | None = None
        for ref, stored in list(there.items()):
            about = stored.metadata
            if about.deletion_timestamp is None or LEFT_BEHIND not in about.finalizers:
                continue
            try:
                there[ref] = writes.release(ref.kind, stored, LEFT_BEHIND)
            except NotFound:
                del there[ref]
            except ApiError as error:
                refused = error
            else:
                if about.finalizers == [LEFT_BEHIND]:
                    del there[ref]
        return refused

    # ---- optimizers ------------------------------------------------------------------------------

    def _run(
        self, ref: Ref, stored: Stored, objects: Objects, problem: str
    ) -> tuple[Outcome | None, str, Seconds | None]:
        """The outcome where it is due, why it could not be had, and when to look again."""
        asked = read_namespace(Objects(optimizers=objects.optimizers), ref.name)
        if ref in asked.errors:
            return None, "", None
        uid, at = self._ran.get(ref, ("", 0.0))
        left = asked.period - (self._now() - at) if uid == stored.metadata.uid else 0.0
        if not asked.optimize and (asked.period == 0 or left > 0):
            return None, "", left if asked.period else None
        if problem:
            return None, problem, AGAIN
        try:
            outcome = self._planner(read_namespace(objects, ref.name).fleet)
        except Unanswered as error:
            return None, str(error), AGAIN
        return outcome, "", asked.period or None

    def _optimizer(
        self, ref: Ref, stored: Stored, read: Namespace, outcome: Outcome | None, problem: str, writes: Writes
    ) -> None:
        asked = outcome is not None and bool(stored.spec.get("optimize"))
        status = statuses.of_optimizer(
            read, ref, stored.status, stored.metadata.generation, outcome, problem, self._wall()
        )
        if asked:
            # Three writes, so that whoever leads next can end what was begun; `done` comes last, as who waits
            # for it may ask again as soon as it is there.
            stored = writes.status("Optimizer", stored, statuses.finishing(status))
            stored = writes.spec("Optimizer", stored, {"optimize": False})
            status["observedGeneration"] = stored.metadata.generation
        elif outcome is None and statuses.is_finishing(stored.status):
            status["done"] = True
        if not asked and not statuses.is_news(stored.status, status):
            return
        writes.status("Optimizer", stored, status)
        self._event(stored, ref, status)

    # ---- servers ---------------------------------------------------------------------------------

    def _results(
        self,
        read: Namespace,
        decided: Mapping[str, Result],
        held: Mapping[Ref, Held],
        there: dict[Ref, Stored],
        writes: Writes,
    ) -> None:
        """Write what each Server is to have; `there` has the answers then."""
        news: list[tuple[Ref, Document]] = []
        for name, result in sorted(decided.items()):
            governed, desired = read.servers.get(name), result.decided.desired
            if governed is None or governed.ref in held or desired is None:
                continue
            was = there[governed.ref].spec.get("desiredAlloc")
            if not unchanged(was, desired):
                news.append((governed.ref, {"desiredAlloc": replacing(was, desired)}))

        def write(one: tuple[Ref, Document]) -> None:
            ref, changes = one
            there[ref] = writes.spec("Server", there[ref], changes)

        self._each(write, news)

    def _statuses(
        self,
        read: Namespace,
        decided: Mapping[str, Result],
        held: Mapping[Ref, Held],
        there: Mapping[Ref, Stored],
        writes: Writes,
    ) -> None:
        names = {governed.ref: name for name, governed in read.servers.items()}
        news: list[tuple[Ref, Stored, Document]] = []
        for ref, stored in there.items():
            before, generation = stored.status, stored.metadata.generation
            if ref.kind == "Optimizer" or (ref in held and ref not in read.errors):
                continue  # what the loop decides for, it tells of
            if ref.kind == "Server":
                name = names.get(ref, "")
                result = decided.get(name)
                status = statuses.of_server(read, ref, name, before, generation, result, self._wall())
            else:
                status = statuses.of_other(read, ref, before, generation, self._wall())
            if statuses.is_news(before, status):
                news.append((ref, stored, status))

        def write(one: tuple[Ref, Stored, Document]) -> None:
            ref, stored, status = one
            with suppress(NotFound):  # it went meanwhile
                writes.status(ref.kind, stored, status)
                self._event(stored, ref, status)

        self._each(write, news)

    def _each(self, write: Callable[[T], object], items: Iterable[T]) -> None:
        """All of them, side by side; a failure is raised when all are through."""
        futures = [self._pool.submit(write, item) for item in items]
        errors = [error for future in futures if (error := future.exception()) is not None]
        worst = [error for error in errors if not isinstance(error, Conflict)]
        if errors:
            raise (worst or errors)[0]

    def _event(self, stored: Stored, ref: Ref, status: Document) -> None:
        for one, warns in turned(stored.status.get("conditions"), status["conditions"]):
            self._told(stored, ref, one["reason"], one["message"], warns)


def with_held(objects: Objects, held: Mapping[Ref, Held]) -> Objects:
    """Objects in which Servers of the loop have what it sees of them."""
    if not held:
        return objects
    servers = []
    for one in objects.servers:
        found = held.get(Ref("Server", one["metadata"]["namespace"], one["metadata"]["name"]))
        if found is not None and found.current is not None and isinstance(one["spec"], dict):
            one = one | {"spec": one["spec"] | {"currentAlloc": found.current}}
        servers.append(one)
    return msgspec.structs.replace(objects, servers=tuple(servers))


def replacing(was: object, new: Document) -> Document:
    """As a merge patch: fields that are no more are null."""
    if not isinstance(was, dict):
        return new
    return {key: None for key in was if key not in new} | {
        key: replacing(was.get(key), value) if isinstance(value, dict) else value
        for key, value in new.items()
    }
