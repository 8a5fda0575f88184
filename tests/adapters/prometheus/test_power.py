"""Power of each exporter's dialect, and the traps in them: twice scraped, stale, moved, shared."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pytest

from flyball.adapters.prometheus.mapping import read_power_names, shipped_power
from flyball.adapters.prometheus.power_figures import Places
from flyball.power.sensing import node_watts
from flyball.spec.power import PowerNode, PowerReading
from flyball.wire.errors import WireError
from tests.adapters.prometheus.power_pages import (
    CARDS,
    PLACES,
    Aged,
    aged,
    dcgm,
    dcgm_exported,
    kepler_new,
    kepler_old,
    scrape,
)

NODE = PowerNode("n1", {}, 2, 2, 100.0, 1500.0, 0.0, 75.0, 700.0)


@dataclass(frozen=True)
class Found:
    """Readings by what they are of."""

    readings: tuple[PowerReading, ...]
    notes: tuple[str, ...]

    def of(self, part: str, source: str = "") -> dict[tuple[str, str], float | None]:
        """Watts by zone and device."""
        return {
            (r.zone, r.device): r.watts for r in self.readings if r.part == part and source in ("", r.source)
        }

    def pods(self) -> dict[str, float | None]:
        return {r.device: r.watts for r in self.readings if r.part == "pod"}


def found(*series: Aged, places: Places = PLACES) -> Found:
    one = scrape(series, places)
    return Found(one.readings, one.notes)


def test_dcgm_in_both_dialects_gives_the_same_cards() -> None:
    old, new = found(*aged(dcgm())), found(*aged(dcgm_exported()))
    assert old.of("card") == new.of("card") == {("", "GPU-aa"): 300.0, ("", "GPU-bb"): 500.0}
    assert old.pods() == {"infer/chat-0": 300.0, "infer/chat-1": 500.0}
    # The idle card is nobody's: `pod` is the exporter's there.
    assert new.pods() == {"infer/chat-0": 300.0}
    assert all(r.node == "n1" and r.age == 10.0 and r.error == 0.05 for r in old.readings)
    assert old.notes == new.notes == ()


def test_old_kepler_counts_both_modes_and_one_zone() -> None:
    one = found(*aged(kepler_old()))
    assert one.of("cpu") == {("package", "0"): pytest.approx(200.0)}
    assert one.of("card") == {("", "0"): pytest.approx(290.0)}
    assert one.of("whole") == {("", "0"): None}  # it says 0: nothing measures it
    assert one.pods() == {"infer/chat-0": pytest.approx(350.0)}
    known, notes = node_watts(NODE, one.readings)
    assert known.watts == pytest.approx(200.0 + 290.0 + 700.0)
    assert notes == ("n1: 1 of 2 cards are not measured",)


def test_old_kepler_without_rapl_is_less_sure() -> None:
    errors = {
        source: [r.error for r in found(*aged(kepler_old(source=source))).readings if r.part == "cpu"]
        for source in ("intel_rapl", "trained_power_model")
    }
    assert errors == {"intel_rapl": [0.05], "trained_power_model": [0.3]}


def test_new_kepler_with_all_its_parts() -> None:
    one = found(*aged(kepler_new()))
    packages = {d: w for (z, d), w in one.of("cpu").items() if z == "package"}
    assert list(packages.values()) == [100.0, 100.0]
    assert one.of("card") == {("", CARDS[0]): 310.0}
    assert one.of("whole", "redfish") == {("", "PowerControl"): 1400.0}
    assert one.pods() == {"infer/chat-0": 0.25 * 200.0 + 305.0}
    assert node_watts(NODE, one.readings)[0].watts == 1400.0


def test_cards_of_dcgm_and_cpu_of_kepler_add_up_to_a_pod() -> None:
    one = found(*aged(dcgm()), *aged(kepler_new()))
    assert one.pods() == {"infer/chat-0": 300.0 + 50.0, "infer/chat-1": 500.0}
    (pod,) = (r for r in one.readings if r.device == "infer/chat-0")
    assert pod.source == "dcgm"
    assert pod.error == pytest.approx(math.hypot(0.05 * 300.0, 0.2 * 50.0) / 350.0)


def test_while_kepler_is_upgraded_each_node_counts_by_one_dialect() -> None:
    both = found(*aged(kepler_old()), *aged(kepler_new()), *aged(kepler_old("n2.example.com", 300.0)))
    first = [r for r in both.readings if r.node == "n1" and r.part == "cpu" and r.zone == "package"]
    assert [r.watts for r in first] == [100.0, 100.0]
    second = [r for r in both.readings if r.node != "n1" and r.part == "cpu"]
    assert [(r.watts, r.zone) for r in second] == [(pytest.approx(300.0), "package")]


def test_the_old_dialect_counts_while_the_new_one_is_late() -> None:
    one = found(*aged(kepler_old(), 5.0), *aged(kepler_new(), 200.0))
    assert one.of("cpu") == {("package", "0"): pytest.approx(200.0)}


def test_two_exporters_of_one_node_count_once_and_are_told() -> None:
    second = [(m, {**labels, "instance": "10.0.0.8:9400", "job": "mine"}, w) for m, labels, w in dcgm()]
    one = found(*aged(dcgm()), *aged(second, 3.0))
    assert one.of("card") == {("", "GPU-aa"): 300.0, ("", "GPU-bb"): 500.0}
    assert {r.age for r in one.readings} == {3.0}
    (note,) = one.notes
    assert note.startswith("DCGM exporter: 1 nodes are scraped more than once, such as n1")
    # The other calls devices otherwise: of two lists of two cards there are two, not four.
    for _, labels, _ in second:
        del labels["UUID"]
    assert len(found(*aged(dcgm()), *aged(second, 30.0)).of("card")) == 2


def test_an_exporter_that_was_restarted_is_no_second_one() -> None:
    gone = [(m, {**labels, "instance": "10.0.0.9:9400"}, 650.0) for m, labels, _ in dcgm()]
    one = found(*aged(dcgm()), *aged(gone, 250.0))
    assert one.of("card") == {("", "GPU-aa"): 300.0, ("", "GPU-bb"): 500.0}
    assert one.notes == ()


def test_parts_of_a_card_tell_its_watts_once_and_nobodys() -> None:
    parts = [
        (m, {**labels, "GPU_I_ID": str(i), "GPU_I_PROFILE": "1g.10gb", "pod": f"small-{i}"}, 300.0)
        for i in range(3)
        for m, labels, _ in dcgm((300.0,))
    ]
    one = found(*aged(parts), *aged(kepler_new(gpu=False)))
    assert one.of("card") == {("", "GPU-aa"): 300.0}
    assert one.pods() == {"infer/chat-0": 50.0}
    assert one.notes == ("3 pods share cards, such as infer/small-0: their watts are not told apart",)


def test_a_card_that_changed_hands_is_the_last_ones() -> None:
    before = [(m, {**labels, "pod": "chat-before"}, w) for m, labels, w in dcgm((650.0,))]
    one = found(*aged(before, 100.0), *aged(dcgm((300.0,)), 10.0))
    assert one.of("card") == {("", "GPU-aa"): 300.0}
    assert one.pods() == {"infer/chat-0": 300.0}


def test_a_pod_that_moved_is_where_it_is() -> None:
    there = kepler_old("n2.example.com")
    unknown = found(*aged(kepler_old(), 200.0), *aged(there, 10.0))
    assert [r.node for r in unknown.readings if r.part == "pod"] == ["n2.example.com"]
    # The list of pods goes before ages.
    places = Places(PLACES.nodes, {("infer", "chat-0"): "n1"})
    known = found(*aged(kepler_old(), 20.0), *aged(there, 10.0), places=places)
    assert [r.node for r in known.readings if r.part == "pod"] == ["n1"]


def test_a_pod_with_cards_is_not_its_cpu_time() -> None:
    places = Places(PLACES.nodes, {}, frozenset({("infer", "chat-0")}))
    assert found(*aged(kepler_new(gpu=False)), places=places).pods() == {}
    assert found(*aged(kepler_new(gpu=False))).pods() == {"infer/chat-0": 50.0}


@pytest.mark.parametrize("watts", [0.0, math.nan, math.inf, -5.0])
def test_what_is_no_figure_is_not_known(watts: float) -> None:
    one = found(*aged(dcgm((watts, 500.0))))
    assert one.of("card") == {("", "GPU-aa"): None, ("", "GPU-bb"): 500.0}
    assert node_watts(NODE, one.readings)[0].watts == 500.0 + 700.0 + NODE.host_most


@pytest.mark.parametrize(
    ("said", "node"),
    [
        ("n1", "n1"),
        ("n1:9400", "n1"),
        ("n2", "n2.example.com"),
        ("n1.other.org", "n1"),
        ("dcgm-exporter-x", "n1"),  # the exporter's pod, where it is not told its node
        ("10.0.0.7:9400", ""),
        ("n3", ""),
    ],
)
def test_which_node_a_label_means(said: str, node: str) -> None:
    places = Places(PLACES.nodes, {("gpu-operator", "dcgm-exporter-x"): "n1"})
    assert places.node(said) == node


def test_what_could_be_two_nodes_or_two_pods_is_neither() -> None:
    pods = {("a", "exporter-0"): "n5.a.org", ("b", "exporter-0"): "n5.b.org"}
    places = Places(frozenset({"n5.a.org", "n5.b.org"}), pods)
    assert [places.node(said) for said in ("n5", "exporter-0", "n5.a.org")] == ["", "", "n5.a.org"]
    assert Places().node("n5:9400") == "n5"


def test_an_exporter_that_names_no_node_is_where_its_pod_is() -> None:
    series = [(m, {**labels, "hostname": "localhost"}, w) for m, labels, w in dcgm_exported()]
    lost = found(*aged(series))
    assert lost.readings == ()
    (note,) = lost.notes
    assert note.startswith(
        "DCGM exporter: 2 series name no node that is there (hostname=localhost, instance="
    )
    places = Places(PLACES.nodes, {("gpu-operator", "dcgm-exporter-x"): "n1", ("infer", "chat-0"): "n1"})
    assert found(*aged(series), places=places).of("card") == {("", "GPU-aa"): 300.0, ("", "GPU-bb"): 500.0}


# ---- the file ------------------------------------------------------------------------------------

OWN = """
apiVersion: flyball/v1
kind: PowerMetrics
select: {cluster: east}
sensors:
  - name: meter
    source: redfish
    part: whole
    watts: 'redfish_power_watts{kind="total"}'
    scale: 0.001
    labels: {node: [host]}
"""


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "power.yaml"
    path.write_text(OWN)
    names = read_power_names(path)
    (sensor,) = names.sensors
    assert (sensor.source, sensor.part, sensor.scale, sensor.node) == ("redfish", "whole", 0.001, ("host",))
    assert names.select == (("cluster", "east"),)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("part: half", "sensors[0].part"),
        ("part: pod", "sensors[0].labels"),
        ("source: guess", "there is no such source"),
        ("scale: 0", "allowed is a number over 0"),
        ("error: -1", "allowed is a number over 0"),
        ("watt: x", "there is no such field"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_place(tmp_path: Path, wrong: str, said: str) -> None:
    key = wrong.partition(":")[0]
    lines = [line for line in OWN.splitlines() if not line.strip().startswith(f"{key}:")]
    lines.insert(len(lines) - 1, f"    {wrong}")
    path = tmp_path / "power.yaml"
    path.write_text("\n".join(lines))
    with pytest.raises(WireError) as error:
        read_power_names(path)
    assert said in str(error.value)


def test_shipped_names_are_what_the_exporters_say() -> None:
    known = {m.partition("{")[0] for s in shipped_power().sensors for m in (*s.watts, *s.joules)}
    pages = {m for lines in (dcgm(), kepler_old(), kepler_new()) for m, _, _ in lines}
    assert pages - known == {"kepler_node_core_joules_total"}  # a part of the package
