"""Compare the reference with recordings of the original: python -m benchmarks.reference.selfcheck SHARED."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.reference.optimizer import candidates, power, solve, transition_penalty, unserved
from benchmarks.reference.queue import G2, G3, SLO_MARGIN, Model, optimal_concurrency

RTOL = 1e-4
WAIT_ATOL = 1e-6  # times the response time: a wait is a difference of two 32-bit times
EXACT_REPLICAS = 100_000  # above this a count is as inexact as the 32-bit rate it comes from
FLAT_CASES = {"batch-1", "beta-gamma-zero", "decode-flat", "batch1queue0", "batch1-queue0-invalid-model"}
PARTS = {
    "acceleratorData": "accelerator-data.json",
    "modelData": "model-data.json",
    "serviceClassData": "serviceclass-data.json",
    "serverData": "server-data.json",
}
OPTIMIZER_FILES = {
    "optimizer-v0.5.0-small.json": "v0.2.0",
    "optimizer-v0.6.0-small.json": "v0.6.0",
    "optimizer-light-v0.7.8-small.json": "v0.7.0",
}


class Tally:
    """Values compared so far, and those that differ."""

    def __init__(self) -> None:
        """Start from nothing."""
        self.compared = 0
        self.mismatches: list[str] = []

    def same(self, where: str, got: object, expected: object) -> None:
        """Compare two values that must be equal."""
        self.compared += 1
        if got != expected:
            self.mismatches.append(f"{where}: {got!r}, recorded {expected!r}")

    def close(self, where: str, got: float, expected: float, atol: float = 0.0) -> None:
        """Compare two numbers of any unit within the tolerance."""
        self.compared += 1
        if not math.isclose(got, expected, rel_tol=RTOL, abs_tol=atol):
            self.mismatches.append(f"{where}: {got!r}, recorded {expected!r}")

    def metrics(self, where: str, got: dict[str, float], expected: dict[str, float]) -> None:
        """Compare queue metrics (requests/s, ms)."""
        waits = {"avgWaitTime"} if expected["avgPrefillTime"] else {"avgWaitTime", "ttft"}
        atol = WAIT_ATOL * expected["avgRespTime"]
        for name, value in expected.items():
            self.close(f"{where}.{name}", got[name], value, atol if name in waits else 0.0)


def attempt(call: Callable[[], Any]) -> Any:
    """Result of a call, None if it is refused."""
    try:
        return call()
    except ValueError:
        return None


def check_queue(tally: Tally, document: dict[str, Any], build: Callable[[dict[str, Any]], Model]) -> None:
    """Compare the recorded cases of a queue model."""
    for case in document["cases"]:
        inputs = case["input"]
        label = inputs["label"]
        if label in FLAT_CASES:
            continue
        model = attempt(lambda: build(inputs))  # noqa: B023 - called before the loop goes on
        tally.same(f"{label}.accepted", model is not None, "error" not in case)
        if model is None or "error" in case:
            continue
        low, high = model.rate_range()
        tally.close(f"{label}.min", low, case["rateRange"]["min"])
        tally.close(f"{label}.max", high, case["rateRange"]["max"])
        check_service_rates(tally, label, model, case.get("serviceRateSamples"))
        ttft, itl, tps = (float(inputs[name]) for name in ("targetTTFT", "targetITL", "targetTPS"))
        if "analyze" in case:
            check_analyze(tally, label, model, case["analyze"])
        if "size" in case:
            check_size(tally, label, model, (ttft, itl, tps), case["size"])
        if "optimalConcurrency" in case and isinstance(model, G3):
            found = optimal_concurrency(model, ttft, itl, tps)
            check_concurrency(tally, label, found, case["optimalConcurrency"])


def check_service_rates(tally: Tally, label: str, model: Model, samples: dict[str, Any] | None) -> None:
    """Compare sampled service rates (requests/s) and numbers of chunks."""
    if samples is None or not isinstance(model, G3):
        return
    rates = model.service_rates()
    for n, chunks, rate in zip(*samples.values(), strict=True):
        tally.same(f"{label}.chunks[{n}]", model.chunks[n], chunks)
        tally.close(f"{label}.serviceRate[{n}]", rates[n - 1], rate)


def check_analyze(tally: Tally, label: str, model: Model, recorded: dict[str, Any]) -> None:
    """Compare the metrics at a recorded rate."""
    metrics = attempt(lambda: model.analyze(recorded["requestRate"]))
    tally.same(f"{label}.analyzed", metrics is not None, "error" not in recorded)
    if metrics is not None and "error" not in recorded:
        tally.metrics(f"{label}.analyze", metrics, recorded["metrics"])


def check_size(
    tally: Tally, label: str, model: Model, targets: tuple[float, float, float], recorded: dict[str, Any]
) -> None:
    """Compare the largest rates for recorded targets."""
    sized = attempt(lambda: model.size(*targets))
    tally.same(f"{label}.sized", sized is not None, "error" not in recorded)
    if sized is None or "error" in recorded:
        return
    *rates, metrics = sized
    for name, rate in zip(("rateTargetTTFT", "rateTargetITL", "rateTargetTPS"), rates, strict=True):
        tally.close(f"{label}.{name}", rate, recorded[name])
    tally.metrics(f"{label}.size", metrics, recorded["metrics"])


def check_concurrency(tally: Tally, label: str, found: dict[str, Any], recorded: dict[str, Any]) -> None:
    """Compare a search for the best max batch size."""
    for name in ("M_ITL", "M_TPF", "concurrency", "feasible", "oracleCalls", "probes"):
        tally.same(f"{label}.optimal.{name}", found[name], recorded[name])
    for name in ("anchorThroughput", "throughput"):
        tally.close(f"{label}.optimal.{name}", found[name], recorded[name])
    if recorded["metrics"] and found["metrics"]:
        tally.metrics(f"{label}.optimal", found["metrics"], recorded["metrics"])


def build_g2(inputs: dict[str, Any]) -> G2:
    """Model of a recorded G2 case."""
    names = ("decodeAlpha", "decodeBeta", "prefillGamma", "prefillDelta")
    sizes = ("maxBatchSize", "maxQueueSize", "avgInputTokens", "avgOutputTokens")
    return G2(*(inputs[name] for name in names + sizes))


def build_g3(inputs: dict[str, Any]) -> G3:
    """Model of a recorded G3 case."""
    names = ("alpha", "beta", "gamma", "maxBatchSize", "maxQueueSize")
    sizes = ("avgInputTokens", "avgOutputTokens", "maxNumTokens")
    return G3(*(inputs[name] for name in names + sizes))


def check_allocation(
    tally: Tally, where: str, got: dict[str, Any], recorded: dict[str, Any], tokens: int
) -> None:
    """Compare the fields of one allocation, given the output tokens of a request."""
    atol = WAIT_ATOL * tokens * recorded["itlAverage"]
    for name, value in recorded.items():
        if name == "load":
            continue
        at = f"{where}.{name}"
        if isinstance(value, str) or (name == "numReplicas" and value <= EXACT_REPLICAS):
            tally.same(at, got[name], value)
        else:
            tally.close(at, got[name], value, atol if name == "waitAverage" else 0.0)


def output_tokens(server: dict[str, Any]) -> int:
    """Output tokens of a request to a recorded server."""
    load = {name.lower(): value for name, value in server["currentAlloc"]["load"].items()}
    tokens: int = load.get("avglength") or load["avgouttokens"]
    return tokens


def check_optimizer(tally: Tally, document: dict[str, Any], folder: Path) -> None:
    """Compare the candidates and all runs of a data set."""
    system = {part: json.loads((folder / file).read_text()) for part, file in PARTS.items()}
    tokens = {server["name"]: output_tokens(server) for server in system["serverData"]["servers"]}
    found = candidates(system)
    for server, expected in document["candidatesAllServers"].items():
        # A batch of one has a flat curve, where 32-bit rounding decides: the runs go on from the recording.
        flat = {name: c for name, c in expected.items() if c["maxBatch"] == 1}
        names = set(expected) - set(flat)
        found[server] = {name: c for name, c in found[server].items() if c["maxBatch"] > 1}
        tally.same(server, set(found[server]), names)
        for name in names & set(found[server]):
            check_allocation(tally, f"{server}/{name}", found[server][name], expected[name], tokens[server])
        found[server] |= flat
    for run in document["runs"]:
        result, options = run["result"], run["optimizer"]
        run_system = system | {
            "optimizerData": {"optimizer": options},
            "capacityData": {"count": result["capacity"]},
        }
        allocations = solve(run_system, found)
        delayed = "delayed" if options["delayedBestEffort"] else "grouped"
        label = f"{run['capacityScale']}-{options['saturationPolicy']}-{delayed}"
        tally.same(f"{label}.servers", set(allocations), set(result["allocations"]))
        missing = unserved(run_system, allocations)
        tally.same(f"{label}.unserved", missing, result["unallocatedServers"])
        tally.close(f"{label}.cost", sum(a["cost"] for a in allocations.values()), result["totalCost"])
        if "error" in result:
            message = f"no feasible allocation for servers: [{', '.join(missing)}]"
            tally.same(f"{label}.error", message, result["error"])
        for server in set(allocations) & set(result["allocations"]):
            expected = result["allocations"][server]
            check_allocation(tally, f"{label}/{server}", allocations[server], expected, tokens[server])


def check_power(tally: Tally, document: dict[str, Any]) -> None:
    """Compare power (W) and transition penalties (cents/hour)."""
    tally.close("SLOMargin", SLO_MARGIN, document["constants"]["SLOMargin"])
    for i, case in enumerate(document["power"]):
        tally.close(f"power[{i}]", power(case["power"], case["util"]), case["watts"])
    for i, case in enumerate(document["transitionPenalty"]):
        penalty = transition_penalty(case["current"], case["candidate"])
        tally.close(f"penalty[{i}]", penalty, case["penalty"])


def check(shared: Path) -> dict[str, Tally]:
    """Comparison of every recording used, by file name."""
    vectors = shared / "vectors" / "inferno"
    files = ["queue-analysis-llm.json", "queue-optimizer-prefill-decode.json", "power-transition.json"]
    tallies = {name: Tally() for name in files + list(OPTIMIZER_FILES)}
    documents = {name: json.loads((vectors / name).read_text()) for name in tallies}
    check_queue(tallies[files[0]], documents[files[0]], build_g3)
    check_queue(tallies[files[1]], documents[files[1]], build_g2)
    check_power(tallies[files[2]], documents[files[2]])
    for name, tag in OPTIMIZER_FILES.items():
        check_optimizer(tallies[name], documents[name], shared / "data" / "inferno" / tag / "small")
    return tallies


def main(arguments: list[str]) -> int:
    """Print the counts for each file; 1 if anything differs."""
    if len(arguments) != 1:
        print(__doc__)
        return 2
    tallies = check(Path(arguments[0]))
    for name, tally in tallies.items():
        print(f"{name}: {tally.compared} compared, {len(tally.mismatches)} mismatched")
        for mismatch in tally.mismatches:
            print(f"  {mismatch}")
    return int(any(tally.mismatches for tally in tallies.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
