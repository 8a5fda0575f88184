"""One look at a domain: what is not governed, where what is read is older than what is known of pods."""

from __future__ import annotations

import pytest

from flyball.power.tree import tree_of
from flyball.power.watch import DomainMemory, Seen, watch
from flyball.spec.power import Domain, PlacedPod, PowerNode, PowerReading

NODE = PowerNode("n", {}, 16, None, 500.0, 2000.0, 0.0, 50.0, 700.0)
DOMAIN = Domain("d", watts=5000.0)
OTHERS, EACH, AGE, TAU = 1500.0, 300.0, 12.0, 60.0


def drawn(pods: list[tuple[float, int]], time: float) -> float:
    """Of the whole node, with so many pods from a time on."""
    return OTHERS + EACH * next(n for since, n in reversed(pods) if since <= time)


@pytest.mark.parametrize("change", [-8, 6])
def test_pods_that_came_or_went_since_the_reading_are_not_taken_for_others(change: int) -> None:
    """Eight of ten pods end at once (or six begin): what nobody governs stays what it is."""
    pods = [(-1e9, 10), (90.0, 10 + change)]
    memory: dict[str, DomainMemory] = {}
    found = []
    for now in (60.0, 75.0, 90.0, 105.0, 120.0):
        count = next(n for since, n in reversed(pods) if since <= now)
        placed = [PlacedPod(str(i), "s", "n", idle=EACH, most=400.0) for i in range(count)]
        reading = PowerReading("redfish", "whole", "n", drawn(pods, now - AGE), AGE, 0.0)
        memory, watched = watch(
            tree_of([DOMAIN], [NODE]), Seen({"n": NODE}, [reading], placed), memory, now, TAU
        )
        found.append(watched["d"].reading.ungoverned)
    # Between two looks it is not known when they ended; a fifth of the way is what the straight line says.
    between = abs(change) * EACH * AGE / 15.0
    assert found == pytest.approx([OTHERS] * 5, abs=between * 0.26 + 1.0)
    assert found[-1] == pytest.approx(OTHERS)
    told = memory["d"].governed
    assert told[-1][0] == 120.0
    assert told[-1][1] == pytest.approx(EACH * (10 + change))


def test_one_old_reading_says_nothing_of_the_other_nodes() -> None:
    """A node is read a minute late, the other is not; pods end on both at once."""
    nodes = {n: PowerNode(n, {}, 16, None, 500.0, 2000.0, 0.0, 50.0, 700.0) for n in ("n", "m")}
    ages = {"n": 0.0, "m": 55.0}
    pods = [(-1e9, 10), (300.0, 2)]
    memory: dict[str, DomainMemory] = {}
    for now in range(0, 400, 15):
        count = next(n for since, n in reversed(pods) if since <= now)
        placed = [PlacedPod(f"{n}{i}", "s", n, idle=EACH, most=400.0) for i in range(count) for n in nodes]
        readings = [
            PowerReading("redfish", "whole", n, drawn(pods, now - age), age, 0.0) for n, age in ages.items()
        ]
        seen = Seen(nodes, readings, placed)
        memory, watched = watch(tree_of([DOMAIN], nodes.values()), seen, memory, float(now), TAU)
        if now == 345:  # the one is as before the end, the other as after it; shares are of the watts
            assert watched["d"].reading.ungoverned == pytest.approx(2 * OTHERS, rel=0.4)
            assert watched["d"].reading.known.watts - 2 * 2 * EACH > 2 * 2 * OTHERS * 0.85
    assert watched["d"].reading.ungoverned == pytest.approx(2 * OTHERS)


def test_what_was_governed_is_forgotten_in_time() -> None:
    memory: dict[str, DomainMemory] = {}
    for now in range(0, 3000, 15):
        reading = PowerReading("redfish", "whole", "n", 2000.0, 5.0, 0.0)
        memory, _ = watch(tree_of([DOMAIN], [NODE]), Seen({"n": NODE}, [reading]), memory, float(now), TAU)
    assert len(memory["d"].governed) == 8


def grown(others: list[float]) -> list[float]:
    """What may be grown to, in looks a minute apart at so much that nobody governs."""
    memory: dict[str, DomainMemory] = {}
    found = []
    for i, watts in enumerate(others):
        reading = PowerReading("redfish", "whole", "n", watts, 0.0, 0.0)
        seen = Seen({"n": NODE}, [reading], ())
        memory, watched = watch(tree_of([DOMAIN], [NODE]), seen, memory, 60.0 * i, TAU)
        room = watched["d"].room
        assert room is not None
        found.append(room.grow)
    return found


def test_nothing_grows_into_watts_that_others_drew_within_ten_minutes() -> None:
    calm, bursts = grown([1500.0] * 17), grown([1500.0, 1600.0, 1600.0, *[1500.0] * 14])
    told = [one - other for one, other in zip(calm, bursts, strict=True)]
    assert told[2:12] == pytest.approx([100.0] * 10)
    assert told[13:] == pytest.approx([0.0] * 4)


def test_growth_of_our_own_is_no_rise_of_the_load() -> None:
    """Ten replicas begin at once: the threshold stays; ten times the load on those there are lowers it."""
    rises = []
    for begins in (True, False):
        memory: dict[str, DomainMemory] = {}
        for now in (0.0, 60.0):
            count = 10 if now and begins else 1
            pods = [PlacedPod(str(i), "s", "n", idle=EACH, most=EACH) for i in range(count)]
            watts = OTHERS + EACH * (10 if now else 1)
            seen = Seen({"n": NODE}, [PowerReading("redfish", "whole", "n", watts, 0.0, 0.0)], pods)
            memory, watched = watch(tree_of([DOMAIN], [NODE]), seen, memory, now, TAU)
        rises.append(watched["d"].state.rise)
    assert rises == pytest.approx([600.0, 9 * EACH], rel=0.05)  # quantiles are at upper edges of bins
