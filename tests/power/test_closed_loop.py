"""Sensors, levels, algorithm and filter together, before a coarse fleet whose draw is not the model's."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest

from flyball.power.algorithms.built_in import oversubscription
from flyball.power.filter import filtered
from flyball.power.tree import tree_of
from flyball.power.view import ServerView, View, infeasible
from flyball.power.watch import DomainMemory, Seen, policy_rooms, watch
from flyball.spec.power import AbsoluteCap, Domain, PlacedPod, Policy, PowerNode, PowerReading, RelativeCap

TICK, GRACE, START, TAU = 15.0, 30.0, 60.0, 45.0
IDLE, FULL = 120.0, 400.0
NAMES = ("gold", "silver", "bulk")
PRIORITY = {"gold": 1, "silver": 10, "bulk": 100}
CARDS = 64


class Fleet:
    """Replicas that start late and end late, under loads that move to those that are left."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.truth = rng.uniform(0.9, 1.1)
        self.ready = {n: int(rng.integers(6, 14)) for n in NAMES}
        self.wanted = dict(self.ready)
        self.busy = {n: float(rng.uniform(0.3, 0.9)) for n in NAMES}
        self.coming: list[tuple[float, str]] = []
        self.going: list[tuple[float, str]] = []

    def load(self, name: str) -> float:
        """Watts of its whole load, wherever it is."""
        return self.wanted[name] * self.busy[name] * (FULL - IDLE)

    def order(self, now: float, asked: dict[str, int]) -> None:
        for name, count in asked.items():
            have = self.ready[name] + sum(n == name for _, n in self.coming)
            self.coming += [(now + START, name)] * max(count - have, 0)
            for _ in range(max(have - count, 0)):
                late = next((c for c in self.coming if c[1] == name), None)
                if late:
                    self.coming.remove(late)
                else:
                    self.ready[name] -= 1
                    self.going.append((now + GRACE, name))

    def pass_to(self, now: float) -> None:
        for _, name in [c for c in self.coming if c[0] <= now]:
            self.ready[name] += 1
        self.coming = [c for c in self.coming if c[0] > now]
        self.going = [g for g in self.going if g[0] > now]

    def watts(self) -> float:
        total = 2000.0
        for name in NAMES:
            leaving = sum(n == name for _, n in self.going)
            count = self.ready[name] + leaving
            busy = min(self.load(name), count * (FULL - IDLE))
            total += self.truth * (count * IDLE + busy) + IDLE * sum(n == name for _, n in self.coming)
        return total

    def pods(self) -> list[PlacedPod]:
        made = []
        for name in NAMES:
            leaving = sum(n == name for _, n in self.going)
            count = self.ready[name] + leaving
            each = min(self.load(name) / max(count, 1), FULL - IDLE)
            phases = ["running"] * self.ready[name] + ["terminating"] * leaving
            made += [PlacedPod(name, name, "n", p, "H100", IDLE, each, FULL) for p in phases]  # type: ignore[arg-type]
            made += [
                PlacedPod(name, name, "n", "pending", "H100", IDLE, each, FULL)
                for _, n in self.coming
                if n == name
            ]
        return made

    def view(self, rooms: tuple, places: dict[str, float]) -> View:  # type: ignore[type-arg]
        pending = {n: sum(c == n for _, c in self.coming) for n in NAMES}
        return View(
            rooms,
            tuple(
                ServerView(
                    n,
                    self.ready[n] + pending[n],
                    self.wanted[n],
                    1,
                    40,
                    PRIORITY[n],
                    False,
                    IDLE,
                    FULL,
                    self.load(n),
                    1000.0,
                    places,
                )
                for n in NAMES
            ),
        )


class Told(NamedTuple):
    """One run."""

    watts: list[float]
    replicas: list[dict[str, int]]
    levels: list[str]
    cap: float
    """After it was cut."""


def run(seed: int, cut: float, dark: tuple[int, int] = (0, 0), head: float = 1.25, ticks: int = 100) -> Told:
    """The cap is cut after 20 ticks; the sensor is gone from one tick to another."""
    rng = np.random.default_rng(seed)
    fleet = Fleet(rng)
    cap = head * fleet.watts()
    node = PowerNode("n", {}, CARDS, None, 1000.0, 2500.0, 0.0, 20.0, 600.0)
    memory: dict[str, DomainMemory] = {}
    told = Told([], [], [], cut * cap)
    for tick in range(ticks):
        now = tick * TICK
        fleet.pass_to(now)
        watts = cap if tick < 20 else cut * cap
        tree = tree_of([Domain("d", watts=watts)], [node])
        seen = fleet.watts() * rng.uniform(0.98, 1.02)
        gone = dark[0] <= tick < dark[1]
        reading = PowerReading("redfish", "whole", "n", None if gone else seen, 2.0, 0.02)
        memory, found = watch(tree, Seen({"n": node}, [reading], fleet.pods()), memory, now, TAU)
        room = found["d"].room
        assert room is not None
        seen_by = fleet.view((room,), {"d": 1.0})
        assert gone or infeasible(seen_by) == ()
        fleet.order(now, filtered(seen_by, oversubscription(seen_by)).replicas)
        told.watts.append(fleet.watts())
        told.replicas.append(dict(fleet.ready))
        told.levels.append(found["d"].state.level)
    return told


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 100, 50))
def test_a_cap_that_is_cut_holds_within_the_slowest_lever_and_nothing_swings(first: int) -> None:
    for seed in range(first, first + 50):
        told = run(seed, cut=float(np.random.default_rng(seed + 9000).uniform(0.6, 0.85)))
        above = [i for i, w in enumerate(told.watts) if i >= 20 and w > told.cap]
        assert (len(above) + 1) * TICK <= TICK + GRACE + 10.0 + TICK, seed  # seen at ticks only
        assert above == list(range(20, 20 + len(above)))  # and never again
        total = [sum(r.values()) for r in told.replicas]
        turns = [np.sign(b - a) for a, b in pairwise(total) if b != a]
        assert sum(a != b for a, b in pairwise(turns)) <= 1, (seed, total)
        for replicas in told.replicas[20:]:  # the important shed only where the rest is at its floor
            if replicas["gold"] < told.replicas[0]["gold"]:
                assert replicas["bulk"] <= 1


def test_without_a_sensor_nothing_grows_and_what_may_be_too_much_goes_after_thirty_seconds() -> None:
    """64 cards of 600 W may draw more than any cap here."""
    told = run(3, cut=1.0, dark=(30, 40), head=1.6)
    assert set(told.levels[10:30]) == {"normal"}
    assert told.levels[30:33] == ["hold", "hold", "shed"]
    assert told.replicas[31] == told.replicas[29]
    assert sum(told.replicas[39].values()) < sum(told.replicas[29].values())
    assert told.replicas[99] == told.replicas[29]  # and comes back with the sensor


def test_load_under_its_cap_is_left_alone() -> None:
    told = run(4, cut=1.0)
    assert all(replicas == told.replicas[0] for replicas in told.replicas)


def test_caps_of_policies_are_rooms_once_their_window_was_seen() -> None:
    policies = [
        Policy("share", "ns", cap=RelativeCap(0.8, "Peak", 600.0)),
        Policy("watts", "ns", cap=AbsoluteCap(500.0)),
        Policy("none", "ns"),
    ]
    windows, rooms = policy_rooms(policies, {}, {"ns/share": 1000.0}, {}, 0.0)
    assert set(rooms) == {"ns/watts"}
    for i in range(1, 42):
        windows, rooms = policy_rooms(policies, windows, {"ns/share": 900.0}, {"ns/share": 100.0}, 15.0 * i)
    assert rooms["ns/share"].watts == pytest.approx(800.0)
    assert rooms["ns/share"].grow == pytest.approx(784.0)
