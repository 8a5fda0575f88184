"""What operators see of requests: ids, log lines, metrics; and what clients see of what goes wrong."""

from __future__ import annotations

import io
import json
import logging
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as of_openmetrics
from prometheus_client.parser import text_string_to_metric_families as of_text
from structlog.contextvars import bound_contextvars

from flyball.server.service.log import How, logger_of, with_others
from flyball.server.service.telemetry import Telemetry
from tests.server.service.conftest import LONG, running, serving
from tests.server.service.sample import Gate, sample
from tests.server.service.test_limits import until


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (each.name, tuple(sorted(each.labels.items()))): each.value
        for family in of_text(text)
        for each in family.samples
    }


def lines_of(err: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in err.splitlines()]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b"run-7/step:3", True),
        (b"x" * 128, True),
        (b"x" * 129, False),
        (b"two words", False),
        (b"tab\there", False),
        ("naïve".encode(), False),
        (b"", False),
        (None, False),
    ],
)
def test_request_ids(sent: bytes | None, kept: bool, capsys: pytest.CaptureFixture[str]) -> None:
    headers = {} if sent is None else {b"X-Request-Id": sent}
    with running(sample(), log="json") as url:
        answer = httpx2.get(f"{url}/things/a?fault=own", headers=headers)
    given_back = answer.headers["x-request-id"]
    assert (given_back.encode() == sent) if kept else re.fullmatch("[0-9a-f]{32}", given_back)
    assert given_back in answer.json()["message"]
    assert [line["request_id"] for line in lines_of(capsys.readouterr().err)] == [given_back] * 2


def test_one_line_for_each_request(capsys: pytest.CaptureFixture[str]) -> None:
    with running(sample(), log="json") as url:
        httpx2.post(f"{url}/plan", content=b"abc")
        httpx2.get(f"{url}/things/a%0Aforged?fault=absent&token=hidden")
    planned, absent = lines_of(capsys.readouterr().err)
    assert list(planned)[:5] == ["time", "level", "event", "service", "request_id"]
    assert planned["seconds"] >= 0
    assert planned["thread"] == "flyball-work"  # noted from there
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", planned["time"])
    expected = {
        "level": "info", "event": "request", "service": "sample", "method": "POST", "path": "/plan",
        "route": "/plan", "status": 200, "received": 3, "sent": 20, "client": "127.0.0.1", "servers": 3,
        "unserved": 1, "solver": "greedy", "plan_seconds": 0.25,
    }  # fmt: skip
    assert expected.items() <= planned.items()
    assert (absent["path"], absent["route"], absent["status"]) == (
        "/things/a%0Aforged",
        "/things/{name}",
        404,
    )
    assert "hidden" not in str(absent)


@given(
    st.dictionaries(st.sampled_from(["path", "client", "why"]), st.text() | st.integers() | st.floats()),
    st.text(),
    st.sampled_from(["json", "text"]),
)
def test_nothing_breaks_out_of_a_line(facts: dict[str, object], event: str, how: How) -> None:
    out = io.StringIO()
    log = logger_of("sample", how, out)
    log.info(event, **facts)
    try:
        raise ValueError(event)
    except ValueError:
        log.error("fault", exc_info=True)
    first, second, *trace = out.getvalue().splitlines()  # at every kind of line end that there is
    assert out.getvalue().isascii() or how == "text"
    assert [line for line in trace if not line.startswith("    | ")] == []
    assert all(each.isprintable() for each in (first, second, *trace))
    if how == "json":
        assert json.loads(first)["event"] == event
        assert not trace
        assert "ValueError" in json.loads(second)["exception"]
    else:
        assert len(trace) >= 2


def test_a_log_that_cannot_be_written_fails_nothing() -> None:
    closed = io.StringIO()
    closed.close()
    logger_of("sample", "json", closed).info("request")
    logger_of("sample", "auto", io.StringIO()).info("request")


def test_what_goes_wrong_is_told_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    with running(sample(), log="json") as url:
        for method, path in (("GET", "/nothing"), ("PUT", "/echo"), ("GET", "/"), ("GET", "/openapi.json/x")):
            absent = httpx2.request(method, url + path)
            assert (absent.status_code, absent.text) == (404, "404 page not found"), path
            assert absent.headers["content-type"] == "text/plain"
        refused = httpx2.get(f"{url}/things/b?fault=absent")
        assert (refused.status_code, refused.text) == (404, '{\n    "message": "thing b not found"\n}')
        unreadable = httpx2.get(f"{url}/things/b?fault=wire")
        assert unreadable.status_code == 400
        assert unreadable.json() == {"message": "body: servers[0].load is -1: is not what it should be."}
        fault = httpx2.get(f"{url}/things/b?fault=own")
        assert fault.status_code == 500
        assert "secret" not in fault.text
        assert fault.json()["message"].startswith("a fault of Flyball itself")
        for each in (absent, refused, unreadable, fault):
            assert each.headers["x-content-type-options"] == "nosniff"
            assert each.headers["cache-control"] == "no-store"
    lines = lines_of(capsys.readouterr().err)
    told, asked = (line for line in lines if line["level"] == "error")
    assert (told["event"], asked["event"], asked["status"]) == ("fault", "request", 500)
    assert "a secret that no client sees" in told["exception"]
    assert len(lines) == 8  # one for each, and the fault


def test_metrics_move_and_know_routes_only() -> None:
    with running(sample()) as url:
        before = samples(httpx2.get(f"{url}/metrics").text)
        for name in ("a", "b", "c"):
            httpx2.get(f"{url}/things/{name}")
        httpx2.get(f"{url}/nothing/{'x' * 50}")
        httpx2.request("BREW", f"{url}/things/a")
        httpx2.post(f"{url}/plan", content=b"abc")
        answer = httpx2.get(f"{url}/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    after = samples(answer.text)

    def moved(name: str, **labels: str) -> float:
        key = (name, tuple(sorted(labels.items())))
        return after[key] - before.get(key, 0.0)

    def requests(method: str, route: str, status: str) -> float:
        labels = {"service": "sample", "method": method, "route": route, "status": status}
        return moved("flyball_http_requests_total", **labels)

    assert requests("GET", "/things/{name}", "200") == 3
    assert requests("GET", "none", "404") == 1
    assert requests("other", "none", "404") == 1
    of_route = {"service": "sample", "method": "GET", "route": "/things/{name}"}
    assert moved("flyball_http_request_seconds_count", **of_route) == 3
    assert moved("flyball_http_request_seconds_bucket", le="+Inf", **of_route) == 3
    assert after["flyball_http_requests_in_progress", (("service", "sample"),)] == 1  # the one that asks
    assert moved("flyball_plan_seconds_sum", solver="greedy") == 0.25
    assert moved("flyball_plan_servers") == 3
    assert moved("flyball_plan_unserved_servers") == 1
    assert moved("flyball_state_objects", kind="servers") == 3
    assert [key[1][0][0] for key in after if key[0] == "flyball_build_info"] == ["version"]
    assert after["process_resident_memory_bytes", ()] > 1e6
    assert "xxx" not in answer.text


def test_metrics_of_two_services_are_apart_and_openmetrics_is_spoken() -> None:
    with running(sample()) as one, running(sample()) as other:
        httpx2.get(f"{one}/things/a")
        assert "things" not in httpx2.get(f"{other}/metrics").text
        answer = httpx2.get(
            f"{one}/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
        )
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    names = {family.name for family in of_openmetrics(answer.text)}
    assert {"flyball_http_requests", "flyball_http_request_seconds", "flyball_build"} <= names


@given(st.text() | st.from_regex(r"(application/openmetrics-text|text/plain);version=.*", fullmatch=True))
def test_any_wish_for_a_form_is_answered(accept: str) -> None:
    text, kind = Telemetry("sample").text(accept)
    assert b"flyball_build_info" in text
    assert kind.startswith(("text/plain; version=", "application/openmetrics-text; version="))


def test_libraries_are_heard_in_the_same_form() -> None:
    out, library = io.StringIO(), logging.getLogger("flyball.test.library")
    with with_others(logger_of("sample", "json", out)), bound_contextvars(request_id="seven"):
        library.info("not this")
        library.warning("two\nlines of %s", "warning")
    library.warning("nor this")
    (line,) = lines_of(out.getvalue())
    told = ("service", "request_id", "level", "event", "logger")
    assert [line[key] for key in told] == [
        "sample", "seven", "warning", "two\nlines of warning", "flyball.test.library",
    ]  # fmt: skip


def test_health_says_why_it_is_not_ready() -> None:
    why = [""]
    with serving(sample(ready=why), drain=LONG) as made:
        assert httpx2.get(f"{made.url}readyz").text == "ok\n"
        why[0] = "the catalogue is not read yet"
        unready = httpx2.get(f"{made.url}readyz")
        assert (unready.status_code, unready.text) == (503, "the catalogue is not read yet\n")
        assert httpx2.get(f"{made.url}healthz").status_code == 200
        made.stop()
        stopping = httpx2.get(f"{made.url}readyz")
        assert (stopping.status_code, stopping.text) == (503, "stopping\n")
        assert httpx2.get(f"{made.url}things/a").status_code == 200  # until balancers have noticed


def test_who_hangs_up_at_work_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    gate = Gate()
    with serving(sample(gate), log="json") as made:
        with socket.create_connection(("127.0.0.1", made.port), LONG) as sock:
            sock.sendall(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert gate.entered.acquire(timeout=LONG)
        until(lambda: not made._server.server_state.connections)
        gate.open.set()
        until(lambda: made.app.state.workers.at_work == 0)
        with socket.create_connection(("127.0.0.1", made.port), LONG) as sock:
            sock.sendall(b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf")
            until(lambda: made.app.state.holding.held == 4)
    lines = lines_of(capsys.readouterr().err)
    assert [(line["path"], line["status"], line["level"]) for line in lines] == [
        ("/wait", 499, "info"),
        ("/echo", 499, "info"),
    ]


def test_the_end_of_patience_is_a_503() -> None:
    gate = Gate()
    with ThreadPoolExecutor() as pool, serving(sample(gate), grace=0.0) as made:
        asked = pool.submit(httpx2.get, f"{made.url}wait", timeout=LONG)
        assert gate.entered.acquire(timeout=LONG)
        made.stop()
        answer = asked.result()
        gate.open.set()
    assert answer.status_code == 503
    assert "had to stop" in answer.json()["message"]
