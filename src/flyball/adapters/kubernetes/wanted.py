"""How many replicas workloads should have, kept for whoever asks between cycles, such as KEDA."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import msgspec

from flyball.adapters.kubernetes.freeze import Freeze
from flyball.adapters.kubernetes.governed import Cluster, Mode
from flyball.adapters.kubernetes.targets import Target
from flyball.units import Seconds


class Unknown(LookupError):
    """No workload is governed that would fit; the message says which are, and what to write."""


class Withheld(LookupError):
    """The number is not to be carried out: the workload is in another mode, or all is frozen."""


class Stale(LookupError):
    """There was no decision for a while, or none yet."""


class Want(msgspec.Struct, frozen=True):
    """What one workload should have."""

    server: str
    namespace: str
    workload: str
    mode: Mode
    replicas: int | None = None
    """None: nothing was ordered yet."""
    time: Seconds = 0.0
    """When that was ordered, by our own clock."""


class Wanted:
    """The last orders; cycles and questions may come from any thread."""

    def __init__(
        self,
        good_for: Seconds = math.inf,
        frozen: Freeze = lambda: "",
        now: Callable[[], Seconds] = time.monotonic,
    ) -> None:
        """`good_for`: an order that is older is no answer; `frozen`: why none is, asked once a cycle."""
        self._good_for, self._freeze, self._now = good_for, frozen, now
        self._frozen = ""
        self._wants: dict[tuple[str, str], Want] = {}

    def show(self, cluster: Cluster, targets: Sequence[Target]) -> None:
        """What was ordered just now; a workload without an order keeps the one it had, at its age."""
        now = self._now()
        ordered = {(t.workload.namespace, t.workload.name): t.replicas for t in targets}
        wants = {}
        for one in cluster.governed:
            key = one.namespace, one.name
            before = self._wants.get(key)
            replicas, at = (before.replicas, before.time) if before else (None, now)
            if key in ordered:
                replicas, at = ordered[key], now
            wants[key] = Want(one.server, one.namespace, one.name, one.mode, replicas, at)
        self._wants, self._frozen = wants, self._freeze()

    def replicas(self, namespace: str, *, server: str = "", workload: str = "", near: str = "") -> int:
        """Of the workload with this name, or of this server, in a namespace; Unknown, Withheld, Stale.

        `near`: a name that decides between several workloads of a server, and that stands for the workload
        where nothing else is said.
        """
        wants = self._wants
        if not wants:
            raise Stale("there was no decision yet")
        want = _found([w for w in wants.values() if w.namespace == namespace], server, workload, near)
        name = f"{want.namespace}/{want.workload}"
        if want.mode != "keda":
            raise Withheld(f"{name} is in mode {want.mode}: set the annotation flyball.dev/mode: keda on it")
        if self._frozen:
            raise Withheld(f"all is frozen, {self._frozen}")
        if want.replicas is None:
            raise Stale(f"nothing was decided for {name} yet")
        age = self._now() - want.time
        if age > self._good_for:
            raise Stale(f"the last decision for {name} was made {age:.0f} s ago")
        return want.replicas


def _found(wants: list[Want], server: str, workload: str, near: str) -> Want:
    if not (server or workload):
        workload = near
    fit = [w for w in wants if workload in ("", w.workload) and server in ("", w.server)]
    if len(fit) > 1:
        fit = [w for w in fit if w.workload == near] or fit
    if len(fit) == 1:
        return fit[0]
    if fit:
        names = ", ".join(sorted(w.workload for w in fit))
        raise Unknown(f"{server} has several workloads, {names}: say which as `workload` in the metadata")
    asked = " and ".join(f"{what} {name}" for what, name in _named(server, workload))
    names = ", ".join(sorted({w.server for w in wants})) or "none"
    raise Unknown(f"no {asked} is governed in this namespace. Servers here: {names}. Say `server: NAME`")


def _named(server: str, workload: str) -> list[tuple[str, str]]:
    return [(what, name) for what, name in (("server", server), ("workload", workload)) if name]
