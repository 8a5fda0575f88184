"""The services driven from their own OpenAPI documents, and with what no document describes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
import schemathesis
from schemathesis.engine import Status, events, from_schema

from flyball.server.optimizer.service import service as optimizer
from flyball.server.queue import service as queue
from flyball.server.service.service import Service
from flyball.server.tuner import service as tuner
from flyball.spec.calibration import Tuning
from flyball.wire.inferno_queue import SIZE_LIMIT as QUEUE_LIMIT
from flyball.wire.text import NODE_LIMIT, SIZE_LIMIT
from tests.server.process import Client
from tests.server.service.conftest import running

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
EAGER = Tuning(initial_observations=1, warm_up_cycles=1)
SERVICES = {
    "queue": queue,
    "stateless": optimizer,
    "stateful": lambda: optimizer(stateful=True),
    "tuner": lambda: tuner(EAGER, lambda: 1.8e9),
}


def driven(made: Service, examples: int, seed: int, *phases: str) -> Counter[str]:
    """Every operation with good and bad data; how many requests passed each check."""
    on = {name: {"enabled": name in phases} for name in ("examples", "coverage", "fuzzing", "stateful")}
    config = schemathesis.Config.from_dict(
        {
            "seed": seed,
            "continue-on-failure": True,
            "generation": {
                "mode": "all",
                "max-examples": examples,
                "deterministic": seed == 0,
                "database": "none",
            },
            "phases": on,
            "checks": {"enabled": False, **{name: {"enabled": True} for name in CHECKS}},
        }
    )
    passed: Counter[str] = Counter()
    with running(made) as url:
        schema = schemathesis.openapi.from_url(f"{url}/openapi.json", config=config)
        for event in from_schema(schema).execute():
            assert not isinstance(event, events.FatalError | events.NonFatalError), event
            if not isinstance(event, events.ScenarioFinished):
                continue
            for case, checks in event.recorder.checks.items():
                for check in checks:
                    assert check.status == Status.SUCCESS, _told(event, case, check)
                    passed[check.name] += 1
    return passed


def _told(event: Any, case: str, check: Any) -> str:
    sent, failure = event.recorder.cases[case].value, check.failure_info.failure
    return f"{event.recorder.label} {sent.formatted_path} {sent.query} {sent.body!r}: {failure.message}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "examples", "phases"),
    [
        ("queue", 10, ("examples", "coverage", "fuzzing")),
        ("stateless", 5, ("examples", "coverage", "fuzzing")),
        ("stateful", 3, ("examples", "fuzzing")),
        ("tuner", 5, ("examples", "coverage", "fuzzing")),
    ],
)
def test_every_operation_answers_as_its_description_says(
    name: str, examples: int, phases: tuple[str, ...]
) -> None:
    passed = driven(SERVICES[name](), examples, 0, *phases)
    assert min(passed[check] for check in CHECKS) > 100


@pytest.mark.soak
@pytest.mark.parametrize("name", SERVICES)
def test_every_operation_answers_as_its_description_says_for_long(name: str) -> None:
    passed = driven(SERVICES[name](), 200, 1, "examples", "coverage", "fuzzing", "stateful")
    assert min(passed[check] for check in CHECKS) > 500
    print(f"{name}: {passed}")


# ---- what no document describes ------------------------------------------------------------------

ALIASES = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
BODIES: dict[str, bytes] = {
    "nothing": b"",
    "spaces": b" \n" * 1000,
    "null": b"null",
    "text": b'"x"',
    "number": b"1",
    "list": b"[]",
    "truncated": b'{"system": {',
    "deep lists": b"[" * 1_000_000,
    "deep objects": b'{"system":' * 100_000,
    "deep and closed": b"[" * 5_000 + b"]" * 5_000,
    "deep in YAML": b"\n".join(b" " * i + b"a:" for i in range(2000)),
    "many values": b"[" + b"0," * NODE_LIMIT + b"0]",
    "many commas": b"," * (NODE_LIMIT + 1),
    "aliases of aliases": ALIASES.encode(),
    "an alias of itself": b"a: &a [*a]",
    "NaN": b'{"arrivalRate": NaN}',
    "infinity": b'{"name": "x", "cost": Infinity}',
    "1e400": b'{"name": "x", "cost": 1e400}',
    "a long number": b'{"name": "x", "cost": ' + b"9" * 100_000 + b"}",
    "a long fraction": b'{"name": "x", "cost": 0.' + b"1" * 100_000 + b"}",
    "not UTF-8": b'{"name": "\xff\xfe"}',
    "UTF-16": '{"name": "x"}'.encode("utf-16"),
    "half a surrogate": b'{"name": "\\ud800"}',
    "NUL": b'{"name": "\x00"}',
    "random": bytes(range(256)) * 40,
    "a gigantic name": b'{"name": "' + b"x" * 1_000_000 + b'"}',
    "a gigantic key": b'{"' + b"x" * 1_000_000 + b'": 1}',
    "tags": b"!!python/object/apply:os.system ['true']",
    "merge keys": b"a: &a {b: 1}\nc: {<<: *a}",
}
POSTS = (
    *("/optimizeOne", "/optimize", "/v1/plan", "/setAccelerators", "/addAccelerator", "/setCapacities"),
    *("/setCapacity", "/setModels", "/addModelAcceleratorPerf", "/setServiceClasses", "/setServers"),
    *("/addServer", "/addServiceClassModelTargets"),
)
GETS = ("/getAccelerators", "/getCapacities", "/getModels", "/getServiceClasses", "/getServers")


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with running(optimizer(stateful=True)) as url, Client(url) as made:
        yield made


@pytest.fixture(scope="module")
def asking_queues() -> Iterator[Client]:
    with running(queue()) as url, Client(url) as made:
        yield made


@pytest.fixture(scope="module")
def asking_tuners() -> Iterator[Client]:
    with running(tuner(EAGER, lambda: 1.8e9)) as url, Client(url) as made:
        yield made


def shown(client: Client) -> list[bytes]:
    return [client.ask("GET", path)[2] for path in GETS]


@pytest.mark.parametrize("body", BODIES)
def test_bodies_that_make_no_sense(
    client: Client, asking_queues: Client, asking_tuners: Client, body: str
) -> None:
    before, taken = shown(client), 0
    for path in POSTS if len(BODIES[body]) < 5_000_000 else POSTS[:1]:
        status, headers, data = client.ask("POST", path, BODIES[body])
        assert headers["content-type"].startswith("application/json"), (path, status)
        said = json.loads(data)
        if status == 200:  # some make sense to some: what is not known is passed over
            taken += 1
            continue
        assert status in (400, 404), (path, data)
        assert len(data) < 3000, path
        assert said if isinstance(said, str) else said["message"], path
    assert taken or shown(client) == before
    for path in ("/solve", "/target", "/optimize") if len(BODIES[body]) <= QUEUE_LIMIT else ():
        status, _, data = asking_queues.ask("POST", path, BODIES[body])
        assert status == 400, (path, data)
        assert json.loads(data)["message"]
    for path in ("/tune", "/calibrate", "/merge"):
        status, _, data = asking_tuners.ask("POST", path, BODIES[body])
        if status == 200:  # as model data, what is not known is passed over
            assert (path, json.loads(data)) == ("/merge", {"models": []})
            continue
        assert status == 400, (path, data)
        assert json.loads(data)["error"]
        assert len(data) < 3000, path
    assert asking_tuners.get("/calibration-status") == {"statuses": []}


def test_a_repeated_key_is_the_last_one_and_minus_zero_is_zero(client: Client) -> None:
    status, _, data = client.ask("POST", "/addAccelerator", b'{"name": "k", "cost": 7, "cost": -0.0}')
    assert (status, json.loads(data)["cost"]) == (200, 0)
    client.get("/removeAccelerator/k")


@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_at_the_limit_of_size(client: Client, chunked: bool) -> None:
    start, end = b'{"name": "', b'"}'
    for size, expected in ((SIZE_LIMIT, 400), (SIZE_LIMIT + 1, 413)):
        body = start + b"x" * (size - len(start) - len(end)) + end
        given: Any = (body[i : i + 2**20] for i in range(0, len(body), 2**20)) if chunked else body
        client.connection.request(
            "POST", "/addAccelerator", given, {"Content-Type": "application/json"}, encode_chunked=chunked
        )
        answer = client.connection.getresponse()
        assert answer.status == expected
        assert len(json.loads(answer.read())["message"]) < 1000
        client.connection.close()


@pytest.mark.parametrize(
    "kind", ["text/plain", "multipart/form-data", "application/x-www-form-urlencoded", "a", "\xff", ""]
)
def test_the_content_type_plays_no_part(client: Client, kind: str) -> None:
    status, _, data = client.ask(
        "POST", "/setCapacity", b'{"type": "t", "count": 3}', headers={"Content-Type": kind}
    )
    assert (status, json.loads(data)) == (200, {"type": "t", "count": 3})


NAMES = (
    *("a/b", "a//b", "a/", "/a", ".", "..", "../../etc/passwd", "%2F", "%", "a%b", "%zz", "a+b"),
    *("ü/漢字", "a\nb", "\r\nSet-Cookie: x", "\x00", "\x7f", "\u202e", " ", "?x=1", "#", "{}", "{name}"),
    *("'", '"', "\\", "<script>", "null", "0", "-", "x" * 512, "漢" * 512, "\U0001f9ea", "\ud7ff\uffff"),
)


@pytest.mark.parametrize("name", NAMES)
def test_names_of_any_characters(client: Client, name: str) -> None:
    there = quote(name, safe="")
    given = {"name": name, "type": name, "cost": 3}
    assert client.post("/addAccelerator", given)["name"] == name
    assert client.get(f"/getAccelerator/{there}")["name"] == name
    assert client.get(f"/addModel/{there}") == name
    entry = {"name": name, "acc": name, "maxBatchSize": 4, "perfParms": {"alpha": 1}}
    assert client.post("/addModelAcceleratorPerf", entry)["acc"] == name
    assert client.get(f"/getModelAcceleratorPerf/{there}/{there}")["perfParms"]["alpha"] == 1
    assert client.get(f"/addServiceClass/{there}/7")["priority"] == 7
    target = {"name": name, "priority": 7, "modelTargets": [{"model": name, "slo-itl": 9}]}
    client.post("/addServiceClassModelTargets", target)
    assert client.get(f"/getServiceClassModelTarget/{there}/{there}")["slo-itl"] == 9
    assert client.post("/setCapacity", {"type": name, "count": 2})["count"] == 2
    server = {"name": name, "class": name, "model": name}
    server |= {"currentAlloc": {"load": {"arrivalRate": 60, "avgOutTokens": 10}}}
    client.post("/addServer", server)
    assert client.post("/optimize", {})["allocations"][name]["accelerator"] == name
    assert client.get("/applyAllocation") == "Done"
    assert client.get(f"/removeServer/{there}")["currentAlloc"]["accelerator"] == name
    client.get(f"/removeServiceClassModelTarget/{there}/{there}")
    client.get(f"/removeServiceClass/{there}")
    client.get(f"/removeModelAcceleratorPerf/{there}/{there}")
    client.get(f"/removeModel/{there}")
    client.get(f"/removeCapacity/{there}")
    client.get(f"/removeAccelerator/{there}")
    status, _, data = client.ask("GET", f"/getAccelerator/{there}")
    assert (status, json.loads(data)["message"]) == (404, f"accelerator {name} not found")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/addModel/" + "x" * 513, 400),
        ("/addModel/" + "x" * 100_000, 400),
        ("/addModel/", 404),
        ("/addModel", 404),
        ("/addServiceClass/c/1e3", 400),
        ("/addServiceClass/c/" + "9" * 5000, 400),
        ("/addServiceClass/c/%D9%A1", 400),
        ("/addServiceClass/c", 404),
        ("/addModel/%ff%fe", 200),
        ("/addModel/%", 200),
        ("/../addModel/x", 404),
        ("/optimizeOne/", 404),
        ("/openapi.json/x", 404),
        ("/docs/../../x", 404),
        ("/docs/%2e%2e%2fservice.py", 404),
    ],
)
def test_paths_that_make_no_sense(client: Client, path: str, expected: int) -> None:
    status, _, data = client.ask("GET", path)
    assert status == expected, data
    client.connection.close()
    if status == 200:
        client.get(f"/removeModel/{path.split('/')[2]}")


def test_other_verbs_change_nothing(client: Client) -> None:
    client.get("/addModel/stays")
    before = shown(client)
    paths = (
        *POSTS,
        *GETS,
        "/removeModel/stays",
        "/addModel/x",
        "/applyAllocation",
        "/metrics",
        "/healthz",
        "/docs",
    )
    for method in ("HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "FOO"):
        for path in (*paths, "/", "*", "/nowhere"):
            status = client.ask(method, path)[0]
            assert status in (200, 204, 404, 405) if method == "OPTIONS" else status in (404, 405), (
                method,
                path,
            )
    for path in POSTS:
        assert client.ask("GET", path)[0] == 404
    for path in ("/removeModel/stays", "/addModel/x", "/applyAllocation"):
        assert client.ask("POST", path, {})[0] == 404
    assert shown(client) == before
    client.get("/removeModel/stays")
