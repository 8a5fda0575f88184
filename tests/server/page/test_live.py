"""What is live: cycles are shown, news is heard, and a real fleet is left alone."""

from __future__ import annotations

import asyncio
import threading

import pytest

from flyball.server.page.live import Bell, Nothing
from tests.server.page.builders import live


def test_a_cycle_is_shown_and_rings() -> None:
    one, world = live(cycles=0)
    assert one.board.last is None
    rung = one.bell.rung
    one.cycle()
    assert one.board.last is not None
    assert one.board.last.number == 1
    assert one.bell.rung > rung
    world.run(15.0)
    one.cycle()
    assert [v.number for v in one.board.views()] == [1, 2]


def test_what_happens_in_the_world_is_shown_once() -> None:
    one, _ = live()
    assert one.happen("load", "", 2.0) == "load  2"
    one.cycle()
    assert [m.what for m in one.board.moves(9, kinds=("world",))] == ["load  2"]


def test_nothing_can_be_imagined_before_the_first_cycle() -> None:
    one, _ = live(cycles=0)
    with pytest.raises(Nothing):
        one.imagine("load*2")
    with pytest.raises(Nothing):
        one.planned()


def test_a_plan_is_made_once_a_cycle() -> None:
    one, world = live()
    first = one.planned()
    assert one.planned() is first
    world.run(world.now() + 15.0)
    one.cycle()
    assert one.planned() is not first


def test_a_real_fleet_is_left_alone() -> None:
    one, _ = live(real=True)
    with pytest.raises(ValueError, match="real"):
        one.happen("lose_node", "", 0.0)
    with pytest.raises(ValueError, match="real"):
        one.set_speed(10.0)


def test_a_bell_is_heard_from_another_thread() -> None:
    bell = Bell()

    async def listen() -> list[int]:
        threading.Timer(0.01, bell.ring).start()
        return [await bell.heard(0, 30.0), await bell.heard(0, 30.0), await bell.heard(1, 0.01)]

    assert asyncio.run(listen()) == [1, 1, 1]
    bell.ring()  # nobody listens any more


def test_all_who_listen_are_woken() -> None:
    bell = Bell()

    async def listen() -> list[int]:
        asyncio.get_running_loop().call_later(0.01, bell.ring)
        return await asyncio.gather(*(bell.heard(0, 30.0) for _ in range(5)))

    assert asyncio.run(listen()) == [1] * 5
