"""Power as a real Prometheus tells it, how often it is asked, and what becomes of its failures."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flyball.adapters.prometheus.client import Prometheus
from flyball.adapters.prometheus.errors import PrometheusError
from flyball.adapters.prometheus.mapping import shipped_power
from flyball.adapters.prometheus.power import AGAIN, EVERY, NOTHING, PowerSensors
from flyball.adapters.prometheus.power_figures import Places
from tests.adapters.prometheus.answers import Answer, answering, sample, success
from tests.adapters.prometheus.power_pages import PLACES, dcgm, kepler_new, kepler_old
from tests.prometheus import Line, backfill, prometheus, there

STEP, LENGTH = 15, 600
RESET = 450
"""When the counters of n2 begin anew."""


def history(start: float) -> Iterator[tuple[float, Line]]:
    """n1 has the new Kepler and DCGM; n2 the old Kepler, whose counters are reset; n3 fell silent."""
    for t in range(0, LENGTH + 1, STEP):
        for metric, labels, watts in (*dcgm(), *kepler_new()):
            yield start + t, (metric, labels, watts)
        since = t - RESET if t >= RESET else t
        for metric, labels, watts in kepler_old("n2.example.com"):
            yield start + t, (metric, labels, watts * since)
        if t <= LENGTH - 120:
            for metric, labels, watts in kepler_old("n3"):
                yield start + t, (metric, labels, watts * t)


@pytest.mark.slow
@pytest.mark.skipif(not there(), reason="the package prometheus is not installed")
def test_a_real_prometheus(tmp_path: Path) -> None:
    start = float(int(time.time()) - LENGTH - 60)
    backfill(tmp_path, history(start))
    places = Places(frozenset({"n1", "n2.example.com", "n3"}), {("infer", "chat-0"): "n2.example.com"})
    with prometheus(tmp_path) as url, Prometheus(url) as asked:
        one = PowerSensors(asked, shipped_power()).read(places, at=start + LENGTH + 5)
        # rate() bridges a reset but for one step, a third of what was drawn here: then it is not known.
        reset = PowerSensors(asked, shipped_power()).read(places, at=start + RESET + 20)
    assert {r.watts for r in reset.readings if r.node == "n2.example.com"} == {None}
    assert one.notes == ()
    assert one.time == start + LENGTH + 5
    watts = {
        (r.node, r.part, r.source, r.zone, r.device): (r.watts, r.age)
        for r in one.readings
        if r.zone in ("", "package")
    }
    young = pytest.approx(5.0)
    assert watts["n1", "card", "dcgm", "", "GPU-bb"] == (500.0, young)
    assert watts["n1", "whole", "redfish", "", "PowerControl"] == (1400.0, young)
    assert watts["n1", "pod", "dcgm", "", "infer/chat-1"] == (500.0, young)
    assert watts["n2.example.com", "cpu", "kepler", "package", "0"] == (pytest.approx(200.0), young)
    assert watts["n2.example.com", "card", "kepler", "", "0"][0] == pytest.approx(290.0)
    assert watts["n2.example.com", "pod", "kepler", "", "infer/chat-0"][0] == pytest.approx(350.0)
    assert watts["n3", "cpu", "kepler", "package", "0"] == (None, pytest.approx(125.0))


class Said:
    """Answers as a Prometheus with one node and a DCGM exporter, and counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.names: list[str] = ["DCGM_FI_DEV_POWER_USAGE"]
        self.broken = ""

    def __call__(self, query: str, token: str) -> Answer:
        self.asked.append(query)
        if self.broken and self.broken in query:
            return Answer(422, b'{"status": "error", "error": "too much"}')
        if query == "vector(time())":
            return success([sample("1000")])
        if query.startswith("count by"):
            return success([sample("2", __name__=name) for name in self.names])
        if query.startswith("timestamp("):
            return success([sample("990", **labels) for _, labels, _ in dcgm()])
        return success([sample(repr(watts), __name__=name, **labels) for name, labels, watts in dcgm()])


def test_which_exporters_there_are_is_asked_seldom() -> None:
    said, clock = Said(), [0.0]
    with answering(said) as url, Prometheus(url) as asked:
        sensors = PowerSensors(asked, shipped_power(), monotonic=lambda: clock[0])
        for _ in range(3):
            one = sensors.read(PLACES)
            assert {r.watts for r in one.readings} == {300.0, 500.0}
            assert {r.age for r in one.readings} == {10.0}
        assert one.sensors == ("DCGM exporter",)
        assert len(said.asked) == 1 + 3 * 3
        assert sum(query.startswith("count by") for query in said.asked) == 1
        clock[0] = EVERY
        said.names.append("kepler_platform_watts")
        assert sensors.read(PLACES).sensors == ("DCGM exporter", "Kepler 0.10 platform")


def test_nothing_there_is_said_and_soon_asked_again() -> None:
    said, clock = Said(), [0.0]
    names, said.names = said.names, []
    with answering(said) as url, Prometheus(url) as asked:
        sensors = PowerSensors(asked, shipped_power(), monotonic=lambda: clock[0])
        one = sensors.read(PLACES)
        assert (one.readings, one.notes) == ((), (NOTHING,))
        said.names = names
        clock[0] = AGAIN
        assert len(sensors.read(PLACES).readings) == 4


def test_without_ages_readings_are_as_old_as_can_be() -> None:
    said = Said()
    said.broken = "timestamp("
    with answering(said) as url, Prometheus(url) as asked:
        one = PowerSensors(asked, shipped_power()).read(PLACES)
    assert {r.age for r in one.readings} == {300.0}
    assert one.notes[0].startswith("DCGM exporter times could not be read")


def test_a_failure_to_ask_for_names_is_bridged_once_they_are_known() -> None:
    said, clock = Said(), [0.0]
    said.broken = "count by"
    with answering(said) as url, Prometheus(url) as asked:
        sensors = PowerSensors(asked, shipped_power(), monotonic=lambda: clock[0])
        with pytest.raises(PrometheusError, match="too much"):
            sensors.read(PLACES)
        said.broken, clock[0] = "", AGAIN
        sensors.read(PLACES)
        said.broken, clock[0] = "count by", AGAIN + EVERY
        assert len(sensors.read(PLACES).readings) == 4


def test_a_window_is_above_0() -> None:
    with Prometheus("http://127.0.0.1:1") as asked, pytest.raises(ValueError, match="above 0"):
        PowerSensors(asked, shipped_power(), window=0.0)
