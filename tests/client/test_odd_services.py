"""Services as the Go originals are in odd moments, and as what stands between can be."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from flyball.client import CallError, OptimizerClient, QueueClient, TunerClient
from flyball.client.errors import LONGEST
from tests.client.scripted import Script, reply, said, scripted

BUSY = reply(503, '{"message": "too many wait"}', "application/json", {"Retry-After": "1"})
NAMES = said('["a"]')
SILENT = "the service does not say why"
UNKNOWN = "service class nope not found"
BROKEN = "what it sent cannot be understood: no JSON (Input data was truncated)"


def asked(script: Script, **options: object) -> list[str]:
    with OptimizerClient(script.url, **options) as client:  # type: ignore[arg-type]
        return client.get_models()


def failed(
    *answers: bytes | None, call: Callable[[OptimizerClient], object] = lambda c: c.get_models()
) -> CallError:
    with (
        scripted(*answers) as script,
        OptimizerClient(script.url, timeout=5) as client,
        pytest.raises(CallError) as caught,
    ):
        call(client)
    return caught.value


@pytest.mark.parametrize(
    ("answer", "status", "message", "words"),
    [
        (reply(400), 400, SILENT, "flyball plan"),
        (said(f'"{UNKNOWN}"', 404), 404, UNKNOWN, f"answered 404: {UNKNOWN}"),
        (said('{"message": "model x not found"}', 404), 404, "model x not found", "/getModels"),
        (said('{"error": "no data"}', 500), 500, "no data", "Its log says more"),
        (said('{"message": 7}', 500), 500, SILENT, "log"),
        (said('{"mess', 500), 500, '{"mess', "log"),
        (reply(404, "404 page not found", "text/plain"), 404, "there is no such route", "an optimizer"),
        (reply(405, "", "text/plain"), 405, SILENT, "405"),
        (reply(502, "<html><h1>Bad</h1></html>", "text/html"), 502, SILENT, "Try later"),
        (said('{"message": "no"}', 401), 401, "no", "Give a token"),
        (said('{"message": "no"}', 403), 403, "no", "by its own name"),
        (said('{"message": "big"}', 413), 413, "big", "Send less at once"),
        (reply(503, "stopping\n", "text/plain"), 503, "stopping", "Try later"),
        (reply(429, "", headers={"Retry-After": "7"}), 429, SILENT, "after 7 s"),
        (reply(301, headers={"Location": "https://else/x"}), 301, SILENT, "ask https://else/x"),
        (said('{"names": "a"}'), 200, "what it sent cannot be understood: $ is not a list", "right service"),
        (said('["a"'), 200, BROKEN, "right service"),
        (b"SSH-2.0-OpenSSH_9\r\n", None, None, "Is it an HTTP service"),
        (b"", None, None, "the connection ended"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[", None, None, "the connection ended"),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_told(
    answer: bytes, status: int | None, message: str | None, words: str
) -> None:
    error = failed(answer)
    assert error.status == status
    assert message is None or error.message == message
    assert words in str(error)
    assert "\n" not in str(error)


def test_hostile_words_are_made_harmless() -> None:
    error = failed(said('{"message": "\\u001b[31m' + "x" * 9999 + '"}', 400))
    assert "\x1b" not in str(error)
    assert len(error.message) < LONGEST + 10
    error = failed(reply(500, headers={"X-Request-Id": "abc"}))
    assert error.request_id == "abc"
    assert str(error).endswith("Request id: abc.")


def test_silence_ends_in_time() -> None:
    with scripted(None) as script:
        with pytest.raises(CallError, match=r"no answer within 0\.2 s\. Allow more time") as caught:
            asked(script, timeout=0.2)
        assert caught.value.status is None


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    client = OptimizerClient(f"http://127.0.0.1:{port}")
    with pytest.raises(
        CallError, match=rf"127.0.0.1:{port}/getModels: the connection is refused\. Start"
    ) as caught:
        client.get_models()
    assert caught.value.status is None
    assert not client.healthy()
    assert not client.ready()
    with pytest.raises(CallError, match=r"host is not known .*Correct the address"):
        OptimizerClient("http://nowhere.invalid").get_models()


# ---- tries ---------------------------------------------------------------------------------------


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    made: list[float] = []
    monkeypatch.setattr("flyball.client.connection.time.sleep", made.append)
    return made


def test_a_busy_service_is_asked_again(waits: list[float]) -> None:
    with scripted(BUSY, BUSY, NAMES) as script:
        assert asked(script) == ["a"]
        assert len(script.heard) == 3
    assert waits == [1.0, 1.0]


def test_but_not_for_ever(waits: list[float]) -> None:
    error = failed(BUSY)
    assert waits == [1.0] * 3
    assert "too many wait. Tried 4 times; try later (it says: after 1 s)." in str(error)
    with scripted(BUSY) as script, pytest.raises(CallError):
        asked(script, tries=1)
    assert len(script.heard) == 1
    assert len(waits) == 3


@pytest.mark.parametrize("call", [lambda c: c.remove_server("a"), lambda c: c.apply_allocation()])
def test_what_may_not_be_done_twice_is_asked_once(
    waits: list[float], call: Callable[[OptimizerClient], object]
) -> None:
    error = failed(BUSY, NAMES, call=call)
    assert error.status == 503
    assert waits == []


def test_the_tuner_is_shown_a_replica_once(waits: list[float]) -> None:
    """Twice would be two observations; what it has learned may be asked for again."""
    with scripted(BUSY, said('{"warmingUp": true}')) as script, TunerClient(script.url) as client:
        with pytest.raises(CallError, match="too many wait"):
            client.tune(b"[]")
        assert waits == []
        assert client.warmup() is True
    with scripted(BUSY, said('{"warmingUp": false}')) as script, TunerClient(script.url) as client:
        assert client.warmup() is False
    assert waits == [1.0]


def test_an_answer_of_the_tuner_that_was_lost_on_the_way() -> None:
    """Its original sends nothing with 200 where a condition number has no bound."""
    with scripted(reply(200)) as script, TunerClient(script.url) as client:
        with pytest.raises(CallError, match="cannot be understood") as caught:
            client.calibration_status()
        assert caught.value.status == 200


def test_what_changes_by_replacing_is_asked_again(waits: list[float]) -> None:
    with scripted(BUSY, said('"a"')) as script, OptimizerClient(script.url) as client:
        assert client.add_model("a") == "a"
    assert waits == [1.0]


@pytest.mark.parametrize("after", ["3600", "soon", "99999999999999", ""])
def test_who_asks_for_too_much_patience_gets_none(waits: list[float], after: str) -> None:
    assert failed(reply(503, headers={"Retry-After": after}), NAMES).status == 503
    assert waits == []


def test_the_wait_may_be_a_date(waits: list[float]) -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    past = format_datetime(datetime.now(UTC) - timedelta(days=1), usegmt=True)
    with scripted(*(reply(503, headers={"Retry-After": d}) for d in (soon, past)), NAMES) as script:
        assert asked(script) == ["a"]
    assert 0 < waits[0] <= 20
    assert waits[1] == 0


def test_health_is_not_waited_for(waits: list[float]) -> None:
    with scripted(BUSY) as script, OptimizerClient(script.url) as client:
        assert not client.ready()
    assert waits == []
    with (
        scripted(reply(404, "404 page not found", "text/plain")) as script,
        OptimizerClient(script.url) as client,
        pytest.raises(CallError, match="not the originals"),
    ):
        client.healthy()


# ---- what is sent --------------------------------------------------------------------------------


def test_what_is_sent() -> None:
    with scripted(said('{"allocations": {}}')) as script, OptimizerClient(f"{script.url}/below/") as client:
        client.optimize_one({"system": {"latency": float("inf")}}, solver="exact", explain=True, budget=0)
        client.optimize(b"unlimited: true")
    first, second = script.heard
    assert first.line == "POST /below/optimizeOne?solver=exact&explain=true&budget=0 HTTP/1.1"
    assert first.headers["content-type"] == "application/json"
    assert first.body == b'{"system":{"latency":null}}'
    assert "authorization" not in first.headers
    assert second.line == "POST /below/optimize HTTP/1.1"
    assert second.headers["content-type"] == "application/yaml"


def test_names_go_through_as_they_are() -> None:
    with scripted(said('"x"')) as script, OptimizerClient(script.url) as client:
        for name in ("meta/llama 8B", "..", "a%2Fb", "ü?#"):
            client.add_model(name)
    paths = [heard.line.split()[1] for heard in script.heard]
    assert paths == [f"/addModel/{p}" for p in ("meta%2Fllama%208B", "%2E%2E", "a%252Fb", "%C3%BC%3F%23")]
    client = OptimizerClient("http://127.0.0.1")
    with pytest.raises(ValueError, match="the name is empty"):
        client.get_server("")
    with pytest.raises(ValueError, match="half a character"):
        client.get_server("\ud800")


def test_tokens_are_sent_and_read_again(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("# the planner's\n\n first \nother\n")
    with scripted(NAMES) as script:
        assert asked(script, token="secret") == ["a"]
        with OptimizerClient(script.url, token_file=file) as client:
            client.get_models()
            file.write_text("second\n")
            client.get_models()
            file.write_text("\n")
            with pytest.raises(ValueError, match="holds no token"):
                client.get_models()
    assert [h.headers["authorization"] for h in script.heard] == [
        "Bearer secret",
        "Bearer first",
        "Bearer second",
    ]
    with scripted(said('{"message": "no"}', 401)) as script, pytest.raises(CallError) as caught:
        asked(script, token="secret")
    assert "The token is none of the service's" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_no_proxy_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with scripted(NAMES) as script:
        assert asked(script) == ["a"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "127.0.0.1:8080"}, "begins with http:// or https://"),
        ({"url": "ftp://host"}, "begins with http:// or https://"),
        ({"url": "http://"}, "then comes a host"),
        ({"url": "http://host:port"}, "Write it as http"),
        ({"url": "http://[::1"}, "Write it as http"),
        ({"url": "http://me:secret@host"}, "a user goes into a token"),
        ({"url": "http://host?x=1"}, "a query into the call"),
        ({"token": "two words"}, "the token is not printable ASCII without spaces"),
        ({"token": ""}, "the token is not printable"),
        ({"token": "a", "token_file": "b"}, "give one of the two"),
        ({"token_file": "/nowhere/tokens"}, "/nowhere/tokens: the token cannot be read"),
        ({"timeout": 0}, "seconds above 0"),
        ({"timeout": float("nan")}, "seconds above 0"),
        ({"tries": 0}, "1 or more"),
        ({"url": "https://host", "ca": "/nowhere/ca.pem"}, "/nowhere/ca.pem: the authorities cannot be read"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        QueueClient(**{"url": "http://host", **options})  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)
