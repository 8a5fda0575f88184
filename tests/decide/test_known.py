"""The account of what is known: nothing seen, corrected, carried from plan to plan, and fitted once."""

from __future__ import annotations

import math

import msgspec
import pytest
from msgspec.structs import replace

from flyball.calibrate.learn import distrust, surprise
from flyball.calibrate.over_batch import itl_over
from flyball.decide import calibration
from flyball.decide.calibration import Calibration, key
from flyball.decide.cycle import decide
from flyball.decide.memory import Goal, Memory, models_of
from flyball.spec.decision import Decision
from flyball.spec.known import Known
from flyball.spec.learned import Learned
from flyball.spec.profile import IterationTiming
from flyball.spec.snapshot import Snapshot
from flyball.spec.steering import Steering
from tests.decide.test_calibration import PROFILE, calibrated, seen
from tests.decide.worlds import Run, fleet_of, server_of, world_of

PAIR = key("m", "A")
GOALS = {"s": Goal("A", 2, 64, 4.0)}
TOKENS = {"s": (1000.0, 200.0)}


def account(calibration: Calibration) -> tuple[Known, ...]:
    return calibration.account(calibration.fleet_as_known(GOALS, TOKENS), GOALS, TOKENS, {PAIR})


def taught(readings: int, factor: float = 1.5) -> Calibration:
    """After readings that are slower than the profile, a window apart."""
    slow, learned = seen(itl=0.016 * factor, kv_usage=0.15), {}
    for i in range(readings - 1):
        learned = calibrated(learned, slow, 60.0 * i).learned
    return calibrated(learned, slow, 60.0 * (readings - 1))


def test_where_nothing_was_seen_the_profile_holds() -> None:
    quiet = calibrated({}, seen(offered=None), 0.0)
    (one,) = account(quiet)
    assert (one.model, one.accelerator, one.readings, one.points, one.at) == ("m", "A", 0, 0, None)
    assert one.itl == one.profile_itl == itl_over(quiet.prior(PAIR), [one.running], 1000.0, 200.0).itl[0]
    assert (one.margin, one.distrust, one.kv_tokens) == (1.0, 1.0, 0)
    assert quiet.account(quiet.fleet, {}, {}, ()) == ()  # neither in use nor read


def test_what_was_read_is_told_beside_what_the_profile_said() -> None:
    known = taught(12)
    (one,) = account(known)
    assert (one.readings, one.points, one.at) == (12, 1, 660.0)
    assert 1.3 < one.itl / one.profile_itl < 1.8
    assert one.sigma < itl_over(known.prior(PAIR), [one.running], 1000.0, 200.0).sigma[0]
    profile = known.fleet_as_known(GOALS, TOKENS).profiles[0]
    assert (one.margin, one.kv_tokens) == (profile.margin, profile.kv_tokens)
    assert one.distrust == distrust(known.learned[PAIR])
    assert one.miss == math.sqrt(known.learned[PAIR].miss) > 0.0


def test_margins_are_those_of_the_plan() -> None:
    """Where cards are short it was made without."""
    known = taught(12)
    (one,) = known.account(known.fleet, GOALS, TOKENS, {PAIR})
    assert one.margin == 1.0


def test_a_pair_is_fitted_once_after_a_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    count, real = [0], calibration.belief

    def counted(*arguments):  # type: ignore[no-untyped-def]
        count[0] += 1
        return real(*arguments)

    learned = taught(3).learned
    monkeypatch.setattr(calibration, "belief", counted)
    known = calibrated(learned, seen(), 180.0)
    assert (known.learned[PAIR].readings, count[0]) == (4, 1)
    known.profile(PAIR)
    account(known)
    account(known)
    assert count[0] == 2


def test_what_is_fitted_is_what_was_learned_in_this_cycle() -> None:
    known = taught(5)
    fresh = calibration.belief(known.prior(PAIR), known.learned[PAIR], known.now)
    assert known.belief(PAIR).mean.tolist() == fresh.mean.tolist()


def test_decisions_carry_the_account_of_the_last_plan() -> None:
    fleet = fleet_of([server_of("s"), server_of("t", "Bronze")], {"A": 9, "B": 4})
    run = Run(world_of(fleet, lambda _server, _time: 6.0))
    run.until(900.0)
    assert [(k.model, k.accelerator) for k in run.decisions[0].known] == []  # nothing runs yet
    last = run.decisions[-1].known
    assert any(k.readings >= 5 for k in last)
    for before, now in zip(run.decisions, run.decisions[1:], strict=False):
        assert now.planned or now.known == before.known
    read = msgspec.msgpack.decode(msgspec.msgpack.encode(run.decisions[-1]), type=Decision)
    assert msgspec.msgpack.encode(read) == msgspec.msgpack.encode(run.decisions[-1])
    snapshot = Snapshot(fleet, run.world.observe())
    off, _ = decide(snapshot, replace(run.memory or Memory(), planned_at=None), Steering(calibrate=False))
    assert off.known == ()


def test_of_a_world_that_ended_only_its_models_are_remembered() -> None:
    learned = taught(6).learned
    memory = Memory(learned=learned, planned_at=300.0, lean=True, known=account(taught(6)))
    after = models_of(memory, 400.0, 0.0)
    assert after == Memory(learned=after.learned)
    (was,), (now,) = learned[PAIR].points, after.learned[PAIR].points
    assert (now.itl, now.weight, now.at) == (was.itl, was.weight, was.at - 400.0)
    assert after.learned[PAIR].at == 300.0 - 400.0
    assert models_of(Memory(learned={PAIR: Learned()}), 5.0, 0.0).learned[PAIR].at is None


def test_points_stay_where_a_profile_was_changed() -> None:
    """What they tell is the same under another prior; what they do not tell is the prior's."""
    learned = taught(30).learned
    fleet = replace(fleet_of([server_of("s")], {"A": 9}), profiles=(PROFILE,))
    assert isinstance(PROFILE.timing, IterationTiming)
    timing = replace(PROFILE.timing, alpha=2 * PROFILE.timing.alpha, kappa=2 * PROFILE.timing.kappa)
    other = replace(fleet, profiles=(replace(PROFILE, timing=timing),))
    was, now = (Calibration(of, learned, {}, {}, Steering(), 1800.0) for of in (fleet, other))
    (point,) = learned[PAIR].points
    assert abs(surprise(now.prior(PAIR), point)[0] - surprise(was.prior(PAIR), point)[0]) > 0.4
    assert abs(surprise(now.belief(PAIR), point)[0]) < 0.1
    kappa = [known.belief(PAIR).values[2] for known in (was, now)]
    assert kappa[1] > 1.05 * kappa[0]  # so light a load says little of it
    assert now.account(other, GOALS, TOKENS, ())[0].readings == 30
