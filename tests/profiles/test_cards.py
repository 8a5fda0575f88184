"""The shipped cards: figures that can be, labels that mean one card, the catalogue's units out of them."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.profiles.library import accelerator_of, cards, classes, find_card, with_prices
from flyball.profiles.sample import catalogue
from flyball.spec.accelerator import Accelerator
from flyball.spec.card import Card
from flyball.spec.server import Server
from flyball.spec.service_class import Target
from flyball.wire.cards import Prices, card_document, cards_from_own, prices_from
from flyball.wire.errors import WireError

CARDS = {card.name: card for card in cards()}

# Per generation: bytes/s of memory per byte of it, FLOP per byte moved, and FLOP (1e9) per joule, at bf16.
RANGES = {
    "volta": ((25, 30), (130, 150), (400, 450)),
    "turing": ((15, 25), (180, 220), (800, 1000)),
    "ampere": ((18, 40), (110, 220), (200, 1300)),
    "ada": ((12, 45), (150, 430), (350, 1750)),
    "hopper": ((25, 45), (35, 420), (350, 2200)),
    "blackwell": ((15, 60), (110, 330), (350, 2300)),
    "cdna2": ((24, 28), (100, 120), (550, 700)),
    "cdna3": ((22, 30), (200, 260), (1250, 1800)),
    "cdna4": ((26, 30), (280, 330), (1750, 2350)),
    "gaudi2": ((24, 28), (160, 200), (650, 800)),
    "gaudi3": ((27, 31), (420, 480), (1750, 1950)),
}


@pytest.mark.parametrize("card", cards(), ids=lambda c: c.name)
def test_figures_agree_with_each_other_as_in_their_generation(card: Card) -> None:
    fill, intensity, efficiency = RANGES[card.generation]
    assert fill[0] <= card.bandwidth_gbs / card.memory_gb <= fill[1]
    assert intensity[0] <= card.tflops * 1e3 / card.bandwidth_gbs <= intensity[1]
    assert efficiency[0] <= card.tflops * 1e3 / card.tdp <= efficiency[1]
    # fp8 is as fast as bf16 or twice as fast: sparse figures, often printed beside, would be off by two
    assert card.tflops_fp8 == 0 or card.tflops_fp8 / card.tflops == pytest.approx(
        1 if card.name == "Gaudi3" else 2, rel=0.03
    )
    assert (card.tflops_fp8 == 0) == (card.generation in ("volta", "turing", "ampere", "cdna2"))
    assert (card.tflops_fp4 > 0) == (card.generation in ("blackwell", "cdna4"))
    assert card.tflops_fp4 == 0 or 1.9 <= card.tflops_fp4 / card.tflops_fp8 <= 4.1
    assert 32 <= card.link_gbs <= 1800
    # vendors say GB and mean GiB, of which the driver and ECC take a part: sold as 80, seen as 79.6 GiB
    assert 0.92 <= card.memory_mib / 1024 / card.memory_gb <= 1.03


# memory bandwidth, dense bf16, link one way, bytes as the driver shows them, TDP
@pytest.mark.parametrize(
    ("name", "bandwidth", "flops", "link", "memory", "tdp"),
    [
        ("a100_sxm", 2.039e12, 312e12, 300e9, 80 * 2**30, 400),
        ("h100_sxm", 3.35e12, 989e12, 450e9, 81_559 * 2**20, 700),
        ("h200_sxm", 4.8e12, 989e12, 450e9, 143_771 * 2**20, 700),
        ("b200_sxm", 7.7e12, 2250e12, 900e9, 183_359 * 2**20, 1000),
        ("b300_sxm", 7.75e12, 2250e12, 900e9, 275_040 * 2**20, 1100),
        ("gb200", 8e12, 2500e12, 900e9, 189_471 * 2**20, 1200),
        ("l40s", 0.864e12, 362e12, 32e9, 46_068 * 2**20, 350),
        ("l4", 0.3e12, 121e12, 32e9, 23_034 * 2**20, 72),
        ("rtx_pro_6000_server", 1.597e12, 468e12, 64e9, 97_887 * 2**20, 600),
    ],
)
def test_figures_of_datasheets_and_drivers(
    name: str, bandwidth: float, flops: float, link: float, memory: float, tdp: float
) -> None:
    card = find_card(name)
    assert card.bandwidth_gbs * 1e9 == pytest.approx(bandwidth)
    assert card.tflops * 1e12 == flops
    assert card.link_one_way_gbs * 1e9 == link
    assert card.memory_bytes == memory
    assert card.tdp == tdp


def test_memory_is_as_sold_where_no_driver_was_asked() -> None:
    assert Card("own", memory_gb=48).memory_bytes == 48e9


@pytest.mark.parametrize("card", cards(), ids=lambda c: c.name)
def test_prices_are_dated_and_say_whose_they_are(card: Card) -> None:
    assert 0.1 <= card.price <= 20
    assert "2024-01" <= card.priced <= "2026-12"
    assert card.price_source
    assert card.source
    # no card costs ten times another one per byte/s of its memory, nor hides that a price was reckoned
    assert 4e-4 <= card.price / card.bandwidth_gbs <= 4e-3
    assert not card.price_source.startswith("reckoned") or "price" in card.unverified
    assert any(
        kind in card.price_source
        for kind in ("on demand", "secure cloud", "reckoned", "an eighth", "a quarter")
    )


def test_a_label_means_one_card() -> None:
    spellings: dict[str, str] = {}
    for card in cards():
        for spelling in (card.name, *card.labels, *card.aliases):
            key = spelling.casefold().replace("-", "").replace("_", "")
            assert spellings.setdefault(key, card.name) == card.name, spelling
            assert find_card(spelling) is card
    assert {c.name for c in cards() if not c.labels} == {"Gaudi2", "Gaudi3"}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("NVIDIA-H100-80GB-HBM3", "H100"),
        ("h100", "H100"),
        ("A100-80GB", "A100"),
        ("NVIDIA A100 80GB PCIe", "A100-PCIe"),
        ("NVIDIA-L40S-SHARED", "L40S"),
        ("nvidia-h200-141gb", "H200"),
        ("Tesla-T4", "T4"),
        ("RTX PRO 6000", "RTXPRO6000"),
        ("AMD_Instinct_MI300X_OAM", "MI300X"),
        ("74a1", "MI300X"),
        (" b200 ", "B200"),
        ("rtx_pro_6000_server", "RTXPRO6000"),
        ("NVIDIA-B300-SXM6-PC", "B300"),
        ("AMD_Instinct_MI325_OAM", "MI325X"),
    ],
)
def test_cards_are_found_by_what_nodes_and_people_call_them(name: str, found: str) -> None:
    assert find_card(name).name == found


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("H10", r'--card is "H10": there is no such card. Near: H100'),
        ("zzz", "Known: A10, A100"),
        ("NVIDIA-H100-80GB-HBM2", "Near: .*NVIDIA-H100-80GB-HBM3"),
        ("AMD_Instinct_MI300X_QAM", "Near: .*AMD_Instinct_MI300X_OAM"),
        ("A100-SXM4-80G", "Near: .*A100-SXM4-80GB"),
        ("", "there is no such card"),
        ("NVIDIA-A100-80GB-PCIe-MIG-1g.10gb", "a MIG slice is a part of a card"),
    ],
)
def test_what_is_no_card_is_said(name: str, says: str) -> None:
    with pytest.raises(WireError, match=says):
        find_card(name, where="--card")


@given(st.text())
def test_any_name_is_a_card_or_a_wire_error(name: str) -> None:
    try:
        found = find_card(name)
    except WireError:
        return
    assert found in cards()


# ---- units ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", catalogue().accelerators, ids=lambda a: a.name)
def test_the_catalogues_accelerators_come_out_of_the_cards(unit: Accelerator) -> None:
    made = accelerator_of(CARDS[unit.type], unit.multiplicity)
    if unit.type == "B200":  # there with the 8 TB/s of the announcement
        made = msgspec.structs.replace(made, bandwidth_gbs=unit.bandwidth_gbs)
    assert made == unit


@given(st.sampled_from(cards()), st.integers(1, 72))
def test_a_unit_is_its_cards_together(card: Card, count: int) -> None:
    unit = accelerator_of(card, count)
    assert (unit.type, unit.multiplicity) == (card.name, count)
    assert (unit.memory_gb, unit.bandwidth_gbs) == (count * card.memory_gb, count * card.bandwidth_gbs)
    assert unit.cost == pytest.approx(count * card.price)
    assert unit.power is not None
    assert 0 < unit.power.idle < unit.power.mid_power < unit.power.full == count * card.tdp
    assert unit.power.mid_power / count <= accelerator_of(card).power.mid_power + 1  # type: ignore[union-attr]


def test_idle_watts_of_ones_own_stand_for_the_estimate() -> None:
    measured = msgspec.structs.replace(CARDS["H100"], idle=122)
    assert accelerator_of(measured, 2).power.idle == 244  # type: ignore[union-attr]
    assert accelerator_of(CARDS["H100"], 2).power.idle == 238  # type: ignore[union-attr]


def test_a_card_without_watts_has_no_power_curve() -> None:
    assert accelerator_of(Card("own", memory_gb=48)).power is None


# ---- prices --------------------------------------------------------------------------------------


def test_own_prices_stand_for_those_of_the_library() -> None:
    priced = with_prices(cards(), Prices({"H100": 2.1, "NVIDIA-L40S": 0.9}, "mine.csv", "2026-10"))
    assert [c.name for c in priced] == [c.name for c in cards()]
    changed = {c.name: c for c in priced if c not in cards()}
    assert set(changed) == {"H100", "L40S"}
    assert (changed["H100"].price, changed["H100"].priced) == (2.1, "2026-10")
    assert changed["H100"].price_source == "mine.csv"
    assert accelerator_of(changed["H100"], 8).cost == pytest.approx(16.8)
    assert find_card("H100").price == 2.99  # what is shipped stays as it is


def test_a_row_that_names_no_card_is_said_with_its_line() -> None:
    prices = prices_from(b"accelerator,price_per_hour\nH100,2\nH1000,3\n", "mine.csv")
    with pytest.raises(WireError, match=r'mine.csv: line 3 is "H1000": there is no such card. Near: .*H100'):
        with_prices(cards(), prices)


@pytest.mark.parametrize(
    ("prices", "says"),
    [
        ({"H1000": 2.1}, r'mine.csv is "H1000": there is no such card. Near: H100'),
        ({"A100": 1, "A100-80GB": 2}, "mine.csv: A100 and A100-80GB are both A100. Keep one price"),
    ],
)
def test_prices_of_no_card_and_two_of_one_are_refused(prices: dict[str, float], says: str) -> None:
    with pytest.raises(WireError, match=says):
        with_prices(cards(), Prices(prices, "mine.csv"))


def test_the_library_comes_back_from_its_documents() -> None:
    document = {"kind": "Cards", "cards": [card_document(c) for c in cards()]}
    again = cards_from_own(document, "again")
    assert [msgspec.structs.replace(c, price_source="") for c in cards()] == [
        msgspec.structs.replace(c, price_source="") for c in again
    ]
    assert [c.price_source for c in again] == [c.price_source for c in cards()]


# ---- service classes -----------------------------------------------------------------------------


def test_service_classes_are_in_the_order_of_who_waits() -> None:
    assert [c.name for c in classes()] == ["Completion", "Chat", "LongPrompt", "Agent", "Free", "Batch"]
    priorities = [c.priority for c in classes()]
    assert priorities == sorted(set(priorities))
    for service_class in classes():
        (promise,) = service_class.models
        assert promise.model == "*"
        assert promise.targets
    completion, chat, long_prompt, agent, free, batch = (c.models[0].targets for c in classes())
    assert chat == (Target("ttft", 1.0, 0.95), Target("itl", 0.05, 0.95))
    assert completion[0].limit < chat[0].limit < agent[0].limit < long_prompt[0].limit
    assert agent[1].limit < chat[1].limit
    assert free == tuple(msgspec.structs.replace(t, limit=2 * t.limit) for t in chat)
    assert Server("demo", "m").service_class == "Free"  # the class of a server that names none is shipped
    assert batch == (Target("e2e", 600.0),)
