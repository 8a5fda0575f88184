"""Replicas leave racks that their servers' least keeps too tight: one more elsewhere first, then they go."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from flyball.power.govern import Need, Power, PowerMemory
from flyball.power.outcome import decided
from flyball.power.relocate import AGAIN, BETWEEN, COMES
from flyball.spec.power import (
    AbsoluteCap,
    Domain,
    PlacedPod,
    Policy,
    PowerNode,
    PowerReading,
    PowerSeen,
    PowerWorkload,
    Thermal,
)
from flyball.spec.power_plan import PowerPlan

TICK, START, EACH, CARDS = 15.0, 60.0, 400.0, 8
LEVERS = ("hold", "replicas", "placement")


@dataclass
class Pod:
    """A replica of 400 W and one card."""

    name: str
    server: str
    node: str
    ready: float


@dataclass
class Racks:
    """Servers with their least replicas on racks of a node each, and somebody who does what is decided."""

    where: dict[str, list[str]]
    """By server: the racks of its replicas."""
    budgets: dict[str, float | None]
    levers: tuple[Any, ...] = LEVERS
    cap: AbsoluteCap | None = None
    most: int | None = None
    stubborn: str = ""
    """Where new ones come, whatever is preferred; "nowhere": they never do."""
    thermal: dict[str, Thermal] = field(default_factory=dict)
    full: tuple[str, ...] = ()
    """Racks without a free card."""

    def __post_init__(self) -> None:
        self.pods = [
            Pod(f"ns/{server}-{i}", server, rack, 0.0)
            for server, racks in self.where.items()
            for i, rack in enumerate(racks)
        ]
        self.least = {server: len(racks) for server, racks in self.where.items()}
        self.asked = dict(self.least)
        self.memory, self.now, self.made = PowerMemory(), 0.0, 100
        self.plans: list[PowerPlan] = []
        self.serving: list[dict[str, int]] = []

    def seen(self) -> PowerSeen:
        nodes, readings, domains = [], [], []
        for rack, budget in self.budgets.items():
            used = CARDS if rack in self.full else sum(p.node == rack for p in self.pods)
            drawn = sum(EACH for p in self.pods if p.node == rack and p.ready <= self.now)
            nodes.append(PowerNode(rack, {"rack": rack}, CARDS, used, 0.0, 10.0, card_most=EACH))
            readings.append(PowerReading("agent", "whole", rack, drawn + 1.0, 0.0, 0.0))
            heat = self.thermal.get(rack)
            domains.append(
                Domain(rack, "Rack", "", {"rack": rack}, budget, floor=0.0, common_error=0.0, thermal=heat)
            )
        pods = tuple(
            PlacedPod(
                p.name, p.server, p.node, "running" if p.ready <= self.now else "pending", "A", EACH, 0, EACH
            )
            for p in self.pods
        )
        works = tuple(
            PowerWorkload(name, "ns", replicas=n, least=self.least[name], most=self.most)
            for name, n in self.asked.items()
        )
        policy = Policy("p", "ns", mode="Enforce", levers=self.levers, cap=self.cap)
        return PowerSeen(
            self.now, 30.0, tuple(domains), (policy,), tuple(nodes), tuple(readings), pods, works
        )

    def tick(self) -> None:
        needs = {n: Need(a, self.least[n], least=self.least[n], cards=1) for n, a in self.asked.items()}
        power = Power(self.seen(), self.memory, needs)
        given, plan, self.memory = decided(power, dict(self.least))
        self.plans.append(plan)
        leave = [pod for cap in plan.caps for pod in cap.leave]
        for name, most in given.items():
            self.asked[name] = max(min(most, self.least[name]), plan.surge.get(name, 0))
            mine = [p for p in self.pods if p.server == name]
            for _ in range(self.asked[name] - len(mine)):
                self.made += 1
                place = self.stubborn or (plan.cool or tuple(self.budgets))[0]
                never = place == "nowhere"
                ready = self.now + (1e9 if never else START)
                self.pods.append(Pod(f"ns/{name}-{self.made}", name, "" if never else place, ready))
            young = sorted(mine, key=lambda p: (p.name not in leave, p.ready <= self.now, -p.ready))
            for pod in young[: max(len(mine) - self.asked[name], 0)]:
                self.pods.remove(pod)
        self.now += TICK
        self.serving.append(
            {n: sum(p.server == n and p.ready <= self.now for p in self.pods) for n in self.least}
        )
        assert sum(self.asked.values()) <= sum(self.least.values()) + 1, "more than one at a time"
        assert all(self.serving[-1][n] >= least for n, least in self.least.items()), "fewer than the least"

    def until(self, end: float) -> Racks:
        while self.now < end:
            self.tick()
        return self

    def in_rack(self, rack: str) -> int:
        return sum(p.node == rack for p in self.pods)

    @property
    def notes(self) -> list[str]:
        return [note for plan in self.plans for note in plan.notes]

    @property
    def surges(self) -> list[int]:
        """Ticks at which somebody began to have one more."""
        on = [bool(plan.surge) for plan in self.plans]
        return [i for i, is_on in enumerate(on) if is_on and not (i and on[i - 1])]


def three(**more: Any) -> Racks:
    """Two servers with their least replicas in a rack that is given half of what they draw."""
    given: dict[str, Any] = {
        "where": {"a": ["r1", "r1"], "b": ["r1", "r2"]},
        "budgets": {"r1": 1000.0, "r2": 4000.0, "r3": 4000.0},
    }
    return Racks(**given | more)


def test_one_leaves_the_tight_rack_and_nobody_has_fewer_meanwhile() -> None:
    racks = three().until(3600.0)
    assert racks.in_rack("r1") == 2  # 800 W of 1,000, of which 12 % are kept free: two may stay
    assert racks.asked == racks.least
    assert len(racks.surges) == 1
    assert any("r1 draws too much" in note and "one more for now" in note for note in racks.notes)
    assert any("is gone" in note for note in racks.notes)
    assert all(plan.hot == ("r1",) for plan in racks.plans if plan.surge)
    assert {node for plan in racks.plans if plan.surge for node in plan.cool} == {"r2", "r3"}


def test_of_several_each_has_its_time() -> None:
    racks = three(budgets={"r1": 500.0, "r2": 4000.0, "r3": 4000.0}).until(1500.0)
    assert racks.in_rack("r1") == 1
    assert len(racks.surges) == 2
    assert (racks.surges[1] - racks.surges[0]) * TICK >= BETWEEN


def test_where_the_new_one_comes_to_the_same_rack_it_goes_again_and_that_is_said() -> None:
    racks = three(stubborn="r1").until(AGAIN)
    assert racks.in_rack("r1") == 3
    assert sorted(p.name for p in racks.pods) == ["ns/a-0", "ns/a-1", "ns/b-0", "ns/b-1"]
    assert any("not relocated" in note and "came to r1" in note for note in racks.notes)
    assert len(racks.surges) == 2  # once for each server
    assert racks.asked == racks.least


def test_one_that_never_comes_is_given_up() -> None:
    racks = three(stubborn="nowhere").until(COMES + 300.0)
    assert any(f"does not serve after {COMES:,.0f} s" in note for note in racks.notes)
    assert len(racks.pods) == 4
    assert racks.asked == racks.least


@pytest.mark.parametrize(
    "more",
    [
        {"levers": ("hold", "replicas")},
        {"full": ("r2", "r3")},
        {"budgets": {"r1": 1000.0, "r2": 700.0, "r3": 380.0}},
        {"most": 2},
        {"cap": AbsoluteCap(1850.0)},
        {"budgets": {"r1": 4000.0, "r2": 4000.0, "r3": 4000.0}},
    ],
    ids=["no lever", "no cards", "no watts", "the user's maximum", "the policy's cap", "not tight"],
)
def test_nothing_is_relocated_where_it_may_not_or_would_not_help(more: dict[str, Any]) -> None:
    racks = three(**more).until(600.0)
    assert racks.surges == []
    assert [p.name for p in racks.pods] == ["ns/a-0", "ns/a-1", "ns/b-0", "ns/b-1"]


def test_a_rack_that_is_too_warm_is_left_for_one_that_hardly_warms_it() -> None:
    warm = {
        "r1": Thermal(27.0, 18.0, {"r1": 0.01, "r2": 0.002}),
        "r2": Thermal(27.0, 18.0, {"r2": 0.008}),
        "r3": Thermal(27.0, 18.0, {"r3": 0.003}),
    }
    racks = three(budgets={"r1": None, "r2": None, "r3": None}, thermal=warm).until(2400.0)
    assert (racks.in_rack("r1"), racks.in_rack("r3")) == (2, 1)
    assert len(racks.surges) == 1
    assert any("r1 is too warm" in note for note in racks.notes)
    assert max(state.inlet or 0.0 for state in racks.plans[-1].domains) <= 27.0


def test_the_pod_that_goes_is_named_in_the_cap() -> None:
    racks = three()
    while not any(cap.lever == "placement" for plan in racks.plans for cap in plan.caps):
        where = {pod.name: pod.node for pod in racks.pods}
        racks.tick()
        assert racks.now < 600.0
    (cap,) = racks.plans[-1].caps
    assert (cap.most, cap.mode, [where[pod] for pod in cap.leave]) == (2, "Enforce", ["r1"])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_whatever_budgets_do_it_is_one_at_a_time_and_seldom(seed: int) -> None:
    """Each tick asserts that nobody has fewer than the least, and all together one more at most."""
    rng = np.random.default_rng(seed)
    names = ("r1", "r2", "r3")
    where = {name: [str(rack) for rack in rng.choice(names, int(rng.integers(1, 4)))] for name in "abc"}
    racks = Racks(where, dict.fromkeys(names, 4000.0), stubborn=str(rng.choice(["", "", "r1"])))
    hours = 1.0
    while racks.now < hours * 3600.0:
        racks.budgets = {name: float(rng.uniform(300.0, 1800.0)) for name in names}
        racks.until(racks.now + float(rng.choice([120.0, 300.0, 900.0])))
    for one, other in pairwise(racks.surges):
        assert (other - one) * TICK >= BETWEEN
    begun = [next(iter(racks.plans[tick].surge)) for tick in racks.surges]
    assert all(begun.count(name) <= 1 + hours * 3600.0 / AGAIN for name in begun)
    racks.budgets = dict.fromkeys(names, 4000.0)
    racks.stubborn = ""
    racks.until(racks.now + COMES)
    assert racks.asked == racks.least
    assert len(racks.pods) == sum(racks.least.values())
