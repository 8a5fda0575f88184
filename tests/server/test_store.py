"""The store under threads: one change after another, readers see whole ones, plans land on what they saw."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import msgspec
import pytest
from msgspec.structs import replace

from flyball.server.optimizer.changes import (
    add_model,
    apply_desired,
    desire,
    remove_model,
    set_accelerators,
    set_capacities,
    set_servers,
)
from flyball.server.optimizer.planning import Ask, optimize
from flyball.server.optimizer.store import Store
from flyball.server.service.answers import Refusal
from flyball.wire.inferno_in import system_from
from flyball.wire.inferno_shapes import AcceleratorShape, AllocationShape, CapacityShape, ServerShape
from flyball.wire.inferno_system import System
from tests.server.systems import system

THREADS = 8


@pytest.fixture(autouse=True)
def eager_switching() -> Iterator[None]:
    """So often do threads take turns that a gap between reading and writing shows."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(*works: Callable[[], None]) -> None:
    """Run all at once; the first error of any is raised."""
    errors: list[BaseException] = []
    gate = threading.Barrier(len(works))

    def run(work: Callable[[], None]) -> None:
        gate.wait()
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


def counted(system: System) -> System:
    """Count one up."""
    count = system.capacity.get("t", 0)
    time.sleep(0)  # others may go on here
    return replace(system, capacity=system.capacity | {"t": count + 1})


def test_no_change_is_lost_and_each_is_kept_before_it_is_seen() -> None:
    kept: list[System] = []
    store, each = Store(System(), kept.append), 300

    def count() -> None:
        for _ in range(each):
            before, _ = store.change(counted)
            assert store.system.capacity["t"] > before.capacity.get("t", 0)

    together(*[count] * THREADS)
    assert store.system.capacity == {"t": THREADS * each}
    assert [system.capacity["t"] for system in kept] == list(range(1, THREADS * each + 1))


def test_of_many_who_remove_one_name_one_does() -> None:
    store, rounds = Store(System()), 100
    done: list[int] = [0] * THREADS
    gate = threading.Barrier(THREADS)

    def remove(i: int) -> None:
        for _ in range(rounds):
            if gate.wait() == 0:
                store.change(add_model("m"))
            gate.wait()
            with suppress(Refusal):
                store.change(remove_model("m"))
                done[i] += 1

    together(*[lambda i=i: remove(i) for i in range(THREADS)])  # type: ignore[misc]
    assert sum(done) == rounds


def test_readers_never_see_half_a_change() -> None:
    store, stop = Store(System()), threading.Event()

    def write(offset: int) -> None:
        for cost in range(offset, 400, THREADS):
            both = [AcceleratorShape(name, cost=float(cost)) for name in ("a", "b")]
            store.change(set_accelerators(both))
        stop.set()

    def read() -> None:
        while not stop.is_set():
            seen = store.system.accelerators
            assert seen.get("a", AcceleratorShape("a")).cost == seen.get("b", AcceleratorShape("b")).cost
            assert len(seen) in (0, 2)

    together(*[lambda i=i: write(i) for i in range(THREADS)], read, read)  # type: ignore[misc]
    assert len(store.system.accelerators) == 2


def test_what_cannot_be_kept_or_done_changes_nothing() -> None:
    def full(_: System) -> None:
        raise OSError(28, "No space left on device", "/state.json")

    store = Store(System(), full)
    before = store.system
    with pytest.raises(Refusal, match=r"/state\.json: the state cannot be kept \(No space left on device\)"):
        store.change(add_model("m"))
    assert store.system is before
    with pytest.raises(Refusal, match="model m not found"):
        store.change(remove_model("m"))
    store.change(lambda same: same)  # nothing to keep, so no disk is asked
    assert store.system is before


def test_desired_allocations_land_on_unchanged_servers_only() -> None:
    kept = system_from(system("G3", 6, seed=1), "test")[0]
    store = Store(kept)
    solution = optimize(kept, b"{}", Ask())
    assert len(solution.allocations) == 6
    changed, removed, touched, *rest = kept.servers
    store.change(set_servers({changed: replace(kept.servers[changed], min_num_replicas=9)}))
    store.change(lambda s: replace(s, servers={k: v for k, v in s.servers.items() if k != removed}))
    store.change(set_servers({touched: replace(kept.servers[touched])}))  # set anew to the same
    store.change(set_servers({"new": ServerShape("new")}))
    store.change(desire(kept, solution.allocations))
    now = store.system.servers
    assert set(now) == {changed, touched, "new", *rest}
    assert now[changed].desired_alloc is None
    assert now[touched].desired_alloc is None
    assert [now[name].desired_alloc for name in rest] == [solution.allocations[name] for name in rest]
    store.change(apply_desired)
    now = store.system.servers
    assert [now[name].current_alloc for name in rest] == [solution.allocations[name] for name in rest]
    assert now[changed].current_alloc == kept.servers[changed].current_alloc


def test_plans_beside_changes() -> None:
    """The least number of replicas goes to and fro: what is desired is never that of another number."""
    kept = system_from(system("G3", 4, seed=2, unlimited=True), "test")[0]
    store, name, rounds = Store(kept), next(iter(kept.servers)), 60
    server = kept.servers[name]
    made = {least: replace(server, min_num_replicas=least) for least in (10, 1000)}
    stop, planned = threading.Event(), [0]

    def change() -> None:
        for i in range(rounds):
            while planned[0] < i:
                time.sleep(0)
            store.change(set_servers({name: replace(made[(10, 1000)[i % 2]])}))
            store.change(set_capacities([CapacityShape("A", i)]))
        stop.set()

    def plan() -> None:
        while not stop.is_set():
            seen = store.system
            store.change(desire(seen, optimize(seen, b'{"unlimited": true}', Ask()).allocations))
            planned[0] += 1

    def read() -> None:
        while not stop.is_set():
            shown = store.system.servers[name]
            if shown.desired_alloc is not None:
                assert shown.desired_alloc.num_replicas == max(shown.min_num_replicas, 10)

    store.change(set_servers({name: made[10]}))
    together(change, plan, plan, read)
    seen = store.system
    store.change(desire(seen, optimize(seen, b'{"unlimited": true}', Ask()).allocations))
    final = store.system.servers[name].desired_alloc
    assert final is not None
    assert final.num_replicas == 1000
    whole = msgspec.json.decode(json.dumps(msgspec.to_builtins(final)), type=AllocationShape)
    assert whole == final
