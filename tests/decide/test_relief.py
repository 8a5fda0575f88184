"""Where the least is too much, batches are limited by rollouts, and come back with the budget."""

from __future__ import annotations

from msgspec.structs import replace

from flyball.spec.power import Domain, PlacedPod, PowerSeen
from tests.decide.powered import FULL, IDLE, PoweredRun, policy
from tests.decide.worlds import PERIOD, fleet_of, server_of, world_of

REPLICAS, ROLLOUT = 8, 120.0


class BatchedRun(PoweredRun):
    """One server that keeps eight replicas, always full; a rollout takes two minutes."""

    def __init__(self, watts: float, *levers: str) -> None:
        servers = [server_of("bulk", "Bronze", 2000.0)]
        world = world_of(fleet_of(servers, {"A": REPLICAS, "B": 0}), lambda name, t: 2000.0, cold_start=30.0)
        policies = (policy(levers=("hold", "replicas", *levers), min_replicas=REPLICAS),)
        super().__init__(world, (Domain("site", "Site", watts=watts),), policies)
        self.own = self.engine = 0
        self.batches: list[int] = []
        """Of the engines, cycle by cycle."""
        self._ordered: tuple[float, int] | None = None

    def draws(self, node: str, pods: tuple[PlacedPod, ...]) -> float:
        """True: a smaller batch draws less."""
        share = self.engine / self.own if self.own else 1.0
        mine = [p for p in pods if p.node == node and p.phase == "running"]
        return sum(p.idle + share * p.load for p in mine)

    def seen(self) -> PowerSeen:
        """With the batch that the engines have."""
        found = super().seen()
        batched = tuple(replace(w, batch=self.engine) for w in found.workloads)
        return replace(found, workloads=batched)

    def until(self, time: float) -> None:
        """Rollouts go on beside."""
        while self.world.time < time:
            decision = self.cycle()
            orders = [o for s in decision.steps for o in s.orders if o.replicas and o.max_batch_size]
            if orders and not self.own:
                self.own = self.engine = orders[0].max_batch_size
            if orders and orders[0].max_batch_size != self.engine:
                if self._ordered is None or self._ordered[1] != orders[0].max_batch_size:
                    self._ordered = self.world.time, orders[0].max_batch_size
                if self.world.time - self._ordered[0] >= ROLLOUT:
                    self.engine, self._ordered = self._ordered[1], None
            self.batches.append(self.engine)


def test_a_batch_is_limited_where_the_least_is_too_much_and_comes_back() -> None:
    whole = REPLICAS * FULL
    run = BatchedRun(1.5 * whole, "concurrency")
    run.until(900.0)
    assert run.watts[-1] == whole
    budget = 0.75 * whole
    run.domains = (replace(run.domains[0], watts=budget),)
    run.until(3600.0)
    assert max(run.watts[-60:]) <= budget
    assert run.world.asked("bulk") == REPLICAS
    assert run.watts[-1] > REPLICAS * IDLE
    changes = [b for a, b in zip(run.batches, run.batches[1:], strict=False) if a != b and a]
    assert len(changes) <= 2  # rollouts are dear
    run.domains = (replace(run.domains[0], watts=1.5 * whole),)
    run.until(3600.0 + 1200.0)
    assert run.batches[-1] == run.own
    assert len([1 for a, b in zip(run.batches, run.batches[1:], strict=False) if a != b and a]) <= 3


def test_without_the_lever_it_is_only_said() -> None:
    run = BatchedRun(0.75 * REPLICAS * FULL)
    run.until(900.0)
    assert set(run.batches) <= {0, run.own}
    last = run.decisions[-1].power
    assert last is not None
    assert last.reliefs == ()
    assert last.infeasible != ()


def test_recommended_reliefs_change_nothing_and_are_told() -> None:
    run = BatchedRun(0.75 * REPLICAS * FULL, "resources", "concurrency")
    run.policies = (replace(run.policies[0], mode="Recommend"),)
    run.until(600.0 + PERIOD)
    assert set(run.batches) <= {0, run.own}
    last = run.decisions[-1].power
    assert last is not None
    assert {(r.lever, r.mode) for r in last.reliefs} == {
        ("concurrency", "Recommend"),
        ("resources", "Recommend"),
    }
    told = {a.lever: a for r in last.recommendations for a in r.actions}
    assert told["concurrency"].before == run.own > told["concurrency"].after >= run.own / 4
    assert (told["resources"].before, told["resources"].after) == (100, 50)
