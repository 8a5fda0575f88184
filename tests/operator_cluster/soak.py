"""Kills and pauses at random while objects change: what happened, how long recovery took, what was broken."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from flyball.adapters.kubernetes.errors import ApiError, ClusterError
from flyball.operator.kinds import FIELDS, KINDS
from flyball.operator.planning import built_in
from flyball.wire.kinds.decided import unchanged
from flyball.wire.kinds.documents import Objects, read_namespace
from tests.campaigns import filled
from tests.operator_cluster.desk import Object, made
from tests.operator_cluster.replicas import Pair, strangers

LIMIT = 90.0
"""Within which all must be well again."""
PAUSED, DISTURBED = (16.0, 20.0), (0.5, 6.0)
"""Seconds of a stop, which is longer than the 15 s of the Lease, and of all else."""
MOST = 8
"""Servers besides the sample's."""
SETTLED = 1.5
"""So long nothing may fail any more."""


class Row(msgspec.Struct, frozen=True):
    """One disturbance."""

    number: int
    what: str
    lasted: float
    changes: int
    """Of objects, while it lasted."""
    recovery: float | None
    """Seconds from its end until every object tells of itself as it is; None: that has not come."""
    planned: float | None
    """Seconds that a plan took that was asked for then; None: that has not come."""
    broken: tuple[str, ...] = ()
    """Invariants that did not hold."""


class Disturbance(NamedTuple):
    """What begins it, and what ends it."""

    begin: Callable[[], None]
    end: Callable[[], None]
    seconds: tuple[float, float] = DISTURBED


class Soak:
    """A pair over one namespace; `rows` are kept in a file, from which another run goes on."""

    def __init__(self, pair: Pair, room: str, governed: tuple[str, str], seed: int, file: Path) -> None:
        """`governed`: namespace and name of a Server whose workload the loop acts on."""
        self.pair, self.room, self.governed = pair, room, governed
        self.seed, self.file = seed, file
        self._names = 0

    def run(self, count: int, until: float = float("inf")) -> list[Row]:
        """Disturb until there are so many rows, or until then by the monotonic clock."""
        return filled(self.file, Row, count, self._one, until)

    def _one(self, number: int) -> Row:
        chance = np.random.default_rng((self.seed, number))
        kinds = self._kinds(chance)
        what = str(chance.choice(sorted(kinds)))
        disturbance, changes = kinds[what], 0
        lasts = float(chance.uniform(*disturbance.seconds))
        began = time.monotonic()
        disturbance.begin()
        while time.monotonic() - began < lasts:
            changes += self._change(chance, number)
            time.sleep(float(chance.uniform(0.05, 0.5)))
        disturbance.end()
        ended = time.monotonic()
        changes += self._change(chance, number)
        broken: set[str] = set()
        recovery = self._until(self.is_well)
        if recovery is None:
            broken.add(f"not well again: {self._lacks()}")
        recovered = time.monotonic()
        planned = None if recovery is None else self._planned()
        if recovery is not None and planned is None:
            broken.add(f"a plan that was asked for is not there: {self._lacks()}")
        if planned is not None:
            broken |= self._wrong()
        broken |= {
            f"{w.replica} wrote {w.path} while {who!r} led" for w, who in strangers(self.pair.replicas)
        }
        for one in self.pair.replicas:
            if not one.process.alive:
                broken.add(f"{one.name} has ended")
            if "Traceback" in one.words:
                broken.add(f"{one.name} has a fault")
        return Row(
            number,
            what,
            round(time.monotonic() - began if recovery is None else lasts, 1),
            changes,
            None if recovery is None else round(recovered - ended, 1),
            None if planned is None else round(planned, 2),
            tuple(sorted(broken)),
        )

    # ---- what must hold ----------------------------------------------------------------------------

    def _until(self, check: Callable[[], bool]) -> float | None:
        began = time.monotonic()
        while time.monotonic() - began < LIMIT:
            try:
                if check():
                    return time.monotonic() - began
            except (ClusterError, OSError):
                pass  # the API server, or a replica, is away
            time.sleep(0.1)
        return None

    def is_well(self) -> bool:
        """Whether every object tells of itself as it is, and all that was asked for is done."""
        return not self._lacks()

    def _lacks(self) -> str:
        """What of all objects is not as it is to be; "": nothing."""
        if self.pair.leader() is None:
            return "nobody leads"
        for kind in KINDS:
            for space in (self.room, self.governed[0]):
                for one in self.pair.all(kind, space):
                    name, about = one["metadata"]["name"], one["metadata"]
                    if one.get("status", {}).get("observedGeneration") != about["generation"]:
                        return f"{kind} {space}/{name} does not tell of itself"
                    if kind == "Optimizer" and one["spec"].get("optimize"):
                        return f"a request in {space} has not ended"
        replicas = self.pair.api.get(self._deployment, dict)["spec"]["replicas"]
        wanted = self.pair.get("Server", self.governed[1], self.governed[0])["spec"].get("desiredAlloc", {})
        if wanted.get("numReplicas") != replicas:
            return f"the workload has {replicas}, and {wanted.get('numReplicas')} are wanted"
        return ""

    @property
    def _deployment(self) -> str:
        return f"/apis/apps/v1/namespaces/{self.governed[0]}/deployments/granite"

    def _planned(self) -> float | None:
        began = self.pair.get("Optimizer", "inferno", self.room).get("status", {}).get("lastRunTime")
        time.sleep(1.0)  # that time is in whole seconds
        self.pair.optimize(self.room)

        def is_there() -> bool:
            one = self.pair.get("Optimizer", "inferno", self.room)
            status = one["status"]
            return bool(
                not one["spec"]["optimize"]
                and status["done"]
                and status.get("lastRunTime") not in (None, began)
            )

        return self._until(is_there)

    def _wrong(self) -> set[str]:
        """Servers that are not as a plan has them that is made here; failures that go on."""
        found = {field: tuple(self.pair.all(kind, self.room)) for kind, field in FIELDS.items()}
        read = read_namespace(Objects(**found), "inferno")
        results = built_in(read.fleet).results
        specs = {one["metadata"]["name"]: one for one in found["servers"]}
        wrong = set()
        for name, governed in read.servers.items():
            wanted, one = results[name].decided.desired, specs[governed.ref.name]
            if wanted is not None and not unchanged(one["spec"].get("desiredAlloc"), wanted):
                wrong.add(f"{governed.ref} is not as a fresh plan has it")
            if one["status"].get("reason") != results[name].decided.reason:
                wrong.add(f"{governed.ref} says {one['status'].get('reason')}")
        before = [one.figure("flyball_reconcile_failures_total") for one in self.pair.replicas]
        time.sleep(SETTLED)
        after = [one.figure("flyball_reconcile_failures_total") for one in self.pair.replicas]
        if before != after:
            wrong.add("looks go on to fail")
        return wrong

    # ---- what users do -----------------------------------------------------------------------------

    def _change(self, chance: np.random.Generator, number: int) -> int:
        """One change at random; how many were done."""
        try:
            servers = [one["metadata"]["name"] for one in self.pair.all("Server", self.room)]
            more = sorted(name for name in servers if name.startswith("more-"))
            what = chance.random()
            if what < 0.3 and len(more) < MOST:
                self._names += 1
                path = KINDS["Server"].path(self.room)
                self.pair.api.post(path, server(f"more-{number}-{self._names}", chance), dict)
            elif what < 0.4 and more:
                name = str(chance.choice(more))
                self.pair.api.delete(KINDS["Server"].path(self.room, name))
            elif what < 0.65:
                self.pair.optimize(self.room)
            elif what < 0.8:
                labels = {"inferno.server.load.rpm": str(int(chance.choice([60, 240, 600])))}
                self.pair.api.patch(self._deployment, {"metadata": {"labels": labels}}, dict)
            elif servers:
                name = str(chance.choice(sorted(servers)))
                load = {"arrivalRate": int(chance.integers(10, 200)), "avgLength": 1024}
                now = {"accelerator": "A100", "numReplicas": 1, "load": load}
                self.pair.change("Server", name, self.room, currentAlloc=now)
        except (ApiError, ClusterError, OSError):
            return 0  # it is away
        return 1

    # ---- what is done to them ------------------------------------------------------------------------

    def _kinds(self, chance: np.random.Generator) -> dict[str, Disturbance]:
        """By name."""
        sandbox = self.pair.desk.sandbox
        leads = self.pair.leader() or self.pair.replicas[0]
        rests = next(one for one in self.pair.replicas if one is not leads)
        kinds = {}
        for role, one in (("leader", leads), ("standby", rests)):
            kinds[f"{role} killed"] = Disturbance(one.process.kill, one.start)
            kinds[f"{role} stopped past its lease"] = Disturbance(one.pause, one.resume, PAUSED)
            kinds[f"{role} ended"] = Disturbance(lambda one=one: one.process.stop(15.0), one.start)

            def cut(one=one) -> None:  # type: ignore[no-untyped-def]
                one.line.down = True
                one.line.cut()

            kinds[f"{role} cut off"] = Disturbance(
                cut, lambda one=one: setattr(one.line, "down", False), (0.5, 20.0)
            )
        kinds["API server killed"] = Disturbance(
            lambda: sandbox.kill("kube-apiserver"), lambda: sandbox.restart("kube-apiserver")
        )
        for name, seconds in (("kube-apiserver", DISTURBED), ("etcd", (0.5, 12.0))):
            kinds[f"{name} paused"] = Disturbance(
                lambda name=name: sandbox.pause(name), lambda name=name: sandbox.resume(name), seconds
            )
        return kinds


def server(name: str, chance: np.random.Generator) -> Object:
    """One of the sample's class and model."""
    load = {"arrivalRate": int(chance.integers(10, 200)), "avgLength": 1024}
    now = {"accelerator": "A100", "numReplicas": 1, "load": load}
    spec = {"name": name, "class": "Premium", "model": "granite-13b", "currentAlloc": now}
    return made("Server", name, **spec)


def table(rows: list[Row]) -> str:
    """What happened, by kind: how often, and how long recovery took."""
    lines = [
        f"{'what':32} {'times':>5} {'changes':>7} {'recovery: mean':>15} {'worst':>7} {'plan':>7}  broken"
    ]
    for what in sorted({row.what for row in rows}):
        mine = [row for row in rows if row.what == what]
        took = [row.recovery for row in mine if row.recovery is not None]
        plans = [row.planned for row in mine if row.planned is not None]
        mean, worst = (sum(took) / len(took), max(took)) if took else (float("nan"),) * 2
        broken = "; ".join(text for row in mine for text in row.broken) or "-"
        lines.append(
            f"{what:32} {len(mine):5} {sum(row.changes for row in mine):7} {mean:13.1f} s {worst:5.1f} s"
            f" {max(plans, default=float('nan')):5.2f} s  {broken}"
        )
    return "\n".join(lines)
