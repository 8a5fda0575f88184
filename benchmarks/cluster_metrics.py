"""A Prometheus of made-up engines: what pods are said to do is put there, and answered in PromQL's form.

What it costs is its own process', so that what is measured of the loop is the loop.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import msgspec

from benchmarks.prometheus import GAPS, TOKENS, TTFT, WINDOW, answer
from flyball.adapters.prometheus.mapping import shipped_names
from flyball.adapters.prometheus.queries import pod_queries, router_queries


class Engine(msgspec.Struct, frozen=True, array_like=True):
    """What one pod shows: requests/s, means in seconds and tokens."""

    namespace: str
    pod: str
    model: str
    rate: float
    ttft: float
    itl: float
    in_tokens: float
    out_tokens: float


def bodies(engines: list[Engine], now: float) -> dict[str, bytes]:
    """The answer to each query of a scrape."""
    names = shipped_names()
    assert names.router is not None
    nothing = answer([])
    made = {"vector(time())": answer([_sample("", now)])}
    made |= dict.fromkeys(router_queries(names.router, names.select, WINDOW).values(), nothing)
    figures = _figures(engines, now)
    layouts = _layouts(engines)
    for name, expr in pod_queries(names, WINDOW).items():
        layout, _, part = name.rpartition("_")
        if part == "buckets":
            bounds, rows = layouts[layout]
            made[expr] = answer(
                [
                    _sample(f'{_pod(one)},"le":"{bound}"', rate * share)
                    for one, (rate, mean) in zip(engines, rows, strict=True)
                    for bound, share in _shares(bounds, mean)
                ]
            )
        elif part == "bounds":
            said = [*(f"{bound:g}" for bound in layouts[layout][0]), "+Inf"]
            made[expr] = answer([_sample(f'"le":"{bound}"', float(len(engines))) for bound in said])
        elif part == "total" and layout in layouts:
            _, rows = layouts[layout]
            made[expr] = answer(
                [_sample(_pod(one), rate * mean) for one, (rate, mean) in zip(engines, rows, strict=True)]
            )
        elif name in figures:
            model = '"model_name":"{}",' if name == "running" else ""
            made[expr] = answer(
                [
                    _sample(model.format(one.model) + _pod(one), value)
                    for one, value in zip(engines, figures[name], strict=True)
                ]
            )
        else:
            made[expr] = nothing
    return made


def _figures(engines: list[Engine], now: float) -> dict[str, list[float]]:
    tokens = [one.rate * one.out_tokens for one in engines]
    running = [count * one.itl for count, one in zip(tokens, engines, strict=True)]
    return {
        "running": running,
        "running_before": running,
        "waiting": [0.0] * len(engines),
        "waiting_before": [0.0] * len(engines),
        "age": [now - 1.0] * len(engines),
        "kv_usage": [0.05] * len(engines),
        "finished": [one.rate for one in engines],
        "prompt_tokens": [one.rate * one.in_tokens for one in engines],
        "generation_tokens": tokens,
        "gap_count": tokens,
        "gap_total": running,
    }


def _layouts(engines: list[Engine]) -> dict[str, tuple[tuple[float, ...], list[tuple[float, float]]]]:
    """By histogram its bounds, and of each engine observations a second and their mean."""
    return {
        "ttft": (TTFT, [(one.rate, one.ttft) for one in engines]),
        "itl": (GAPS, [(one.rate * one.out_tokens, one.itl) for one in engines]),
        "in_tokens": (TOKENS, [(one.rate, one.in_tokens) for one in engines]),
        "out_tokens": (TOKENS, [(one.rate, one.out_tokens) for one in engines]),
    }


def _shares(bounds: tuple[float, ...], mean: float) -> list[tuple[str, float]]:
    """Cumulative, of observations spread evenly from half the mean to half above it; empty ones left out."""
    shares = [(f"{b:g}", min(b / mean - 0.5, 1.0)) for b in bounds if b > 0.5 * mean]
    return [*shares, ("+Inf", 1.0)]


def _pod(one: Engine) -> str:
    return f'"namespace":"{one.namespace}","pod":"{one.pod}"'


def _sample(labels: str, value: float) -> str:
    return f'{{"metric":{{{labels}}},"value":[1700000000.123,"{value!r}"]}}'


def serve() -> None:
    """Answer; says the port."""
    made: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_PUT(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            made.update(bodies(msgspec.msgpack.decode(data, type=list[Engine]), time.time()))
            self._say(b"")

        def do_GET(self) -> None:
            self._say(made[parse_qs(urlsplit(self.path).query)["query"][0]])

        def _say(self, data: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


@contextmanager
def metrics() -> Iterator[str]:
    """The address of one, which knows of no pods at first."""
    command = [sys.executable, "-m", "benchmarks.cluster_metrics"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.wait(30)


if __name__ == "__main__":
    serve()
