"""What if: one thing changes, everything else stays, and what makes no sense is refused with the mend."""

from __future__ import annotations

import copy
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from flyball.decide.plan import plan
from flyball.decide.what_if import KINDS, LARGEST, WhatIfError, change
from flyball.spec.fleet import Fleet, Generation, Settings
from flyball.spec.service_class import Target
from flyball.testing.make import make_fleet, make_server

CHAT = make_server("chat", rate=2.0, in_tokens=1000, out_tokens=200)
CODE = make_server("code", rate=5.0, service_class="Bronze", in_tokens=400, out_tokens=100)
TARGETS = (Target("ttft", 2.0, 0.95), Target("itl", 0.08), Target("e2e", 30.0))


def fleet() -> Fleet:
    """Servers chat (Gold) and code (Bronze) on A and B, 10 cards each; ttft, itl and e2e are promised."""
    return make_fleet([CHAT, CODE], targets=TARGETS, capacity={"A": 10, "B": 10}, generation="flyball")


def rates(changed: Fleet) -> list[float]:
    return [s.load.arrival_rate for s in changed.servers]


def limits(changed: Fleet, metric: str) -> dict[str, float]:
    return {
        c.name: t.limit
        for c in changed.service_classes
        for m in c.models
        for t in m.targets
        if t.metric == metric
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("load*2", [4.0, 10.0]),
        ("load/2", [1.0, 2.5]),
        ("load+1", [3.0, 6.0]),
        ("load-1.5", [0.5, 3.5]),
        ("load=7", [7.0, 7.0]),
        ("load[chat]*2", [4.0, 5.0]),
        ("load[code]=0", [2.0, 0.0]),
        ("load[chat]*2, load[code]*3", [4.0, 15.0]),
        ("load*2,load[chat]+1", [5.0, 10.0]),
        ("  LOAD [chat] * 1e1  ", [20.0, 5.0]),
        ("load*.5", [1.0, 2.5]),
        ("load=+3", [3.0, 3.0]),
    ],
)
def test_load_and_every_operator(text: str, expected: list[float]) -> None:
    changed = change(fleet(), text)
    assert rates(changed) == expected
    assert changed == replace(fleet(), servers=changed.servers)


@pytest.mark.parametrize(("kind", "field"), [("in", "in_tokens"), ("out", "out_tokens")])
def test_tokens(kind: str, field: str) -> None:
    changed = change(fleet(), f"{kind}[chat]=2000")
    assert [getattr(s.load, field) for s in changed.servers] == [2000.0, getattr(CODE.load, field)]
    assert rates(changed) == rates(fleet())


def test_capacity() -> None:
    assert change(fleet(), "capacity[A]+16").capacity == {"A": 26, "B": 10}
    assert change(fleet(), "capacity*2").capacity == {"A": 20, "B": 20}
    assert change(fleet(), "capacity=0").capacity == {"A": 0, "B": 0}


def test_capacity_is_whole_cards_and_never_more_than_asked() -> None:
    assert change(fleet(), "capacity[A]*1.19").capacity["A"] == 11
    assert change(replace(fleet(), capacity={"A": 100}), "capacity[A]*1.1").capacity["A"] == 110
    assert change(replace(fleet(), capacity={"A": 100}), "capacity[A]*0.29").capacity["A"] == 29


def test_capacity_without_name_is_for_all_types_even_those_without_cards() -> None:
    bare = replace(fleet(), capacity={"A": 10})
    assert change(bare, "capacity+4").capacity == {"A": 14, "B": 4}
    assert change(bare, "capacity*2").capacity == {"A": 20}
    assert change(bare, "capacity[B]=4").capacity == {"A": 10, "B": 4}


@pytest.mark.parametrize("settings", [Settings(unlimited=True), Settings(solver="unlimited")])
def test_capacity_of_an_unlimited_fleet_means_nothing(settings: Settings) -> None:
    with pytest.raises(WhatIfError, match="as if it were unlimited"):
        change(replace(fleet(), settings=settings), "capacity*2")


def test_price() -> None:
    changed = change(fleet(), "price[B]*0.5")
    assert {a.name: a.cost for a in changed.accelerators} == {"A": 1.0, "B": 0.75}
    assert {a.cost for a in change(fleet(), "price=0").accelerators} == {0.0}


@pytest.mark.parametrize("metric", ["ttft", "itl", "e2e"])
def test_targets(metric: str) -> None:
    before = limits(fleet(), metric)
    assert limits(change(fleet(), f"{metric}*0.5"), metric) == {k: v / 2 for k, v in before.items()}
    changed = change(fleet(), f"{metric}[Gold]=0.25")
    assert limits(changed, metric) == {**before, "Gold": 0.25}
    assert changed == replace(fleet(), service_classes=changed.service_classes)
    assert {t.quantile for c in changed.service_classes for m in c.models for t in m.targets} == {0.0, 0.95}


def test_a_target_that_nobody_promises() -> None:
    with pytest.raises(WhatIfError, match="no class promises a wait; it can change e2e, itl, ttft"):
        change(fleet(), "wait*2")
    nothing = make_fleet([CHAT], targets=[])
    with pytest.raises(WhatIfError, match="'Gold' does not promise a ttft; there are no targets"):
        change(nothing, "ttft[Gold]*2")


def test_a_target_of_nothing() -> None:
    with pytest.raises(WhatIfError, match="target of 0 s"):
        change(fleet(), "itl=0")


@pytest.mark.parametrize("name", ["a,b", "a]b", "[x]", "load*2", "", "a] b [c", "名前"])
def test_names_may_hold_anything(name: str) -> None:
    odd = replace(fleet(), servers=(replace(CHAT, name=name), CODE))
    assert rates(change(odd, f"load[{name}]*2, load[code]=1")) == [4.0, 1.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("load[chta]*2", "the server 'chta', which is not in the fleet; did you mean chat?"),
        ("load[cha]*2", "did you mean chat?"),
        ("load[zzz]*2", "there are chat, code"),
        ("in[Chat]*2", "did you mean chat?"),
        ("capacity[H100]*2", "the card type 'H100', which is not in the fleet; there are A, B"),
        ("price[AA]*2", "the accelerator 'AA'"),
        ("ttft[Golden]*2", "the service class 'Golden', which is not in the fleet; did you mean Gold?"),
        ("lod*2", "knows no 'lod'; did you mean load?"),
        ("zzz*2", "knows no 'zzz'; there are capacity, e2e"),
        ("", "'' cannot be read; write WHAT"),
        ("load", "'load' cannot be read"),
        ("load*", "'load*' cannot be read"),
        ("load*2 load*3", "cannot be read"),
        ("load*2,", "ends in a comma"),
        ("load*2,,load*3", "',load*3' cannot be read"),
        ("load^2", "'load^2' cannot be read"),
        ("load*two", "'load*two' cannot be read"),
        ("load*1.2.3", "'1.2.3' is not a number"),
        ("load*nan", "cannot be read"),
        ("load*1e999", "'1e999' is too large"),
        ("load/0", "'load/0' divides by zero"),
        ("load-3", "'load-3' gives -1; it must be between 0 and 1e+12"),
        ("load*-1", "gives -2"),
        ("load*1e300", "gives 2e+300"),
        ("load[chat*2", "'load[chat*2' cannot be read"),
    ],
)
def test_what_makes_no_sense_is_said(text: str, message: str) -> None:
    with pytest.raises(WhatIfError) as caught:
        change(fleet(), text)
    assert message in str(caught.value)


def test_a_fleet_of_nobody_has_no_names() -> None:
    with pytest.raises(WhatIfError, match="there are none"):
        change(Fleet(), "load[chat]*2")
    assert change(Fleet(), "load*2, price*2, ttft*2") == Fleet()


def test_a_load_that_is_wrong_stays_wrong_until_it_is_set() -> None:
    wrong = replace(fleet(), servers=(replace(CHAT, load=replace(CHAT.load, arrival_rate=-1.0)), CODE))
    assert rates(change(wrong, "load*2")) == [-1.0, 10.0]
    assert rates(change(wrong, "load=2")) == [2.0, 2.0]


@pytest.mark.parametrize("text", ["load*2", "capacity*2", "price*2", "ttft*2", "in[chat]=5, out[code]=5"])
def test_the_given_fleet_stays_as_it_is(text: str) -> None:
    given_fleet = fleet()
    kept = copy.deepcopy(given_fleet)
    change(given_fleet, text)
    assert given_fleet == kept
    assert given_fleet.capacity is not change(given_fleet, "capacity*2").capacity


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "wait"])
@pytest.mark.parametrize("neutral", ["*1", "/1", "+0", "-0"])
def test_a_neutral_change_changes_nothing(kind: str, neutral: str) -> None:
    assert change(fleet(), kind + neutral) == fleet()


def test_a_neutral_change_gives_the_same_plan() -> None:
    assert plan(change(fleet(), "load*1, capacity*1, price*1, ttft*1")) == plan(fleet())


numbers = st.floats(0.001, 1000).map(lambda x: float(f"{x:.6g}"))


GENERATIONS: list[Generation] = ["G2", "G3", "flyball"]


@given(st.lists(numbers, min_size=1, max_size=4), st.sampled_from(GENERATIONS))
def test_load_times_one_changes_nothing_whatever_the_fleet(
    loads: list[float], generation: Generation
) -> None:
    servers = [make_server(f"s{i}", rate=rate) for i, rate in enumerate(loads)]
    some = make_fleet(servers, generation=generation)
    assert change(some, "load*1") == some


@given(numbers, numbers)
def test_changes_follow_one_another(first: float, second: float) -> None:
    at_once = change(fleet(), f"load*{first}, load*{second}")
    assert at_once == change(change(fleet(), f"load*{first}"), f"load*{second}")


@given(numbers)
def test_what_is_done_can_be_undone(factor: float) -> None:
    there_and_back = change(fleet(), f"load*{factor}, load/{factor}")
    assert rates(there_and_back) == pytest.approx(rates(fleet()))


@given(st.text(max_size=40))
@example("load[[]]*1")
@example("load*" + "9" * 400)
@example("[" * 1000)
def test_any_text_is_a_change_or_a_clear_error(text: str) -> None:
    with suppress(WhatIfError):
        assert all(0 <= rate <= LARGEST for rate in rates(change(fleet(), text)))
