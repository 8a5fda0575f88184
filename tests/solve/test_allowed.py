"""A server that may have only some accelerators."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from flyball.decide.plan import plan
from flyball.solve.candidates import candidates
from flyball.solve.pairs import EXCLUSIONS
from flyball.spec.fleet import Fleet
from flyball.spec.plan import Exclusion
from flyball.testing.make import make_fleet, make_server

NAMES = ("A", "B", "C")


def fleet(*allowed: tuple[str, ...]) -> Fleet:
    servers = [replace(make_server(f"s{i}"), accelerators=names) for i, names in enumerate(allowed)]
    prices = {"A": 1.0, "B": 1.5, "C": 9.0}
    return make_fleet(servers, prices=prices, capacity=dict.fromkeys(NAMES, 100))


@given(st.lists(st.lists(st.sampled_from([*NAMES, "nowhere"]), unique=True), min_size=1, max_size=5))
def test_only_what_is_allowed_is_a_candidate(allowed: list[list[str]]) -> None:
    sized = candidates(fleet(*map(tuple, allowed)))
    columns = (sized.pairs.server, sized.pairs.accelerator, sized.excluded)
    for s, a, excluded in zip(*(column.tolist() for column in columns), strict=True):
        free = not allowed[s] or NAMES[a] in allowed[s]
        assert EXCLUSIONS[excluded] == ("" if free else "not_allowed")


def test_what_is_not_allowed_is_told() -> None:
    dear, free = plan(fleet(("C",), ())).servers
    assert dear.allocation
    assert (dear.allocation.accelerator, dear.reason) == ("C", "pinned")
    assert dear.exclusions == (Exclusion("A", "not_allowed"), Exclusion("B", "not_allowed"))
    assert free.allocation
    assert (free.allocation.accelerator, free.reason) == ("A", "cheapest")
    assert free.exclusions == ()


def test_allowed_nowhere_is_not_served() -> None:
    (server,) = plan(fleet(("nowhere",))).servers
    assert (server.status, server.reason, server.allocation) == ("unserved", "pinned", None)
