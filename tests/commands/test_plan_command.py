"""`flyball plan`: what comes out for what goes in, with which exit code."""

from __future__ import annotations

import csv
import io
import json
import re
import textwrap
from pathlib import Path

import pytest

from flyball.cli import main
from flyball.decide.plan import plan
from flyball.profiles.sample import sample_fleet
from flyball.wire.inferno import solution_document
from flyball.wire.read import fleet_from
from flyball.wire.text import decode, encode_yaml
from tests.commands.samples import ALL, sample, two_servers, written
from tests.commands.terminal import flyball
from tests.wire.inferno_samples import files_of, parts_of

INFERNO = ("G1", "G2", "G3")
OPTIONS_OF_A_MODEL = ("--rate", "--in", "--out", "--ttft", "--itl", "--e2e")


@pytest.fixture(params=ALL)
def generation(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """Two servers in a file; cards for one of them."""
    return written(tmp_path / "fleet.json", two_servers())


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


# ---- formats -----------------------------------------------------------------------------------


@pytest.mark.parametrize("generation", INFERNO)
def test_json_is_infernos_solution_in_the_generation_of_the_input(tmp_path: Path, generation: str) -> None:
    document = two_servers(generation, cards=20)
    outcome = flyball("plan", written(tmp_path / "x.json", document), "--format", "json")
    read = fleet_from({"x": document})
    assert json.loads(outcome.out) == solution_document(read, plan(read))
    latency = "waitAverage" if generation == "G1" else "ttftAverage"
    assert latency in json.loads(outcome.out)["allocations"]["chat"]
    assert (outcome.code, outcome.err) == (0, "")


def test_yaml_says_what_json_says(tmp_path: Path, generation: str) -> None:
    file = written(tmp_path / "x.json", sample(generation))
    as_json, as_yaml = (flyball("plan", file, "--format", form).out for form in ("json", "yaml"))
    expected, found = json.loads(as_json), decode(as_yaml.encode(), "yaml")
    assert isinstance(found, dict)
    for document in (expected, found):
        document.pop("seconds", None)
    assert found == expected


def test_flyballs_own_json_is_the_whole_plan_with_reasons(tmp_path: Path) -> None:
    outcome = flyball("plan", written(tmp_path / "x.json", sample("flyball")), "--format", "json")
    document = json.loads(outcome.out)
    reasons = {s["server"]: s["reason"] for s in document["servers"]}
    assert reasons == {"batch": "cheapest", "chat": "cheapest", "night": "no_load"}
    assert document["servers"][1]["next_best"]["accelerator"] == "H100"


def test_json_knows_no_infinity(tmp_path: Path) -> None:
    document = sample("flyball")
    del document["capacity"]
    outcome = flyball("plan", written(tmp_path / "x.json", document), "--format", "json")
    assert {use["limit"] for use in json.loads(outcome.out)["resources"]} == {None}
    as_yaml = flyball("plan", written(tmp_path / "x.json", document), "--format", "yaml")
    assert "inf" not in as_yaml.out


def test_csv_has_a_line_for_each_server(fleet: Path) -> None:
    outcome = flyball("plan", fleet, "--format", "csv")
    served, left = rows(outcome.out)
    assert (served["server"], served["status"], served["replicas"]) == ("chat", "served", "3")
    assert (left["server"], left["reason"], left["replicas"]) == ("code", "no_capacity", "")
    assert outcome.code == 3


def test_csv_names_the_wait_of_generation_1(tmp_path: Path) -> None:
    (line,) = rows(flyball("plan", written(tmp_path / "x.json", sample("G1")), "--format", "csv").out)
    assert float(line["wait_s"]) == pytest.approx(0.1107, rel=1e-3)
    assert "ttft_s" not in line


def test_csv_has_a_line_for_each_part_of_a_mix(tmp_path: Path) -> None:
    document = sample("flyball")
    document["settings"] = {"heterogeneous": True}
    document["capacity"] = {"H100": 1, "L40S": 4}
    document["servers"] = [{**document["servers"][0], "rate": "17/s"}]
    parts = rows(flyball("plan", written(tmp_path / "x.json", document), "--format", "csv").out)
    assert {(p["server"], p["accelerator"]) for p in parts} == {("chat", "H100"), ("chat", "L40S")}


def test_the_table_shows_allocation_latency_cost_watts_and_reason(tmp_path: Path) -> None:
    document = sample("flyball")
    document["servers"][0]["keepAccelerator"] = True
    document["servers"][0]["current"] = {"accelerator": "H100", "replicas": 1}
    table = flyball("plan", written(tmp_path / "x.json", document)).out
    (chat,) = [line for line in table.splitlines() if " chat " in line]
    for cell in ("1 x H100, batch 32", "/ 1 s", "/ 60 ms", "21%", "$3.00/h", "$2,190", "184", "must be kept"):
        assert cell in chat
    (night,) = [line for line in table.splitlines() if " night " in line]
    assert "scaled to zero" in night
    assert "no load" in night


def test_the_table_of_generation_1_has_the_wait(tmp_path: Path) -> None:
    table = flyball("plan", written(tmp_path / "x.json", sample("G1"))).out
    assert "wait / target" in table
    assert "ttft" not in table


# ---- same input, same output -------------------------------------------------------------------


@pytest.mark.parametrize("form", ["json", "yaml", "csv"])
def test_the_same_input_gives_the_same_bytes(tmp_path: Path, generation: str, form: str) -> None:
    file = written(tmp_path / "x.json", sample(generation))
    first, second = (flyball("plan", file, "--format", form).out for _ in range(2))
    if generation == "flyball" and form != "csv":  # the whole plan says how long it took
        first, second = (
            "\n".join(line for line in text.splitlines() if "seconds" not in line) for text in (first, second)
        )
    else:
        assert "seconds" not in first
    assert first == second


def test_the_order_of_the_input_changes_nothing(tmp_path: Path) -> None:
    document = two_servers(cards=20)
    first = flyball("plan", written(tmp_path / "x.json", document), "--format", "csv").out
    parts_of(document)["servers"].reverse()
    assert flyball("plan", written(tmp_path / "x.json", document), "--format", "csv").out == first


# ---- where the fleet comes from ----------------------------------------------------------------


def test_a_directory_a_file_and_standard_input_give_the_same_plan(tmp_path: Path, generation: str) -> None:
    document = sample(generation)
    files = {"fleet.json": document} if generation == "flyball" else files_of(document)
    for name, content in files.items():
        written(tmp_path / name, content)
    single = encode_yaml(document).encode()
    (tmp_path / "single").mkdir()
    (tmp_path / "single" / "x.yaml").write_bytes(single)
    outputs = {
        flyball("plan", source, "--format", "csv", stdin=single).out
        for source in (tmp_path, tmp_path / "single" / "x.yaml", "-")
    }
    assert len(outputs) == 1
    assert "chat" in outputs.pop()


def test_a_file_may_take_the_shipped_catalogue(tmp_path: Path) -> None:
    document = {"apiVersion": "flyball/v1", "kind": "Fleet", "catalogue": "sample"} | {
        "classes": [{"name": "Gold", "targets": {"itl": "50ms"}}],
        "servers": [
            {"name": "s", "model": "Qwen/Qwen3-8B", "class": "Gold", "rate": 2, "in": 500, "out": 100}
        ],
    }
    outcome = flyball("plan", written(tmp_path / "x.json", document), "--format", "csv")
    assert (outcome.code, outcome.err) == (0, "")
    assert rows(outcome.out)[0]["status"] == "served"


def test_the_sample_fleet() -> None:
    outcome = flyball("plan", "--sample", "--format", "csv")
    assert outcome.code == 0
    assert {line["server"] for line in rows(outcome.out)} == {s.name for s in sample_fleet().servers}


LOAD = ("--rate", "20", "--in", "1000", "--out", "300")


def saved(path: Path, text: str) -> Path:
    path.write_text(textwrap.dedent(text), "utf-8")
    return path


def test_one_model_from_the_library() -> None:
    outcome = flyball("plan", "--model", "meta-llama/Llama-3.1-8B", *LOAD, "--ttft", "p95<1s")
    assert outcome.code == 0
    first, *lines = outcome.out.splitlines()
    assert first == "meta-llama/Llama-3.1-8B: 20/s of 1,000 input and 300 output tokens; ttft p95<1s"
    options = [line.split() for line in lines if re.match(r"[ >]*[0-9]+ x ", line) and "$" in line]
    assert options[0][0] == ">"
    assert len([o for o in options if "batch" not in o]) >= 12
    assert sum(line.count("10 to 90 %") for line in lines) == 3
    assert "costs least" in outcome.out
    assert "kernels" in outcome.out  # the library has its profile on some, and says so
    assert "more options: --explain Llama-3.1-8B" in outcome.out


def test_one_models_options_for_machines() -> None:
    asked = ("plan", "--model", "Llama-3.1-8B", *LOAD, "--itl", "p95<30ms", "--cards", "h100, NVIDIA-L40S")
    found = rows(flyball(*asked, "--format", "csv").out)
    assert {line["card"] for line in found} == {"H100", "L40S"}
    costs = [float(line["cost_per_hour"]) for line in found]
    assert costs == sorted(costs)
    for line in found:
        assert 0 <= float(line["within"]) <= 1
        assert float(line["cost_per_hour_low"]) <= float(line["cost_per_hour_high"] or "inf")
        low, likely = float(line["itl_p95_low_s"]), float(line["itl_p95_s"])
        assert low <= likely <= min(0.03, float(line["itl_p95_high_s"] or "inf"))
        per_token = float(line["cost_per_hour"]) / (20 * 1300 * 3600)
        assert float(line["cost_per_million_tokens"]) == pytest.approx(per_token * 1e6)
    document = json.loads(flyball(*asked, "--format", "json").out)
    assert [e["option"]["accelerator"] for e in document["estimates"]] == [e["accelerator"] for e in found]
    assert document["servers"][0]["allocation"] == document["estimates"][0]["option"]


def test_own_prices_growth_spare_and_confidence(tmp_path: Path) -> None:
    prices = saved(
        tmp_path / "prices.csv", "accelerator,price_per_hour\nNVIDIA-H100-80GB-HBM3,1.00\nL40S,0.90\n"
    )

    def planned(*more: str) -> dict[str, str]:
        asked = ("plan", "--model", "Llama-3.1-8B", *LOAD, "--cards", "H100", "--format", "csv")
        return next(line for line in rows(flyball(*asked, *more).out) if line["accelerator"] == "H100")

    plain = planned("--prices", str(prices))
    assert float(plain["cost_per_hour"]) == float(plain["replicas"])
    assert int(planned("--spare", "n+1")["replicas"]) == int(plain["replicas"]) + 1
    assert int(planned("--spare", "2")["replicas"]) == int(plain["replicas"]) + 2
    assert int(planned("--growth", "300%")["replicas"]) > 2 * int(plain["replicas"])
    sure, even = (int(planned("--growth", "900%", "--confidence", c)["replicas"]) for c in ("95%", "50%"))
    assert sure > even


def test_a_trace_is_planned_for_its_busiest_window(tmp_path: Path) -> None:
    lines = ["time,input,output"]
    lines += [f"{t},1000,100" for t in range(600)]  # one a second, and ten a second in the last minute
    lines += [f"{600 + t / 10},3000,300" for t in range(600)]
    trace = saved(tmp_path / "trace.csv", "\n".join(lines))
    asked = ("plan", "--model", "Llama-3.1-8B", "--trace", str(trace), "--cards", "H100")
    minute = flyball(*asked, "--window", "1min").out.splitlines()[0]
    assert "10/s of 2,000 input and 200 output tokens (cov 0.50 and 0.50)" in minute
    whole = flyball(*asked, "--window", "1h").out.splitlines()[0]
    assert "1.818/s" in whole


def test_a_model_of_ones_own(tmp_path: Path) -> None:
    own = saved(
        tmp_path / "mine.yaml",
        """
        apiVersion: flyball/v1
        kind: Models
        models:
          - {name: me/Mine-13B, parameters: 13.0B, layers: 40, context: 8192,
             shape: {hidden: 5120, heads: 40, kvHeads: 40, ffn: 13824, vocab: 32000}}
        """,
    )
    outcome = flyball("plan", "--model", "mine-13b", *LOAD, "--add", str(own), "--cards", "H100")
    assert outcome.code == 0
    assert "data sheet" in outcome.out
    assert "The model was measured on none of these cards" in outcome.out


def test_an_empty_fleet_is_a_plan_too() -> None:
    for form in ("table", "json", "yaml", "csv"):
        outcome = flyball("plan", "-", "--format", form, stdin=b'{"system": {}}')
        assert (outcome.code, outcome.err) == (0, "")
    assert "0 of 0 servers" in flyball("plan", "-", stdin=b'{"system": {}}').out


# ---- exit codes --------------------------------------------------------------------------------


@pytest.mark.parametrize(("cards", "code"), [(6, 0), (4, 3), (0, 3)])
def test_the_exit_code_says_whether_everybody_is_served(tmp_path: Path, cards: int, code: int) -> None:
    document = two_servers(cards=cards)
    assert flyball("plan", written(tmp_path / "x.json", document)).code == code


def test_part_of_a_server_is_not_the_whole(tmp_path: Path) -> None:
    document = two_servers(cards=4)
    parts_of(document)["optimizer"]["saturationPolicy"] = "PriorityExhaustive"
    outcome = flyball("plan", written(tmp_path / "x.json", document))
    assert outcome.code == 3
    assert "1 in part" in outcome.out


# ---- solvers -----------------------------------------------------------------------------------


def test_a_solver_may_be_asked_for(fleet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Solver greedy" in flyball("plan", fleet, "--solver", "greedy").out
    assert flyball("plan", fleet, "--solver", "unlimited").code == 0
    monkeypatch.setenv("FLYBALL_SOLVER", "greedy")
    assert "Solver greedy" in flyball("plan", fleet).out
    assert "Solver exact" in flyball("plan", fleet, "--solver", "exact").out
    monkeypatch.setenv("FLYBALL_SOLVER", "")
    assert flyball("plan", fleet).code == 3


# ---- one server --------------------------------------------------------------------------------


def test_explain_gives_every_candidate_and_the_latencies(tmp_path: Path) -> None:
    outcome = flyball("plan", written(tmp_path / "x.json", sample("flyball")), "--explain", "chat")
    assert outcome.out.startswith("chat: 2 x L40S, batch 16 at $2.00/h; the option of least cost.")
    assert "Next best: 1 x H100, batch 32 at $3.00/h (+50%)" in outcome.out
    options = [line for line in outcome.out.splitlines() if "batch" in line and "$" in line]
    assert any(line.lstrip().startswith(">") and "L40S" in line for line in options)
    for name in ("p50", "p95", "p99", "e2e"):
        assert name in outcome.out


def test_explain_says_what_is_short_and_how_to_mend_it(fleet: Path) -> None:
    out = flyball("plan", fleet, "--explain", "code").out
    assert "A100 needs 3 A100 cards, 1 are free: 2 short" in out
    assert "To mend it: Add cards" in out


def test_explain_of_generation_1_speaks_of_the_wait(tmp_path: Path) -> None:
    out = flyball("plan", written(tmp_path / "x.json", sample("G1")), "--explain", "chat").out
    assert "wait" in out
    assert "ttft" not in out


def test_plot_draws_the_curves(tmp_path: Path, generation: str) -> None:
    out = flyball("plan", written(tmp_path / "x.json", sample(generation)), "--plot").out
    for title in ("Cost over load", "Occupancy over load", "Region in which the targets hold"):
        assert title in out
    assert "\x1b" not in out


def test_plot_without_anything_to_draw() -> None:
    assert "No curves" in flyball("plan", "-", "--plot", stdin=b'{"system": {}}').out


# ---- comparisons -------------------------------------------------------------------------------


def test_what_if_shows_the_difference(tmp_path: Path) -> None:
    file = written(tmp_path / "x.json", two_servers(cards=20))
    outcome = flyball("plan", file, "--what-if", "load[chat]*2")
    change = outcome.out.partition("Change:")[2]
    assert "3 x A100, batch 16" in change
    assert "5 x A100, batch 16" in change
    assert "+0.80 $/h" in change
    assert "code" not in change


def test_what_if_answers_with_the_changed_plan(tmp_path: Path) -> None:
    file = written(tmp_path / "x.json", two_servers(cards=20))
    outcome = flyball("plan", file, "--what-if", "load[chat]*2", "--format", "csv")
    assert [line["replicas"] for line in rows(outcome.out)] == ["5", "3"]


def test_compare_shows_the_difference_to_another_fleet(tmp_path: Path) -> None:
    mine = written(tmp_path / "mine.json", two_servers(cards=20))
    other = two_servers(cards=20)
    parts_of(other)["accelerators"][0]["cost"] = 80
    parts_of(other)["servers"][1]["name"] = "search"
    outcome = flyball("plan", mine, "--compare", written(tmp_path / "other.json", other))
    change = outcome.out.partition("Change:")[2]
    lines = {line.split()[0]: line for line in change.splitlines() if line.strip()}
    assert "none" in lines["code"]
    assert "none" in lines["search"]
    assert lines["total"].split() == ["total", "$2.40/h", "$4.80/h", "+2.40", "$/h"]


# ---- files -------------------------------------------------------------------------------------


def test_output_goes_to_the_file_and_nowhere_else(fleet: Path, tmp_path: Path) -> None:
    target = tmp_path / "plan.json"
    outcome = flyball("plan", fleet, "--format", "json", "-o", target)
    assert outcome.out == ""
    assert target.read_text("utf-8") == flyball("plan", fleet, "--format", "json").out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fleet.json", "plan.json"]


def test_the_folder_of_an_output_is_made(fleet: Path, tmp_path: Path) -> None:
    target = tmp_path / "build" / "today" / "plan.csv"
    assert flyball("plan", fleet, "--format", "csv", "-o", target).code == 3
    assert target.read_text("utf-8").startswith("server,")


def test_output_to_a_dash_is_standard_output(fleet: Path) -> None:
    assert flyball("plan", fleet, "--format", "csv", "-o", "-").out.startswith("server,")


def test_output_keeps_what_a_link_points_to_and_its_mode(fleet: Path, tmp_path: Path) -> None:
    real, link = tmp_path / "real.csv", tmp_path / "link.csv"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    assert flyball("plan", fleet, "--format", "csv", "-o", link).code == 3
    assert link.is_symlink()
    assert real.read_text("utf-8").startswith("server,")
    assert real.stat().st_mode & 0o777 == 0o640


def test_a_device_is_written_to_and_not_replaced(fleet: Path) -> None:
    assert flyball("plan", fleet, "-o", "/dev/null").code == 3
    assert not Path("/dev/null").is_file()


def test_a_report_is_a_page(fleet: Path, tmp_path: Path) -> None:
    page = tmp_path / "plan.html"
    outcome = flyball("plan", fleet, "--report", page)
    assert outcome.err == f"report written to {page}\n"
    assert "chat" in outcome.out
    assert page.read_text("utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize("option", ["-o", "--report"])
def test_a_place_that_cannot_be_written_is_exit_code_4(fleet: Path, tmp_path: Path, option: str) -> None:
    for place in (tmp_path, fleet / "below-a-file", Path("/proc/no-such-place")):
        outcome = flyball("plan", fleet, option, place)
        assert outcome.code == 4
        assert str(place) in outcome.err
        assert "cannot be written" in outcome.err
    assert [p.name for p in tmp_path.iterdir()] == ["fleet.json"]


def test_a_full_disk_leaves_the_old_file(
    fleet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    target = tmp_path / "plan.csv"
    target.write_text("old")
    monkeypatch.setattr("os.fsync", full)
    outcome = flyball("plan", fleet, "--format", "csv", "-o", target)
    assert (outcome.code, target.read_text()) == (4, "old")
    assert "No space left" in outcome.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fleet.json", "plan.csv"]


def test_the_fleet_is_never_written_over(fleet: Path, tmp_path: Path) -> None:
    before = fleet.read_bytes()
    link = tmp_path / "link.json"
    link.symlink_to(fleet)
    for arguments in (("-o", fleet), ("--report", fleet), ("-o", link)):
        outcome = flyball("plan", fleet, "--format", "json", *arguments)
        assert outcome.code == 2
        assert "would write over the fleet" in outcome.err
    assert fleet.read_bytes() == before


def test_two_outputs_want_two_files(fleet: Path, tmp_path: Path) -> None:
    outcome = flyball("plan", fleet, "-o", tmp_path / "x", "--report", tmp_path / "x")
    assert outcome.code == 2
    assert not (tmp_path / "x").exists()


# ---- names from anywhere -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["[red]chat[/red]", "[/]", ":smile:", "<script>alert(1)</script>", "名前", "a,b\n'\"c", "x" * 500]
)
def test_names_are_shown_as_they_are(tmp_path: Path, name: str) -> None:
    document = sample()
    parts_of(document)["servers"][0]["name"] = name
    file = written(tmp_path / "x.json", document)
    assert rows(flyball("plan", file, "--format", "csv").out)[0]["server"] == name
    assert list(json.loads(flyball("plan", file, "--format", "json").out)["allocations"]) == [name]
    explained = flyball("plan", file, "--explain", name, "--plot")
    assert explained.code == 0
    assert explained.out.startswith(f"{name}: 3 x A100")
    table = flyball("plan", file)
    assert table.code == 0
    assert len(name) > 40 or "\n" in name or name in table.out


def test_a_name_does_not_command_the_terminal(tmp_path: Path) -> None:
    document = sample()
    parts_of(document)["servers"][0]["name"] = "\x1b]0;owned\x07chat\x9b31m"
    file = written(tmp_path / "x.json", document)
    for arguments in (
        (),
        ("--plot",),
        ("--explain", "\x1b]0;owned\x07chat\x9b31m"),
        ("--explain", "\x1b[2J"),
    ):
        outcome = flyball("plan", file, *arguments)
        assert not {"\x1b", "\x07", "\x9b"} & {*outcome.out, *outcome.err}
    assert "\\x1b]0;owned\\x07chat" in flyball("plan", file).out


# ---- wrong options -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "none was given"),
        (("--sample", "--model", "Qwen3-8B", "--rate", "1"), "one of them"),
        (("fleet.json", "more.json"), "there is no place for more.json"),
        (("--model", "Qwen3-8B"), "--model needs --rate"),
        (("--model", "Qwen3-8X", "--rate", "1"), '--model is "Qwen3-8X"'),
        (("--model", "Qwen3-8X", "--rate", "1"), "Near: Qwen3-8B"),
        (("--model", "", "--rate", "1"), "there is no such model"),
        (("--model", "Lama-3.1-8B", "--rate", "1"), "Near: Llama-3.1-8B"),
        (("--model", "Llama-3.1-8B", "--rate", "1", "--cards", "H1O0"), "Near: H100"),
        (("--model", "Llama-3.1-405B", "--rate", "1", "--cards", "L4"), "Allow larger cards"),
        (("--model", "Llama-3.1-8B", "--rate", "1", "--engine", "vlm"), "Near: vllm"),
        (("--model", "Llama-3.1-8B", "--rate", "1", "--precision", "fp7"), "Near: fp8"),
        (("--model", "Llama-3.1-8B", "--rate", "1", "--growth", "a lot"), "--growth"),
        (("--model", "Llama-3.1-8B", "--rate", "1", "--spare", "n+x"), "replicas beside those"),
        (
            ("--model", "Llama-3.1-8B", "--rate", "1", "--trace", "x.csv"),
            "--trace says what --rate would say",
        ),
        (("--model", "Llama-3.1-8B", "--trace", "nowhere.csv"), "there is no such trace"),
        (("--model", "Llama-3.1-8B", "--rate", "1", "--window", "1min"), "it goes with --trace"),
        (("--model", "Llama-3.1-8B", "--rate", "1", "--prices", "nowhere.csv"), "cannot be read"),
        (("--model", "Llama-3.1-8B", "--rate", "1", "--add", "nowhere.yaml"), "cannot be read"),
        (("--sample", "--growth", "30%"), "--growth goes with --model"),
        (("--model", "Qwen3-8B", "--rate", "many"), '--rate is "many"'),
        (("--model", "Qwen3-8B", "--rate", "-5"), "from 0 to 1e+06"),
        (("--model", "Qwen3-8B", "--rate", "1", "--in", "1e9"), '--in is "1e9"'),
        (("--model", "Qwen3-8B", "--rate", "1", "--out", "0"), "--out is 0"),
        (("--model", "Qwen3-8B", "--rate", "1", "--ttft", "p95<1"), "has no unit"),
        (("--model", "Qwen3-8B", "--rate", "1", "--itl", "p100<1s"), '--itl is "p100<1s"'),
        (("--sample", "--sampel"), "Did you mean --sample?"),
        (("--sample", "--format", "xml"), '"table", "json", "yaml", "csv"'),
        (("--sample", "--solver", "best"), '"auto", "exact", "greedy", "unlimited"'),
        (("--sample", "--port", "x"), 'unable to convert "x" into int'),
        (("--sample", "--serve", "--port", "99999"), "0 (any free one) to 65535"),
        (("--sample", "--explain", "rag-serch"), "did you mean rag-search?"),
        (("--sample", "--explain", "chat"), "did you mean intranet-chat, playground-chat, support-chat?"),
        (("--sample", "--explain", "xyz"), "there are agent-planner, "),
        (("--sample", "--explain", ""), "there is no server ''"),
        (("--sample", "--explain", "rag-search", "--format", "json"), "leave --format json out"),
        (("--sample", "--plot", "--format", "csv"), "leave --format csv out"),
        (("--sample", "--what-if", ""), "what-if '' cannot be read"),
        (("--sample", "--what-if", "lod*2"), "did you mean load?"),
        (("--sample", "--what-if", "load[rag-serch]*2"), "did you mean rag-search?"),
        (("--sample", "--what-if", "load*2", "--compare", "x"), "two comparisons"),
        (("--sample", "--compare", "no-such-file"), "no-such-file: there is no such file"),
        (("no-such-file.json",), "no-such-file.json: there is no such file"),
        (("-", "--compare", "-"), "cannot both be standard input"),
        (("-",), "standard input: holds nothing"),
    ],
)
def test_what_is_wrong_is_said_with_the_mend(arguments: tuple[str, ...], message: str) -> None:
    outcome = flyball("plan", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("flyball: ")
    assert message in outcome.err


@pytest.mark.parametrize("option", OPTIONS_OF_A_MODEL)
def test_options_of_a_model_are_not_passed_over_in_silence(option: str) -> None:
    outcome = flyball("plan", "--sample", option, "1")
    assert outcome.code == 2
    assert f"{option} goes with --model" in outcome.err


def test_an_empty_fleet_has_no_server_to_explain() -> None:
    outcome = flyball("plan", "-", "--explain", "chat", stdin=b'{"system": {}}')
    assert outcome.code == 2
    assert "this fleet has none" in outcome.err


def test_a_wrong_value_is_named_with_its_place(tmp_path: Path) -> None:
    document = sample()
    parts_of(document)["servers"][0]["currentAlloc"]["load"]["arrivalRate"] = "fast"
    outcome = flyball("plan", written(tmp_path / "x.json", document))
    assert outcome.code == 2
    assert 'serverData.servers[0].currentAlloc.load.arrivalRate is "fast"' in outcome.err
    assert "requests per minute" in outcome.err


def test_a_wrong_environment_is_named_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYBALL_SOLVER", "best")
    outcome = flyball("plan", "--sample")
    assert outcome.code == 2
    assert "FLYBALL_SOLVER" in outcome.err


# ---- help --------------------------------------------------------------------------------------


def test_help_has_examples_and_exit_codes() -> None:
    out = flyball("plan", "--help").out
    for text in ("flyball plan --sample", "load*2", "capacity[A100]+16", "0: everything is served", "130:"):
        assert text in out
    assert "plan" in flyball("--help").out
    assert flyball().code == 0


def test_an_unknown_command_is_exit_code_2() -> None:
    outcome = flyball("plam")
    assert outcome.code == 2
    assert 'Did you mean "plan"?' in outcome.err


# ---- faults of our own -------------------------------------------------------------------------


def test_a_fault_of_our_own_has_a_code_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fault(_: object) -> int:
        raise RuntimeError("out of order")

    monkeypatch.setattr("flyball.commands.plan.run", fault)
    monkeypatch.delenv("FLYBALL_TRACEBACK", raising=False)
    with pytest.raises(SystemExit) as end:
        main(["plan", "--sample"])
    said = capsys.readouterr()
    assert (end.value.code, said.out) == (70, "")
    assert "a fault of Flyball itself, please report it: RuntimeError: out of order" in said.err
    monkeypatch.setenv("FLYBALL_TRACEBACK", "1")
    with pytest.raises(RuntimeError):
        main(["plan", "--sample"])
