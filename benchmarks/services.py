"""/optimizeOne of a real server process, as its clients see it."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import msgspec

from benchmarks.instances import document, limited_fleet
from flyball.wire.inferno import system_document

SERVERS, ACCELERATORS, CLIENTS = 1000, 20, 8


@contextmanager
def server() -> Iterator[str]:
    """A server process; its address."""
    command = [sys.executable, "-m", "flyball", "serve", "--port", "0", "--log", "off"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+?:\d+", process.stdout.readline())
        assert found is not None
        yield found[0]
    finally:
        process.terminate()
        process.wait(30)


def bodies(limited: bool, count: int) -> list[bytes]:
    """Systems that differ in their loads, so that nothing can be remembered from one to the next."""
    if limited:
        fleet, _ = limited_fleet(SERVERS, ACCELERATORS, 1, 0.85, 0.3)
        system = system_document(fleet)
    else:
        system = document(SERVERS, ACCELERATORS)
    made = []
    for index in range(count):
        for each in system["system"]["serverData"]["servers"]:  # type: ignore[index]
            each["currentAlloc"]["load"]["arrivalRate"] *= 1.0 + 0.001 * (index % 7 - 3)
        made.append(msgspec.json.encode(system))
    return made


def bench_services(runs: int) -> None:
    """Seconds at one client, and at eight at the same time."""
    print(f"services: POST /optimizeOne, {SERVERS:,} servers x {ACCELERATORS} accelerators, at the client")
    print(f"{'fleet':<22} {'clients':>7} {'median s':>9} {'min':>6} {'p99':>6} {'max':>6} {'MB in':>6}")
    cases = [
        ("unlimited", False, "auto"),
        ("limited, greedy", True, "greedy"),
        ("limited, auto", True, "auto"),
    ]
    with server() as url:
        for name, limited, solver in cases:
            asked = bodies(limited, 8)
            with httpx2.Client(base_url=url, timeout=120) as client:
                ask(client, asked[0], solver)  # imports and caches
                alone = [ask(client, asked[i % 8], solver) for i in range(4 * runs)]
            show(name, 1, alone, asked[0])
            show(name, CLIENTS, together(url, asked, solver, 5 * runs), asked[0])


def ask(client: httpx2.Client, body: bytes, solver: str) -> float:
    """Seconds of one request."""
    began = time.perf_counter()
    client.post("/optimizeOne", params={"solver": solver}, content=body).raise_for_status()
    return time.perf_counter() - began


def together(url: str, asked: list[bytes], solver: str, each: int) -> list[float]:
    """Seconds of the requests of CLIENTS clients at the same time."""
    times: list[float] = []

    def work(index: int) -> None:
        with httpx2.Client(base_url=url, timeout=120) as client:
            for _ in range(each):
                times.append(ask(client, asked[index % len(asked)], solver))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


def show(name: str, clients: int, times: list[float], body: bytes) -> None:
    """A line of figures."""
    ordered = sorted(times)
    p99 = ordered[min(int(0.99 * len(ordered)), len(ordered) - 1)]
    print(
        f"{name:<22} {clients:>7} {statistics.median(ordered):>9.3f} {ordered[0]:>6.3f} {p99:>6.3f} "
        f"{ordered[-1]:>6.3f} {len(body) / 1e6:>6.2f}",
        flush=True,
    )
