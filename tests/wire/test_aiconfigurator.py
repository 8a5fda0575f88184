"""AIConfigurator's table of measured runs: which rows count, repeated ones, and what is refused."""

from __future__ import annotations

import csv
import io

import pytest

from flyball.wire.aiconfigurator import COLUMNS, chosen, runs_from_csv
from flyball.wire.errors import WireError

ROW = {
    **{"model_path": "us/m", "system": "h100_sxm", "backend": "vllm", "backend_version": "0.18.0"},
    **{"precision": "", "tp_size": "2", "moe_tp_size": "", "moe_ep_size": "", "pp_size": "1"},
    **{"attention_dp_size": "", "batch_size": "8", "isl": "1000", "osl": "300"},
    **{"silicon_ttft_ms": "100", "silicon_tpot_ms": "10"},
}


def table(*rows: dict[str, str]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def test_repeated_rows_are_medians() -> None:
    times = [{"silicon_tpot_ms": t} for t in ("10", "12", "30")]
    (run,) = runs_from_csv(table(*(ROW | t for t in times)), "x")
    (point,) = run.points
    assert (run.path, run.tp, run.moe_tp, run.moe_ep) == ("us/m", 2, 1, 1)
    assert (point.concurrency, point.in_tokens, point.out_tokens) == (8.0, 1000.0, 300.0)
    assert (point.tpot, point.ttft) == (pytest.approx(0.012), pytest.approx(0.1))


OTHERS = (("batch_size", ""), ("tp_size", ""), ("pp_size", "2"), ("attention_dp_size", "8"))
LATE = ("silicon_ttft_ms", "3001")


@pytest.mark.parametrize("other", [*OTHERS, LATE])
def test_rows_that_say_nothing_of_one_replica_are_passed_over(other: tuple[str, str]) -> None:
    assert runs_from_csv(table(ROW | dict([other])), "x") == ()


def test_versions_and_layouts_are_apart() -> None:
    runs = runs_from_csv(table(ROW, ROW | {"backend_version": "0.19.0"}, ROW | {"tp_size": "4"}), "x")
    assert len(runs) == 3
    assert len(chosen(runs, model="M", system="H100", engine="vllm")) == 3
    assert chosen(runs, system="h200") == ()


def test_what_is_refused() -> None:
    with pytest.raises(WireError, match="lacks model_path"):
        runs_from_csv("a,b\n1,2\n", "x")
    with pytest.raises(WireError, match=r'line 3, isl is "y"'):
        runs_from_csv(table(ROW, ROW | {"isl": "y"}), "x")
    with pytest.raises(WireError, match="line 3: has not as many cells"):
        runs_from_csv(table(ROW) + "1,2\n", "x")
