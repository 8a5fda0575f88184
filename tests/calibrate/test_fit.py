"""A fit to one's own measurements: found again, outliers set aside, and what cannot be known said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.calibrate.belief import Belief
from flyball.calibrate.design import design
from flyball.calibrate.fit import anywhere, fit, weak
from flyball.calibrate.prior import prior
from flyball.profiles.latency import entries
from flyball.profiles.library import find_card, find_model
from flyball.spec.measurement import Point

TRUE = np.array([8e-3, 40e-6, 40e-9, 30e-6])
LOADS = (1.0, 4.0, 16.0, 64.0, 128.0)
SHAPES = ((1000.0, 300.0), (3000.0, 150.0), (200.0, 800.0))


def measured(
    noise: float = 0.0, shapes: tuple[tuple[float, float], ...] = SHAPES, gamma: float | None = None
) -> list[Point]:
    rng = np.random.default_rng(7)
    found = []
    for shape in shapes:
        times = design(LOADS, *shape) @ TRUE * np.exp(noise * rng.standard_normal(len(LOADS)))
        for n, t in zip(LOADS, times.tolist(), strict=True):
            ttft = None if gamma is None else gamma + t + TRUE[3] * shape[0]
            found.append(Point(*shape, t, concurrency=0.0 if gamma is None else n, running=n, ttft=ttft))
    return found


def library() -> Belief:
    return prior(find_model("Llama-3.1-8B"), find_card("H100"), 1, "vllm", entries=entries())


def spoilt(points: list[Point], at: int, factor: float) -> list[Point]:
    p = points[at]
    changed = Point(p.in_tokens, p.out_tokens, p.tpot * factor, p.concurrency, p.running, p.ttft)
    return [changed if i == at else q for i, q in enumerate(points)]


@pytest.mark.parametrize("before", [anywhere(), library()], ids=["nothing", "library"])
def test_parameters_are_found_again(before: Belief) -> None:
    done = fit(before, measured(0.01))
    assert np.all(np.abs(done.after.mean - np.log(TRUE)) < 2.0 * done.after.sigmas)
    assert done.after.values[[0, 3]] == pytest.approx(TRUE[[0, 3]], rel=0.2)
    assert done.error < 0.02
    assert done.unseen is not None
    assert done.unseen < 0.05
    assert done.learnt[[0, 3]].all()
    assert not done.aside.any()


@pytest.mark.parametrize("factor", [3.0, 0.3])
@pytest.mark.parametrize("at", [0, 7, 14])
def test_an_outlier_is_set_aside_and_moves_nothing(at: int, factor: float) -> None:
    clean = fit(library(), measured(0.01))
    done = fit(library(), spoilt(measured(0.01), at, factor))
    assert np.flatnonzero(done.aside).tolist() == [at]
    assert done.time == pytest.approx(clean.time, rel=0.03)


def test_many_that_disagree_are_no_outliers() -> None:
    points = measured(0.0)
    for at in range(0, 15, 2):
        points = spoilt(points, at, 2.0)
    assert not fit(anywhere(), points).aside.any()


def test_three_points_are_never_set_aside() -> None:
    assert not fit(library(), spoilt(measured(), 0, 4.0)[:3]).aside.any()


def test_one_shape_cannot_tell_prompts_from_context() -> None:
    done = fit(anywhere(), measured(0.01, SHAPES[:1]))
    assert done.unseen is None
    assert done.learnt.tolist()[0]
    assert not done.learnt[1:].any()


def test_a_few_points_move_the_librarys_belief_and_leave_what_they_do_not_see() -> None:
    before = library()
    done = fit(before, measured(0.0)[:2])  # batches of 1 and 4
    assert done.after.values[0] == pytest.approx(TRUE[0], rel=0.06)
    assert done.learnt[0]
    assert not done.learnt[2]
    assert done.error < np.mean(np.abs(done.foretold / [p.tpot for p in measured()[:2]] - 1))


def test_what_lies_outside_of_what_was_believed_is_said() -> None:
    points = [spoilt([p], 0, 30.0)[0] for p in measured()]
    assert fit(library(), points).surprising
    assert not fit(library(), measured()).surprising


def test_gamma_is_learnt_from_the_first_token_only() -> None:
    assert np.exp(fit(library(), measured(gamma=0.07)).after.gamma) == pytest.approx(0.07, rel=0.35)
    without = fit(library(), measured())
    assert (without.gamma_points, without.after.gamma) == (False, library().gamma)


def test_experts_of_a_known_model_are_fitted_too() -> None:
    model = find_model("gpt-oss-120b")
    done = fit(anywhere(model), measured(0.01))
    assert len(done.after.mean) == 5


def test_weak_is_where_it_was_and_knows_nothing() -> None:
    before = library()
    assert weak(before).mean is before.mean
    assert np.all(weak(before).sigmas == 3.0)


def test_no_points_are_refused() -> None:
    with pytest.raises(ValueError, match="no points"):
        fit(library(), [])


@given(st.integers(1, 14), st.floats(0.3, 3.0))
def test_nothing_is_less_known_than_before(count: int, scale: float) -> None:
    before = replace(library(), mean=np.log(TRUE * scale))
    done = fit(before, measured(0.02)[:count])
    assert np.all(done.after.sigmas <= before.sigmas * (1 + 1e-9))
    assert np.isfinite(done.after.mean).all()
