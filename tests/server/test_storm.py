"""Many clients at once: each gets the answer that its request gets alone, and nothing grows or is left."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest

from tests.server.process import Client, Process
from tests.server.systems import GENERATIONS, system

CLIENTS = 64
TOOK = re.compile(r"(?<=; )[0-9.]+ s\.$")
LASTING = 8
"""Threads and open files more than before that are no leak: pools, and connections that are being closed."""
GROWTH = 24 * 1024
"""kB that a warm process may differ by: how the allocator's arenas happen to be filled."""


class Request(NamedTuple):
    """Something to ask, and what is answered when nobody else asks."""

    path: str
    body: bytes
    status: int = 0
    answer: Any = None


def requests(larger: int) -> list[Request]:
    """Plans of all generations, small and larger, explained, changed, and bodies that make no sense."""
    small = [system(g, n, seed, seed % 2 == 0) for g in GENERATIONS for n in (1, 4, 12) for seed in (1, 2)]
    big = [system(g, larger, 3) for g in GENERATIONS]
    made = [Request("/optimizeOne?solver=greedy", json.dumps(each).encode()) for each in small + big]
    made += [Request("/optimizeOne", json.dumps(each).encode()) for each in small[::3]]
    made += [Request("/optimizeOne?explain=1", json.dumps(each).encode()) for each in small[::2]]
    made += [Request("/v1/plan?what_if=load*2", json.dumps(each).encode()) for each in small[::2]]
    bad = (
        b"",
        b"{",
        b"[1]",
        b'{"system": 3}',
        b'{"system": {"serverData": {"servers": [{}]}}}',
        b"[" * 10_000,
    )
    made += [Request(path, body) for path in ("/optimizeOne", "/v1/plan") for body in bad]
    return [*made, Request("/optimizeOne?solver=x", b"{}"), Request("/v1/plan?what_if=x", made[0].body)]


def content(data: bytes) -> Any:
    """An answer without the time that it took."""

    def timeless(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: timeless(value) for key, value in part.items() if key != "seconds"}
        if isinstance(part, list):
            return [timeless(each) for each in part]
        return TOOK.sub("", part) if isinstance(part, str) else part

    return timeless(msgspec.json.decode(data))


class Storm:
    """What the clients saw of one process."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.seconds: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.errors: list[BaseException] = []
        self.stop = threading.Event()

    def ask(self, client: Client, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Status and body; what is refused for now is asked again."""
        while True:
            began = time.perf_counter()
            status, headers, data = client.ask(method, path, body)
            self.seconds.append(time.perf_counter() - began)
            self.statuses[status] += 1
            if status != 503:
                return status, data
            assert int(headers["Retry-After"]) >= 1
            self.stop.wait(float(headers["Retry-After"]))

    def clients(self, work: Callable[[Storm, Client, int], None], count: int) -> list[threading.Thread]:
        def run(number: int) -> None:
            try:
                with self.process.client() as client:
                    work(self, client, number)
            except BaseException as error:
                self.errors.append(error)

        return [threading.Thread(target=run, args=(i,), daemon=True) for i in range(count)]

    def measured(self) -> dict[str, int]:
        return {
            "kB": self.process.status("VmRSS"),
            "threads": self.process.status("Threads"),
            "files": self.process.open_files(),
        }

    def counted(self) -> Counter[int]:
        """Requests by status, as the process counts them."""
        with self.process.client() as client:
            text = client.ask("GET", "/metrics")[2].decode()
        self.statuses[200] += 1  # this one; it is counted from the next on
        found: Counter[int] = Counter()
        for line in text.splitlines():
            if line.startswith("flyball_http_requests_total{"):
                labels, value = line.rsplit(" ", 1)
                found[int(labels.partition('status="')[2][:3])] += int(float(value))
        return found


def stateless(asked: list[Request]) -> Callable[[Storm, Client, int], None]:
    """Ask at random and compare; what is shown in between is one of the systems, whole."""
    names = [
        sorted(server["name"] for server in json.loads(each.body)["system"]["serverData"]["servers"])
        for each in asked
        if each.status == 200 and each.path.startswith("/optimizeOne")
    ]

    def work(storm: Storm, client: Client, number: int) -> None:
        rng = np.random.default_rng([7, number])
        while not storm.stop.is_set():
            if rng.random() < 0.1:
                status, data = storm.ask(client, "GET", "/getServers")
                assert status == 200
                assert sorted(server["name"] for server in json.loads(data)["servers"]) in names
                continue
            one = asked[rng.integers(len(asked))]
            status, data = storm.ask(client, "POST", one.path, one.body)
            assert status == one.status, (one.path, data[:500])
            assert content(data) == one.answer, one.path

    return work


def stateful(storm: Storm, client: Client, number: int) -> None:
    """Each client keeps a model and a server of its own in the one system, beside all others who plan it."""
    rng = np.random.default_rng([8, number])
    name, load = f"client-{number}", {"arrivalRate": 60.0, "avgInTokens": 300, "avgOutTokens": 200}
    there = False
    while not storm.stop.is_set():
        kind = rng.integers(6)
        if kind <= 1:
            given = {
                "name": name,
                "class": "Premium",
                "model": "m0",
                "minNumReplicas": int(rng.integers(1, 50)),
            }
            body = json.dumps({**given, "currentAlloc": {"load": load}}).encode()
            status, data = storm.ask(client, "POST", "/addServer", body)
            assert (status, json.loads(data)["minNumReplicas"]) == (200, given["minNumReplicas"])
            least, there = given["minNumReplicas"], True
        elif kind == 2:
            status, data = storm.ask(client, "GET", f"/removeServer/{name}")
            assert status == (200 if there else 404), data
            there = False
        elif kind == 3:
            status, data = storm.ask(client, "GET", f"/getServer/{name}")
            assert status == (200 if there else 404), data
            if there:
                shown = json.loads(data)
                assert (shown["name"], shown["minNumReplicas"]) == (name, least)
                assert shown["desiredAlloc"]["numReplicas"] in (0, least)
        elif kind == 4:
            status, data = storm.ask(client, "POST", "/optimize?solver=greedy", b'{"unlimited": true}')
            assert status == 200, data
            found = json.loads(data)["allocations"]
            assert (name in found) == there
            if there:
                assert found[name]["numReplicas"] == least
        else:
            path, body = [("/addServer", b"{"), ("/setCapacity", b'{"type": 3}')][rng.integers(2)]
            status, data = storm.ask(client, "POST", path, body)
            assert status == 400, data


def run(asked: list[Request], seconds: float) -> dict[str, Any]:
    """Both kinds of service in a process of their own, under all clients; figures of how it went."""
    with Process() as one, Process("--stateful") as other:
        alone, kept = Storm(one), Storm(other)
        with one.client() as client:
            for i, each in enumerate(asked):
                status, data = alone.ask(client, "POST", each.path, each.body)
                asked[i] = each._replace(status=status, answer=content(data))
        parts = system("G3", 4, seed=9)["system"]
        with other.client() as client:
            for path, section in (
                ("/setAccelerators", "acceleratorData"),
                ("/setModels", "modelData"),
                ("/setServiceClasses", "serviceClassData"),
            ):
                assert kept.ask(client, "POST", path, json.dumps(parts[section]).encode())[0] == 200
        expected = Counter(each.status for each in asked)
        assert set(expected) == {200, 400}
        before = [storm.measured() for storm in (alone, kept)]
        threads = [
            *alone.clients(stateless(asked), CLIENTS * 5 // 8),
            *kept.clients(stateful, CLIENTS * 3 // 8),
        ]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        alone.stop.wait(seconds / 3)
        third = [storm.measured() for storm in (alone, kept)]
        alone.stop.wait(seconds * 2 / 3)
        end = [storm.measured() for storm in (alone, kept)]
        for storm in (alone, kept):
            storm.stop.set()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        took = time.perf_counter() - began
        for storm in (alone, kept):
            if storm.errors:
                raise storm.errors[0]
        after = [settled(storm, was) for storm, was in zip((alone, kept), before, strict=True)]
        for storm, warm, last in zip((alone, kept), third, end, strict=True):
            assert storm.counted() == storm.statuses - Counter({200: 1})
            assert last["kB"] <= warm["kB"] + GROWTH, (warm, last)
        times = sorted(alone.seconds + kept.seconds)
        return {
            "requests": len(times),
            "a second": round(len(times) / took),
            "p50 ms": round(1e3 * times[len(times) // 2], 1),
            "p99 ms": round(1e3 * times[len(times) * 99 // 100], 1),
            "statuses": dict(alone.statuses + kept.statuses),
            "RSS MB": [
                [round(each["kB"] / 1024) for each in pair] for pair in zip(before, third, end, strict=True)
            ],
            "before and after": list(zip(before, after, strict=True)),
        }


def settled(storm: Storm, before: dict[str, int]) -> dict[str, int]:
    """When all clients have gone: no thread and no file more than before, but for a few."""
    until = time.monotonic() + 30
    while True:
        now = storm.measured()
        if all(now[name] <= before[name] + LASTING for name in ("threads", "files")):
            return now
        assert time.monotonic() < until, (before, now)
        time.sleep(0.1)


@pytest.mark.slow
def test_each_of_many_gets_its_own_answer() -> None:
    figures = run(requests(larger=24), seconds=4.0)
    assert figures["requests"] > 200
    refused = figures["statuses"].get(503, 0)
    assert refused <= 0.01 * figures["requests"]


@pytest.mark.soak
def test_each_of_many_gets_its_own_answer_for_a_minute() -> None:
    figures = run(requests(larger=200), seconds=60.0)
    print("\n".join(f"{name}: {value}" for name, value in figures.items()))
    assert figures["statuses"].get(503, 0) <= 0.01 * figures["requests"]
