"""Water in a valley: work that may wait is in time at the least level of watts."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.decide.valley import Filled, Side, Work, filled, room, served

SLOT = 300.0


@st.composite
def worlds(draw: st.DrawFn, most: st.SearchStrategy[float] | None = None) -> tuple[Work, list[Side]]:
    """Up to eight slots, up to three domains; what is due has come."""
    k = draw(st.integers(1, 8))

    def series(low: float, high: float) -> list[float]:
        return draw(st.lists(st.floats(low, high), min_size=k, max_size=k))

    def requests(most: float) -> list[float]:
        some = st.just(0.0) | st.floats(1.0, most)
        return list(accumulate(draw(st.lists(some, min_size=k, max_size=k))))

    come = requests(500.0)
    due = [min(d, c) for d, c in zip(requests(300.0), come, strict=True)]
    sides = [
        Side(series(50.0, 2000.0), series(0.0, 1500.0), draw(st.floats(0.5, 400.0)))
        for _ in range(draw(st.integers(1, 3)))
    ]
    return Work(come, due, draw(most or st.sampled_from([0.2, 1.0, 1e9]))), sides


def peak(sides: list[Side], rates: tuple[float, ...]) -> float:
    """The highest level in slots in which something is served."""
    return max(
        (
            (rest + side.joules * rate) / may
            for side in sides
            for may, rest, rate in zip(side.allowed, side.rest, rates, strict=True)
            if rate > 1e-9
        ),
        default=0.0,
    )


def once(work: Work) -> list[float]:
    return served(work.come, [work.most] * len(work.come), SLOT)


def missed(work: Work, made: Filled) -> float:
    """Requests that were due, could have been served at once, and were not in the end."""
    by = list(accumulate(rate * SLOT for rate in made.rates))
    due = [min(d, o) for d, o in zip(work.due, once(work), strict=True)]
    return max(d - s for d, s in zip(due, by, strict=True))


@given(worlds())
def test_no_deadline_is_missed_that_could_be_met_and_all_is_served_by_the_end(
    world: tuple[Work, list[Side]],
) -> None:
    work, sides = world
    made = filled(work, sides, SLOT)
    assert missed(work, made) <= 1e-6
    assert sum(made.rates) * SLOT == pytest.approx(once(work)[-1], abs=1e-6)
    assert all(0.0 <= rate <= work.most * (1.0 + 1e-9) for rate in made.rates)
    assert made == filled(work, sides, SLOT)


@given(worlds())
def test_the_peak_is_never_higher_than_if_all_were_served_at_once(world: tuple[Work, list[Side]]) -> None:
    work, sides = world
    made = filled(work, sides, SLOT)
    assert peak(sides, made.rates) <= made.level * (1.0 + 1e-9) + 1e-9
    assert made.level <= max(peak(sides, made.once), 0.0) * (1.0 + 1e-9) + 1e-9


@given(worlds())
def test_there_is_no_lower_level(world: tuple[Work, list[Side]]) -> None:
    """By the intervals: at any lower level something that is due between two slots does not fit there."""
    work, sides = world
    made = filled(work, sides, SLOT)
    if made.level <= 1e-6:
        return
    rates = room(work, sides, made.level * (1.0 - 1e-6))
    due = [min(d, o) for d, o in zip(work.due, once(work), strict=True)]
    due[-1] = once(work)[-1]
    come = [0.0, *work.come]
    short = max(
        due[k] - come[j] - SLOT * sum(rates[j : k + 1]) for k in range(len(rates)) for j in range(k + 1)
    )
    assert short > 0.0


@given(worlds())
def test_without_time_to_wait_all_is_served_at_once(world: tuple[Work, list[Side]]) -> None:
    work, sides = world
    made = filled(work._replace(due=work.come), sides, SLOT)
    assert made.rates == pytest.approx(made.once, abs=1e-6)


@given(worlds())
def test_below_the_least_level_nothing_waits(world: tuple[Work, list[Side]]) -> None:
    work, sides = world
    ample = max(peak(sides, filled(work, sides, SLOT).once), 0.1)
    made = filled(work, sides, SLOT, ample * 1.000001)
    assert made.rates == pytest.approx(made.once, abs=1e-6)


def test_water_finds_the_bottom() -> None:
    side = Side([100.0] * 6, [90.0, 80.0, 40.0, 20.0, 20.0, 60.0], 10.0)
    work = Work([SLOT * i for i in range(1, 7)], [0.0] * 6, 1e9)
    made = filled(work, [side], SLOT)
    assert made.level == pytest.approx(0.7)
    assert made.rates == pytest.approx((0.0, 0.0, 3.0, 1.0, 1.0, 1.0))


@given(
    st.lists(st.just(0.0) | st.floats(0.01, 5.0), min_size=10, max_size=10),
    st.lists(st.floats(0.0, 900.0), min_size=10, max_size=10),
    st.lists(st.floats(400.0, 1000.0), min_size=10, max_size=10),
    st.integers(1, 5),
    st.sampled_from([0.0, 0.7]),
    st.sampled_from([3.0, 1e9]),
)
def test_from_look_to_look_it_is_in_time_and_below_the_peak_of_serving_at_once(
    come: list[float], rest: list[float], may: list[float], slots: int, least: float, most: float
) -> None:
    """Looked at anew in each slot, with what comes and draws foretold rightly."""
    come, rest, may = come + [0.0] * slots, rest + [0.0] * slots, may + [1000.0] * slots
    joules, waiting, level = 150.0, [], 0.0
    queue_once, level_once, late_once = [], 0.0, 0.0
    late = 0.0
    for now in range(10):
        for queue in (waiting, queue_once):
            queue.append([now + slots, come[now] * SLOT])  # due by the end of slot `now + slots - 1`
        window = range(now, now + slots)
        there = sum(n for _, n in waiting)
        work = Work(
            [there + SLOT * sum(come[now + 1 : k + 1]) for k in window],
            [sum(n for due, n in waiting if due <= k + 1) for k in window],
            most,
        )
        side = Side([may[k] for k in window], [rest[k] for k in window], joules)
        rate = filled(work, [side], SLOT, least).rates[0]
        at_once = min(sum(n for _, n in queue_once) / SLOT, most)
        late = max(late, serve(waiting, rate * SLOT, now))
        late_once = max(late_once, serve(queue_once, at_once * SLOT, now))
        level = max(level, (rest[now] + joules * rate) / may[now] if rate > 1e-9 else 0.0)
        level_once = max(level_once, (rest[now] + joules * at_once) / may[now] if at_once > 1e-9 else 0.0)
    assert late <= late_once + 1e-3
    assert level <= max(level_once, least) * (1.0 + 1e-6) + 1e-6


def serve(queue: list[list[float]], requests: float, now: int) -> float:
    """Serve the oldest; how many are late now."""
    for one in queue:
        taken = min(one[1], requests)
        one[1] -= taken
        requests -= taken
    return sum(n for due, n in queue if due <= now + 1)
