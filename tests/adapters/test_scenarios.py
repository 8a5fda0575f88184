"""Scenarios from files, the shipped ones, and the guide's example."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import numpy as np
import pytest

from flyball.adapters.scenarios import read_scenario, shipped_scenario, shipped_scenarios
from flyball.profiles.sample import sample_fleet
from flyball.simulate.load import source
from flyball.spec.profile import IterationTiming
from flyball.spec.scenario import Days, Scenario, Stages, Steady, Trace
from flyball.wire.errors import WireError

NAMES = ["bursts", "day", "llm-d-reference", "outage", "shift"]
GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "scenarios.md"
DOCUMENT = """
apiVersion: flyball/v1
kind: Scenario
name: mine
duration: 10min
fleet: {fleet}
load: [{{server: voice-assistant, arrivals: {{trace: traces/t.csv, scale: 2}}, cached: 10%}}]
"""


def test_what_is_shipped() -> None:
    found = shipped_scenarios()
    assert list(found) == NAMES
    assert all(30 < len(about) < 500 and about.endswith(".") for about in found.values())
    with pytest.raises(WireError, match=r"no such shipped scenario\. Near: outage"):
        shipped_scenario("outages")


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_scenario_fits_together(name: str) -> None:
    scenario = shipped_scenario(name)
    world, fleet = scenario.world, scenario.believed
    assert scenario.name == name
    assert msgspec.json.decode(msgspec.json.encode(scenario), type=Scenario) == scenario
    assert not world.fleet.profiles
    assert world.fleet.servers == fleet.servers
    if name != "day":
        assert 600 <= scenario.duration <= 3600
    assert sorted(s.server for s in world.streams) == sorted(s.name for s in fleet.servers)
    kinds = {a.name: a for a in fleet.accelerators}
    for server in fleet.servers:
        fits = [
            engine
            for engine in world.engines
            if engine.model == server.model
            and kinds[engine.accelerator].multiplicity * engine.accelerator_count
            <= fleet.capacity.get(kinds[engine.accelerator].type, 0)
        ]
        assert fits, server.name
        assert [c for c in fleet.service_classes if c.name == server.service_class and c.models]
    for kind, cards in fleet.capacity.items():
        assert sum(node.cards for node in world.nodes if node.type == kind) >= cards or not world.nodes
        assert kind in {draw.type for draw in world.draws}
    for event in world.events:
        assert 0 < event.at < scenario.duration


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_load_is_what_its_fleet_says(name: str) -> None:
    scenario = shipped_scenario(name)
    rates = {s.name: s.load.arrival_rate for s in scenario.believed.servers}
    for stream in scenario.world.streams:
        first = stream.arrivals
        assert not isinstance(first, Trace)
        assert rates[stream.server] == (first.stages[0].rate if isinstance(first, Stages) else first.rate)
        assert isinstance(first, Steady | Stages | Days)


def test_engines_are_off_by_the_stated_error() -> None:
    for name in ("day", "bursts"):
        scenario = shipped_scenario(name)
        believed = {(p.model, p.accelerator): p for p in scenario.believed.profiles}
        off = []
        for engine in scenario.world.engines:
            timing = believed[engine.model, engine.accelerator].timing
            assert isinstance(timing, IterationTiming)
            keys = [key for key in ("alpha", "beta", "kappa", "delta") if getattr(timing, key)]
            off += [getattr(engine, key) / getattr(timing, key) - 1.0 for key in keys]
        assert np.abs(off).max() <= 0.15
        assert np.std(off) == pytest.approx(0.15 / np.sqrt(3), rel=0.25)


def test_the_reference_episode_is_the_published_one() -> None:
    scenario = shipped_scenario("llm-d-reference")
    (stream,), (server,) = scenario.world.streams, scenario.believed.servers
    arrived = source(stream, np.random.SeedSequence(0)).take(3600.0)
    assert np.histogram(arrived.times, [0, 330, 690, 1050, 1410, 1770, 2130, 2430, 3600])[0].tolist() == [
        *(660, 1440, 2160, 2880, 3600, 1440, 300, 0)
    ]
    assert (arrived.in_tokens.min(), arrived.in_tokens.max()) == (3500, 4500)
    assert (arrived.out_tokens.min(), arrived.out_tokens.max()) == (900, 1100)
    assert arrived.in_tokens.mean() == pytest.approx(4000, abs=15)
    (engine,) = [e for e in scenario.world.engines if e.accelerator == "H100x2"]
    (profile,) = [
        p for p in scenario.believed.profiles if p.model == server.model and p.accelerator == "H100x2"
    ]
    assert profile.timing == IterationTiming(engine.alpha, engine.beta, engine.kappa, engine.delta)
    assert (engine.kv_tokens, scenario.believed.capacity, server.min_replicas) == (307_000, {"H100": 16}, 3)
    assert scenario.world.cold_start == type(scenario.world.cold_start)(100.0, 0.0)
    assert scenario.world.start == {"qwen": {"H100x2": 3}}


def test_the_guides_example_and_tables(tmp_path: Path) -> None:
    guide = GUIDE.read_text("utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    path = tmp_path / "lunch.yaml"
    path.write_text(example)
    scenario = read_scenario(path)
    assert (scenario.name, scenario.duration, scenario.score_from) == ("lunch", 2400.0, 300.0)
    assert [s.server for s in scenario.world.streams] == ["chat", "mail"]
    assert re.findall(r"^\| `([a-z-]+)` \|", guide.partition("## What is shipped")[2], re.MULTILINE) == [
        *("llm-d-reference", "day", "bursts", "outage", "shift")
    ]
    arrivals = re.findall(r"^\| `(.+?)` \|", guide.partition("| `arrivals` |")[2], re.MULTILINE)
    for form in arrivals[:5]:
        if "..." in form or "trace" in form:
            continue
        path.write_text(example.replace("{stages: [[6/s, 10min], [14/s, 20min], [6/s, 10min]]}", form))
        assert read_scenario(path).world.streams[0].server == "chat"
    (code,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    exec(compile(code, str(GUIDE), "exec"), {})


def test_fleets_and_traces_are_found_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(DOCUMENT.format(fleet="sample"))
    with pytest.raises(WireError, match="there is no such trace"):
        read_scenario(path)
    (tmp_path / "traces").mkdir()
    (tmp_path / "traces" / "t.csv").write_text("time,input,output\n3,100,10\n4,50,5\n")
    scenario = read_scenario(path)
    assert scenario.believed == sample_fleet()
    first = scenario.world.streams[0]
    assert isinstance(first.arrivals, Trace)
    assert (first.arrivals.times, first.arrivals.scale, first.cached_share) == ((0.0, 1.0), 2.0, 0.1)
    path.write_text(DOCUMENT.format(fleet="fleet.yaml"))
    with pytest.raises(WireError, match=r"fleet\.yaml: there is no such file"):
        read_scenario(path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(WireError, match="there is no such scenario"):
        read_scenario(tmp_path / "none.yaml")
    with pytest.raises(WireError, match="cannot be read"):
        read_scenario(tmp_path)


def test_a_scenario_may_take_the_library(tmp_path: Path) -> None:
    path = tmp_path / "library.yaml"
    path.write_text(
        """
apiVersion: flyball/v1
kind: Scenario
name: one
duration: 10min
fleet:
  catalogue: library
  capacity: {H100: 8}
  classes: [{name: Premium, priority: 1, targets: {ttft: p95<1s}}]
  servers: [{name: s, model: meta-llama/Llama-3.1-8B, class: Premium, rate: 4/s, in: 800, out: 200}]
truth: {error: 15%, seed: 1}
load: [{server: s, arrivals: 4/s, in: 800, out: 200}]
"""
    )
    scenario = read_scenario(path)
    assert {p.accelerator for p in scenario.believed.profiles} >= {"H100"}
    assert {e.accelerator for e in scenario.world.engines} == {
        p.accelerator for p in scenario.believed.profiles
    }
    (engine, profile) = scenario.world.engines[0], scenario.believed.profiles[0]
    assert isinstance(profile.timing, IterationTiming)
    assert engine.alpha != profile.timing.alpha
