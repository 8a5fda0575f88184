"""The library of latency profiles as CSV: there and back, and what is refused with its line and column."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.spec.library import Entry
from flyball.spec.profile import IterationTiming, Uncertainty
from flyball.wire.errors import WireError
from flyball.wire.library import COLUMNS, entries_from_csv, entries_to_csv

DENSE = Entry(
    "us/m", "H100", 2, "vllm", "fp8", "measured", IterationTiming(0.016, 5e-5, 5.7e-8, 7.2e-5, 0.03),
    Uncertainty(0.1, 0.2, 0.3, 0.15, 0.5, 0.0, 0.03),
    "0.18.0", 1000, 3, 12, "", 'with, a comma and a "quote"', "x",
)  # fmt: skip
SPARSE = Entry(
    "us/e", "H100", 1, "vllm", "mxfp4", "op-level",
    IterationTiming(0.004, 2e-5, 6e-9, 1e-5, 0.0, 0.009, 128, 4),
    Uncertainty(0.1, 0.2, 0.3, 0.15, 0.0, 0.4, 0.03), suspect="a formula",
)  # fmt: skip


def table(**cells: str) -> str:
    """DENSE with some cells written otherwise, on line 2."""
    rows = list(csv.DictReader(io.StringIO(entries_to_csv([DENSE]))))
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS)
    writer.writeheader()
    writer.writerow(rows[0] | cells)
    return out.getvalue()


def test_there_and_back() -> None:
    found = entries_from_csv(entries_to_csv([DENSE, SPARSE]), "x.csv")
    for entry, expected in zip(found, (DENSE, SPARSE), strict=True):
        for name in ("alpha", "beta", "kappa", "delta", "gamma", "epsilon"):
            value = getattr(expected.timing, name)
            assert getattr(entry.timing, name) == pytest.approx(value, rel=1e-4)
        assert entry.uncertainty == expected.uncertainty
        assert [getattr(entry, f) for f in entry.__struct_fields__ if f != "timing"] == [
            getattr(expected, f) for f in expected.__struct_fields__ if f != "timing"
        ]


def test_units_are_those_of_the_header() -> None:
    text = table(alpha_ms="16", beta_us="50", kappa_ns="57", delta_us="72", gamma_ms="30")
    (entry,) = entries_from_csv(text, "x.csv")
    t = entry.timing
    assert (t.alpha, t.beta, t.kappa, t.delta, t.gamma) == pytest.approx((0.016, 5e-5, 5.7e-8, 7.2e-5, 0.03))


def test_columns_in_any_order_and_empty_lines() -> None:
    rows = list(csv.reader(io.StringIO(entries_to_csv([DENSE]))))
    out = io.StringIO()
    csv.writer(out).writerows([row[::-1] for row in rows])
    assert entries_from_csv("\ufeff" + out.getvalue() + "\n\n", "x.csv") == entries_from_csv(
        entries_to_csv([DENSE]), "x.csv"
    )


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"alpha_ms": "fast"}, 'x.csv: line 2, alpha_ms is "fast": allowed is a decimal number'),
        ({"alpha_ms": "0"}, 'line 2, alpha_ms is "0": allowed is a number above 0'),
        ({"alpha_ms": ""}, 'line 2, alpha_ms is "": is missing'),
        ({"beta_us": "-1"}, 'line 2, beta_us is "-1": allowed is a decimal number, not negative'),
        ({"kappa_ns": "nan"}, 'line 2, kappa_ns is "nan"'),
        ({"delta_us": "1e300"}, 'line 2, delta_us is "1e300": allowed is a number above 0 to 1e.09'),
        ({"tp": "0"}, 'line 2, tp is "0": allowed is a whole number from 1'),
        ({"tp": "2.5"}, 'line 2, tp is "2.5"'),
        ({"precision": "fp3"}, 'line 2, precision is "fp3": allowed are bf16, fp8'),
        ({"tier": "guessed"}, 'line 2, tier is "guessed": allowed are measured, op-level'),
        ({"model": " "}, 'line 2, model is "": is missing. Fill in model'),
        ({"sigma_alpha": ""}, 'line 2, sigma_alpha is "": is missing'),
        ({"residual": "11"}, 'line 2, residual is "11"'),
        (
            {"experts": "8", "experts_per_token": "9"},
            'line 2, experts_per_token is "9": there are 8 experts only',
        ),
        ({"experts": "8", "experts_per_token": "2"}, 'line 2, epsilon_ms is "": is missing'),
    ],
)
def test_what_is_wrong_is_said_with_line_and_column(cells: dict[str, str], message: str) -> None:
    with pytest.raises(WireError, match=message):
        entries_from_csv(table(**cells), "x.csv")


def test_what_is_no_table() -> None:
    with pytest.raises(WireError, match="holds nothing"):
        entries_from_csv("\n", "x.csv")
    with pytest.raises(WireError, match="line 1: lacks card, tp"):
        entries_from_csv("model\n", "x.csv")
    with pytest.raises(WireError, match="line 1: has speed, which nothing reads"):
        entries_from_csv(",".join((*COLUMNS, "speed")), "x.csv")
    with pytest.raises(WireError, match=f"line 2: has 1 cells; its header has {len(COLUMNS)}"):
        entries_from_csv(",".join(COLUMNS) + "\nx\n", "x.csv")
    with pytest.raises(WireError, match="line 2: is not CSV"):
        entries_from_csv(",".join(COLUMNS) + '\n"x"y', "x.csv")


@given(st.text(st.sampled_from('ab,"\n\r1.')), st.booleans())
def test_any_text_is_a_table_or_a_wire_error(text: str, header: bool) -> None:
    try:
        entries_from_csv(",".join(COLUMNS) + "\n" + text if header else text, "x.csv")
    except WireError:
        return
    assert header
