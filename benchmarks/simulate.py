"""How fast the plant is: requests a second of one core, compiled and interpreted; a day of ten servers."""

from __future__ import annotations

import statistics
import time

import numpy as np

from flyball.simulate.compiled import available
from flyball.simulate.plant import Plant
from flyball.simulate.replicas import Replicas
from flyball.spec.accelerator import Accelerator
from flyball.spec.fleet import Fleet
from flyball.spec.scenario import Days, Engine, Lengths, Steady, Stream, World
from flyball.spec.server import Server

ENGINE = Engine("m", "H100", alpha=0.012, beta=2e-4, kappa=2.5e-7, delta=3e-5, kv_tokens=400_000)
CASES = (
    ("ramp, 8 replicas, 4000/1000", 8, 4000, 1000, 1.1),
    ("1 replica, 1000/100", 1, 1000, 100, 8.0),
    ("32 replicas, 1000/100", 32, 1000, 100, 8.0),
    ("100 replicas, 1000/100", 100, 1000, 100, 8.0),
)
SIZE = {True: 400_000, False: 15_000}


def requests_per_second(
    replicas: int, tokens_in: int, tokens_out: int, rate: float, compiled: bool
) -> tuple[float, float]:
    """(requests, simulated seconds) per second of the processor, kernel only; `rate` is of one replica.

    The load climbs from a fifth of the rate to all of it.
    """
    size = SIZE[compiled]
    rng = np.random.default_rng(0)
    climb = np.linspace(0.2, 1.0, size) * rate * replicas
    times = np.cumsum(rng.exponential(1.0, size) / climb)
    columns = (
        np.maximum(rng.normal(tokens_in, 0.1 * tokens_in, size), 1).astype(np.int64),
        np.maximum(rng.normal(tokens_out, 0.1 * tokens_out, size), 1).astype(np.int64),
        np.zeros(size, np.int64),
        rng.random(size),
    )
    made = Replicas((ENGINE,), "least_loaded", compiled)
    for _ in range(replicas):
        made.route.append(made.add(ENGINE))
    made.run(0.0, 0.0, times[:0], *(c[:0] for c in columns))  # compiled by now
    began = time.process_time()
    made.run(0.0, float(times[-1]), times, *columns)
    took = time.process_time() - began
    return size / took, float(times[-1]) / took


def world(servers: int, stream: Days | Steady, lengths: tuple[int, int], replicas: int) -> World:
    """Servers of one kind with replicas enough."""
    names = [f"server-{i}" for i in range(servers)]
    return World(
        Fleet(
            accelerators=(Accelerator("H100", "H100", 1, 3.0),),
            servers=tuple(Server(n, "m") for n in names),
            capacity={"H100": servers * replicas},
        ),
        (ENGINE,),
        tuple(Stream(n, stream, Lengths(lengths[0], 0.5), Lengths(lengths[1], 0.5)) for n in names),
        start={n: {"H100": replicas} for n in names},
    )


def day(compiled: bool, hours: float) -> tuple[float, int]:
    """(seconds of the processor, requests) for ten servers at 2 requests a second, looked at every 15 s."""
    plant = Plant(world(10, Days(2.0), (1000, 200), 2), 0, compiled)
    began = time.process_time()
    for tick in range(1, int(hours * 240) + 1):
        plant.run(15.0 * tick)
        plant.observe()
    took = time.process_time() - began
    return took, sum(plant.record(f"server-{i}").served for i in range(10))


def main(runs: int = 3) -> None:
    """Print requests a second and the time of a day."""
    print("simulate: requests a second of one core, the kernel alone; the load climbs to 100 %")
    print(f"{'case':<30} {'compiled':>12} {'x real time':>12} {'interpreted':>12} {'x real time':>12}")
    for name, replicas, tokens_in, tokens_out, rate in CASES:
        line = f"{name:<30}"
        for compiled in (True, False):
            if compiled and not available():
                line += f" {'no numba':>12} {'':>12}"
                continue
            found = [
                requests_per_second(replicas, tokens_in, tokens_out, rate, compiled) for _ in range(runs)
            ]
            line += "".join(f" {statistics.median(v):>12,.0f}" for v in zip(*found, strict=True))
        print(line, flush=True)
    for compiled, hours in ((True, 24.0), (False, 2.0)):
        if compiled and not available():
            continue
        took, served = (
            statistics.median(v) for v in zip(*(day(compiled, hours) for _ in range(runs)), strict=True)
        )
        kind = "compiled" if compiled else "interpreted"
        print(
            f"{hours:g} hours of 10 servers, seen every 15 s, {kind}: {took:.1f} s for {served:,.0f} requests"
        )


if __name__ == "__main__":
    main()
