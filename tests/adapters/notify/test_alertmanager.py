"""Alerts in the shape that Alertmanager publishes: the same labels while they fire, then an end."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from flyball.adapters.notify.alertmanager import Alertmanager
from flyball.sandbox.network import answers, free_ports
from tests.adapters.notify.builders import Answer, Fake, Request, advice, fake, news, state

LABELS = {"type": "object", "additionalProperties": {"type": "string"}}
POSTABLE = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["labels"],
        "additionalProperties": False,
        "properties": {
            "labels": {**LABELS, "propertyNames": {"pattern": "^[a-zA-Z_][a-zA-Z0-9_]*$"}},
            "annotations": LABELS,
            "startsAt": {"type": "string", "format": "date-time"},
            "endsAt": {"type": "string", "format": "date-time"},
            "generatorURL": {"type": "string", "format": "uri"},
        },
    },
}
"""postableAlerts of api/v2/openapi.yaml, with alert and labelSet put in."""


def names(body: list[dict[str, Any]]) -> list[str]:
    return [a["labels"]["alertname"] for a in body]


def bodies(told: Fake) -> list[Any]:
    check = jsonschema_rs.validator_for(POSTABLE, validate_formats=True)
    for body in told.bodies():
        check.validate(body)
    return told.bodies()


def test_what_fires_is_sent_again_with_the_same_labels_and_then_ended() -> None:
    clock = [1_000_000.0]
    with fake() as told:
        options: dict[str, Any] = {"page": "https://flyball.example/", "labels": {"cluster": "c1"}}
        manager = Alertmanager([told.url], wall=lambda: clock[0], **options)
        assert manager.tell(news(0, (state("normal"),))) == ()
        assert told.requests == [], "calm, and never anything else"
        manager.tell(news(0, (state("warn"),)))
        clock[0] += 59
        manager.tell(news(59, (state("warn", watts=9_700.0),)))
        assert len(told.requests) == 1, "watts are no news"
        clock[0] += 1
        manager.tell(news(60, (state("warn", watts=9_800.0),)))
        clock[0] += 1
        manager.tell(news(61, (state("emergency"),), (advice(),)))
        clock[0] += 1
        manager.tell(news(62, (state("warn"),), (advice(),)))
        clock[0] += 1
        manager.tell(news(63))
        clock[0] += 100
        manager.tell(news(163))
        manager.close()
    first, again, risen, fallen, over = bodies(told)
    assert {r.path for r in told.requests} == {"/api/v2/alerts"}
    assert first[0]["labels"] == {
        "alertname": "FlyballPowerNear",
        "severity": "warning",
        "cluster": "c1",
        "power_domain": "rack-7",
        "power_rack": "rack-7",
        "power_row": "row-a",
        "power_site": "hall",
    }
    assert [first[0][k] for k in ("startsAt", "endsAt")] == [
        "1970-01-12T13:46:40.000Z",
        "1970-01-12T13:50:40.000Z",
    ]
    assert again[0]["labels"] == first[0]["labels"]
    assert (again[0]["startsAt"], again[0]["endsAt"]) == (first[0]["startsAt"], "1970-01-12T13:51:40.000Z")
    assert "9,800 W of 10,000 W" in again[0]["annotations"]["summary"]
    assert names(risen) == ["FlyballPowerNear", "FlyballPowerShedding", "FlyballPowerRecommendation"]
    assert risen[0]["labels"] == first[0]["labels"], "worse is another alert, not another label"
    assert risen[2]["labels"]["power_policy"] == "prod/chat"
    assert risen[2]["annotations"]["description"].startswith("replicas: prod/ScaledObject/llama 5 to 3")
    ended = [a for a in fallen if a["endsAt"] == "1970-01-12T13:47:42.000Z"]
    assert names(ended) == ["FlyballPowerShedding"]
    assert ended[0]["startsAt"] == risen[1]["startsAt"]
    assert {a["endsAt"] for a in over} == {"1970-01-12T13:47:43.000Z"}
    assert sorted(names(over)) == ["FlyballPowerNear", "FlyballPowerRecommendation"]


def test_an_infeasible_budget_is_critical_by_itself() -> None:
    with fake() as told:
        manager = Alertmanager([told.url])
        manager.tell(news(0, (state("normal", feasible=False),)))
        manager.close()
    (body,) = bodies(told)
    assert [(a["labels"]["alertname"], a["labels"]["severity"]) for a in body] == [
        ("FlyballPowerInfeasible", "critical")
    ]


def test_each_alertmanager_is_told_until_it_heard(tmp_path: Path) -> None:
    broken = [True]
    token = tmp_path / "token"
    token.write_text("abc\n")

    def answer(request: Request) -> Answer:
        return (500, "no: " + request.headers["authorization"], {}) if broken[0] else (200, "", {})

    with fake() as well, fake(answer) as ill:
        manager = Alertmanager([well.url, f"{ill.url}/am"], token_file=token)
        (problem,) = manager.tell(news(0, (state("warn"),)))
        assert problem == f"Alertmanager at {ill.url}/am answered 500: no: Bearer ***. See its log."
        broken[0] = False
        token.write_text("def")
        assert manager.tell(news(1, (state("warn"),))) == ()
        broken[0] = True
        assert len(manager.tell(news(2))) == 1
        broken[0] = False
        assert manager.tell(news(3)) == ()
        manager.close()
    assert len(bodies(well)) == 2
    assert [r.path for r in ill.requests] == ["/am/api/v2/alerts"] * 4
    assert [r.headers["authorization"] for r in ill.requests] == ["Bearer abc", *["Bearer def"] * 3]
    assert names(ill.bodies()[2]) == names(ill.bodies()[3]) == ["FlyballPowerNear"], "the end is told again"


def test_one_that_is_away_is_a_sentence(tmp_path: Path) -> None:
    manager = Alertmanager(["http://127.0.0.1:1"], token_file=tmp_path / "none")
    (problem,) = manager.tell(news(0, (state("warn"),)))
    assert "cannot be read (No such file or directory)" in problem
    manager.close()
    manager = Alertmanager(["http://127.0.0.1:1"])
    (problem,) = manager.tell(news(0, (state("warn"),)))
    assert problem.startswith("Alertmanager at http://127.0.0.1:1: it is not reached (ConnectError)")
    manager.close()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"urls": []}, "no address"),
        ({"urls": ["alertmanager:9093"]}, "begin with http"),
        ({"urls": ["http://user:pass@h"]}, "more than host, port and path"),
        ({"urls": ["http://h"], "labels": {"a-b": ""}}, "the label 'a-b'"),
        ({"urls": ["http://h"], "labels": {"severity": "x"}}, "the label 'severity'"),
        ({"urls": ["http://h"], "resend": 0.0}, "0 s"),
        ({"urls": ["https://h"], "ca_file": Path("/nowhere/ca.pem")}, "authorities"),
    ],
)
def test_options_that_make_no_sense(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        Alertmanager(**given)
    assert "pass@" not in str(caught.value)


@contextmanager
def real(folder: Path) -> Iterator[int]:
    """Debian's Alertmanager, on a port of loopback."""
    (port,) = free_ports(1)
    program = shutil.which("prometheus-alertmanager")
    assert program is not None
    settings = folder / "alertmanager.yml"
    settings.write_text("route: {receiver: none, group_by: [power_row]}\nreceivers: [{name: none}]\n")
    command = [program, f"--config.file={settings}", f"--storage.path={folder}/data"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            if process.poll() is None and answers(port, "/-/ready"):
                break
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.skipif(not shutil.which("prometheus-alertmanager"), reason="Alertmanager is not installed")
def test_a_real_alertmanager_groups_and_resolves(tmp_path: Path) -> None:
    def get(path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v2/{path}", timeout=10) as answer:
            return json.load(answer)

    with real(tmp_path) as port:
        manager = Alertmanager([f"http://127.0.0.1:{port}"], page="https://flyball.example/")
        both = (state("shed"), state("warn", domain="rack-8"))
        assert manager.tell(news(0, both, (advice(),))) == ()
        before = get("alerts")
        assert len(before) == 4
        assert {a["labels"]["power_row"] for a in before} == {"row-a"}
        assert manager.tell(news(1, both[1:])) == ()
        rack = urllib.parse.quote('power_domain="rack-7"')
        for _ in range(100):
            if not get(f"alerts?filter={rack}"):
                break
            time.sleep(0.05)
        after = get("alerts")
        assert [a["labels"]["power_domain"] for a in after] == ["rack-8"]
        prints = {a["fingerprint"]: a["startsAt"] for a in before}
        assert prints[after[0]["fingerprint"]] == after[0]["startsAt"], "the same alert as before"
        manager.close()
