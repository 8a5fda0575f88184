"""Following an optimizer elsewhere, without what went wrong in the original loop."""

from __future__ import annotations

from flyball.laws.advised import Advised, AdvisedMemory
from flyball.spec.decision import Decision, Order
from flyball.spec.fleet import Fleet
from flyball.spec.server import Server
from flyball.spec.snapshot import Observation, Reading, Scrape, Snapshot, Variant

FLEET = Fleet(servers=(Server("a", "m"), Server("b", "m")))


def decided(
    advice: tuple[Order, ...] | None,
    replicas: int = 4,
    rate: float | None = 5.0,
    memory: AdvisedMemory | None = None,
    time: float = 0.0,
    law: Advised | None = None,
) -> tuple[Decision, AdvisedMemory]:
    reading = None if rate is None else Reading(rate)
    seen = tuple(Observation(n, (Variant("A", replicas),), reading) for n in ("a", "b"))
    return (law or Advised())(Snapshot(FLEET, Scrape(time, seen), advice), memory)


def numbers(decision: Decision) -> dict[str, int]:
    return {o.server: o.replicas for s in decision.steps for o in s.orders if o.accelerator == "A"}


def test_what_is_not_spoken_of_stays() -> None:
    """The original scales it to zero."""
    decision, _ = decided((Order("a", "A", 6),))
    assert numbers(decision) == {"a": 6}
    assert "no allocation for b" in decision.notes[0]


def test_no_answer_changes_nothing() -> None:
    decision, _ = decided(None)
    assert not decision.steps
    assert "no advice" in decision.notes[0]


def test_unseen_demand_never_shrinks() -> None:
    memory = None
    for i in range(4):
        decision, memory = decided((Order("a", "A", 1),), rate=None, memory=memory, time=60.0 * i)
        assert numbers(decision) == {"a": 4}
        assert decision.steps[0].holds[0].guard == "no_data"


def test_growth_goes_in_steps() -> None:
    """The original follows a spike from 1 to 85 at once."""
    decision, _ = decided((Order("a", "A", 85),), replicas=1)
    assert numbers(decision) == {"a": 5}
    assert decision.steps[0].holds[0].guard == "step"


def test_less_is_believed_when_it_lasts() -> None:
    law = Advised(period=15.0, down=1.0)
    new, memory = decided((Order("a", "A", 2),), law=law)
    assert numbers(new) == {"a": 4}  # it has not been said for long
    _, memory = decided((Order("a", "A", 4),), law=law)
    second, memory = decided((Order("a", "A", 2),), memory=memory, time=30.0, law=law)
    assert numbers(second) == {"a": 4}
    third, _ = decided((Order("a", "A", 2),), memory=memory, time=90.0, law=law)
    assert numbers(third) == {"a": 2}


def test_the_last_replica_stays_where_demand_cannot_be_seen_without() -> None:
    """In the original, load that comes back after zero is never seen."""
    gone = (Order("a", "", 0),)
    decision, _ = decided(gone, replicas=1, rate=0.0)
    assert numbers(decision) == {"a": 1}
    decision, _ = decided(gone, replicas=1, rate=0.0, law=Advised(scale_to_zero=True))
    assert numbers(decision) == {"a": 0}


def test_another_accelerator_is_an_order_for_both() -> None:
    decision, _ = decided((Order("a", "B", 3, 16),))
    assert {(o.accelerator, o.replicas) for o in decision.steps[0].orders} == {("A", 0), ("B", 3)}
    assert decision.steps[0].cause == "cheaper"
