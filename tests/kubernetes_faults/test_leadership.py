"""Two loops, of which one leads: it is killed, stopped past its lease, or ends; never do both write."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import msgspec
import pytest

from flyball.adapters.ledger import Ledger
from flyball.decide.memory import Memory
from tests.clusters import eventually
from tests.kubernetes_faults.world import LoopProcess, World, blind, scales_of, strangers, writes_of

pytestmark = pytest.mark.slow


@pytest.fixture
def loops(world: World) -> Iterator[tuple[LoopProcess, LoopProcess]]:
    """The first leads."""
    home = f"pair-{next(world.numbers)}"
    world.put("chat", 300, 1)
    with world.loop("a", home) as a:
        eventually(lambda: len(a.cycles()) > 2)
        with world.loop("b", home) as b:
            yield a, b
            assert not strangers([a, b])
            assert not blind([*a.cycles(), *b.cycles()])


def first_memory(loop: LoopProcess) -> Memory | None:
    """From which its first cycle decided."""
    ledger = Ledger(loop.ledger, "test")
    try:
        return msgspec.msgpack.decode(ledger.start_of(ledger.numbers(1, 9)[0])[1], type=Memory | None)
    finally:
        ledger.close()


def test_a_leader_that_ends_hands_over_at_once_and_one_that_is_killed_soon(
    world: World, loops: tuple[LoopProcess, LoopProcess]
) -> None:
    a, b = loops
    eventually(lambda: any(c.decision and any(k.readings for k in c.decision.known) for c in a.cycles()))
    assert not b.cycles()
    assert f"{world.holder(a.home)} leads" in b.words
    a.process.stop(15.0)
    ended = time.monotonic()
    eventually(lambda: b.cycles(), 10.0)
    print(f"after a clean end the other decided {time.monotonic() - ended:.1f} s later")
    memory = first_memory(b)
    assert memory is not None
    assert any(one.points for one in memory.learned.values())

    a.start()
    b.process.kill()
    killed = time.monotonic()
    before = len(a.cycles())
    eventually(lambda: len(a.cycles()) > before, 40.0)
    print(f"after a kill the other decided {time.monotonic() - killed:.1f} s later")
    b.start()


def test_a_leader_that_was_stopped_writes_nothing_that_is_stale(
    world: World, loops: tuple[LoopProcess, LoopProcess]
) -> None:
    a, b = loops
    # Its write is on the way when it is stopped, and comes when the other has long taken over.
    under_way, gate = threading.Event(), threading.Event()

    def late(method: str, path: str) -> None:
        if method == "PUT" and "/scale" in path:
            under_way.set()
            gate.wait(120.0)

    a.cluster.plan = late
    world.load("chat", 2400)
    eventually(under_way.is_set)
    a.pause()
    eventually(lambda: scales_of(b))
    by_a = len(writes_of(a))
    gate.set()
    eventually(lambda: 409 in [one.status for one in a.cluster.passed if "/scale" in one.path])
    a.resume()
    world.load("chat", 300)
    before = len(b.cycles())
    eventually(lambda: len(b.cycles()) > before + 4)
    assert len(writes_of(a)) == by_a
    assert not scales_of(a)
    assert "this process leads" in b.words
    assert a.process.alive
