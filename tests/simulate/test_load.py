"""The load against the laws that it promises, and the same however it is taken."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from flyball.adapters.traces import read_trace
from flyball.simulate.load import Arrived, Source, source
from flyball.simulate.load_days import DAY, DayCourse
from flyball.spec.scenario import Arrivals, Days, Lengths, Stage, Stages, Steady, Stream, Trace
from tests.conftest import shared_dir

HOUR = 3600.0
IN, OUT = Lengths(1000), Lengths(300)
EPISODE = Stages(
    tuple(
        Stage(*x) for x in ((2, 330), (4, 360), (6, 360), (8, 360), (10, 360), (4, 360), (1, 300), (0, 300))
    ),
    exact=True,
)
RECORDED = Trace((0.0, 1.5, 1.5, 4.0, 7.25), (100, 200, 300, 400, 500), (1, 2, 3, 4, 5), (0, 64, 64, 400, 9))
KINDS: dict[str, Arrivals] = {
    "poisson": Steady(7.0),
    "clock": Steady(7.0, cov=0.0),
    "bursty": Steady(7.0, cov=4.0),
    "nothing": Steady(0.0),
    "stages": Stages((Stage(5, 100), Stage(0, 50), Stage(20, 100)), cov=0.5),
    "exact": EPISODE,
    "exact, last stays": Stages((Stage(3, 40), Stage(0, 10), Stage(5, 60)), exact=True),
    "days": Days(2.0, start=DAY - 600.0, bursts=50, noise=0.5),
    "trace": RECORDED,
    "copies": Trace(
        tuple(np.arange(300) * 1.1), (1000,) * 300, (10,) * 300, scale=3.4, jitter=30.0, repeat=True
    ),
}


def made(
    arrivals: Arrivals,
    seed: int = 1,
    *,
    in_tokens: Lengths = IN,
    out_tokens: Lengths = OUT,
    cached_share: float = 0.0,
) -> Source:
    stream = Stream("s", arrivals, in_tokens, out_tokens, cached_share)
    return source(stream, np.random.SeedSequence(seed))


def joined(parts: list[Arrived]) -> list[list[float]]:
    return [np.concatenate(columns).tolist() for columns in zip(*parts, strict=True)]


def cov(gaps: np.ndarray) -> float:
    return float(gaps.std() / gaps.mean())


# ---- the same however it is taken ----------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@given(
    st.lists(st.floats(0, 2800) | st.sampled_from([330.0, 690.0, 2430.0, 600.0]), max_size=6),
    st.integers(0, 9),
)
def test_cuts_change_nothing(kind: str, cuts: list[float], seed: int) -> None:
    lengths = {
        "in_tokens": Lengths(800, 0.7),
        "out_tokens": Lengths(50, law="geometric"),
        "cached_share": 0.2,
    }
    end = 2800.0
    whole = made(KINDS[kind], seed, **lengths).take(end)
    cut = made(KINDS[kind], seed, **lengths)
    parts = [cut.take(until) for until in [*sorted(cuts), end]]
    assert joined(parts) == joined([whole])
    for part, (low, high) in zip(parts, itertools.pairwise([0.0, *sorted(cuts), end]), strict=True):
        assert np.all((part.times >= low) & (part.times < high))
    assert np.all(np.diff(whole.times) >= 0)
    assert np.all((whole.uniforms >= 0) & (whole.uniforms < 1))
    assert np.all((whole.cached_tokens >= 0) & (whole.cached_tokens < whole.in_tokens))
    assert [c.dtype for c in whole] == [np.float64, np.int64, np.int64, np.int64, np.float64]


@pytest.mark.parametrize("kind", KINDS)
@given(st.lists(st.tuples(st.floats(1, 900), st.sampled_from([0.0, 0.5, 1.0, 2.0])), max_size=4))
def test_a_factor_does_not_depend_on_the_cuts_before_it(kind: str, steps: list[tuple[float, float]]) -> None:
    plain, cut = made(KINDS[kind]), made(KINDS[kind])
    now, seen, seen_cut = 0.0, [], []
    for length, factor in steps:
        seen.append(plain.take(now + length))
        seen_cut += [cut.take(now + length / 3), cut.take(now + length)]
        now += length
        plain.scale(factor)
        for _ in range(2):  # absolute: twice is once
            cut.scale(factor)
    seen.append(plain.take(now + 300))
    seen_cut += [cut.take(now + 100), cut.copy().take(now + 200), cut.take(now + 200), cut.take(now + 300)]
    del seen_cut[-3]
    assert joined(seen) == joined(seen_cut)
    assert np.all(np.diff(np.concatenate([part.times for part in seen])) >= 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_goes_on_alike_and_apart(kind: str) -> None:
    first = made(KINDS[kind])
    first.take(100.0)
    first.scale(1.5)
    second = first.copy()
    first.take(400.0)
    first.scale(0.0)
    first.take(1000.0)
    third = made(KINDS[kind])
    third.take(100.0)
    third.scale(1.5)
    assert joined([second.take(1000.0)]) == joined([third.take(1000.0)])


def test_seeds_differ_and_the_callers_seed_is_left_alone() -> None:
    seed = np.random.SeedSequence(5)
    one = source(Stream("s", Days(3.0)), seed).take(500.0)
    assert seed.n_children_spawned == 0
    assert joined([one]) == joined([source(Stream("s", Days(3.0)), seed).take(500.0)])
    assert joined([one]) != joined([source(Stream("s", Days(3.0)), seed.spawn(1)[0]).take(500.0)])


# ---- arrivals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [0.0, 0.5, 1.0, 3.0])
def test_gaps_have_the_rate_and_the_law(wanted: float) -> None:
    times = made(Steady(50.0, cov=wanted), 3).take(1000.0).times
    gaps = np.diff(times)
    # The standard error of a mean of n gaps is cov / sqrt(n); four of them.
    assert times.size == pytest.approx(50_000, rel=4 * max(wanted, 0.01) / np.sqrt(50_000))
    assert cov(gaps) == pytest.approx(wanted, rel=0.05, abs=1e-6)
    if wanted:
        law = stats.gamma(wanted**-2, scale=wanted**2 / 50.0)
        floor = 1e-9  # below, gaps drown in the rounding of the times
        seen, share = gaps[gaps > floor], law.cdf(floor)
        assert np.mean(gaps <= floor) == pytest.approx(share, abs=0.005)
        assert stats.kstest((law.cdf(seen) - share) / (1 - share), "uniform").pvalue > 0.01
        assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 0.02


@pytest.mark.parametrize("wanted", [0.0, 0.5, 3.0])
def test_the_rate_holds_from_the_beginning(wanted: float) -> None:
    # Less than a gap is seen of each; a process that began with a whole gap would miss the rate by far.
    seen = [made(Steady(1.0, cov=wanted), seed).take(0.5).times.size for seed in range(2500)]
    assert np.mean(seen) == pytest.approx(0.5, abs=4 * np.std(seen) / np.sqrt(len(seen)))


def test_exact_stages_have_their_counts_and_even_times() -> None:
    assert isinstance(EPISODE, Stages)
    for seed in range(5):
        load = made(EPISODE, seed)
        begin = 0.0
        for stage in EPISODE.stages:
            times = load.take(begin + stage.duration).times
            assert times.size == stage.rate * stage.duration
            if times.size:
                # Inner arrivals of normalised exponential gaps are uniform order statistics.
                inner = (times[:-1] - begin) / (times[-1] - begin)
                assert times[-1] == pytest.approx(begin + stage.duration, rel=1e-9)
                assert stats.kstest(inner, "uniform").pvalue > 1e-3
            begin += stage.duration
        assert load.take(1e6).times.size == 0


def test_the_last_stage_stays() -> None:
    load = made(KINDS["exact, last stays"])
    load.take(110.0)
    assert [load.take(110.0 + 60.0 * k).times.size for k in (1, 2, 3)] == [300, 300, 300]
    loose = made(Stages((Stage(5, 100), Stage(20, 100))), 2)
    loose.take(200.0)
    assert loose.take(10_200.0).times.size == pytest.approx(200_000, rel=0.01)


def test_stages_have_their_rates() -> None:
    times = made(KINDS["stages"], 4).take(250.0).times
    assert np.histogram(times, [0, 100, 150, 250])[0] == pytest.approx([500, 0, 2000], rel=0.06)
    assert not np.any((times > 100) & (times < 150))


def test_a_factor_is_one_on_the_rate() -> None:
    load = made(Steady(20.0), 6)
    counts = []
    for factor in (1.0, 3.0, 0.0, 0.5, 1.0):
        load.scale(factor)
        counts.append(load.take(1000.0 * (len(counts) + 1)).times.size)
    assert counts == pytest.approx([20_000, 60_000, 0, 10_000, 20_000], rel=0.04)
    untouched = made(Steady(20.0), 6)
    untouched.scale(1.0)
    assert untouched.take(1000.0).times.size == counts[0]


# ---- days ----------------------------------------------------------------------------------------


def work(days: Days, *times: float, seed: int = 1) -> np.ndarray:
    course = DayCourse(days, np.random.SeedSequence(seed))
    return np.array([course.work(t) for t in times])


def test_days_have_their_shape() -> None:
    calm = Days(2.0, swing=0.6, peak=14 * HOUR, weekend=0.5, noise=0.0, bursts=0.0)
    week = np.diff(work(calm, *(DAY * np.arange(9)))) / DAY
    assert week == pytest.approx([2.0] * 5 + [1.0] * 2 + [2.0])
    hours = np.diff(work(calm, *(HOUR * np.arange(25)))) / HOUR
    assert hours.max() == pytest.approx(2.0 * 1.6, rel=0.01)
    assert set(np.argsort(hours)[-2:]) == {13, 14}
    later = Days(2.0, noise=0.0, bursts=0.0, start=9 * HOUR)
    assert work(later, HOUR)[0] == pytest.approx(hours[9] * HOUR)
    sunday = Days(2.0, noise=0.0, bursts=0.0, start=6 * DAY + 13 * HOUR)
    assert work(sunday, HOUR)[0] == pytest.approx(hours[13] / 2 * HOUR)


def test_the_mean_holds_with_noise_and_bursts() -> None:
    wild = Days(2.0, noise=0.3, bursts=6.0, burst_size=3.0, burst_length=900.0, weekend=1.0)
    totals = np.diff(work(wild, *(DAY * np.arange(301)))) / DAY
    assert totals.mean() == pytest.approx(2.0, abs=4 * totals.std() / np.sqrt(totals.size))
    assert totals.std() > 0.1


def test_noise_has_its_size_and_is_slow() -> None:
    days = Days(1.0, swing=0.0, noise=0.4, bursts=0.0, weekend=1.0)
    minutes = np.diff(work(days, *(60.0 * np.arange(60 * 24 * 60 + 1)))) / 60.0
    assert cov(minutes) == pytest.approx(0.4, rel=0.1)
    logs = np.log(minutes)
    hour_apart = np.corrcoef(logs[60:], logs[:-60])[0, 1]
    assert hour_apart == pytest.approx(np.exp(-1.0), abs=0.06)


def test_bursts_are_as_many_as_long_and_as_high() -> None:
    days = Days(1.0, swing=0.0, noise=0.0, bursts=4.0, burst_size=3.0, burst_length=600.0, weekend=1.0)
    minutes = np.diff(work(days, *(60.0 * np.arange(200 * 24 * 60 + 1)))) / 60.0
    calm = 1.0 / (1.0 + 4.0 * 600.0 * 2.0 / DAY)
    assert minutes.min() == pytest.approx(calm)
    raised = minutes > calm * 1.0001
    begun = np.count_nonzero(raised[1:] & ~raised[:-1])
    assert begun == pytest.approx(4 * 200, rel=0.1)  # some overlap
    assert np.mean(minutes[raised]) / calm == pytest.approx(3.0, rel=0.15)


def test_arrivals_follow_the_days() -> None:
    days = Days(1.5, noise=0.3, bursts=8.0, burst_size=4.0, start=11 * HOUR)
    seed = np.random.SeedSequence(8)
    load = source(Stream("s", days), seed)
    assert load._course.work(0.0) == 0.0  # type: ignore[attr-defined]
    expected = np.diff([load._course.work(600.0 * k) for k in range(2 * 144 + 1)])  # type: ignore[attr-defined]
    seen = np.histogram(load.take(2 * DAY).times, 600.0 * np.arange(2 * 144 + 1))[0]
    # Poisson: chi-square of 288 cells has mean 288 and deviation 24.
    assert np.sum((seen - expected) ** 2 / expected) == pytest.approx(288, abs=4 * 24)
    assert expected.max() / expected.min() > 4


# ---- traces --------------------------------------------------------------------------------------


def test_a_trace_at_scale_1_is_as_recorded() -> None:
    found = made(RECORDED).take(100.0)
    assert found.times.tolist() == list(RECORDED.times)
    assert found.in_tokens.tolist() == list(RECORDED.in_tokens)
    assert found.out_tokens.tolist() == list(RECORDED.out_tokens)
    assert found.cached_tokens.tolist() == [0, 64, 64, 399, 9]  # one token at least is computed


def recorded(n: int = 2000, **more: object) -> Trace:
    rng = np.random.default_rng(0)
    times = np.sort(rng.uniform(0, 1000, n))
    times[0] = 0.0
    return Trace(tuple(times.tolist()), tuple(range(1, n + 1)), (10,) * n, **more)  # type: ignore[arg-type]


def test_copies_and_parts_of_copies() -> None:
    trace = recorded(scale=2.3, jitter=25.0)
    found = made(trace).take(2000.0)
    counts = np.bincount(found.in_tokens, minlength=2001)[1:]
    assert set(counts) == {2, 3}
    assert np.mean(counts == 3) == pytest.approx(0.3, abs=0.04)
    for times in (found.times[found.in_tokens == k] for k in (1, 500, 2000)):
        assert times[0] == trace.times[0] or times[0] in trace.times
        assert np.all(times - times[0] < 25.0)
    assert made(recorded(scale=0.4)).take(2000.0).times.size == pytest.approx(800, rel=0.1)


def test_a_trace_repeats_at_its_own_rate() -> None:
    found = made(recorded(repeat=True, scale=2.0)).take(10_000.0)
    assert found.times.size == pytest.approx(2 * 20_000, rel=0.01)
    assert np.bincount(found.in_tokens)[1:].min() >= 18
    per_second = np.histogram(found.times, np.arange(0, 10_001, 100))[0] / 100
    assert per_second[1:].min() > 2.5


def test_a_factor_makes_copies() -> None:
    load = made(recorded(repeat=True))
    counts = []
    for factor in (1.0, 2.5, 0.25):
        load.scale(factor)
        counts.append(load.take(5000.0 * (len(counts) + 1)).times.size)
    assert counts == pytest.approx([10_000, 25_000, 2500], rel=0.08)


@pytest.mark.parametrize("trace", [Trace((), (), ()), Trace((0.0,), (5,), (0,), repeat=True)])
def test_short_traces(trace: Trace) -> None:
    found = made(trace).take(10.0)
    assert found.times.tolist() == ([float(k) for k in range(10)] if trace.times else [])
    assert np.all(found.out_tokens == 1)


# ---- lengths -------------------------------------------------------------------------------------


def lengths(law: Lengths, seed: int = 2, n: float = 20_000) -> np.ndarray:
    return made(Steady(n), seed, in_tokens=law).take(1.0).in_tokens


@pytest.mark.parametrize(
    ("law", "expected"),
    [
        (Lengths(4000, 0.075, "normal"), stats.norm(4000, 300)),
        (Lengths(4000, 0.8), stats.lognorm(np.sqrt(np.log(1.64)), scale=4000 / np.sqrt(1.64))),
        (Lengths(4000, 1.5, "gamma"), stats.gamma(1.5**-2, scale=4000 * 1.5**2)),
        (Lengths(4000, law="geometric"), stats.geom(1 / 4000)),
    ],
)
def test_lengths_have_their_law(law: Lengths, expected: object) -> None:
    found = lengths(law)
    inner = found[found > 4]  # rounding and the least token only tell at the low end
    share = expected.cdf(4.5)  # type: ignore[attr-defined]
    assert np.mean(found <= 4) == pytest.approx(share, abs=0.01)
    even = (expected.cdf(inner) - share) / (1 - share)  # type: ignore[attr-defined]
    assert stats.kstest(even, "uniform").pvalue > 0.01


def test_lengths_are_clipped() -> None:
    found = lengths(Lengths(4000, 0.2, "normal", low=3500, high=4500))
    tail = stats.norm.cdf(-500 / 800)
    assert (found.min(), found.max()) == (3500, 4500)
    assert np.mean(found == 3500) == pytest.approx(tail, rel=0.05)
    assert np.mean(found == 4500) == pytest.approx(tail, rel=0.05)


def test_fixed_and_least_lengths() -> None:
    assert set(lengths(Lengths(1000.4))) == {1000}
    assert set(lengths(Lengths(1000, 0.5, "fixed"))) == {1000}
    assert set(lengths(Lengths(0.1, law="geometric"))) == {1}
    assert lengths(Lengths(3, 2.0, "gamma")).min() == 1


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.0])
def test_cached_tokens_have_their_share(share: float) -> None:
    found = made(Steady(20_000.0), in_tokens=Lengths(2000, 0.5), cached_share=share).take(1.0)
    assert found.cached_tokens.sum() / found.in_tokens.sum() == pytest.approx(share, abs=0.006)


# ---- beside recorded traces ----------------------------------------------------------------------


def cov_in_minutes(times: np.ndarray) -> float:
    """Of the gaps within a minute, mean over minutes with 20 requests, by their requests."""
    minutes = np.split(times, np.searchsorted(times, np.arange(60.0, times[-1], 60.0)))
    busy = [minute for minute in minutes if minute.size >= 20]
    return float(np.average([cov(np.diff(m)) for m in busy], weights=[m.size for m in busy]))


if shared_dir() is not None:  # collected only where the data is

    @pytest.mark.parametrize("name", ["code", "conv"])
    def test_what_is_fitted_to_a_trace_is_like_it(name: str, shared: Path, compared: Counter[str]) -> None:
        trace = read_trace(shared / "data" / "traces" / f"azure_llm_2023_{name}.csv")
        replayed = made(trace).take(1e6)
        assert replayed.times.tolist() == list(trace.times)
        long = 20 * replayed.times[-1]  # so that chance in what is made matters little
        wanted = cov_in_minutes(replayed.times)
        seen = [replayed.in_tokens, replayed.out_tokens]
        laws = [
            Lengths(tokens.mean(), cov(tokens), law, high=float(tokens.max()))
            for tokens, law in zip(seen, ("gamma", "lognormal"), strict=True)
        ]
        rate = replayed.times.size / replayed.times[-1]
        found = made(Steady(rate, wanted), in_tokens=laws[0], out_tokens=laws[1]).take(long)
        assert found.times.size / long == pytest.approx(rate, rel=0.02)
        assert cov_in_minutes(found.times) == pytest.approx(wanted, rel=0.15)
        compared["traces beside what is fitted to them: rate and gaps"] += 2
        for tokens, like in zip(seen, (found.in_tokens, found.out_tokens), strict=True):
            assert like.mean() == pytest.approx(tokens.mean(), rel=0.05)
            # A law of two parameters: the middle of conversations' answers is the worst, a third off.
            for quantile, tolerance in ((0.5, 0.35), (0.9, 0.25)):
                assert np.quantile(like, quantile) == pytest.approx(
                    np.quantile(tokens, quantile), rel=tolerance
                )
            compared["traces beside what is fitted to them: tokens"] += 3
