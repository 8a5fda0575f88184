"""The phases of an emulated load, read."""

from __future__ import annotations

import pytest

from flyball.spec.phase import Phase
from flyball.wire.errors import WireError
from flyball.wire.phases import read_phases


def test_the_form_of_the_original_is_read() -> None:
    data = b"phases:\n  - {duration: 6m, ratio: 5.0}\n  - {duration: 1h30m5s, ratio: 0.2}\n  - duration: 0s\n"
    assert read_phases(data, "f") == (Phase(360.0, 5.0), Phase(5405.0, 0.2), Phase(0.0))
    assert read_phases(b'{"phases": [{"duration": "2.5min"}]}', "f") == (Phase(150.0),)


@pytest.mark.parametrize(
    ("phases", "where"),
    [
        ("[]", "phases: has 0 phases"),
        ("[{duration: 0s}, {duration: 5s}]", "phases[0].duration: only the last"),
        ("[{duration: 6}]", "phases[0].duration is 6: allowed is a time with its unit"),
        ("[{duration: -6m}]", 'phases[0].duration is "-6m"'),
        ("[{duration: 999999999h}]", "up to 1e+06 s"),
        ("[{duration: 6m, ratio: 0}]", "phases[0].ratio is 0.0: allowed is a ratio over 0"),
        ("[{duration: 6m, ratio: -1}]", "phases[0].ratio is -1"),
        ("[{duration: 6m, times: 2}]", "phases[0].times: there is no such field"),
        ("[{ratio: 2}]", "phases[0].duration: is missing"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(phases: str, where: str) -> None:
    with pytest.raises(WireError) as caught:
        read_phases(f"phases: {phases}".encode(), "ramp.yaml")
    assert where in str(caught.value)
    assert str(caught.value).startswith("ramp.yaml")
