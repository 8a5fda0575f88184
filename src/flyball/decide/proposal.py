"""What one server would do in this cycle if it were alone: its orders, and the guards that held it back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from flyball.decide.aim import Aim
from flyball.decide.memory import Goal, ServerMemory
from flyball.decide.seen import Seen
from flyball.guards import numbers
from flyball.guards.hand_over import still_needed
from flyball.solve.candidates import CEIL_SLACK
from flyball.spec.decision import Cause, Guard, Hold
from flyball.spec.steering import Steering
from flyball.units import SECONDS_PER_HOUR, RequestsPerSecond, Seconds


@dataclass
class Proposal:
    """Orders of one server, by accelerator."""

    seen: Seen
    memory: ServerMemory
    goal: Goal | None
    was: dict[str, int]
    orders: dict[str, int]
    cause: Cause = "steady"
    holds: list[Hold] = field(default_factory=list)
    risky: bool = False
    """It shrinks or begins to move, by choice and not because capacity forces it."""
    before: ServerMemory | None = None
    """The memory to go back to where a move is held."""
    surges: bool = False
    """It has one more for a while, so that another can leave its rack."""

    @property
    def total(self) -> int:
        """Replicas that would be asked for."""
        return sum(self.orders.values())

    def stay(self, hold: Hold) -> None:
        """Nothing shrinks or moves in this cycle."""
        self.orders = dict(self.was)
        self.holds.append(hold)
        self.cause, self.risky = "steady", False
        self.memory = self.before or self.memory

    def within(self, most: int, guard: Guard = "power", until: Seconds | None = None) -> None:
        """No more than there are watts for: what is new goes first, then what it moves away from."""
        wanted, had = self.total, sum(self.was.values())
        goal = self.goal.accelerator if self.goal else ""
        for name in sorted(self.orders):
            new = self.orders[name] - self.was.get(name, 0)
            self.orders[name] -= max(min(self.total - most, new), 0)
        for name in sorted(self.orders, key=lambda name: (name == goal, name)):
            self.orders[name] -= max(min(self.total - most, self.orders[name]), 0)
        self.orders = {name: n for name, n in self.orders.items() if n}
        self.holds.append(Hold(guard, wanted, most, until))
        if most < had:
            self.cause = "power"
        elif self.orders == self.was:
            self.memory, self.cause, self.risky = self.before or self.memory, "steady", False

    def at_least(self, count: int) -> None:
        """So many for a while, where it is, so that one can leave its rack."""
        self.surges = True
        at = max(self.orders, key=lambda name: (self.orders[name], name), default="")
        if at and self.total < count:
            self.orders[at] += count - self.total
            self.cause = "steady" if self.orders == self.was else "power"
            self.memory, self.risky = self.before or self.memory, False

    def cut(self, accelerator: str, fewer: int) -> None:
        """So many cannot be had yet."""
        wanted = self.orders[accelerator]
        self.orders[accelerator] = wanted - fewer
        self.holds.append(Hold("cards", wanted, wanted - fewer))
        if not self.orders[accelerator]:
            del self.orders[accelerator]
        if self.before is not None and self.orders == self.was:  # a move that could not begin was none
            self.memory, self.cause, self.risky = self.before, "steady", False


def propose(
    seen: Seen,
    memory: ServerMemory,
    goal: Goal | None,
    aim: Aim,
    max_rate: Mapping[str, RequestsPerSecond],
    room: int,
    now: Seconds,
    steering: Steering,
    hold_hours: float,
    spare: float,
    *,
    urgent: bool,
    changed: bool,
) -> Proposal:
    """Propose orders. `room`: more replicas that fit where it is; `urgent`: others wait for its cards;
    `changed`: the fleet's data did."""
    was = seen.asked
    if goal is not None and goal.accelerator and goal.accelerator != memory.candidate:
        memory = replace(memory, candidate=goal.accelerator, candidate_since=now)
    made = Proposal(seen, memory, goal, was, dict(was))
    if seen.blind and was:
        if goal is not None and goal.replicas < sum(was.values()):
            made.holds.append(Hold("no_data", goal.replicas, sum(was.values())))
        made.memory = replace(memory, wanted=())
        return made
    if goal is None:
        return made
    if not goal.accelerator and not goal.short and len(was) == 1:  # nothing is needed
        goal = made.goal = Goal(seen.main, 0, 0, 0.0)
    if not goal.accelerator:  # nothing is left for it
        if goal.short and urgent:
            made.orders, made.cause = {}, "capacity"
        return made
    if len(was) > 1 and memory.moving_to in was and memory.moving_to != goal.accelerator:
        there = _at(memory.moving_to, made, aim, max_rate, room, spare)  # one move at a time
        if there is not None and now < _patient_until(memory, steering, hold_hours):
            made.goal = goal = there
    if was and goal.accelerator not in was:
        here = _at(seen.main, made, aim, max_rate, room, spare)
        until = _patient_until(memory, steering, hold_hours)
        if here is None or urgent or now >= until:
            return _begin_move(made, goal, now, "cheaper" if now >= until else "capacity", steering)
        made.holds.append(Hold("patience", goal.replicas, sum(was.values()), until))
        made.goal = goal = here
    others = {name: n for name, n in was.items() if name != goal.accelerator}
    have = was.get(goal.accelerator, 0)
    enough = _enough(goal, aim, steering, spare)
    if not was:
        made.orders, made.cause = {goal.accelerator: goal.replicas}, "start"
    elif goal.replicas > have:
        allowed = numbers.step(have, goal.replicas, steering.step_up, steering.step_down)
        if allowed < goal.replicas:
            made.holds.append(Hold("step", goal.replicas, allowed))
        made.orders[goal.accelerator] = allowed
        made.cause = _cause_of_growth(memory, now, changed)
    elif enough < have and not others:
        _shrink(made, goal, enough, aim, now, steering, urgent, changed)
    made.memory = replace(
        made.memory,
        wanted=numbers.remember(memory.wanted, now, max(enough, goal.replicas), steering.stabilisation),
    )
    if others:
        _hand_over(made, goal, aim, max_rate, steering, urgent)
    made.orders = {name: n for name, n in made.orders.items() if n}
    return made


def replicas_for(demand: RequestsPerSecond, max_rate: RequestsPerSecond, spare: float) -> int:
    """Replicas that a load needs, as `plan` counts them."""
    return math.ceil(demand / max_rate * (1.0 - CEIL_SLACK) + spare) if demand > 0 and max_rate > 0 else 0


def _enough(goal: Goal, aim: Aim, steering: Steering, spare: float) -> int:
    """Replicas that would also do for a little more load."""
    if goal.short:
        return goal.replicas
    wider = replicas_for(aim.demand * (1.0 + steering.dead_band), goal.max_rate, spare)
    return max(goal.replicas, wider, aim.least)


def _cause_of_growth(memory: ServerMemory, now: Seconds, changed: bool) -> Cause:
    if memory.corrected_at == now:
        return "latency"
    return "targets" if changed else "demand"


def _shrink(
    made: Proposal,
    goal: Goal,
    enough: int,
    aim: Aim,
    now: Seconds,
    steering: Steering,
    urgent: bool,
    changed: bool,
) -> None:
    """Fewer replicas on the same accelerator, as far as all guards agree."""
    seen, memory, name = made.seen, made.memory, goal.accelerator
    have = made.was[name]
    if urgent and (goal.short or not seen.saturated):  # others, or the loss of cards, decide
        made.orders[name], made.cause = enough, "capacity"
        return
    if seen.saturated or goal.short:
        made.holds.append(Hold("saturation", enough, have))
        return
    wanted = numbers.remember(memory.wanted, now, enough, steering.stabilisation)
    allowed = numbers.stabilised(wanted, have)
    if not numbers.covers(wanted, now, steering.stabilisation, steering.period):
        allowed = have
    if allowed > enough:
        made.holds.append(Hold("stabilisation", enough, allowed))
    grew_at = -math.inf if memory.grew_at is None else memory.grew_at
    until = grew_at + numbers.patience(steering.reversal, memory.flaps)
    if (
        allowed < have
        and now < until
        and not numbers.has_fallen(aim.demand, memory.grew_for, steering.fallen)
    ):
        made.holds.append(Hold("reversal", allowed, have, until))
        allowed = have
    stepped = numbers.step(have, allowed, steering.step_up, steering.step_down)
    if stepped > allowed:
        made.holds.append(Hold("step", allowed, stepped))
    if stepped < have:
        made.orders[name] = stepped
        made.cause, made.risky = "targets" if changed else "demand", True


def _patient_until(memory: ServerMemory, steering: Steering, hold_hours: float) -> Seconds:
    """When a move may begin: it would have paid for long enough, and the last one has paid off."""
    until = memory.candidate_since + steering.patience
    if memory.moved_at is not None:
        until = max(until, memory.moved_at + hold_hours * SECONDS_PER_HOUR)
    return until


def _at(
    accelerator: str,
    made: Proposal,
    aim: Aim,
    max_rate: Mapping[str, RequestsPerSecond],
    room: int,
    spare: float,
) -> Goal | None:
    """What the load needs on one accelerator; None where that cannot be had there."""
    rate = max_rate.get(accelerator, 0.0)
    needed = max(replicas_for(aim.demand, rate, spare), aim.least)
    if rate <= 0 or needed > made.was[accelerator] + room:
        return None
    return Goal(accelerator, needed, 0, rate)


def _begin_move(made: Proposal, goal: Goal, now: Seconds, cause: Cause, steering: Steering) -> Proposal:
    """New replicas beside the old ones; not many more of them at once."""
    have = sum(made.was.values())
    allowed = numbers.step(have, max(goal.replicas, have), steering.step_up, steering.step_down)
    begun = min(goal.replicas, allowed)
    made.orders[goal.accelerator] = begun
    if begun < goal.replicas:
        made.holds.append(Hold("step", goal.replicas, begun))
    made.holds.append(Hold("hand_over", goal.replicas, have + begun))
    made.cause, made.risky = cause, cause == "cheaper"
    made.before, made.memory = (
        made.memory,
        replace(made.memory, moved_at=now, moving_to=goal.accelerator, wanted=()),
    )
    return made


def _hand_over(
    made: Proposal,
    goal: Goal,
    aim: Aim,
    max_rate: Mapping[str, RequestsPerSecond],
    steering: Steering,
    urgent: bool,
) -> None:
    """Old replicas leave as new ones become ready."""
    rates = {goal.accelerator: goal.max_rate} | dict(max_rate)
    enough = goal.replicas
    if goal.short and not urgent:  # what it can have there is not enough, and nobody waits for the rest
        enough = max(enough, replicas_for(aim.demand, goal.max_rate, 0.0))
    demand = aim.demand * (1.0 + steering.dead_band)
    keep = still_needed(made.was, made.seen.ready, goal.accelerator, enough, demand, rates)
    if made.seen.saturated and not urgent and made.seen.ready.get(goal.accelerator, 0) < goal.replicas:
        keep = {name: made.was[name] for name in keep}
    for name, count in keep.items():
        if count < made.was[name] and made.cause == "steady":
            made.cause = "cheaper"
        made.orders[name] = count
        if count:
            made.holds.append(Hold("hand_over", 0, count))
