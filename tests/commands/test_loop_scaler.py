"""The options of the loop's external scaler."""

from __future__ import annotations

import math

import pytest

from flyball.commands.loop_parts import Request
from flyball.commands.loop_scaler import good_for
from tests.commands.terminal import flyball


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            ("--external-scaler-port", "70000"),
            "the external scaler's port is 70000: a port is a number",
        ),
        (
            ("--external-scaler-port", "0", "--external-scaler-key", "k.pem"),
            "the external scaler has a key and no certificate: TLS wants both",
        ),
        (
            ("--external-scaler-port", "0", "--actuator-host", "there"),
            "--external-scaler-port: with an actuator elsewhere, numbers for KEDA are not known here",
        ),
    ],
)
def test_wrong_options_are_said_before_a_cluster_is_looked_for(
    options: tuple[str, ...], problem: str
) -> None:
    done = flyball("loop", "--kubeconfig", "/nowhere", *options)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"flyball: {problem}")


@pytest.mark.parametrize(
    ("period", "speed", "seconds"), [(60.0, 1.0, 190.0), (60.0, 10.0, 28.0), (0.0, 1.0, math.inf)]
)
def test_a_decision_is_good_for_three_periods(period: float, speed: float, seconds: float) -> None:
    assert good_for(Request(period=period, speed=speed)) == seconds
