"""One scrape of a fleet, from queries to observations: what it costs us, and a real Prometheus.

`answers` come from a process that has them ready, so that what is measured is ours; `prometheus` is Debian's,
with a history of one window.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from urllib.parse import parse_qs, urlsplit

from flyball.adapters.prometheus.client import Prometheus
from flyball.adapters.prometheus.mapping import shipped_names
from flyball.adapters.prometheus.observe import observation
from flyball.adapters.prometheus.queries import pod_queries, router_queries
from flyball.adapters.prometheus.read import read
from flyball.spec.snapshot import Variant

PODS, WINDOW, SPACING = 2, 60.0, 20.0
NOW = 1.7e9
TTFT = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
GAPS = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
TOKENS = tuple(
    float(digit * 10**power) for power in range(6) for digit in (1, 2, 5) if digit * 10**power <= 131072
)
LAYOUTS = {
    "ttft": (TTFT, 0.3),
    "itl": (GAPS, 0.03),
    "in_tokens": (TOKENS, 800.0),
    "out_tokens": (TOKENS, 200.0),
}
RATE = 1.7


def bench_prometheus(runs: int) -> None:
    """Seconds and memory of read and observe, 2 pods to a workload."""
    print(f"prometheus: read and observe, {PODS} pods to a workload, window {WINDOW:g} s")
    print(
        f"{'from':<12} {'workloads':>9} {'median s':>9} {'min':>6} {'max':>6} {'observe':>8} "
        f"{'MB':>6} {'MB in':>7}"
    )
    for workloads in (500, 5000):
        with ready_answers(workloads) as url:
            show("answers", workloads, url, runs)
    from tests.prometheus import there

    if not there():
        print("without a real one: there is no prometheus on PATH")
        return
    for workloads in (500, 5000):
        with real(workloads) as url:
            show("prometheus", workloads, url, min(runs, 3) if workloads < 1000 else 1)


def show(what: str, workloads: int, url: str, runs: int) -> None:
    """One line, measured in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.prometheus", "read", url, str(workloads), str(runs)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    times = found["seconds"]
    print(
        f"{what:<12} {workloads:>9,} {median(times):>9.2f} {min(times):>6.2f} {max(times):>6.2f} "
        f"{median(found['observe']):>8.2f} {found['mb']:>6.0f} {found['mb_in']:>7.1f}",
        flush=True,
    )


def measure(url: str, workloads: int, runs: int) -> None:
    """Read and observe; print seconds of both, of observing, the process' peak, and what came in."""
    received = 0

    class Counted(Prometheus):
        def _get(self, *arguments: object) -> bytearray:  # type: ignore[override]
            nonlocal received
            data = super()._get(*arguments)  # type: ignore[arg-type]
            received += len(data)
            return data

    names, seconds, observing = shipped_names(), [], []
    with Counted(url, timeout=600.0) as client:
        for _ in range(runs):
            received, began = 0, time.perf_counter()
            metrics = read(client, names, WINDOW, timeout=600.0, at=NOW)
            middle = time.perf_counter()
            for index in range(workloads):
                keys = [pod(index, replica) for replica in range(PODS)]
                found, notes = observation(
                    f"w{index}", (Variant("H100", PODS),), metrics.of(keys), window=WINDOW
                )
                assert found.arrival_rate is not None, (metrics.notes, notes)
            seconds.append(time.perf_counter() - began)
            observing.append(time.perf_counter() - middle)
    # ru_maxrss would be the parent's where that is larger.
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    print(json.dumps({"seconds": seconds, "observe": observing, "mb": peak, "mb_in": received / 2**20}))


def pod(workload: int, replica: int) -> tuple[str, str]:
    """Namespace and name."""
    return f"team-{workload % 50}", f"workload-{workload}-7d9f8b6c5d-{replica:05d}"


# ---- answers that are ready --------------------------------------------------------------------


def serve(workloads: int) -> None:
    """Answer the queries of one scrape; says the port."""
    names = shipped_names()
    queries = {expr: name for name, expr in pod_queries(names, WINDOW).items()}
    assert names.router is not None
    queries |= {expr: "" for expr in router_queries(names.router, names.select, WINDOW).values()}
    bodies = {expr: body(name, workloads) for expr, name in queries.items()}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            data = bodies[parse_qs(urlsplit(self.path).query)["query"][0]]
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def answer(samples: list[str]) -> bytes:
    """What Prometheus wraps a vector in."""
    return f'{{"status":"success","data":{{"resultType":"vector","result":[{",".join(samples)}]}}}}'.encode()


def body(name: str, workloads: int) -> bytes:
    """The vector of one query, with values as long as real ones."""
    pods = [pod(index, replica) for index in range(workloads) for replica in range(PODS)]
    if name in ("", "copies", "restarts"):
        return answer([])
    if name.endswith("_bounds"):
        said = [f"{bound:g}" for bound in LAYOUTS[name.removesuffix("_bounds")][0]]
        return answer(
            [f'{{"metric":{{"le":"{bound}"}},"value":[1,"{len(pods)}"]}}' for bound in (*said, "+Inf")]
        )
    histogram = name.removesuffix("_buckets")
    if name.endswith("_buckets"):
        bounds, middle = LAYOUTS[histogram]
        shares = [(f"{b:g}", RATE * min(b / (2.0 * middle), 1.0)) for b in bounds if b >= middle / 4.0]
        rows = [(f'"le":"{bound}",', value) for bound, value in (*shares, ("+Inf", RATE))]
    else:
        rows = [("", NOW - 3.217 if name == "age" else RATE * 1.0169491525423728)]
        if name == "running":
            rows = [('"model_name":"meta-llama/Llama-3.1-8B",', 12.0)]
    return answer(
        [
            f'{{"metric":{{{labels}"namespace":"{namespace}","pod":"{name}"}},"value":[1700000000.123,"{value!r}"]}}'
            for namespace, name in pods
            for labels, value in rows
        ]
    )


@contextmanager
def ready_answers(workloads: int) -> Iterator[str]:
    """The address of a process that has the answers ready."""
    command = [sys.executable, "-m", "benchmarks.prometheus", "serve", str(workloads)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.wait(30)


# ---- a real one --------------------------------------------------------------------------------


@contextmanager
def real(workloads: int) -> Iterator[str]:
    """The address of a real Prometheus, with a history."""
    from tests.prometheus import backfill, prometheus

    with tempfile.TemporaryDirectory() as folder:
        backfill(Path(folder), history(workloads))
        with prometheus(
            Path(folder), options=("--query.timeout=10m", "--storage.tsdb.retention.time=100y")
        ) as url:
            yield url


def history(workloads: int) -> Iterator[tuple[float, tuple[str, dict[str, str], float]]]:
    """The series of vLLM's pods that are asked for, from before the window on."""
    from tests.prometheus import histogram

    names = shipped_names()
    counters = (names.finished, names.prompt_tokens, names.generation_tokens, names.preemptions)
    for step in range(-4, 1):
        at, count = NOW + step * SPACING, RATE * (step + 8) * SPACING
        for index in range(workloads):
            for replica in range(PODS):
                namespace, name = pod(index, replica)
                labels = {"namespace": namespace, "pod": name, "model_name": "llama", "engine": "0"}
                for gauge, value in ((names.running, 12.0), (names.waiting, 1.0), (names.kv_usage, 0.5)):
                    yield at, (gauge[0], labels, value)
                for counter in (*counters, names.cache_queries, names.cache_hits):
                    yield at, (counter[0], labels, count)
                for what, (bounds, middle) in LAYOUTS.items():
                    for line in histogram(getattr(names, what)[0], labels, bounds, {middle: count}):
                        yield at, line


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        measure(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
