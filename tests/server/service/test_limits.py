"""What a service takes: size and time of bodies, requests at work and in line."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from flyball.server.service.answers import Refusal
from flyball.server.service.service import Limits
from flyball.server.service.work import Workers, cores
from tests.server.service.conftest import LONG, running, serving
from tests.server.service.sample import Gate, sample


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextlib.contextmanager
def spoken(url: str, text: bytes) -> Iterator[socket.socket]:
    """A connection on which this has been said."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), LONG) as sock:
        sock.sendall(text)
        yield sock


def heard(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(65536), b""))


def head(length: int, *more: bytes) -> bytes:
    lines = [b"POST /echo HTTP/1.1", b"Host: localhost", b"Content-Length: %d" % length, *more]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def test_a_body_that_is_too_large_is_413() -> None:
    with running(sample(limits=Limits(body=1_000_000))) as url:
        assert httpx2.post(f"{url}/echo", content=b"x" * 1_000_000).json() == {"bytes": 1_000_000}
        announced = httpx2.post(f"{url}/echo", content=b"x" * 1_000_001)
        chunked = httpx2.post(f"{url}/echo", content=iter([b"x" * 400_000] * 3))
        for refused in (announced, chunked):
            assert refused.status_code == 413
            assert (
                refused.json()["message"] == "the body is larger than the limit of 1,000,000 bytes. Split it"
            )
        # Who asks first is told first, and sends nothing.
        with spoken(url, head(2_000_000, b"Expect: 100-continue")) as sock:
            assert heard(sock).startswith(b"HTTP/1.1 413")


def test_a_body_that_does_not_come_is_408() -> None:
    with running(sample(limits=Limits(receive=0.2))) as url, spoken(url, head(10) + b"half") as sock:
        answer = heard(sock)
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"did not come within 0.2 s" in answer


def test_bodies_together_have_a_limit() -> None:
    with serving(sample(limits=Limits(body=1000, held=1000))) as made:
        url, holding = made.url.rstrip("/"), made.app.state.holding
        with spoken(url, head(900) + b"x" * 800):
            until(lambda: holding.held == 800)
            refused = httpx2.post(f"{url}/echo", content=b"x" * 500)
            assert refused.status_code == 503
            assert refused.headers["retry-after"] == "1"
            assert httpx2.post(f"{url}/echo", content=b"x" * 200).status_code == 200
            until(lambda: holding.held == 800)
        until(lambda: holding.held == 0)
        assert httpx2.post(f"{url}/echo", content=b"x" * 1000).status_code == 200


def test_too_many_in_line_are_503() -> None:
    gate = Gate()
    with serving(sample(gate, Limits(at_once=1, waiting=1))) as made, ThreadPoolExecutor() as pool:
        url, workers = made.url.rstrip("/"), made.app.state.workers
        asked = [pool.submit(httpx2.get, f"{url}/wait", timeout=LONG) for _ in range(2)]
        until(lambda: workers.in_line == 1)
        refused = httpx2.get(f"{url}/wait", timeout=LONG)
        assert httpx2.get(f"{url}/healthz").status_code == 200  # what needs no worker goes on
        gate.open.set()
        assert [each.result().json() for each in asked] == [{"message": "through"}] * 2
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert "1 requests are at work and 1 wait" in refused.json()["message"]
        assert httpx2.get(f"{url}/wait").status_code == 200
        assert (workers.at_work, workers.in_line) == (0, 0)


def test_who_hangs_up_leaves_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    gate = Gate()
    with (
        serving(sample(gate, Limits(at_once=1, waiting=9)), log="json") as made,
        ThreadPoolExecutor() as pool,
    ):
        url, workers = made.url.rstrip("/"), made.app.state.workers
        asked = pool.submit(httpx2.get, f"{url}/wait", timeout=LONG)
        assert gate.entered.acquire(timeout=LONG)
        with spoken(url, b"GET /wait HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: gone\r\n\r\n"):
            until(lambda: workers.in_line == 1)
        until(lambda: workers.in_line == 0)
        gate.open.set()
        assert asked.result().status_code == 200
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert {line["request_id"] == "gone": line["status"] for line in lines} == {True: 499, False: 200}
    assert {line["level"] for line in lines} == {"info"}


@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_workers_serve_in_order_and_so_many_at_once(at_once: int) -> None:
    workers, begun, most = Workers(at_once, 100), list[int](), 0
    together, lock = threading.Barrier(at_once, timeout=LONG), threading.Lock()
    running_now = 0

    def work(number: int) -> int:
        nonlocal running_now, most
        with lock:
            begun.append(number)
            running_now += 1
            most = max(most, running_now)
        together.wait()  # nobody passes before so many have come
        with lock:
            running_now -= 1
        if number % 7 == 3:
            raise KeyError(number)
        return number

    async def all_of_them() -> list[object]:
        asked = (workers.run(functools.partial(work, number)) for number in range(40))
        return await asyncio.gather(*asked, return_exceptions=True)

    results = asyncio.run(all_of_them())
    assert [r.args[0] if isinstance(r, KeyError) else r for r in results] == list(range(40))
    assert most == at_once
    batches = [sorted(begun[first : first + at_once]) for first in range(0, 40, at_once)]
    assert list(itertools.chain(*batches)) == list(range(40))
    assert (workers.at_work, workers.in_line) == (0, 0)


def test_a_cancelled_request_gives_its_place_back_when_its_thread_ends() -> None:
    workers, gate = Workers(1, 1), Gate()

    async def cancel_both() -> str:
        first = asyncio.create_task(workers.run(gate.pass_through))
        await asyncio.to_thread(gate.entered.acquire)
        second = asyncio.create_task(workers.run(gate.pass_through))
        await asyncio.sleep(0)
        with pytest.raises(Refusal):
            await workers.run(gate.pass_through)
        for task in (second, first):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert (workers.at_work, workers.in_line) == (1, 0)
        third = asyncio.create_task(workers.run(gate.pass_through))
        await asyncio.sleep(0)
        assert workers.in_line == 1
        gate.open.set()
        return await third

    assert asyncio.run(cancel_both()) == "through"
    assert workers.at_work == 0


def test_work_that_stops_an_iteration_is_an_error_and_no_wait_forever() -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        asyncio.run(asyncio.wait_for(Workers(1, 1).run(lambda: next(iter(()))), LONG))


@pytest.mark.parametrize(
    ("quota", "least", "most"),
    [
        ("50000 100000\n", 1, 1),
        ("150000 100000\n", 1, 2),
        ("max 100000\n", 1, 10_000),
        ("?", 1, 10_000),
        ("1 0", 1, 10_000),
    ],
)
def test_a_container_has_the_cores_of_its_share(tmp_path: Path, quota: str, least: int, most: int) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(quota)
    assert least <= cores(file) <= most
    assert cores(file) <= cores(tmp_path / "absent")
