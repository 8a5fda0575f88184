"""Any bytes in: a plan or a clear error, in good time, without a traceback and without a nan."""

from __future__ import annotations

import copy
import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.commands.samples import ALL, sample, two_servers
from tests.commands.terminal import Outcome, flyball
from tests.wire.inferno_samples import parts_of

SECONDS = 2.0
"""In which a small fleet is planned on an otherwise idle machine."""
HANGING = 20.0
NOT_NUMBERS = re.compile(r"(?<!\w)-?\.?(nan|inf|NaN|Infinity|None)(?!\w)")
MODES: list[tuple[str, ...]] = [
    (),
    ("--format", "json"),
    ("--format", "yaml"),
    ("--format", "csv"),
    ("--solver", "exact"),
    ("--solver", "greedy"),
    ("--solver", "unlimited"),
    ("--what-if", "load*2"),
]
ONE_SERVER: list[tuple[str, ...]] = [("--explain", "chat"), ("--plot",), ("--explain", "chat", "--plot")]
NUMBERS = st.sampled_from(
    [0, 1, 2, 3, 7, 100, 4096, 65536, 10**6, 10**7, 10**9, 1e12, 0.5, 1e-3, 1e-6, 1e-12, -1, -0.5]
)
DURATIONS = [
    "0s",
    "1ns",
    "1us",
    "1ms",
    "1s",
    "1e5s",
    "p95<1ns",
    "p99.999999<1s",
    "p1<1s",
    "mean<1e6s",
    "none",
]
AMOUNTS = ["0", "1/s", "1e6/s", "1e-9/s", "1e7", "65536", "1.5k", "unbounded"]
ODD: list[Any] = [None, True, False, "", "x", "A100", "chat", [], {}, "\x00", "é" * 600]


def planned(data: bytes, *mode: str, limit: float = HANGING) -> Outcome:
    """What the command answers to these bytes, once it is known to be in good order."""
    began = time.perf_counter()
    outcome = flyball("plan", "-", *mode, stdin=data)
    assert time.perf_counter() - began < limit
    assert outcome.code in (0, 2, 3), outcome.err
    assert not NOT_NUMBERS.search(outcome.out), outcome.out
    if outcome.code == 2:
        assert outcome.out == ""
        assert outcome.err.startswith("flyball: ")
        assert "Traceback" not in outcome.err
    else:
        assert outcome.err == ""
    return outcome


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to everything in a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in items:
        yield (*path, key)
        yield from places(below, (*path, key))


@st.composite
def documents(draw: st.DrawFn, *, wild: bool) -> dict[str, Any]:
    """A sample document with some of its values changed; `wild`: to any type, or left out."""
    generation = draw(st.sampled_from(sorted(ALL)))
    document = sample(generation)
    if generation != "flyball" and draw(st.booleans()):
        document = two_servers(generation, draw(st.sampled_from([0, 1, 3, 8])))
        policy = draw(st.sampled_from(["None", "PriorityExhaustive", "PriorityRoundRobin", "RoundRobin"]))
        changes = {"saturationPolicy": policy, "heterogeneous": draw(st.booleans())}
        parts_of(document)["optimizer"].update(changes)
    for _ in range(draw(st.integers(1, 5))):
        ways = sorted(places(document), key=str)
        if not ways:
            break
        path = draw(st.sampled_from(ways))
        parent = document
        for key in path[:-1]:
            parent = parent[key]
        if wild and draw(st.booleans()):
            _change(draw, parent, path[-1])
        elif isinstance(parent[path[-1]], bool):
            parent[path[-1]] = not parent[path[-1]]
        elif isinstance(parent[path[-1]], int | float):
            parent[path[-1]] = draw(NUMBERS)
        elif isinstance(parent[path[-1]], str) and parent[path[-1]][:1] in "0123456789pm":
            parent[path[-1]] = draw(st.sampled_from(DURATIONS + AMOUNTS))
    return document


def _change(draw: st.DrawFn, parent: Any, key: Any) -> None:
    kind = draw(st.sampled_from(["replace", "remove", "repeat"]))
    if kind == "replace":
        parent[key] = draw(st.sampled_from(ODD) | NUMBERS)
    elif kind == "remove":
        del parent[key]
    elif isinstance(parent, list):
        parent.append(copy.deepcopy(parent[key]))


@given(st.binary(max_size=200), st.sampled_from(MODES))
@example(b'{"a": "\xed\xa0\x80"}', ())
@example(b'{"servers": [{"name": "\\ud800"}]}', ())
@example(b"\xff\xfe{\x00}\x00", ())
@example(b"[" * 100_000, ())
@example(b"&a [*a]", ())
def test_any_bytes(data: bytes, mode: tuple[str, ...]) -> None:
    planned(data, *mode)


@given(documents(wild=True), st.sampled_from(MODES))
def test_changed_documents(document: dict[str, Any], mode: tuple[str, ...]) -> None:
    planned(json.dumps(document).encode(), *mode)


@given(documents(wild=False), st.sampled_from(MODES))
def test_extreme_numbers(document: dict[str, Any], mode: tuple[str, ...]) -> None:
    planned(json.dumps(document).encode(), *mode)


@given(st.sampled_from(sorted(ALL)), st.integers(0, 10_000), st.integers(0, 255))
def test_one_damaged_byte(generation: str, position: int, byte: int) -> None:
    data = bytearray(json.dumps(sample(generation)).encode())
    data[position % len(data)] = byte
    planned(bytes(data))


@settings(max_examples=20)
@given(documents(wild=False), st.sampled_from(ONE_SERVER))
def test_everything_about_one_server(document: dict[str, Any], mode: tuple[str, ...]) -> None:
    planned(json.dumps(document).encode(), *mode)


@settings(max_examples=20)
@given(documents(wild=False))
def test_the_page(tmp_path_factory: pytest.TempPathFactory, document: dict[str, Any]) -> None:
    page = tmp_path_factory.mktemp("page") / "x.html"
    began = time.perf_counter()
    outcome = flyball("plan", "-", "--format", "csv", "--report", page, stdin=json.dumps(document).encode())
    assert outcome.code in (0, 2, 3)
    assert time.perf_counter() - began < HANGING
    if outcome.code != 2:
        visible = page.read_text("utf-8").partition("<script")[0].partition("<body>")[2]
        assert not NOT_NUMBERS.search(re.sub(r"<[^>]*>", " ", visible))


@given(st.text(max_size=60))
@example("load[chat*2")
@example("load*1e999")
@example("capacity=1e308")
@example("load[[]*2")
def test_any_what_if(text: str) -> None:
    planned(json.dumps(two_servers()).encode(), "--what-if=" + text)


@given(st.lists(st.text(max_size=12) | st.sampled_from(["--format", "--rate", "--model", "-o"]), max_size=4))
def test_any_arguments(arguments: list[str]) -> None:
    # Options that serve, or write somewhere, stand in tests of their own.
    if not any(a.startswith(("-o", "--o", "--rep", "--ser", "--inst")) for a in arguments):
        assert flyball("plan", *arguments).code in (0, 2, 3)


EXTREMES: list[tuple[str, Any]] = [
    ("models.0.maxBatchSize", 65536),
    ("servers.0.maxBatchSize", 65536),
    ("servers.0.currentAlloc.load.arrivalRate", 1e9),
    ("servers.0.currentAlloc.load.arrivalRate", 1e-9),
    ("accelerators.0.cost", 0),
    ("accelerators.0.cost", 1e12),
    ("count.0.count", 0),
    ("models.0.accCount", 10**9),
    ("servers.0.minNumReplicas", 10**9),
    ("serviceClasses.0.modelTargets.0.slo-itl", 1e-9),
    ("serviceClasses.0.modelTargets.0.slo-tps", 1e12),
]


@pytest.mark.speed
@pytest.mark.parametrize("generation", ["G1", "G2", "G3"])
@pytest.mark.parametrize(("place", "value"), EXTREMES)
def test_legal_extremes(generation: str, place: str, value: float) -> None:
    document = two_servers(generation, cards=100)
    *way, last = place.split(".")
    parent: Any = parts_of(document)
    for key in way:
        parent = parent[int(key)] if key.isdigit() else parent[key]
    parent[last] = value
    for mode in ((), ("--format", "json")):
        assert planned(json.dumps(document).encode(), *mode, limit=SECONDS).code in (0, 3)


@pytest.mark.speed
@pytest.mark.parametrize(
    "change",
    [
        {"rate": "1e6/s"},
        {"in": 1e7, "out": 1e7},
        {"out": 1},
        {"in": 0},
        {"maxBatch": 65536},
        {"min": 10**9},
        {"rate": "0.000001/s"},
        {"queue": 10**9},
    ],
)
def test_legal_extremes_of_the_own_form(change: dict[str, Any]) -> None:
    document = sample("flyball")
    document["servers"][0].update(change)
    for mode in ((), ("--format", "yaml"), ("--solver", "unlimited")):
        assert planned(json.dumps(document).encode(), *mode, limit=SECONDS).code in (0, 3)


@pytest.mark.soak
class TestCampaign:
    """The same with many more examples."""

    @settings(max_examples=5000)
    @given(documents(wild=True), st.sampled_from(MODES))
    def test_changed_documents(self, document: dict[str, Any], mode: tuple[str, ...]) -> None:
        planned(json.dumps(document).encode(), *mode)

    @settings(max_examples=5000)
    @given(documents(wild=False), st.sampled_from(MODES))
    def test_extreme_numbers(self, document: dict[str, Any], mode: tuple[str, ...]) -> None:
        planned(json.dumps(document).encode(), *mode)

    @settings(max_examples=1000)
    @given(documents(wild=False), st.sampled_from(ONE_SERVER))
    def test_everything_about_one_server(self, document: dict[str, Any], mode: tuple[str, ...]) -> None:
        planned(json.dumps(document).encode(), *mode)

    @settings(max_examples=20_000)
    @given(st.binary(max_size=2000))
    def test_any_bytes(self, data: bytes) -> None:
        planned(data)
