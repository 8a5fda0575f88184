"""What each workload may have now, and what is told of it: the last word on watts in a cycle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from flyball.power.budget import cap_watts
from flyball.power.filter import Filtered, Steps, filtered
from flyball.power.govern import ENDLESS, FREE, NEAR, Power, PowerMemory
from flyball.power.patience import Shed, after
from flyball.power.recommend import recommendation
from flyball.power.relief import Reliefs, Scene, relieved
from flyball.power.relocate import Relocation, Sight, relocated
from flyball.power.rise import threshold
from flyball.power.view import FIT, ServerView, View, floors, infeasible
from flyball.power.watch import Watched
from flyball.solve.watts import HEAT
from flyball.spec.power import LEVELS, Level, Lever, Mode, Policy
from flyball.spec.power_plan import DomainState, PolicyState, PowerPlan, Recommendation, Relief, WorkloadCap
from flyball.units import Watts

ALL_AT_ONCE = Steps(1.0, ENDLESS)


def decided(
    power: Power, wanted: Mapping[str, int], needed: Mapping[str, int] | None = None
) -> tuple[dict[str, int], PowerPlan, PowerMemory]:
    """Replicas at most of the enforced workloads, and what is told, where loads ask for `wanted`.

    `needed`: of these, for the present load without any margin.
    """
    power.needs = {
        name: replace(need, wanted=wanted.get(name, need.wanted), needed=(needed or {}).get(name))
        if power.workloads[name].wanted is None
        else need
        for name, need in power.needs.items()
    }
    enforced, asked = power.view(("Enforce",)), _asked(power)
    goals = _paused(power, enforced, filtered(enforced, asked, ALL_AT_ONCE))
    now = _paused(power, enforced, filtered(enforced, asked, goal=goals.replicas))
    now, shed = _patient(power, enforced, now)
    advised = power.view()
    ideal = _paused(power, advised, filtered(advised, asked, ALL_AT_ONCE))
    caps = [cap for server in advised.servers if (cap := _cap(power, server, now, goals, ideal)) is not None]
    given = {s.name: now.replicas[s.name] for s in enforced.servers if _is(power, "Enforce", s.name)}
    relocations, told = relocated(
        power.memory.relocations, _sight(power, enforced, now, goals), power.seen.now
    )
    one, surge = told.under_way, dict[str, int]()
    if one is not None:
        caps = _with_relocation(power, caps, one, told.most)
        given[one.workload] = told.most if not one.leaves else min(given[one.workload], told.most)
        surge = {} if one.leaves else {one.workload: told.most}
    reliefs, relief_memory = _reliefs(power, {"Enforce": (enforced, goals), "Recommend": (advised, ideal)})
    impossible = infeasible(_widest(power, advised))
    plan = PowerPlan(
        domains=tuple(_state(power, name, one, advised) for name, one in power.watched.items()),
        caps=tuple(caps),
        reliefs=reliefs,
        recommendations=_recommendations(power, advised, ideal, reliefs),
        hot=_hot(power),
        cool=one.to if one is not None and surge else power.places.cool,
        surge=surge,
        overruled=power.overruled,
        infeasible=impossible,
        policies=tuple(_policy_state(power, key) for key in power.policies),
        notes=(
            *power.seen.notes,
            *power.tree.errors.values(),
            *now.notes,
            *_problems(power),
            *([told.note] if told.note else ()),
        ),
    )
    memory = PowerMemory(
        power.domains,
        power.windows,
        {name: need.wanted for name, need in power.needs.items()},
        shed,
        {s.name: now.replicas[s.name] for s in enforced.servers},
        power.memory.prices,
        power.memory.priced_at,
        relocations,
        relief_memory,
    )
    return given, plan, memory


def _sight(power: Power, view: View, now: Filtered, goals: Filtered) -> Sight:
    """What relocating goes by; only where a policy allows to place."""
    acts = {name: one.act for name, one in power.watched.items() if one.act is not None}
    tight = {name for name, act in acts.items() if act.ceiling is not None}
    tight |= {HEAT + name for name in power.inlets if power.is_warm(name)}
    drawn = view.drawn({})
    comes = any(now.replicas[s.name] > s.replicas for s in view.servers)
    comes |= any(pod.phase == "pending" for pods in power.pods.values() for pod in pods)
    left = {r.name: -1.0 if r.frozen else r.grow - drawn[r.name] for r in view.rooms}
    known = all(one.reading.known.complete for one in power.watched.values())
    return Sight(
        hopeless=tuple(sorted(goals.short)),
        tight=tight,
        servers={
            s.name: s
            for s in view.servers
            if power.policy_of(s.name).mode == "Enforce"
            and "placement" in power.policy_of(s.name).levers
            and power.needs[s.name].cards > 0
        },
        barred={
            s.name
            for s in view.servers
            if any(left[key] < s.full for key in power.caps if s.name in power.selected[key])
        },
        given=now.replicas,
        cards={name: need.cards for name, need in power.needs.items()},
        pods=power.pods,
        free={name: int(cards) for name, cards in power.places.free.items()},
        cool=power.places.cool,
        left=left,
        rooms=power.places.of_node,
        calm=known and not comes,
    )


def _reliefs(
    power: Power, views: Mapping[Mode, tuple[View, Filtered]]
) -> tuple[tuple[Relief, ...], dict[Mode, Reliefs]]:
    """What is left beyond replicas, in each mode where these have gone as far as they may."""
    found: list[Relief] = []
    memory: dict[Mode, Reliefs] = {}
    for mode, (view, given) in views.items():
        policies = {name: power.policy_of(name) for name in power.workloads if _is(power, mode, name)}
        batches = {name: one.batch for name, one in power.workloads.items()}
        scene = Scene(view, given, policies, batches, power.seen.now)
        made, memory[mode] = relieved(power.memory.reliefs.get(mode, Reliefs()), scene)
        found += made
    return tuple(found), memory


def _with_relocation(power: Power, caps: list[WorkloadCap], one: Relocation, most: int) -> list[WorkloadCap]:
    """Caps with that of the workload: one more as long as the new one comes, then this pod first."""
    others = [cap for cap in caps if cap.workload != one.workload]
    mine = next((cap for cap in caps if cap.workload == one.workload), None)
    if mine is None and not one.leaves:
        return caps
    policy = power.policy_of(one.workload)
    made = WorkloadCap(one.workload, most, most, policy.key, "placement", policy.mode, reason=one.reason)
    if mine is not None:
        made = replace(mine, most=most if not one.leaves else min(mine.most, most))
    return [*others, replace(made, leave=(one.leaves,) if one.leaves else ())]


def _patient(power: Power, view: View, given: Filtered) -> tuple[Filtered, dict[str, Shed]]:
    """Who has shed does not grow again at once, it would have to go as soon. Also when each has shed."""
    now, shed = power.seen.now, {}
    for s in view.servers:
        last = power.memory.shed.get(s.name)
        # What is still under way is given up like what is there: orders must not swing either.
        has = max(s.replicas, power.memory.given.get(s.name, 0))
        if (one := after(last, given.replicas[s.name] < min(has, s.ceiling), now)) is not None:
            shed[s.name] = one
    waits = {
        s.name: max(s.replicas, s.floor) for s in view.servers if s.name in shed and shed[s.name].waits(now)
    }
    replicas = {name: min(count, waits.get(name, count)) for name, count in given.replicas.items()}
    return replace(given, replicas=replicas), shed


def _paused(power: Power, view: View, given: Filtered) -> Filtered:
    """What is paused goes to its floor at once where it cannot have all that it wants."""
    paused = {
        s.name: s.floor
        for s in view.servers
        if "pause" in power.policy_of(s.name).levers and s.floor < given.replicas[s.name] < s.ceiling
    }
    return replace(given, replicas=given.replicas | paused) if paused else given


def _is(power: Power, mode: Mode, name: str) -> bool:
    return power.policy_of(name).mode == mode


def _asked(power: Power) -> dict[str, object]:
    """What algorithms want, each for the workloads of its policy."""
    found: dict[str, object] = {}
    for name in power.workloads:
        policy = power.policy_of(name)
        answer = power.seen.answers.get(policy.key)
        if answer is not None and answer.replicas is not None and name in answer.replicas:
            found[name] = answer.replicas[name]
    return found


def _problems(power: Power) -> tuple[str, ...]:
    return tuple(f"{key}: {a.problem}" for key, a in sorted(power.seen.answers.items()) if a.problem)


def _cap(
    power: Power, server: ServerView, now: Filtered, goals: Filtered, ideal: Filtered
) -> WorkloadCap | None:
    """None: it may have all that it wants."""
    name = server.name
    policy = power.policy_of(name)
    if policy.mode == "Observe":
        return None
    done = policy.mode == "Enforce"
    most, goal = (now.replicas[name], goals.replicas[name]) if done else 2 * (ideal.replicas[name],)
    if min(most, goal) >= server.ceiling:
        return None
    why = [power.watched[r] for r, share in server.places.items() if share > 0 and r in power.watched]
    worst = max(why, key=lambda w: LEVELS.index(w.state.level), default=None)
    act = None if worst is None else worst.act
    reason = "" if worst is None or act is None else f"{worst.state.domain}: {act.reason or act.level}"
    return WorkloadCap(
        name,
        most,
        goal,
        "" if policy is FREE else policy.key,
        lever_of(policy, server, goal),
        policy.mode,
        act is not None and act.at_once,
        reason or _warm(power, server) or f"the cap of {policy.key}",
        power.leaving(name, (goals if done else ideal).went.get(name, ())),
    )


def _warm(power: Power, server: ServerView) -> str:
    """The warmest inlet that it has a part in, in a sentence; empty: none is too warm."""
    mine = [name for name in power.inlets if HEAT + name in server.places and power.is_warm(name)]
    name = max(mine, key=lambda name: power.inlets[name], default="")
    return f"{name}: its inlet comes to {power.inlets[name]:.1f} degrees" if name else ""


def _recommendations(
    power: Power, view: View, ideal: Filtered, reliefs: Sequence[Relief]
) -> tuple[Recommendation, ...]:
    """By policy and room, for workloads that are only recommended for."""
    found = []
    peaks = {name: max((a.watts[-1] for a in one.ahead), default=None) for name, one in power.watched.items()}
    told = {s.name for s in view.servers if _is(power, "Recommend", s.name)}
    policies = {"": FREE, **power.policies}
    states = [one.state for one in power.watched.values() if one.room is not None]
    states += [_cap_state(power, key, view) for key in power.caps]
    for key, policy in policies.items():
        mine = tuple(s for s in view.servers if s.name in told and power.policy_of(s.name) is policy)
        if not mine:
            continue
        levers = {s.name: lever_of(policy, s, ideal.replicas[s.name]) for s in mine}
        for state in states:
            part = View(view.rooms, mine)
            peak = peaks.get(state.domain)
            made = recommendation(
                part, ideal, state, power.seen.now, key, peak=peak, levers=levers, reliefs=reliefs
            )
            if made is not None:
                found.append(made)
    return tuple(found)


def _cap_state(power: Power, key: str, view: View) -> DomainState:
    watts = sum(map(power.drawn, power.selected[key]))
    room = power.caps[key]
    level: Level = "shed" if watts > room.watts else "hold" if watts > room.grow else "normal"
    return DomainState(key, level, watts, True, room.watts, feasible=floors(view)[key] <= room.watts + FIT)


def _widest(power: Power, view: View) -> View:
    """Rooms as large as they can ever be: all of the budget but the sensors' error and the ungoverned."""
    rooms = []
    for room in view.rooms:
        watched = power.watched.get(room.name)
        if watched is not None and (sure := _sure(watched)) is not None:
            room = replace(room, watts=sure - watched.reading.ungoverned)
        rooms.append(room)
    return replace(view, rooms=tuple(rooms))


def _sure(one: Watched) -> Watts | None:
    """What a domain may draw by its sensors, so that it keeps its budget for certain: C (1 - e)."""
    budget = one.state.budget
    return None if budget is None else threshold(budget, one.reading.known.error, 0.0)


def _policy_state(power: Power, key: str) -> PolicyState:
    names = power.selected[key]
    cap = cap_watts(power.policies[key].cap, power.windows.get(key))
    batches = any(power.workloads[name].batch > 0 for name in names)
    return PolicyState(key, names, sum(map(power.drawn, names)), cap, batches)


def _state(power: Power, name: str, one: Watched, view: View) -> DomainState:
    state = replace(one.state, nodes=len(power.tree.nodes[name]), inlet=power.inlets.get(name))
    if (sure := _sure(one)) is None:
        return state
    fits = floors(view)[name] + one.reading.ungoverned <= sure + FIT
    return replace(state, feasible=fits, per_kilowatt=power.memory.prices.get(name))


def _hot(power: Power) -> tuple[str, ...]:
    """Nodes of racks that are too warm or have to shed, the worst first."""
    heat: dict[str, float] = {}
    for name, one in power.watched.items():
        if power.tree.domains[name].level not in ("Rack", "Node"):
            continue
        thermal, over = power.tree.domains[name].thermal, 0.0
        if one.state.threshold:
            over = one.state.watts / one.state.threshold if one.state.level in LEVELS[2:] else 0.0
        if thermal is not None and power.inlets[name] > thermal.max_inlet - NEAR:
            over = max(over, (power.inlets[name] - thermal.supply) / (thermal.max_inlet - thermal.supply))
        for node in power.tree.nodes[name] if over > 0 else ():
            heat[node] = max(heat.get(node, 0.0), over)
    return tuple(sorted(heat, key=lambda node: (-heat[node], node)))


def lever_of(policy: Policy, server: ServerView, after: int) -> Lever:
    """The lever that brings a workload from what it has to what it may have."""
    if after >= server.replicas:
        return "hold"
    return "pause" if "pause" in policy.levers and after <= server.floor else "replicas"
