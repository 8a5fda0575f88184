"""Asking: what is decoded, what goes wrong and how it is said, and that it ends in time."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from flyball.adapters.prometheus import client as module
from flyball.adapters.prometheus.client import Prometheus
from flyball.adapters.prometheus.errors import PrometheusError
from flyball.adapters.prometheus.mapping import shipped_names
from flyball.adapters.prometheus.read import read
from tests.adapters.prometheus.answers import Answer, Say, answering, sample, success


class Labels(msgspec.Struct):
    pod: str = ""


def said_by(say: Say, expr: str = "up", timeout: float = 5.0) -> PrometheusError:
    with answering(say) as url, Prometheus(url, timeout=timeout) as client:
        with pytest.raises(PrometheusError) as caught:
            client.query(expr)
        return caught.value


def test_labels_and_values() -> None:
    result = [sample("0.5", pod="a", job="j"), sample("1e-07")]
    with answering(lambda *_: success(result)) as url, Prometheus(url) as client:
        plain, typed = client.query("up"), client.query("up", labels=Labels)
    assert [(s.labels, s.value) for s in plain.samples] == [
        ({"pod": "a", "job": "j"}, (1000.0, 0.5)),
        ({}, (1000.0, 1e-7)),
    ]
    assert [s.labels for s in typed.samples] == [Labels("a"), Labels()]


def test_values_that_are_no_numbers() -> None:
    result = [sample(text, pod=text) for text in ("NaN", "+Inf", "-Inf", "2")]
    with answering(lambda *_: success(result)) as url, Prometheus(url) as client:
        found = {s.labels.pod: s.value[1] for s in client.query("up", labels=Labels).samples}
    assert math.isnan(found.pop("NaN"))
    assert found == {"+Inf": math.inf, "-Inf": -math.inf, "2": 2.0}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>Sign in</html>", "cannot be understood"),
        (b"", "cannot be understood"),
        (b'{"status":"success"}', "cannot be understood"),
        (
            b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"x"]}]}}',
            "cannot be understood",
        ),
        (
            b'{"status":"success","data":{"resultType":"scalar","result":[1,"2"]}}',
            "is a vector what was asked for",
        ),
        (
            b'{"status":"success","data":{"resultType":"matrix","result":[]}}',
            "is a vector what was asked for",
        ),
        (b'{"status":"error","errorType":"timeout","error":"took too long"}', "took too long"),
        (b"[" * 100_000, "cannot be understood"),
        (b"\xff\xfe", "cannot be understood"),
    ],
)
def test_garbage(body: bytes, said: str) -> None:
    error = said_by(lambda *_: Answer(200, body))
    assert said in str(error)
    assert (error.status, error.asked) == (200, "up")
    assert error.mend


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (400, b'{"status":"error","errorType":"bad_data","error":"parse error"}', "parse error"),
        (401, b"Unauthorized", "Give a file with its token"),
        (403, b"", "may query it"),
        (404, b"404 page not found", "before /api/v1"),
        (302, b"", "does not say why"),
        (503, b'{"status":"error","error":"query timed out"}', "query timed out"),
        (500, b"\x1b[31mboom", "does not say why"),
    ],
)
def test_refusals(status: int, body: bytes, said: str) -> None:
    error = said_by(lambda *_: Answer(status, body), "rate(x[1m])")
    assert said in str(error)
    assert "asked: rate(x[1m])" in str(error)
    assert error.status == status


def test_nobody_there() -> None:
    with answering(lambda *_: success([])) as url:
        pass
    with (
        Prometheus(url, timeout=5.0) as client,
        pytest.raises(PrometheusError, match="cannot be reached") as caught,
    ):
        client.query("up")
    assert caught.value.status is None


@pytest.fixture
def held() -> Iterator[threading.Event]:
    """Answers wait for it; it is set at the end, so that no thread stays."""
    event = threading.Event()
    yield event
    event.set()


def test_an_answer_that_does_not_come(held: threading.Event) -> None:
    def say(*_: str) -> Answer:
        held.wait(20.0)
        return success([])

    error = said_by(say, timeout=0.2)
    assert "no answer within 0.2 s" in str(error)


def test_the_token_is_read_for_each_request(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")

    def say(_: str, authorization: str) -> Answer:
        return success([]) if authorization == "Bearer second" else Answer(401, b"")

    with answering(say) as url, Prometheus(url, token_file=file) as client:
        with pytest.raises(PrometheusError, match="Its token is another one"):
            client.query("up")
        file.write_text("second")
        assert client.query("up").samples == []
        file.write_text(" ")
        with pytest.raises(PrometheusError, match="holds no token"):
            client.query("up")
        file.unlink()
        with pytest.raises(PrometheusError, match=r"cannot be read \(No such file or directory\)"):
            client.query("up")


def test_the_pods_own_token_does_not_go_out_in_the_clear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(module, "TOKEN_FILE", tmp_path / "token")
    (tmp_path / "token").write_text("own")

    def say(_: str, authorization: str) -> Answer:
        seen.append(authorization)
        return success([])

    with answering(say) as url, Prometheus(url) as client:
        client.query("up")
    assert seen == [""]
    secure = Prometheus("https://127.0.0.1:1")
    assert secure._token() == "own"
    (tmp_path / "token").unlink()
    assert secure._token() is None, "a default file may be absent"
    secure.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("prometheus:9090", "begins with http"),
        ("http://", "begins with http"),
        ("http://a:b:c", "address of Prometheus is"),
        ("http://user:secret@host", "holds more than"),
        ("http://host/?query=up", "holds more than"),
    ],
)
def test_addresses(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        Prometheus(url)
    assert "secret" not in str(caught.value)


def test_options_that_make_no_sense(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="timeout is 0"):
        Prometheus("http://h", timeout=0.0)
    with pytest.raises(ValueError, match="authorities cannot be read"):
        Prometheus("https://h", ca_file=tmp_path / "absent.pem")


# ---- one scrape --------------------------------------------------------------------------------


def scraped(asked: str, *_: str) -> Answer:
    """A fleet of one pod, as far as gauges go."""
    if asked == "vector(time())":
        return success([sample("1000")])
    if "count by" in asked or "resets" in asked:
        return success([])
    return success([sample("995" if "timestamp" in asked else "4", namespace="n", pod="a")])


def test_one_failing_query_takes_only_its_figures() -> None:
    def say(asked: str, *_: str) -> Answer:
        return Answer(422, b'{"error":"too many samples"}') if "kv_cache" in asked else scraped(asked)

    with answering(say) as url, Prometheus(url) as client:
        found = read(client, shipped_names())
    figures = found.pods["n", "a"]
    assert (figures.running, figures.waiting, figures.kv_usage, figures.age) == (4.0, 4.0, None, 5.0)
    (note,) = [note for note in found.notes if "could not be read" in note]
    assert note.startswith("kv_usage could not be read")
    assert "too many samples" in note


def test_ages_that_cannot_be_read_are_not_taken_for_young() -> None:
    def say(asked: str, *_: str) -> Answer:
        return Answer(500, b"") if "timestamp" in asked else scraped(asked)

    with answering(say) as url, Prometheus(url) as client:
        assert read(client, shipped_names()).pods["n", "a"].age == 300.0


def test_gauges_of_before_that_cannot_be_read_are_not_zero() -> None:
    def say(asked: str, *_: str) -> Answer:
        return Answer(500, b"") if "offset" in asked else scraped(asked)

    with answering(say) as url, Prometheus(url) as client:
        figures = read(client, shipped_names()).pods["n", "a"]
    assert (figures.running_before, figures.fresh) == (None, False)


def test_restarts_that_cannot_be_read_are_not_taken_for_none() -> None:
    def say(asked: str, *_: str) -> Answer:
        return Answer(500, b"") if "resets" in asked else scraped(asked)

    with answering(say) as url, Prometheus(url) as client:
        assert read(client, shipped_names()).pods["n", "a"].restarted is None


def test_one_slow_query_does_not_hold_the_others(held: threading.Event) -> None:
    def say(asked: str, *_: str) -> Answer:
        if "kv_cache" in asked:
            held.wait(20.0)
        return scraped(asked)

    with answering(say) as url, Prometheus(url, timeout=10.0) as client:
        found = read(client, shipped_names(), timeout=1.5)
        assert found.pods["n", "a"].running == 4.0
        assert any(note.startswith("kv_usage could not be read") for note in found.notes)
        held.set()


def test_a_slow_prometheus_is_given_up_in_time(held: threading.Event) -> None:
    def say(asked: str, *_: str) -> Answer:
        if "time()" not in asked:
            held.wait(20.0)
        return scraped(asked)

    with answering(say) as url, Prometheus(url) as client:
        with pytest.raises(PrometheusError, match="no answer"):
            read(client, shipped_names(), timeout=0.3)
        held.set()


@pytest.mark.parametrize("working", ["", "vector(time())"])
def test_when_nothing_can_be_read(working: str) -> None:
    def say(asked: str, *_: str) -> Answer:
        return scraped(asked) if asked == working else Answer(503, b"")

    with (
        answering(say) as url,
        Prometheus(url) as client,
        pytest.raises(PrometheusError, match="answered 503"),
    ):
        read(client, shipped_names())


def test_warnings_are_notes() -> None:
    def say(asked: str, *_: str) -> Answer:
        result = [sample("1000")] if asked == "vector(time())" else []
        return success(result, ["No StoreAPIs matched"])

    with answering(say) as url, Prometheus(url) as client:
        assert read(client, shipped_names()).notes == ("Prometheus warns: No StoreAPIs matched",)


def test_a_clock_that_is_none() -> None:
    with answering(lambda *_: success([])) as url, Prometheus(url) as client:
        with pytest.raises(PrometheusError, match="does not tell the time"):
            read(client, shipped_names())
        with pytest.raises(ValueError, match="both are above 0"):
            read(client, shipped_names(), speed=0.0)


def test_buckets_that_are_empty_and_those_of_another_version() -> None:
    """The empty are not sent; where the first of a pod begins is known where all pods have that bound."""
    common = {"0.1": 2, "0.25": 1, "0.5": 2, "1": 2, "+Inf": 2}
    filled = {
        "a": {"0.5": 1, "1": 3, "+Inf": 3},
        "b": {"1": 1, "+Inf": 1},
        "c": {"+Inf": 2},
        "d": {"0.7": 1, "+Inf": 1},
    }

    def say(asked: str, *_: str) -> Answer:
        if asked.startswith("count by (le)"):
            return success([sample(str(count), le=le) for le, count in common.items()])
        if ", le)" in asked:
            return success(
                [
                    sample(str(count), namespace="n", pod=name, le=le)
                    for name, counts in filled.items()
                    for le, count in counts.items()
                ]
            )
        if asked == "vector(time())" or "timestamp" in asked or "count by" in asked or "resets" in asked:
            return scraped(asked)
        return success([sample("4", namespace="n", pod=name) for name in filled])

    with answering(say) as url, Prometheus(url) as client:
        pods = read(client, shipped_names()).pods
    found = {name: pods["n", name].ttft for name in filled}
    assert [(h.bounds, h.counts) for h in found.values() if h is not None] == [
        ((0.1, 0.5, 1.0), (0.0, 1.0, 3.0, 3.0)),
        ((0.1, 0.5, 1.0), (0.0, 0.0, 1.0, 1.0)),
        ((0.1, 0.5, 1.0), (0.0, 0.0, 0.0, 2.0)),
        ((0.5, 0.7), (0.0, 1.0, 1.0)),
    ]
