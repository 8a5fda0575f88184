"""One cycle of the loop: from what is seen, and what is remembered, to the moves that are made now.

    see -> demand (forecast, backlog, correction) -> plan, where one is due -> proposals -> guards -> decision

Pure: no clock, no I/O, no chance. Same snapshot, memory and settings, same decision and memory, to the bit.
Any guard may raise a number; all must agree before one is lowered. What is not known never lowers anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from msgspec.structs import replace

from flyball.decide import demand as load
from flyball.decide import tails
from flyball.decide.aim import (
    Aim,
    Change,
    Planned,
    asked_of_plan,
    fingerprint,
    likely,
    plan_of,
    with_latencies,
)
from flyball.decide.calibration import Calibration, key, settled
from flyball.decide.cards import WORST, Cards
from flyball.decide.memory import Goal, Memory, ServerMemory
from flyball.decide.power import LAST, Draws, power_memory, with_batches
from flyball.decide.power_prices import per_kilowatt
from flyball.decide.proposal import Proposal, propose, replicas_for
from flyball.decide.seen import Seen, see
from flyball.decide.waiting import Asked, Waiting, hold, waiting, without_waiting
from flyball.guards.cards import within_radius
from flyball.power.govern import Need, Power, PowerMemory
from flyball.power.limits import limits
from flyball.power.outcome import decided
from flyball.spec.decision import Decision, Hold, Order, Step
from flyball.spec.fleet import Fleet
from flyball.spec.known import Known
from flyball.spec.power import PowerSeen
from flyball.spec.power_plan import PowerPlan
from flyball.spec.server import Server
from flyball.spec.service_class import ModelTargets, ServiceClass, promise_of
from flyball.spec.snapshot import Observation, Snapshot
from flyball.spec.steering import Steering
from flyball.units import RequestsPerSecond, Seconds, Tokens

LAW = "flyball"
CALM = 3600.0
"""Seconds without growing after which it is forgotten that it went up and down."""


def decide(
    snapshot: Snapshot, memory: Memory | None = None, steering: Steering | None = None
) -> tuple[Decision, Memory]:
    """Decide one cycle; without a memory it is the first."""
    return _Cycle(snapshot, memory or Memory(), steering or Steering()).run()


def fleets_now(
    snapshot: Snapshot, memory: Memory | None = None, steering: Steering | None = None
) -> tuple[Fleet, Fleet]:
    """The fleet as it would be planned now: with the loads to provide for, and without any margin."""
    cycle = _Cycle(snapshot, memory or Memory(), steering or Steering())
    return cycle.asked(lean=False), cycle.asked(lean=True)


class _Cycle:
    """The parts of one cycle, in the order in which they are made."""

    def __init__(self, snapshot: Snapshot, memory: Memory, steering: Steering) -> None:
        self.fleet, self.now = with_batches(snapshot.fleet, memory), snapshot.seen.time
        self.scrape, self.memory, self.steering = snapshot.seen, memory, steering
        self.unlimited = self.fleet.settings.unlimited
        self.priority = {c.name: c.priority for c in self.fleet.service_classes}
        self.classes: dict[str, list[ServiceClass]] = {}
        """By name: of a large fleet each server may have its own."""
        for one in self.fleet.service_classes:
            self.classes.setdefault(one.name, []).append(one)
        those = () if snapshot.power is None else self.fleet.service_classes
        self.deferrable = {c.name: c.deferrable for c in those if c.deferrable}
        self.seen = self._see()
        self.cards = Cards(self.fleet, self.scrape, self.seen, memory, self.now, steering.stabilisation)
        self.remembered = {name: self._observed(seen) for name, seen in self.seen.items()}
        self.calibration = Calibration(
            self.fleet, memory.learned, self.seen, self.remembered, steering, self.now
        )
        self.remembered |= self._with_tails()
        self.full = {name: self._aim(seen) for name, seen in self.seen.items()}
        self._use(memory.lean)
        self.power = None if snapshot.power is None else self._look(snapshot.power)
        self.waiting = self._waiting()

    def _use(self, lean: bool) -> None:
        """Go on with or without margins."""
        self.lean, self.aims, self.spare = lean, *self._margins(lean)

    def _margins(self, lean: bool) -> tuple[dict[str, Aim], float]:
        """What to provide for, and how many replicas beside; lean: for the present load alone, and none."""
        if not lean:
            return self.full, max(self.steering.spare, self.fleet.settings.spare)
        return {
            name: replace(aim, demand=aim.least_demand, lasting=aim.least_demand, tails={})
            for name, aim in self.full.items()
        }, 0.0

    def run(self) -> tuple[Decision, Memory]:
        """Plan, propose, guard; then what is ordered and what is remembered."""
        data = fingerprint(self.fleet, self.cards.capacity)
        self.changed = data != self.memory.data and self.memory.planned_at is not None
        self.made = self._plan(data)
        proposals = self._guarded()
        for name, one in self.waiting.deferrals.items():
            at = self.full[name].accelerator or self.seen[name].main
            hold(proposals[name], one, self._rates(name).get(at, 0.0), self.spare, self.now, self.steering)
        watts, power = self._within_watts(proposals)
        plan = self.made.plan if self.made else self.memory.plan
        self.told = {s.server: s for s in plan.servers} if plan else {}
        steps = self._steps(proposals)
        known = self._account(self.made) if self.made else self.memory.known
        names = sorted(s.name for s in self.fleet.servers)
        memory = Memory(
            servers={name: self._after(name, proposals.get(name)) for name in names},
            plan=plan,
            planned_at=self.now if self.made else self.memory.planned_at,
            lean=self.lean,
            doubted=self.cards.doubted,
            learned=self.calibration.learned,
            known=known,
            power=power,
            rest=self.waiting.rest,
            data=data,
        )
        unseen = [s.name for s in self.fleet.servers if s.name not in self.seen]
        notes = (f"not to be seen: {', '.join(unseen)}",) if unseen else ()
        if self.lean:
            notes = (*notes, "cards are short: planned for the present load, without margins")
        return (
            Decision(
                LAW,
                self.now,
                steps,
                self.cards.bill(steps),
                plan,
                self.made is not None,
                (*notes, *self.waiting.notes, *self.calibration.notes, *self.scrape.notes),
                known,
                watts,
            ),
            memory,
        )

    # ---- what is known ---------------------------------------------------------------------------

    def _see(self) -> dict[str, Seen]:
        found: dict[str, Observation | None] = {}
        for one in self.scrape.servers:  # one that is seen twice is not known
            found[one.server] = None if one.server in found else one
        seen: dict[str, Seen] = {}
        for server in self.fleet.servers:
            promise = self._promise(server)
            known = see(server, found.get(server.name), promise, self.steering, self._is_patient(server))
            if known is not None:
                seen[server.name] = known
        return seen

    def _promise(self, server: Server) -> ModelTargets | None:
        promise = promise_of(self.classes.get(server.service_class, ()), server.service_class, server.model)
        return without_waiting(promise) if self._is_patient(server) else promise

    def _is_patient(self, server: Server) -> bool:
        """Whether it was up to the loop in the last cycle that its requests wait."""
        known = self.memory.servers.get(server.name)
        return server.service_class in self.deferrable and known is not None and known.patient

    def _observed(self, seen: Seen) -> ServerMemory:
        """The server's memory with this cycle's readings."""
        before = self.memory.servers.get(seen.server.name, ServerMemory())
        known = replace(
            before,
            history=load.observed(before.history, self.now, seen),
            in_cov=load.smoothed(before.in_cov, seen.in_cov, self.steering),
            out_cov=load.smoothed(before.out_cov, seen.out_cov, self.steering),
        )
        known = settled(known, seen, self.now)
        return load.corrected(known, seen, self.now, self.steering, self._lead(seen))

    def _with_tails(self) -> dict[str, ServerMemory]:
        """Memories of servers whose percentiles have been compared with what was foretold, in this cycle."""
        windows: dict[str, tails.Window] = {}
        for name, shown in self.calibration.shown.items():
            seen = self.seen[name]
            promise = self._promise(seen.server)
            profile = self.calibration.profile(key(seen.server.model, seen.main))
            if promise is not None and profile is not None:
                windows[name] = tails.Window(self.remembered[name].tails, seen, shown, profile, promise)
        after = tails.seen(tuple(windows.values()))
        return {
            name: replace(self.remembered[name], tails=one) for name, one in zip(windows, after, strict=True)
        }

    def _lead(self, seen: Seen) -> Seconds:
        """How far ahead to provide: until a replica asked for now is ready."""
        measured = seen.cold_start
        return (self.fleet.settings.cold_start if measured is None else measured) + self.steering.period

    def _aim(self, seen: Seen) -> Aim:
        name, server = seen.server.name, seen.server
        memory = self.remembered[name]
        asked = sum(seen.asked.values())
        goal = memory.goal
        at = goal.accelerator if goal and goal.accelerator in seen.asked else seen.main
        demand, lasting = load.to_provide(memory, seen, self.steering, self._lead(seen))
        in_tokens, out_tokens = load.request_tokens(memory.history, seen)
        blind = bool(seen.blind) and asked > 0
        promise = self._promise(server)
        least = max(server.min_replicas, 0 if self.steering.scale_to_zero else 1)
        return Aim(
            demand=demand,
            lasting=lasting,
            least_demand=min(demand, load.present(memory, seen)),
            in_tokens=in_tokens,
            out_tokens=out_tokens,
            in_cov=server.load.in_cov if memory.in_cov is None else memory.in_cov,
            out_cov=server.load.out_cov if memory.out_cov is None else memory.out_cov,
            accelerator=seen.main if blind else at,
            replicas=seen.asked.get(seen.main if blind else at, 0),
            least=max(least, seen.asked.get(seen.main, 0)) if blind else least,
            keep=blind,
            tails=tails.factors(memory.tails, promise) if self.steering.calibrate else {},
        )

    # ---- the plan --------------------------------------------------------------------------------

    def _plan(self, data: int) -> Planned | None:
        at = self.memory.planned_at
        due = (
            at is None
            or data != self.memory.data
            or self.now - at >= self.steering.plan_period - 1e-9
            or any(self._outgrown(name) for name in self.seen)
        )
        if not due or not self.seen:
            return None
        watts = None if self.power is None else limits(self.power)
        made = plan_of(self.asked(lean=False), self.asked(lean=True), watts)
        self._use(made.lean)
        if self.power is not None and self.power.price_is_due:
            prices = {} if watts is None else per_kilowatt(made.fleet, made.plan, watts, made.sized)
            self.power.priced(prices)
        return made

    def asked(self, lean: bool) -> Fleet:
        """The fleet with the loads to provide for, as `plan` is asked."""
        aims, spare = self._margins(lean)
        leads = [self._lead(seen) for seen in self.seen.values()]
        cold_start = max(leads, default=0.0) - self.steering.period
        fleet = likely(self.known) if lean else self.known
        return asked_of_plan(fleet, self.cards.capacity, aims, max(cold_start, 0.0), spare)

    @cached_property
    def known(self) -> Fleet:
        """The fleet with profiles as learned."""
        return self.calibration.fleet_as_known(*self._typical())

    def _account(self, made: Planned) -> tuple[Known, ...]:
        """What the plan's profiles rest on."""
        used = {key(seen.server.model, seen.main) for seen in self.seen.values()}
        return self.calibration.account(made.fleet, *self._typical(), used)

    def _typical(self) -> tuple[dict[str, Goal | None], dict[str, tuple[Tokens, Tokens]]]:
        """Goals and lengths of servers, which lead to typical batches."""
        goals = {name: self.remembered[name].goal for name in self.seen}
        return goals, {name: (aim.in_tokens, aim.out_tokens) for name, aim in self.full.items()}

    def _outgrown(self, name: str) -> bool:
        """Whether its goal does not do for what is to be provided now."""
        if self.seen[name].blind:
            return False
        goal = self.remembered[name].goal
        if goal is None:
            return True
        needed = replicas_for(self.aims[name].demand, goal.max_rate, self.spare)
        return not goal.short and needed > max(goal.replicas, self.aims[name].least)

    def _goal(self, name: str) -> Goal | None:
        if self.made is not None:
            return self.made.goals.get(name)
        return self.remembered[name].goal

    def _rates(self, name: str) -> dict[str, float]:
        """What one replica takes within the targets, by accelerator."""
        if self.made is not None:
            return self.made.max_rate.get(name, {})
        return self.remembered[name].rates

    # ---- proposals and guards ---------------------------------------------------------------------

    def _guarded(self) -> dict[str, Proposal]:
        """Proposals within the blast radius and the cards; who starves takes down what holds it back."""
        free = {} if self.unlimited else self.cards.free()
        urgent = {type_: 0 for type_, cards in free.items() if cards < 0}
        proposals, short = self._proposed(urgent)
        if any(priority < urgent.get(type_, WORST) for type_, priority in short.items()):
            proposals, _ = self._proposed({**short, **urgent})
        return proposals

    def _proposed(self, urgent: Mapping[str, int]) -> tuple[dict[str, Proposal], dict[str, int]]:
        """Proposals; and the types of which there are too few, with the first priority that lacks them."""
        rooms = self.cards.rooms()
        proposals = {
            name: propose(
                seen,
                self.remembered[name],
                self._goal(name),
                self.aims[name],
                self._rates(name),
                rooms.get(name, 0),
                self.now,
                self.steering,
                self.fleet.settings.hold_hours,
                self.spare,
                urgent=self._urgent(seen, urgent),
                changed=self.changed,
            )
            for name, seen in self.seen.items()
        }
        saves = {
            name: self.cards.cost(p.seen.server, p.was) - self.cards.cost(p.seen.server, p.orders)
            for name, p in proposals.items()
            if p.risky
        }
        allowed = within_radius(saves, len(self.seen), self.steering.blast_radius)
        for p in (proposals[name] for name in saves if name not in allowed):
            p.stay(Hold("blast_radius", p.total, sum(p.was.values())))
        return proposals, {} if self.unlimited else self.cards.cut(proposals, self.priority)

    # ---- watts -----------------------------------------------------------------------------------

    def _look(self, power: PowerSeen) -> Power:
        """What is seen of power, with what servers have; what they want is that of the last cycle."""
        draws, before = Draws(self.fleet), power_memory(self.memory)
        needs = {}
        for name, seen in self.seen.items():
            aim, replicas = self.full[name], sum(seen.asked.values())
            idle, full = draws.of(seen.server, aim.accelerator or seen.main)
            needs[name] = Need(
                replicas,
                before.wanted.get(name, replicas),
                self.priority.get(seen.server.service_class, LAST),
                max(seen.server.min_replicas, 0 if self.steering.scale_to_zero else 1),
                aim.demand * aim.out_tokens,
                idle,
                full,
                self.cards.of(seen.server, aim.accelerator or seen.main)[1],
            )
        return Power(power, before, needs)

    def _waiting(self) -> Waiting:
        """What may wait for watts; the rest of it is provided for."""
        if self.power is None:
            return Waiting(rest=self.memory.rest)
        asked = {}
        for name, seen in self.seen.items():
            deadline = self.deferrable.get(seen.server.service_class, 0.0)
            if not deadline:
                continue
            aim, memory = self.full[name], self.remembered[name]
            at = aim.accelerator or seen.main
            asked[name] = Asked(
                seen,
                memory,
                aim,
                deadline,
                self.priority.get(seen.server.service_class, LAST),
                self._lead(seen),
                memory.rates.get(at, 0.0),
                self.cards.replicas(seen.server, at),
            )
        made = waiting(self.power, asked, self.memory.rest, self.now, self.spare)
        self.remembered |= made.memories
        self.full |= made.aims
        self._use(self.lean)
        return made

    def _within_watts(self, proposals: Mapping[str, Proposal]) -> tuple[PowerPlan | None, PowerMemory | None]:
        """The last word on what is enforced: no guard keeps what there are no watts for."""
        if self.power is None:
            return None, self.memory.power
        wanted = {name: self._wanted(p, self.power) for name, p in proposals.items()}
        needed = {name: self._needed(p, self.full[name].least_demand, 0.0) for name, p in proposals.items()}
        given, plan, memory = decided(self.power, wanted, needed)
        for name, p in proposals.items():
            if p.total > given.get(name, p.total):
                p.within(given[name])
            if name in plan.surge:
                p.at_least(plan.surge[name])
        return plan, memory

    def _wanted(self, p: Proposal, power: Power) -> int:
        """What its load asks for, whatever a plan within watts leaves it."""
        if p.seen.blind:
            return p.total
        name, total, one = p.seen.server.name, p.total, power.memory.relocations.now
        if one is not None and one.workload == name and total <= sum(p.was.values()):
            total = min(total, one.replicas)  # the one more for now is not for its load
        return max(total, self._needed(p, self.aims[name].demand, self.spare))

    def _needed(self, p: Proposal, demand: RequestsPerSecond, spare: float) -> int:
        """Replicas for a load, on the accelerator that it goes to."""
        at = p.goal.accelerator if p.goal and p.goal.accelerator else p.seen.main
        return replicas_for(demand, self._rates(p.seen.server.name).get(at, 0.0), spare)

    def _urgent(self, seen: Seen, urgent: Mapping[str, int]) -> bool:
        """Whether cards that it holds are too few, or lacked by servers that do not come after it."""
        mine = self.priority.get(seen.server.service_class, LAST)
        types = {self.cards.types[a][0] for a in seen.asked if a in self.cards.types}
        return any(urgent.get(type_, WORST) <= mine for type_ in types)

    # ---- what comes out ---------------------------------------------------------------------------

    def _steps(self, proposals: Mapping[str, Proposal]) -> tuple[Step, ...]:
        """In order of name; those that change by a new plan with the promise that makes it necessary."""
        steps = {name: self._step(p) for name, p in sorted(proposals.items())}
        if self.made is not None:
            by_plan = (s for s in steps.values() if s.changed and not s.metric)
            changes = [self._change(proposals[s.server], s) for s in by_plan]
            steps |= with_latencies(changes, self.made)
        return tuple(steps.values())

    def _change(self, p: Proposal, step: Step) -> Change:
        """Where it grows on one accelerator, what it had is looked at: what would become of it without."""
        goal = p.goal.accelerator if p.goal else ""
        before, after = p.was.get(goal, 0), p.orders.get(goal, 0)
        return Change(step, goal, before if after > before > 0 and len(p.orders) == 1 else after)

    def _step(self, p: Proposal) -> Step:
        name = p.seen.server.name
        told = self.told.get(name)
        goal = p.goal.accelerator if p.goal else ""
        batch = p.goal.max_batch_size if p.goal else 0
        step = Step(
            server=name,
            orders=tuple(
                Order(name, a, p.orders.get(a, 0), batch if a == goal else 0)
                for a in sorted({*p.orders, *p.was})
            ),
            was=tuple(Order(name, a, n) for a, n in sorted(p.was.items())),
            cause=p.cause,
            demand=self.aims[name].demand,
            offered=p.seen.offered,
            goal=told.allocation if told else None,
            next_best=told.next_best if told else None,
            holds=tuple(p.holds),
        )
        if p.seen.miss is not None and p.cause == "latency":
            miss = p.seen.miss
            return replace(
                step,
                metric=miss.target.metric,
                statistic=miss.target.statistic,
                limit=miss.target.limit,
                value=miss.value,
            )
        return step

    def _after(self, name: str, p: Proposal | None) -> ServerMemory:
        if p is None:
            return self.memory.servers.get(name, ServerMemory())
        holds = dict(p.orders)
        for accelerator, count in p.seen.draining.items():
            holds[accelerator] = holds.get(accelerator, 0) + count
        memory = replace(
            p.memory,
            goal=self._goal(name),
            rates=self._rates(name),
            demand=self.aims[name].demand,
            holds=holds,
        )
        before = sum(p.was.values())
        if p.total > before and not p.surges:
            soon = memory.shrank_at is not None and self.now - memory.shrank_at < self.steering.reversal
            quiet = memory.grew_at is None or self.now - memory.grew_at > CALM
            flaps = memory.flaps + 1 if soon else 0 if quiet else memory.flaps
            aim = self.aims[name]
            if aim.demand > aim.lasting and not flaps:  # it may shrink when the backlog is gone
                return replace(memory, flaps=flaps)
            return replace(memory, grew_at=self.now, grew_for=aim.demand, flaps=flaps)
        if any(hold.guard in ("power", "deferral") for hold in p.holds):  # nor is it a whim of the load
            return memory
        return replace(memory, shrank_at=self.now) if p.total < before else memory
