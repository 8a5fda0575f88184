"""`flyball power` as it is typed: algorithms, what a ledger says of watts, and a cut on paper."""

from __future__ import annotations

import json
import sqlite3
import zlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flyball.adapters.ledger import Ledger
from flyball.decide.law import Flyball
from flyball.loop.runner import Runner
from flyball.power.algorithms.find import BUILT_IN
from flyball.spec.decision import Order
from flyball.spec.power import Domain, PowerSeen
from flyball.spec.snapshot import Scrape
from tests.commands.terminal import Outcome, flyball
from tests.decide.powered import PoweredRun, policy, rack
from tests.decide.worlds import PERIOD, fleet_of, server_of, world_of

BUDGET, LATER = 40_000.0, 16_000.0
"""Some 20 kW are drawn."""


class Watts:
    """The powered world as the port sees it."""

    def __init__(self, run: PoweredRun) -> None:
        self.run = run

    def look(self, seen: Scrape) -> PowerSeen:
        return self.run.seen()


def recorded(
    path: Path,
    mode: str = "Enforce",
    cycles: int = 40,
    watts: float | None = BUDGET,
    later: float | None = None,
) -> None:
    """A ledger of a gold and a bulk server under 200/s; the budget becomes `later` after two thirds."""
    servers = [server_of("gold", "Gold", 200.0), server_of("bulk", "Bronze", 200.0)]
    world = world_of(fleet_of(servers, {"A": 60, "B": 60}), lambda name, t: 200.0, cold_start=30.0)
    domains = (Domain("site", "Site", watts=watts), rack("r0", None), rack("r1", None))
    run = PoweredRun(world, domains, (policy(mode),))
    ledger = Ledger(path, version("flyball"), checkpoint=7)
    power = Watts(run) if watts is not None else None
    runner = Runner(
        *(Flyball(), world, world, world, world, ledger), limit=None, wall=lambda: world.time, power=power
    )
    for number in range(cycles):
        if later is not None and number == 2 * cycles // 3:
            run.domains = (Domain("site", "Site", watts=later), *domains[1:])
        cycle = runner.cycle()
        assert cycle is not None
        assert not cycle.errors
        world.step(PERIOD)
    ledger.close()


@pytest.fixture(scope="module")
def enforced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("enforced") / "ledger.sqlite"
    recorded(path)
    return path


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its budget is really cut."""
    path = tmp_path_factory.mktemp("cut") / "ledger.sqlite"
    recorded(path, later=LATER, cycles=60)
    return path


def power(*arguments: object) -> Outcome:
    return flyball("power", *arguments)


def drilled(*arguments: object) -> tuple[int, dict[str, Any]]:
    done = power("drill", *arguments, "--json")
    return done.code, json.loads(done.out)


# ---- algorithms --------------------------------------------------------------------------------


@pytest.mark.slow
def test_all_algorithms_are_listed() -> None:
    done = power("algorithms")
    assert (done.code, done.err) == (0, "")
    for name in BUILT_IN:
        assert f" {name} " in done.out
    assert "Most tokens per watt first, replica by replica" in done.out
    assert "margin: float = 0.0" in done.out
    found = json.loads(power("algorithms", "--json").out)
    assert {a["name"] for a in found["algorithms"]} >= set(BUILT_IN)
    assert isinstance(found["lacks"], list)


# ---- the ledger --------------------------------------------------------------------------------


def test_what_was_seen_of_power_is_kept_and_decides_the_same_again(cut: Path) -> None:
    book = Ledger(cut, version("flyball"))
    cycle = book.cycle(60)
    book.close()
    assert cycle.snapshot.power is not None
    assert [d.watts for d in cycle.snapshot.power.domains] == [LATER, None, None]
    assert cycle.decision is not None
    assert cycle.decision.power is not None
    done = flyball("replay", 60, "--ledger", cut)
    assert "the same to the bit" in done.out


def test_advice_is_kept_too_and_older_ledgers_can_be_read(enforced: Path, tmp_path: Path) -> None:
    was = Ledger(enforced, "x")
    cycle = was.cycle(1)
    was.close()
    advised = msgspec.structs.replace(
        cycle, snapshot=msgspec.structs.replace(cycle.snapshot, advice=(Order("gold", "A", 3),))
    )
    path = tmp_path / "ledger.sqlite"
    book = Ledger(path, "x")
    book.record(advised, None)
    assert book.cycle(1) == advised
    with sqlite3.connect(path) as db:
        ((rest,),) = db.execute("SELECT rest FROM cycles").fetchall()
        older = msgspec.msgpack.decode(zlib.decompress(rest))[:5]
        db.execute("UPDATE cycles SET rest = ?", (zlib.compress(msgspec.msgpack.encode(older)),))
    assert book.cycle(1).snapshot == msgspec.structs.replace(cycle.snapshot, power=None)
    book.close()


# ---- report ------------------------------------------------------------------------------------


def test_the_report_adds_up(cut: Path) -> None:
    found = json.loads(power("report", cut, "--json").out)
    book = Ledger(cut, "x")
    states = []
    for number in range(1, 61):
        decision = book.cycle(number).decision
        assert decision is not None
        assert decision.power is not None
        states.append(decision.power.domains[0])
    book.close()
    site = found["domains"][0]
    assert (found["cycles"], found["seconds"]) == (60, 60 * PERIOD)
    assert site["domain"] == "site"
    assert sum(site["minutes"].values()) == pytest.approx(15.0)
    for level in ("normal", "hold", "shed"):
        assert site["minutes"][level] == pytest.approx(sum(s.level == level for s in states) * PERIOD / 60)
    assert site["mean"] == pytest.approx(sum(s.watts for s in states) / 60)
    assert site["peak"] == max(s.watts for s in states)
    assert (site["budget"], site["lowest_budget"]) == (LATER, LATER)
    over = [s for s in states if s.budget is not None and s.watts > s.budget]
    assert site["seconds"] == len(over) * PERIOD
    assert site["joules"] == pytest.approx(sum(PERIOD * (s.watts - (s.budget or 0.0)) for s in over))
    (one,) = found["policies"]
    assert one["policy"] == "infer/all"
    assert one["held"] > 100.0
    assert one["energy"] == pytest.approx(one["held"] * found["seconds"])
    assert one["advised"] == 0.0
    assert found["advice"] == []


def test_what_is_recommended_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    recorded(path, "Recommend", watts=15_000.0)
    found = json.loads(power("report", path, "--json").out)
    assert [p["held"] for p in found["policies"]] == [0.0]
    assert found["policies"][0]["advised"] > 100.0
    assert found["domains"][0]["exceeded"] == 1
    assert found["domains"][0]["seconds"] >= 2 * PERIOD
    bulk = next(a for a in found["advice"] if a["server"] == "bulk")
    assert (bulk["policy"], bulk["domain"], bulk["lever"], bulk["times"]) == (
        "infer/all",
        "site",
        "replicas",
        2,
    )
    assert bulk["watts"] > 0
    assert bulk["minutes"] > 1
    shown = power("report", path, "--plot").out
    assert "site: watts against its budget" in shown
    assert "1 time, " in shown
    assert "infer/all" in shown


def test_a_part_of_the_time_and_of_the_domains(enforced: Path) -> None:
    found = json.loads(power("report", enforced, "--since", "2min", "--domain", "r1", "--json").out)
    assert found["cycles"] == 9
    assert [d["domain"] for d in found["domains"]] == ["r1"]


# ---- drill -------------------------------------------------------------------------------------


def test_what_fits_stays(enforced: Path) -> None:
    code, found = drilled(enforced, "--cut", "1%")
    assert code == 0
    assert (found["turns"], found["shed"], found["lost"], found["holds"]) == ([], [], 0.0, True)
    shown = power("drill", enforced, "--cut", "1%")
    assert "It holds as it is, at level " in shown.out
    assert "From cycle 40" in shown.out


def test_the_least_important_pays_step_by_step_until_it_holds(enforced: Path) -> None:
    (site,) = drilled(enforced)[1]["domains"]
    cut = f"{100 - 85 * site['before'] / BUDGET:.1f}%"
    code, found = drilled(enforced, "--cut", cut)
    assert code == 0
    (site,) = found["domains"]
    assert site["budget"] == BUDGET
    assert site["cut_to"] == pytest.approx(0.85 * site["before"], rel=0.01)
    assert site["after"] <= site["threshold"] < site["before"]
    assert found["shed"][0]["server"] == "bulk"
    assert site["before"] - site["after"] == pytest.approx(sum(s["watts"] for s in found["shed"]))
    for one in found["shed"]:
        steps = [t["replicas"][one["server"]] for t in found["turns"] if one["server"] in t["replicas"]]
        assert steps[-1] == one["after"]
        assert steps == sorted(steps, reverse=True)
    assert found["seconds"] == (len(found["turns"]) - 1) * PERIOD + 2 * PERIOD
    watts = [turn["watts"]["site"] for turn in found["turns"]]
    assert watts == sorted(watts, reverse=True)
    assert watts[-1] == pytest.approx(site["after"])
    shown = power("drill", enforced, "--cut", cut).out
    assert "Priority 2 sheds first." in shown
    assert "It holds: " in shown


def test_a_deeper_cut_never_leaves_more(enforced: Path) -> None:
    after = [drilled(enforced, "--cut", f"{n}%")[1]["domains"][0]["after"] for n in (20, 40, 60, 80)]
    assert after == sorted(after, reverse=True)


def test_what_cannot_be_held_is_said(enforced: Path) -> None:
    code, found = drilled(enforced, "--cut", "98%")
    assert code == 3
    assert not found["holds"]
    assert found["domains"][0]["short"] > 0
    assert {s["after"] for s in found["shed"]} == {1}
    assert found["turns"][-1]["at_once"]
    assert "raise the budget" in found["infeasible"][0]
    assert "It does NOT hold" in power("drill", enforced, "--cut", "98%").out


def test_any_cycle_and_a_snapshot_can_be_drilled(enforced: Path, tmp_path: Path) -> None:
    _, early = drilled(enforced, "--cycle", 2)
    assert early["notes"] == [f"From cycle 2 of {enforced}."]
    book = Ledger(enforced, "x")
    path = tmp_path / "snapshot.json"
    path.write_bytes(msgspec.json.encode(book.cycle(40).snapshot))
    book.close()
    code, found = drilled(path, "--cut", "60%")
    assert code == 0
    assert found["shed"]
    assert "without a memory" in found["notes"][0]


# ---- what is wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--cut", "120%"), "a share from 0 to 99%"),
        (("--domain", "r9"), "there is no domain r9; domains with a budget: site"),
        (("--domain", "r0"), "r0 has no budget; domains with a budget: site"),
        (("--cycle", "41"), "there is no cycle 41; it has 1 to 40"),
    ],
)
def test_what_is_wrong_with_a_drill_is_said(enforced: Path, arguments: tuple[str, ...], said: str) -> None:
    done = power("drill", enforced, *arguments)
    assert done.code == 2
    assert said in done.err


def test_what_is_wrong_with_a_file_is_said(enforced: Path, tmp_path: Path) -> None:
    bare, text = tmp_path / "bare.sqlite", tmp_path / "text"
    recorded(bare, cycles=2, watts=None)
    text.write_text("{", "utf-8")
    for command in ("report", "drill"):
        done = power(command, tmp_path / "none")
        assert done.code == 2
        assert "none: there is no such" in done.err
        done = power(command, bare)
        assert done.code == 2
        assert "looked at power" in done.err
    assert "is neither a ledger nor a snapshot" in power("drill", text).err
    assert power("report", text).code == 2
    assert "--since" in power("report", enforced, "--since", "soon").err
    done = power("report", enforced, "--domain", "r9")
    assert (done.code, "there are site, r0, r1" in done.err) == (2, True)
