"""`make bench`: problems x sizes, beside the scalar reference; medians of runs side by side.

python -m benchmarks                 everything but power-plant, which takes hours
python -m benchmarks candidates      microseconds a pair, and the ratio to the reference
python -m benchmarks solve           limited and overloaded fleets: seconds, gap, proof
python -m benchmarks power           watts as rows: 200 x 8 x 20 racks and a site; prices of kilowatts
python -m benchmarks power-heat      hottest inlets and load with and without knowing of racks (--runs seeds)
python -m benchmarks power-plant     the Reach of power: 40 nodes under caps, beside rivals (--seeds, --only)
python -m benchmarks process         a cold process from file to written plan: seconds and memory
python -m benchmarks simulate        the plant: requests a second of one core, compiled and interpreted
python -m benchmarks accuracy        the latency model beside the plant: means, p95, p99
python -m benchmarks forecast        forecasts against what came: coverage, error, microseconds
python -m benchmarks profiles        latency profiles and priors on shapes and models they have not seen
python -m benchmarks services        /optimizeOne at one client, and at eight at the same time
python -m benchmarks prometheus      a scrape of a fleet of 500 and 5,000 workloads: seconds and memory
python -m benchmarks kubernetes      from lists of objects to a governed cluster: a first and a quiet cycle
python -m benchmarks boosting        1,000 ModelBoosters rendered offline; choosing hardware for one
python -m benchmarks cluster         the loop on a real control plane: quiet cycles, all change (--workloads)
python -m benchmarks boosters        1,000 ModelBoosters at once on a real control plane (--boosters)
python -m benchmarks operator        one of 2,000 Servers changed: until its status says so; a start
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from benchmarks import accuracy, kubernetes, profiles, simulate
from benchmarks.boosters import bench_boosters
from benchmarks.boosting import bench_boosting
from benchmarks.cluster import bench_cluster
from benchmarks.forecast import bench_forecast
from benchmarks.instances import document, generator, limited_fleet, unlimited_fleet
from benchmarks.operator import bench_operator
from benchmarks.power import bench_power
from benchmarks.power_heat import bench_power_heat
from benchmarks.power_plant import bench_power_plant
from benchmarks.prometheus import bench_prometheus
from benchmarks.reference import optimizer as reference
from benchmarks.services import bench_services
from flyball.solve import auto
from flyball.solve.build import problem_of
from flyball.solve.candidates import candidates
from flyball.solve.problem import cost_of, served_by_priority, value_of

SERVERS, ACCELERATORS = 10_000, 20
SAMPLE = 500


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def sampled(servers: int, queue: int) -> dict[str, dict[str, object]]:
    """A system document with a seeded sample of the servers, about SAMPLE pairs."""
    whole = document(servers, ACCELERATORS, queue=queue)
    system = whole["system"]
    assert isinstance(system, dict)
    every = system["serverData"]["servers"]
    chosen = random.Random(7).sample(every, SAMPLE // 18)
    return {"system": {**system, "serverData": {"servers": chosen}}}


def bench_candidates(runs: int) -> None:
    """All pairs of 10,000 x 20, everything from the fleet to sized and priced candidates."""
    print(f"candidates, {SERVERS:,} servers x {ACCELERATORS} accelerators, generation 3, all pairs")
    print(
        "{:>6} {:>9} {:>9} {:>7} {:>7} {:>18} {:>8}".format(
            "queue", "pairs", "us/pair", "min", "max", "reference us/pair", "ratio"
        )
    )
    for queue in (0, 256):
        fleet = unlimited_fleet(SERVERS, ACCELERATORS, queue=queue)
        pairs = candidates(fleet).replicas.size
        sample = sampled(SERVERS, queue)
        sample_pairs = sum(
            sum(m["name"] == s["model"] for m in sample["system"]["modelData"]["models"])  # type: ignore[index]
            for s in sample["system"]["serverData"]["servers"]  # type: ignore[index]
        )
        scalar = seconds(lambda sample=sample: reference.candidates(sample)) / sample_pairs  # type: ignore[misc]
        times = sorted(seconds(lambda fleet=fleet: candidates(fleet)) / pairs * 1e6 for _ in range(runs))  # type: ignore[misc]
        middle = statistics.median(times)
        print(
            f"{queue:>6} {pairs:>9,} {middle:>9.2f} {times[0]:>7.2f} {times[-1]:>7.2f} {scalar * 1e6:>18.0f} "
            f"{scalar * 1e6 / middle:>7.0f}x",
            flush=True,
        )
    print(f"reference: the original's algorithm in plain Python, on {sample_pairs} seeded pairs")


def bench_solve(runs: int) -> None:
    """Greedy beside auto and exact on limited fleets."""
    print("solve: seconds are of the solver alone; gap is to the bound, of cost")
    print(
        "{:<28} {:>4} {:<7} {:>7} {:>7} {:>10} {:>9} {:>6}".format(
            "fleet", "seed", "solver", "s", "served", "value", "gap", "proved"
        )
    )
    cases = [
        ("100 x 20, 0.7 + 0.15", 100, 0.7, 0.15, range(1, runs + 1), ("greedy", "exact")),
        ("1,000 x 20, 0.85 + 0.3", 1000, 0.85, 0.3, (1, 2, 3), ("greedy", "auto")),
        ("1,000 x 20, 0.7 + 0.15", 1000, 0.7, 0.15, (1, 2, 3), ("greedy", "auto")),
        ("10,000 x 20, 0.85 + 0.3", 10_000, 0.85, 0.3, (1,), ("greedy", "auto")),
    ]
    for name, servers, share, spare, seeds, solvers in cases:
        for seed in seeds:
            fleet, sized = limited_fleet(servers, ACCELERATORS, seed, share, spare)
            problem, _ = problem_of(fleet, sized)
            for solver in solvers:
                settings = replace(fleet.settings, solver=solver)
                began = time.perf_counter()
                found = auto.solve(problem, settings)
                took = time.perf_counter() - began
                value = value_of(problem, found)
                gap = (value - found.bound) / cost_of(problem, found)
                served = sum(n for _, n in served_by_priority(problem, found))
                print(
                    f"{name:<28} {seed:>4} {solver:<7} {took:>7.2f} {served:>7} {value:>10.2f} {gap:>9.2e} "
                    f"{'yes' if found.proved else 'no':>6}",
                    flush=True,
                )


MEASURE = """
import resource, subprocess, sys, time
began = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(time.perf_counter() - began, peak, done.returncode)
"""


def bench_process(runs: int) -> None:
    """A process of its own from a file to a written plan."""
    print("process: flyball plan FILE --format json --output FILE, cold")
    print(f"{'servers':>8} {'s':>7} {'min':>7} {'max':>7} {'MB':>6}")
    with tempfile.TemporaryDirectory() as folder:
        for servers in (10, 1000, SERVERS):
            file = Path(folder) / f"{servers}.json"
            file.write_text(json.dumps(document(servers, ACCELERATORS)))
            command = [sys.executable, "-m", "flyball", "plan", str(file), "--format", "json", "--output"]
            results = []
            for _ in range(runs):
                out = subprocess.run(
                    [sys.executable, "-c", MEASURE, *command, str(file.with_suffix(".plan"))],
                    capture_output=True,
                    text=True,
                    check=True,
                ).stdout.split()
                results.append((float(out[0]), float(out[1])))
            times = sorted(r[0] for r in results)
            print(
                f"{servers:>8,} {statistics.median(times):>7.2f} {times[0]:>7.2f} {times[-1]:>7.2f} "
                f"{max(r[1] for r in results):>6.0f}",
                flush=True,
            )


def main() -> int:
    """Run the benchmarks that are named, or all."""
    every = {
        "candidates": bench_candidates,
        "solve": bench_solve,
        "power": bench_power,
        "power-plant": lambda runs: bench_power_plant(arguments.seeds, arguments.only, arguments.again),
        "power-heat": bench_power_heat,
        "process": bench_process,
        "services": bench_services,
        "forecast": bench_forecast,
        "simulate": simulate.main,
        "accuracy": accuracy.main,
        "profiles": profiles.main,
        "prometheus": bench_prometheus,
        "kubernetes": kubernetes.main,
        "boosting": bench_boosting,
        "cluster": lambda runs: bench_cluster(runs, arguments.workloads),
        "boosters": lambda runs: bench_boosters(runs, arguments.boosters),
        "operator": lambda runs: bench_operator(),
    }
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*every, []], help="which; all if none is named")
    parser.add_argument("--runs", type=int, default=5, help="runs of each, of which the median counts")
    parser.add_argument("--workloads", type=int, default=500, help="Deployments of `cluster`")
    parser.add_argument("--boosters", type=int, default=1000, help="ModelBoosters of `boosters`")
    parser.add_argument("--seeds", type=int, default=20, help="of `power-plant`")
    parser.add_argument(
        "--only", nargs="+", default=[], help="policies of `power-plant`; all if none is named"
    )
    parser.add_argument("--again", action="store_true", help="forget what `power-plant` kept of them")
    arguments = parser.parse_args()
    alone = {
        "accuracy",
        "boosters",
        "cluster",
        "forecast",
        "kubernetes",
        "operator",
        "power-plant",
        "power-heat",
        "profiles",
        "prometheus",
        "simulate",
    }
    names = arguments.names or [name for name in every if name != "power-plant"]
    if generator() is None and not set(names) <= alone:
        print(
            "benchmarks: there is no instance generator beside this checkout; set FLYBALL_SHARED",
            file=sys.stderr,
        )
        return 1
    for name in names:
        every[name](arguments.runs)
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
