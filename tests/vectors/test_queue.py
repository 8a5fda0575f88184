"""The queue of one replica against recordings of the original, generations 2 and 3."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from flyball.queueing.analysis import Metrics, analyze, highest_rate, lowest_rate
from flyball.queueing.arrays import FloatArray
from flyball.queueing.chain import geometric_tail, prepare, steady_state
from flyball.queueing.concurrency import optimal_concurrency
from flyball.queueing.curves import ChunkedCurve, Curve, LinearCurve, phase_curve
from flyball.queueing.sizing import Targets, size
from tests.conftest import shared_dir

RELATIVE = 1e-4
FLAT = {"batch-1", "beta-gamma-zero", "decode-flat", "batch1queue0", "batch1-queue0-invalid-model"}
"""Known defects of the original; see docs/deviations.md and tests/queueing/test_sizing.py."""
MEANS = {
    "avgNumInServ": ("in_batch", 1.0),
    "avgPrefillTime": ("prefill", 1e3),
    "avgRespTime": ("response_time", 1e3),
    "avgTTFT": ("ttft", 1e3),
    "ttft": ("ttft", 1e3),
    "avgTokenTime": ("itl", 1e3),
    "throughput": ("throughput", 1.0),
    "rho": ("utilization", 1.0),
}


def one(*values: float) -> list[FloatArray]:
    return [np.array([float(v)]) for v in values]


def cases(name: str) -> list[dict]:
    shared = shared_dir()
    assert shared
    found = json.loads((shared / "vectors" / "inferno" / name).read_text())["cases"]
    return [c for c in found if c["input"]["label"] not in FLAT and "rateRange" in c]


def third(i: dict, batch: float) -> ChunkedCurve:
    tokens = (i["avgInputTokens"], i["avgOutputTokens"], i["maxNumTokens"] or 8192)
    return ChunkedCurve(*one(batch, i["alpha"] / 1e3, i["beta"] / 1e3, i["gamma"] / 1e3, *tokens))


def second(i: dict) -> LinearCurve:
    times = (i["decodeAlpha"], i["decodeBeta"], i["prefillGamma"], i["prefillDelta"])
    return phase_curve(
        *one(*(t / 1e3 for t in times), i["avgInputTokens"], i["avgOutputTokens"], i["maxBatchSize"])
    )


def limits(ttft: float, itl: float) -> Targets:
    return Targets(*one(ttft / 1e3 or math.inf, itl / 1e3 or math.inf, math.inf, math.inf))


def check(curve: Curve, queue: float, case: dict, compared: Counter[str], name: str) -> None:
    i = case["input"]

    def same(value: float, expected: float, absolute: float = 0.0) -> None:
        assert value == pytest.approx(expected, rel=RELATIVE, abs=absolute)
        compared[name] += 1

    same(highest_rate(curve)[0], case["rateRange"]["max"])
    same(lowest_rate(curve)[0], case["rateRange"]["min"])
    metrics = case.get("analyze", {}).get("metrics")
    if metrics:
        found: Metrics = analyze(curve, one(queue)[0], one(case["analyze"]["requestRate"])[0])
        for field, (attribute, unit) in MEANS.items():
            if field in metrics:
                same(getattr(found, attribute)[0] * unit, metrics[field])
        same(found.wait_time[0] * 1e3, metrics["avgWaitTime"], 1e-6 * metrics["avgRespTime"])
    sized = case.get("size", {})
    if "error" in sized:
        if min(i["targetTTFT"], i["targetITL"], i["targetTPS"]) >= 0:
            assert not size(curve, one(queue)[0], limits(i["targetTTFT"], i["targetITL"])).feasible[0]
            compared[name] += 1
        return
    if sized:
        ttft, itl = limits(i["targetTTFT"], 0), limits(0, i["targetITL"])
        same(size(curve, one(queue)[0], ttft).rate[0], sized["rateTargetTTFT"])
        same(size(curve, one(queue)[0], itl).rate[0], sized["rateTargetITL"])
        top = highest_rate(curve) * (0.9 if i["targetTPS"] > 0 else 1.0)
        both = size(curve, one(queue)[0], limits(i["targetTTFT"], i["targetITL"]), top)
        same(both.throughput[0], sized["metrics"]["throughput"])


@pytest.mark.parametrize("case", cases("queue-analysis-llm.json"), ids=lambda c: c["input"]["label"])
def test_third_generation(case: dict, compared: Counter[str]) -> None:
    i = case["input"]
    curve = third(i, i["maxBatchSize"])
    samples = case["serviceRateSamples"]
    for batch, chunks, rate in zip(
        *(samples[k] for k in ("batchSize", "numChunks", "serviceRatePerSec")), strict=True
    ):
        assert curve.chunks(one(batch)[0])[0] == chunks
        assert batch / curve.residence_time(one(batch)[0])[0] == pytest.approx(rate, rel=RELATIVE)
        compared["queue, generation 3"] += 2
    check(curve, i["maxQueueSize"], case, compared, "queue, generation 3")


@pytest.mark.parametrize(
    "case", cases("queue-optimizer-prefill-decode.json"), ids=lambda c: c["input"]["label"]
)
def test_second_generation(case: dict, compared: Counter[str]) -> None:
    i = case["input"]
    if i["avgOutputTokens"] >= 1 and i["maxBatchSize"] >= 1:
        check(second(i), i["maxQueueSize"], case, compared, "queue, generation 2")


@pytest.mark.parametrize(
    "case",
    [c for c in cases("queue-analysis-llm.json") if "optimalConcurrency" in c],
    ids=lambda c: c["input"]["label"],
)
def test_optimal_concurrency(case: dict, compared: Counter[str]) -> None:
    i, expected = case["input"], case["optimalConcurrency"]
    found = optimal_concurrency(
        lambda batch: third(i, batch[0]),
        i["maxQueueSize"],
        i["targetTTFT"] / 1e3 or math.inf,
        i["targetITL"] / 1e3 or math.inf,
        i["maxBatchSize"],
    )
    assert found.feasible == expected["feasible"]
    assert found.throughput == pytest.approx(expected["throughput"], rel=RELATIVE)
    assert (found.batch, found.itl_batch, found.ttft_batch) == (
        expected["concurrency"],
        expected["M_ITL"],
        expected["M_TPF"],
    )
    compared["optimal concurrency"] += 5


def test_raw_queues(shared: Path, compared: Counter[str]) -> None:
    document = json.loads((shared / "vectors" / "inferno" / "queue-analysis-llm.json").read_text())
    for raw in document["rawQueues"]:
        if not raw["valid"]:
            continue
        rates = np.array(raw.get("servRate", [raw.get("mu")]))
        n = float(rates.size)
        table = LinearCurve(*one(n), *one(*([0.0] * 7)))
        replicas = prepare_raw(table, rates, raw["K"] - n)
        state = steady_state(replicas, one(raw["lambda"])[0])
        assert state.throughput[0] == pytest.approx(raw["throughput"], rel=RELATIVE)
        assert state.in_batch[0] + state.waiting[0] == pytest.approx(raw["avgNumInSystem"], rel=RELATIVE)
        assert state.wait_time[0] == pytest.approx(
            raw["avgWaitTime"], rel=RELATIVE, abs=1e-6 * raw["avgRespTime"]
        )
        scale, tail, _, _ = geometric_tail(one(raw["lambda"] / rates[-1])[0], one(raw["K"] - n)[0])
        assert scale[0] > 0
        assert tail[0] > 0
        compared["raw queues"] += 3


def prepare_raw(table: LinearCurve, rates: FloatArray, queue: float):  # type: ignore[no-untyped-def]
    from flyball.queueing.chain import Replicas, TableStates

    class Recorded(LinearCurve):
        straight = np.zeros(1)  # type: ignore[assignment]

        def residence_time(self, n: FloatArray) -> FloatArray:
            return n / rates[n.astype(int) - 1]

    states = TableStates(Recorded(**vars(table) | {"max_batch_size": one(rates.size)[0]}))
    return Replicas(table, one(queue)[0], rates[-1:], states)


def test_closed_form_and_recursion_agree_on_the_recorded_cases(compared: Counter[str]) -> None:
    for case in cases("queue-analysis-llm.json"):
        i = case["input"]
        curve = third(i, i["maxBatchSize"])
        if not curve.linear[0] or i["maxBatchSize"] < 4 or curve.slope[0] == 0:
            continue
        rate = 0.7 * highest_rate(curve)
        closed = steady_state(prepare(curve, one(i["maxQueueSize"])[0], closed=True), rate)
        table = steady_state(prepare(curve, one(i["maxQueueSize"])[0], closed=False), rate)
        assert closed.in_batch[0] == pytest.approx(table.in_batch[0], rel=1e-10)
        assert closed.throughput[0] == pytest.approx(table.throughput[0], rel=1e-12)
        compared["closed form against recursion"] += 2
