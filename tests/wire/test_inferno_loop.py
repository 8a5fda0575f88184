"""Documents of the control loop: as the originals write them, and back."""

from __future__ import annotations

import msgspec
import pytest

from flyball.spec.decision import Order
from flyball.spec.server import Allocation, Load, Server
from flyball.wire.errors import WireError
from flyball.wire.inferno_loop import (
    Collected,
    Resource,
    collected_bytes,
    read_collected,
    read_update,
    update_bytes,
)

SERVER = Server(
    "Premium-llama",
    "llama_13b",
    "Premium",
    Load(arrival_rate=0.5, in_tokens=128, out_tokens=1024, throughput=0.5),
    max_queue_size=0,
    current=Allocation("MI250", 2, 8, itl=0.02, ttft=0.1),
)
FOUND = Collected(
    (SERVER,), (msgspec.structs.replace(SERVER, name="Premium-llama/pod-1"),), {"A": Resource("u", "n", "s")}
)


def test_what_is_collected_reads_back() -> None:
    data = collected_bytes(FOUND)
    assert read_collected(data, "it") == FOUND
    first = msgspec.json.decode(data)["servers"][0]
    assert first["currentAlloc"]["load"]["arrivalRate"] == 30  # a minute
    assert first["currentAlloc"]["itlAverage"] == 20  # ms


def test_names_of_servers_keep_their_case() -> None:
    """Fields are taken whatever their case; a server may be called as a field is."""
    body = b'{"Allocations": {"Name": {"ACCELERATOR": "A", "numreplicas": 3}, "b": null}}'
    assert read_update(body).orders == (Order("Name", "A", 3, 0),)


def test_an_update_reads_back() -> None:
    body = update_bytes(
        {"s": {"accelerator": "A100", "numReplicas": 2, "maxBatch": 16}}, {"s": Resource("u", "n", "x")}
    )
    update = read_update(body)
    assert update.orders == (Order("s", "A100", 2, 16),)
    assert update.resources == {"s": Resource("u", "n", "x")}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"[]", "expected an object"),
        (b'{"allocations": []}', "expected an object"),
        (b'{"allocations": {"s": {"numReplicas": "2"}}}', "allocations.s.numReplicas"),
        (b"{", "the body"),
    ],
)
def test_what_cannot_be_read_is_said(body: bytes, said: str) -> None:
    with pytest.raises(WireError, match=said):
        read_update(body)
