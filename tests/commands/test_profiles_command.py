"""`flyball profiles`: what comes out for what goes in, with which exit code; nothing is lost on bad input."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from unittest import mock

import pytest

from flyball.commands.profiles_exchange import PACKAGES
from flyball.profiles.latency import entries
from flyball.report.profiles import FIELDS
from flyball.spec.library import Entry
from flyball.spec.profile import IterationTiming
from flyball.wire.catalogue import catalogue_from_own
from flyball.wire.library import entries_from_csv, entries_to_csv
from flyball.wire.text import decode
from tests.commands.samples import sample, written
from tests.commands.terminal import flyball
from tests.report.builders import data_of
from tests.wire.test_aiconfigurator import ROW, table

RUNS = """concurrency,input_tokens,output_tokens,tpot_ms,ttft_ms
1,1000,300,7.1,62
4,1000,300,7.6,75
16,1000,300,9.3,110
32,1000,300,11.4,160
64,1000,300,33,260
16,3000,300,12.4,190
32,3000,300,17.6,320
"""
KNOWN = ("--model", "Llama-3.1-8B", "--card", "H100")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Seven runs, of which that on line 6 is out of place."""
    file = tmp_path / "runs.csv"
    file.write_text(RUNS, "utf-8")
    return file


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


# ---- list --------------------------------------------------------------------------------------


def test_list_shows_every_entry() -> None:
    done = flyball("profiles", "list", "--format", "csv")
    assert (done.code, done.err) == (0, "")
    found = rows(done.out)
    assert len(found) == len(entries())
    assert tuple(found[0]) == FIELDS
    assert all(float(r["itl_1_low_s"]) < float(r["itl_1_s"]) < float(r["itl_1_high_s"]) for r in found)
    assert all(float(r["itl_1_s"]) < float(r["itl_64_s"]) for r in found)


def test_list_keeps_what_is_asked_for_in_every_format() -> None:
    asked = ("--model", "llama-3.1-70b-instruct", "--card", "H200", "--engine", "vllm", "--tier", "measured")
    as_json = json.loads(flyball("profiles", "list", *asked, "--format", "json").out)
    as_csv = rows(flyball("profiles", "list", *asked, "--format", "csv").out)
    shown = flyball("profiles", "list", *asked).out
    assert len(as_json) == len(as_csv) > 1
    assert {(r["card"], r["engine"], r["tier"]) for r in as_json} == {("H200", "vllm", "measured")}
    assert f"{len(as_json)} of {len(entries())} entries: {len(as_json)} measured, 0 op-level." in shown
    assert "8 x H200" in shown


def test_a_suspect_entry_says_why() -> None:
    shown = " ".join(flyball("profiles", "list", "--model", "Llama-3.1-8B", "--tier", "measured").out.split())
    assert "SUSPECT: a prefix cache held" in shown


@pytest.mark.parametrize(
    ("asked", "near"),
    [(("--model", "Lama-3.1-8B"), "Llama-3.1-8B"), (("--card", "H10"), "H100")],
)
def test_unknown_names_have_near_ones(asked: tuple[str, str], near: str) -> None:
    done = flyball("profiles", "list", *asked)
    assert done.code == 2
    assert near in done.err.partition("Near: ")[2]


def test_nothing_found_says_how_to_go_on() -> None:
    done = flyball("profiles", "list", "--model", "gemma-2-9b")
    assert (done.code, "0 of" in done.out) == (0, True)
    assert "flyball profiles show gemma-2-9b" in done.out


def test_entries_of_ones_own_stand_beside_the_librarys(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text(entries_to_csv(entries()[:1]).replace(entries()[0].model, "us/own"), "utf-8")
    assert "1 of" in flyball("profiles", "list", "--model", "own", "--add", file).out
    elsewhere = entries_to_csv(e for e in entries()[:1]).replace(",B200,", ",X1,")
    file.write_text(elsewhere, "utf-8")
    assert flyball("profiles", "show", entries()[0].model, "--add", file).code == 0
    assert "1 of" in flyball("profiles", "list", "--card", "x1", "--add", file).out
    file.write_text("model\nx\n", "utf-8")
    assert flyball("profiles", "list", "--add", file).code == 2
    assert flyball("profiles", "list", "--add", tmp_path / "none.csv").code == 2


# ---- show --------------------------------------------------------------------------------------


def test_show_says_all_of_a_pair() -> None:
    done = flyball("profiles", "show", "Llama-3.1-8B", "--card", "H100", "--plot")
    assert (done.code, done.err) == (0, "")
    for words in ("441,808", "estimated from the TDP (700 W a card)", "gamma", "measured kernels on 1 H100"):
        assert words in done.out
    times = dict(re.findall(r"^\s+(\d+)\s+([\d.]+) ms\s+[\d.]+ ms to", done.out, re.MULTILINE))
    assert list(times) == ["1", "2", "4", "8", "16", "32", "64", "128", "256"]
    assert sorted(times.values(), key=float) == list(times.values())
    assert "Time between tokens over the batch on 1 x H100, 1,000 in, 300 out" in done.out


def test_show_reckons_what_is_not_in_the_library() -> None:
    done = flyball("profiles", "show", "gemma-2-9b", "--card", "MI300X")
    assert done.code == 0
    assert "reckoned by the roofline of 1 MI300X, not measured" in done.out
    assert "flyball profiles fit" in done.out


def test_show_chooses_cards_and_says_what_does_not_fit() -> None:
    assert flyball("profiles", "show", "Llama-3.1-70B").out.count(" x ") > 4
    assert "reckoned" in flyball("profiles", "show", "gemma-2-9b").out
    small = flyball("profiles", "show", "Llama-3.1-70B", "--card", "L4", "--tp", "1")
    assert small.out.count("does not fit") >= 2
    assert "more cards with --tp" in small.out


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("Lama-8B",), "Near: "),
        (("Llama-3.1-8B", "--card", "H1000"), "Near: H100"),
        (("Llama-3.1-8B", "--precision", "fp7"), "fp8"),
        (("Llama-3.1-8B", "--tp", "0"), "allowed are 1 to 64"),
        (("Llama-3.1-8B", "--in", "many"), "a number of tokens"),
        (("Llama-3.1-8B", "--out", "0"), "a token at least"),
    ],
)
def test_show_refuses_what_it_does_not_know(asked: tuple[str, ...], said: str) -> None:
    done = flyball("profiles", "show", *asked)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


# ---- fit ---------------------------------------------------------------------------------------


def test_fit_learns_sets_aside_and_says_what_it_cannot_know(runs: Path, tmp_path: Path) -> None:
    profile = tmp_path / "p.yaml"
    done = flyball("profiles", "fit", runs, *KNOWN, "--plot", "--output", profile)
    assert done.code == 0
    for words in (
        *("fitted to 6 measurements, 1 of 7 set aside", "Set aside: line 6 lies far from all others"),
        *("Not identified: beta", "Of a shape that was left out", "Time between tokens: measured and fitted"),
        *("learnt from the time to first token", "Residuals: measured over fitted"),
    ):
        assert words in done.out
    made = catalogue_from_own(decode(profile.read_bytes(), "p"), "p")
    (found,) = made.profiles
    assert isinstance(found.timing, IterationTiming)
    assert found.uncertainty is not None
    assert found.timing.alpha == pytest.approx(7e-3, rel=0.02)
    assert found.uncertainty.alpha < 0.06
    assert (made.accelerators[0].name, found.kv_tokens) == ("H100", 441_808)


def test_a_fitted_profile_stands_in_a_fleet_as_it_is(runs: Path, tmp_path: Path) -> None:
    profile = tmp_path / "p.yaml"
    assert flyball("profiles", "fit", runs, *KNOWN, "--output", profile).code == 0
    made = decode(profile.read_bytes(), "p")
    assert isinstance(made, dict)
    fleet = sample("flyball") | {key: made[key] for key in ("accelerators", "profiles")}
    fleet["capacity"] = {"H100": 8}
    for server in fleet["servers"]:
        server["model"] = "meta-llama/Llama-3.1-8B"
    done = flyball("plan", written(tmp_path / "fleet.json", fleet))
    assert done.code == 0
    assert "x H100, batch" in done.out


def test_fit_of_something_unknown_has_a_weak_prior_and_says_so(runs: Path) -> None:
    done = flyball("profiles", "fit", runs, "--model", "ours", "--card", "X1", "--tp", "2", "--output", "-")
    assert done.code == 0
    made = catalogue_from_own(decode(done.out.encode(), "out"), "out")
    assert (made.profiles[0].model, made.profiles[0].accelerator) == ("ours", "X1x2")
    assert "prior: next to nothing" in made.profiles[0].source
    shown = flyball("profiles", "fit", runs, "--model", "Lama-3.1-8B")
    assert "there is no such model. Near: Llama-3.1-8B" in shown.out
    assert "--card is not said" in shown.out


def test_the_prior_that_is_asked_for(runs: Path) -> None:
    said = {
        name: flyball("profiles", "fit", runs, *KNOWN, "--prior", name).out.splitlines()[0]
        for name in ("library", "roofline", "none")
    }
    assert "measured kernels" in said["library"]
    assert "reckoned by the roofline" in said["roofline"]
    assert said["none"].endswith("Prior: next to nothing.")
    refused = flyball("profiles", "fit", runs, "--model", "ours", "--prior", "library")
    assert (refused.code, refused.out) == (2, "")
    assert "known" in refused.err


def test_fit_reads_standard_input(runs: Path) -> None:
    done = flyball("profiles", "fit", "-", *KNOWN, stdin=runs.read_bytes())
    assert "fitted to 6 measurements" in done.out


def test_the_report_has_fit_and_residuals(runs: Path, tmp_path: Path) -> None:
    page = tmp_path / "fit.html"
    assert flyball("profiles", "fit", runs, *KNOWN, "--report", page).code == 0
    html = page.read_text("utf-8")
    ((fitted, residuals),) = (server["charts"] for server in data_of(html)["servers"])
    measured = [v for v in fitted["lines"]["1,000 in, 300 out, measured"] if v is not None]
    assert measured == [7.1, 7.6, 9.3, 11.4]
    assert [v for v in fitted["lines"]["set aside"] if v is not None] == [33.0]
    assert residuals["range"] == [-10.0, 10.0]
    assert "http://" not in html.split("<script>")[0]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("tpot_ms", "tpot", "does not say its unit"),
        ("concurrency", "concurency", "Near: concurrency"),
        ("input_tokens", "prompts", "lack input_tokens"),
        ("9.3", "fast", "line 4, tpot_ms"),
        ("9.3", "0", "line 4, tpot_ms"),
        (RUNS, "", "holds no measurements"),
        (RUNS, "\x00", "lack"),
    ],
)
def test_bad_measurements_lose_nothing(runs: Path, tmp_path: Path, old: str, new: str, said: str) -> None:
    kept = tmp_path / "p.yaml"
    kept.write_text("mine", "utf-8")
    runs.write_text(RUNS.replace(old, new), "utf-8")
    done = flyball("profiles", "fit", runs, *KNOWN, "--output", kept, "--report", tmp_path / "r.html")
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert (kept.read_text("utf-8"), (tmp_path / "r.html").exists()) == ("mine", False)


def test_nothing_is_written_over_what_is_read(runs: Path, tmp_path: Path) -> None:
    assert flyball("profiles", "fit", runs, "--output", runs).code == 2
    assert flyball("profiles", "fit", runs, "--report", runs).code == 2
    both = tmp_path / "x"
    assert flyball("profiles", "fit", runs, "--report", both, "--output", both).code == 2
    assert (runs.read_text("utf-8"), both.exists()) == (RUNS, False)


def test_what_cannot_be_read_or_written(runs: Path, tmp_path: Path) -> None:
    assert flyball("profiles", "fit", tmp_path / "none.csv").code == 2
    assert flyball("profiles", "fit", tmp_path).code == 2
    assert flyball("profiles", "fit", runs, "--output", tmp_path).code == 4
    runs.write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in flyball("profiles", "fit", runs).err


# ---- compare -----------------------------------------------------------------------------------


def test_compare_says_which_is_faster_and_how_surely() -> None:
    done = flyball("profiles", "compare", "Llama-3.1-8B@H100", "llama-3.1-8b@L40Sx2:sglang")
    assert (done.code, done.err) == (0, "")
    assert "Llama-3.1-8B on 2 x L40S" in done.out
    assert "bf16, sglang" in done.out
    ratio = re.search(r"itl at a batch of 16\s+([\d.]+) ms\s+([\d.]+) ms \(x ([\d.]+)\)", done.out)
    assert ratio
    assert float(ratio[2]) / float(ratio[1]) == pytest.approx(float(ratio[3]), abs=0.01)
    assert re.search(r"Llama-3.1-8B on 1 x H100 \(vllm\) is faster .* in (over )?9\d% of what is", done.out)


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        (("Llama-3.1-8B@H100",), "takes 2 to 8 pairs, 1 given"),
        (("Llama-3.1-8B@H100", "Llama-3.1-8B"), "MODEL@CARD"),
        (("Llama-3.1-8B@H100", "Llama-3.1-8B@H100:vlm"), "vllm"),
        (("Llama-3.1-8B@H100", "Llama-3.1-8B@H10x2"), "Near: H100"),
        (("Llama-3.1-8B@H100", "Llama-3.1-8B@H100x0"), "allowed are 1 to 64"),
        (("Llama-3.1-8B@H100", "Lama@H100"), "there is no such model"),
    ],
)
def test_compare_refuses_what_is_no_pair(pairs: tuple[str, ...], said: str) -> None:
    done = flyball("profiles", "compare", *pairs)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


# ---- export and import -------------------------------------------------------------------------


def unit_of(entry: Entry) -> str:
    return entry.card if entry.tp == 1 else f"{entry.card}x{entry.tp}"


def test_export_in_flyballs_own_form_is_read_back() -> None:
    done = flyball("profiles", "export", "--model", "gpt-oss-120b", "--engine", "trtllm")
    made = catalogue_from_own(decode(done.out.encode(), "x"), "x")
    mine = [e for e in entries() if e.model == "openai/gpt-oss-120b" and e.engine == "trtllm"]
    assert {p.accelerator for p in made.profiles} == {unit_of(e) for e in mine}
    for profile in made.profiles:
        same = [e for e in mine if unit_of(e) == profile.accelerator and not e.suspect]
        best = max(same, key=lambda e: e.points)
        assert isinstance(profile.timing, IterationTiming)
        assert profile.timing.alpha == pytest.approx(best.timing.alpha)
        assert profile.timing.experts == 128
        assert profile.uncertainty == best.uncertainty
    assert "one for each model and unit" in done.err


def test_export_as_csv_is_the_librarys_own_table() -> None:
    done = flyball("profiles", "export", "--card", "L40S", "--format", "csv")
    assert entries_from_csv(done.out, "x") == tuple(e for e in entries() if e.card == "L40S")


@pytest.mark.parametrize(("generation", "has"), [("g1", "alpha"), ("g2", "decodeParms"), ("g3", "perfParms")])
def test_export_as_infernos_model_data_says_what_is_lost(generation: str, has: str) -> None:
    asked = ("--model", "Llama-3.1-8B", "--card", "H100", "--format", f"inferno-{generation}")
    done = flyball("profiles", "export", *asked)
    (model,) = json.loads(done.out)["models"]
    assert (model["name"], model["acc"], model["maxBatchSize"]) == ("meta-llama/Llama-3.1-8B", "H100", 256)
    assert has in model
    assert f"Lost in G{generation[1]}: " in done.err
    assert "off by 0.0% at most" in done.err


def test_export_of_nothing_is_refused() -> None:
    done = flyball("profiles", "export", "--model", "gemma-2-9b")
    assert (done.code, done.out) == (2, "")


def measured_rows(**other: str) -> list[dict[str, str]]:
    at = [(n, i) for n in ("1", "8", "32", "64") for i in ("1000", "4000")]
    return [
        ROW | {"model_path": "meta-llama/Llama-3.1-8B", "batch_size": n, "isl": i}
        | {"silicon_tpot_ms": str(6 + 0.13 * int(n) * int(i) / 1000), "tp_size": "1"} | other
        for n, i in at
    ]  # fmt: skip


def test_import_fits_entries_that_the_other_commands_add(tmp_path: Path) -> None:
    file, mine = tmp_path / "sample.csv", tmp_path / "mine.csv"
    file.write_text(table(*measured_rows(), *measured_rows(model_path="us/own"), ROW), "utf-8")
    done = flyball("profiles", "import", "aiconfigurator", file, "--output", mine)
    assert done.code == 0
    assert "us/own on h100_sxm" in done.err
    (entry,) = entries_from_csv(mine.read_text("utf-8"), "mine")
    assert (entry.model, entry.points, entry.shapes) == ("meta-llama/Llama-3.1-8B", 8, 2)
    assert entry.timing.alpha == pytest.approx(6e-3, rel=0.1)
    shown = flyball("profiles", "show", "Llama-3.1-8B", "--card", "H100", "--add", mine).out
    assert "measured on 1 H100 with vllm 0.18.0" in shown
    as_yaml = flyball("profiles", "import", "aiconfigurator", file, "--format", "yaml").out
    assert catalogue_from_own(decode(as_yaml.encode(), "x"), "x").profiles[0].accelerator == "H100"
    assert (
        "1 entry of 3 configurations; the others" in flyball("profiles", "import", "aiconfigurator", file).out
    )


def test_import_of_nothing_and_of_something_else(tmp_path: Path) -> None:
    file = tmp_path / "sample.csv"
    file.write_text(table(ROW), "utf-8")
    done = flyball("profiles", "import", "aiconfigurator", file, "--model", "lama")
    assert (done.code, "It has models such as us/m" in done.err) == (2, True)
    file.write_text("a,b\n", "utf-8")
    assert "silicon_sample.csv" in flyball("profiles", "import", "aiconfigurator", file).err


def test_without_the_package_import_names_it() -> None:
    from importlib import metadata

    with mock.patch("importlib.metadata.distribution", side_effect=metadata.PackageNotFoundError):
        done = flyball("profiles", "import", "aiconfigurator")
    assert (done.code, f"pip install {PACKAGES[0]}" in done.err) == (2, True)


def test_an_installed_package_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "aic" / "systems"
    folder.mkdir(parents=True)
    (folder / "silicon_sample.csv").write_text(table(*measured_rows()), "utf-8")
    installed = mock.Mock(version="0.12.0", files=[Path("aic/systems/silicon_sample.csv")])
    installed.locate_file = lambda file: tmp_path / file
    with mock.patch("importlib.metadata.distribution", return_value=installed):
        done = flyball("profiles", "import", "aiconfigurator", "--format", "csv")
    (entry,) = entries_from_csv(done.out, "out")
    assert entry.source == "AIConfigurator 0.12.0 end-to-end measurements"


@pytest.mark.parametrize("command", ["list", "show", "fit", "compare", "export", "import"])
def test_help_has_examples(command: str) -> None:
    asked = (command, "aiconfigurator") if command == "import" else (command,)
    done = flyball("profiles", *asked, "--help")
    assert done.code == 0
    assert f"flyball profiles {command}" in done.out
