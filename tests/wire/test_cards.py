"""Cards and prices as documents: what is read, what is refused, and how it says so."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.spec.card import Card
from flyball.wire import text
from flyball.wire.cards import Prices, card_document, cards_from_own, parse_date, prices_from, prices_from_own
from flyball.wire.errors import WireError

HEADING = b"accelerator,price_per_hour\n"
DOCUMENT = """
apiVersion: flyball/v1
kind: Cards
priced: 2026-11
priceSource: our lease
cards:
  - {name: X1, vendor: X, generation: x, memory: 64, memoryMib: 65000, bandwidth: 2000, tflops: 300,
     tflopsFp8: 600, tflopsFp4: 1200, link: 400, tdp: 500, idle: 80,
     price: 1.5, source: datasheet, unverified: [tdp], labels: [X-X1], aliases: [X-One]}
  - {name: X2, price: 2, priced: 2026-10-31, priceSource: a list}
  - {name: X3}
"""


def parsed() -> Any:
    return text.decode(DOCUMENT.encode(), "cards.yaml")


def test_cards_are_read_with_the_date_and_source_of_their_document() -> None:
    one, two, three = cards_from_own(parsed(), "cards.yaml")
    assert one == Card(
        name="X1",
        vendor="X",
        generation="x",
        memory_gb=64,
        memory_mib=65_000,
        bandwidth_gbs=2000,
        tflops=300,
        tflops_fp8=600,
        tflops_fp4=1200,
        link_gbs=400,
        tdp=500,
        idle=80,
        price=1.5,
        priced="2026-11",
        price_source="our lease",
        source="datasheet",
        unverified=("tdp",),
        labels=("X-X1",),
        aliases=("X-One",),
    )
    assert (two.price, two.priced, two.price_source) == (2.0, "2026-10-31", "a list")
    assert three == Card("X3")  # without a price it has neither date nor source


def test_a_card_of_ones_own_stands_over_that_of_the_library() -> None:
    base = {c.name: c for c in cards_from_own(parsed(), "cards.yaml")}
    document = {"kind": "Cards", "cards": [{"name": "X1", "memory": 96}, {"name": "X2", "price": 3}]}
    larger, dearer = cards_from_own(document, "mine.yaml", base)
    assert (larger.memory_gb, larger.bandwidth_gbs, larger.labels) == (96, 2000, ("X-X1",))
    assert larger.memory_bytes == 96e9  # and not what the driver says of 64 GB
    assert (larger.price, larger.priced, larger.price_source) == (1.5, "2026-11", "our lease")
    # the old date does not vouch for the new price
    assert (dearer.price, dearer.priced, dearer.price_source) == (3.0, "", "")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"memory": -1}, r"cards\[0\].memory is -1: allowed is GB of one card from 0"),
        ({"tdp": "700W"}, r"cards\[0\].tdp is \"700W\".*watts of one card"),
        ({"price": 0}, r"cards\[0\].price is 0: allowed are dollars per hour of one card, over 0"),
        ({"priced": "yesterday"}, r'cards\[0\].priced is "yesterday": allowed is a month or a day, such as'),
        ({"priced": "2026-13"}, "a month or a day"),
        ({"bandwith": 1}, r"cards\[0\].bandwith: there is no such field. Near: bandwidth"),
        ({"labels": "X-X1"}, r"cards\[0\].labels is .*: allowed is a list"),
        ({"labels": [7]}, r"cards\[0\].labels\[0\] is 7"),
        ({"unverified": ["memry"]}, r"cards\[0\].unverified\[0\] is \"memry\".*Near: memory"),
        ({"name": "X2"}, r"cards\[1\]: X2 is there already"),
    ],
)
def test_what_is_wrong_in_a_card_is_said_with_its_place(change: dict[str, object], says: str) -> None:
    document = parsed()
    document["cards"][0] |= change
    with pytest.raises(WireError, match=says) as caught:
        cards_from_own(document, "cards.yaml")
    assert str(caught.value).startswith("cards.yaml: ")


@pytest.mark.parametrize("document", [None, [], "Cards", {}, {"kind": "Card"}, {"kind": "Cards", "card": []}])
def test_other_documents_are_no_cards(document: object) -> None:
    with pytest.raises(WireError):
        cards_from_own(document, "x")


def test_cards_come_back_from_their_documents() -> None:
    cards = cards_from_own(parsed(), "cards.yaml")
    again = {"kind": "Cards", "cards": [card_document(c) for c in cards]}
    assert cards_from_own(text.decode(text.encode_yaml(again).encode(), "again"), "again") == cards


# ---- prices --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"H100: 2.10\nL40S: 0.99\n",
        b'{"H100": 2.1, "L40S": 0.99}',
        b"kind: Prices\nprices: {H100: 2.1, L40S: 0.99}\n",
    ],
)
def test_prices_are_said_in_brief_and_in_full(data: bytes) -> None:
    assert prices_from(data, "prices") == Prices({"H100": 2.1, "L40S": 0.99}, "prices")


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"accelerator,price_per_hour\nH100,2.10\nL40S,0.99\n", (2, 3)),
        (b"accelerator,price_per_hour,currency\nH100,2.10,USD\nL40S,0.99,usd", (2, 3)),
        (
            b"\xef\xbb\xbf# our lease: 2026\r\nAccelerator, Price_per_hour\r\n\r\n"
            b'"H100", 2.10\r\nL40S , .99\r\n',
            (4, 5),
        ),
    ],
)
def test_prices_are_said_in_rows(data: bytes, lines: tuple[int, int]) -> None:
    prices = prices_from(data, "prices")
    assert prices == Prices(
        {"H100": 2.1, "L40S": 0.99}, "prices", lines=dict(zip(("H100", "L40S"), lines, strict=True))
    )
    assert prices.place("L40S") == f"prices: line {lines[1]}"
    assert prices.place("L4") == "prices"


def test_prices_may_have_a_date() -> None:
    document = {"apiVersion": "flyball/v1", "kind": "Prices", "priced": "2026-11-21", "prices": {"H100": 2}}
    assert prices_from_own(document, "p") == Prices({"H100": 2.0}, "p", "2026-11-21")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"H100: cheap", r'prices: H100 is "cheap": allowed is dollars per hour of one card'),
        (b"H100: 0", "over 0. Leave the price out"),
        (b"H100: 1e9", "from 0 to 100000"),
        (b"{}", "an object of cards with dollars per hour, such as {H100: 2.10}"),
        (b"[H100]", "an object of cards"),
        (b"", "holds nothing"),
        (b"2.10", "an object of cards"),
        (b"kind: Price\nprices: {}", "Near: Prices"),
        (b"kind: Prices", "prices: is missing"),
        (HEADING, "holds no prices"),
        (b"H100,2.10\n", r'line 1 is "H100,2.10": allowed is the heading accelerator,price_per_hour or'),
        (b"card,price\nH100,2\n", 'line 1 is "card,price": allowed is the heading'),
        (
            HEADING + b"H100,2.10,USD\n",
            r'line 2 is "H100,2.10,USD": allowed is accelerator,price_per_hour, such as',
        ),
        (HEADING + b"# spot\nH100,\n", 'line 3 is ""'),
        (HEADING + b"H100,cheap\n", 'prices: line 2 is "cheap": allowed is dollars per hour of one card'),
        (HEADING + b"H100,0\n", 'line 2 is "0": allowed are dollars per hour of one card, over 0'),
        (HEADING + b"H100,2\nH100,3\n", "line 3: H100 is there already, in line 2. Keep one"),
        (HEADING[:-1] + b",currency\nH100,2,EUR", 'line 2 is "EUR": allowed is the currency USD. Convert'),
        (HEADING + b"H100" + b"0" * 200_000 + b",2", "line 2 is .*: allowed is accelerator,price_per_hour"),
    ],
)
def test_what_is_wrong_in_prices_is_said_with_its_place(data: bytes, says: str) -> None:
    with pytest.raises(WireError, match=says):
        prices_from(data, "prices")


@given(
    st.binary(max_size=40)
    | st.text('ab,.:#\n"{1 ', max_size=40).map(str.encode)
    | st.text('ab,.#\n"1 ', max_size=40).map(lambda rows: HEADING + rows.encode())
)
def test_any_bytes_are_prices_or_a_wire_error(data: bytes) -> None:
    try:
        prices = prices_from(data, "prices")
    except WireError:
        return
    assert all(0 < price <= 1e5 for price in prices.per_card.values())


@pytest.mark.parametrize("value", ["2026-00", "26-11", "2026-11-32", "2026-11-1", 2026, None, "2026-11\n"])
def test_other_dates_are_refused(value: object) -> None:
    with pytest.raises(WireError, match="a month or a day"):
        parse_date(value, "here")
