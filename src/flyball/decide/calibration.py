"""Calibration in the loop: what servers show becomes what is known of their models, and that the profiles."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from msgspec.structs import replace

from flyball.calibrate.belief import Belief
from flyball.calibrate.learn import belief, distrust, learn
from flyball.calibrate.margin import MOST, margin
from flyball.calibrate.over_batch import itl_over, largest_batch
from flyball.calibrate.prior import belief_of, profile_of
from flyball.decide.memory import Goal, ServerMemory, Settled
from flyball.decide.seen import WINDOW, Seen
from flyball.spec.fleet import Fleet
from flyball.spec.known import Known
from flyball.spec.learned import Learned, Point
from flyball.spec.profile import IterationTiming, Profile, Uncertainty
from flyball.spec.steering import Steering
from flyball.units import Seconds, Tokens

GIVEN = Uncertainty(
    alpha=0.15, beta=0.5, kappa=0.5, delta=0.3, gamma=1.5, epsilon=0.35, residual=0.06, common=0.4
)
"""Of a profile that somebody gave without saying how sure it is."""
GAMMA: Seconds = 5e-3
"""Where a profile has none, so that one can be learned."""
FEWEST = 20.0
"""Requests in a window from which on its means say something."""
LATE, LONG = 30.0, 2.0
"""A window is steady when it has been for its length, this many seconds, and this often a request's time."""
QUEUED, FULL = 0.05, 0.2
"""Waiting requests per running one: up to the first (and one a replica) nobody waits, from the second on
batches are full, if their places or the KV cache are taken to this share:"""
TAKEN = 0.8
KV_USED = (0.1, 0.95)
"""Share of the KV cache in use, within which it tells how large the cache is."""
KV_KNOWN = 10
"""Readings after which that is believed rather than the profile."""
HEARD = 50
"""Servers of a pair that are learned from in one window: a fit takes longer than all else of a server, and of
more readings in a point the oldest count no more."""
STEADY = 1.3
"""Factor by which the load may change in it, either way."""


def key(model: str, accelerator: str) -> str:
    """What is learned belongs to."""
    return f"{model} on {accelerator}"


def settled(memory: ServerMemory, seen: Seen, now: Seconds) -> ServerMemory:
    """The memory with since when it is in a steady state: the same replicas on one accelerator, and about the
    same load with nobody waiting, or all places taken. A gap in the readings neither begins nor ends one.
    """
    if seen.blind or seen.running is None:
        return memory
    count = seen.ready.get(seen.main, 0)
    alone = len(seen.ready) == 1 and not seen.draining
    taken = seen.running >= TAKEN * seen.places > 0 or (seen.kv_usage or 0.0) >= TAKEN
    full = taken and seen.waiting > FULL * seen.running
    few = seen.waiting <= count + QUEUED * seen.running
    load = seen.running if full else seen.offered
    if not (alone and count and load and (full or few)):
        return replace(memory, settled=None, settled_since=now)
    state, before = Settled(seen.main, count, load, full), memory.settled
    if (
        before is not None
        and replace(before, load=load) == state
        and load <= STEADY * before.load <= STEADY**2 * load
    ):
        return memory
    return replace(memory, settled=state, settled_since=now)


def reading(seen: Seen, memory: ServerMemory, now: Seconds) -> Point | None:
    """What a server shows of its model; None where it says nothing: its window holds something else too."""
    steady = memory.settled
    if steady is None or seen.blind or not seen.running:
        return None
    if not seen.offered or not seen.itl or not seen.out_tokens or seen.in_tokens is None:
        return None
    taken = seen.out_tokens * seen.itl
    if now - memory.settled_since < WINDOW + LATE + LONG * taken:
        return None
    if seen.offered * WINDOW < FEWEST or seen.out_tokens < 2:
        return None
    # By Little's law, either way: the rate is less noisy than the gauge of a batch that comes and goes.
    running = seen.running if steady.full else max(seen.offered * taken, 0.05 * steady.replicas)
    kv_tokens = 0.0
    if seen.kv_usage and KV_USED[0] <= seen.kv_usage <= KV_USED[1]:
        context = seen.in_tokens + seen.out_tokens * (1.0 + (seen.out_cov or 0.0) ** 2) / 2.0
        kv_tokens = seen.running / steady.replicas * context / seen.kv_usage
    return Point(
        running=running / steady.replicas,
        rate=running / taken / steady.replicas,
        in_tokens=seen.in_tokens,
        out_tokens=seen.out_tokens,
        itl=seen.itl,
        ttft=0.0 if steady.full else seen.ttft or 0.0,
        in_cov=seen.in_cov or 0.0,
        out_cov=seen.out_cov or 0.0,
        kv_tokens=kv_tokens,
    )


class Calibration:
    """What is known of the fleet's profiles in this cycle."""

    def __init__(
        self,
        fleet: Fleet,
        remembered: Mapping[str, Learned],
        seen: Mapping[str, Seen],
        servers: Mapping[str, ServerMemory],
        steering: Steering,
        now: Seconds,
    ) -> None:
        self.fleet, self.steering, self.now = fleet, steering, now
        self.servers = servers
        self.profiles = {key(p.model, p.accelerator): p for p in fleet.profiles}
        self.learned = dict(remembered) if steering.calibrate else {}
        self.shown: dict[str, Point] = {}
        """Readings of servers that count in this cycle."""
        self._priors: dict[str, Belief] = {}
        self._beliefs: dict[str, Belief] = {}
        """As of what is learned by now; a fit takes some milliseconds."""
        self.notes: tuple[str, ...] = ()
        """What happened to what is known of a model, in words."""
        if steering.calibrate:
            self._learn(seen)

    def _learn(self, seen: Mapping[str, Seen]) -> None:
        """All servers of a pair tell at once, one window after the other, so that each window counts once."""
        due = {
            pair
            for pair in self.profiles
            if (known := self.learned.get(pair)) is None
            or known.at is None
            or not 0 <= self.now - known.at < WINDOW
        }
        told: dict[str, list[str]] = {}
        for name in sorted(seen):
            one = seen[name]
            pair = key(one.server.model, one.main)
            shown, profile = reading(one, self.servers[name], self.now), self.profiles.get(pair)
            if shown and profile and pair in due and isinstance(profile.timing, IterationTiming):
                self.shown[name] = shown
                told.setdefault(pair, []).append(name)
        heard = {name for names in told.values() for name in self._heard(names)}
        for name in sorted(heard):
            pair = key(seen[name].server.model, seen[name].main)
            before = self.learned.get(pair, Learned())
            self.learned[pair] = after = learn(self.belief(pair), before, self.shown[name], self.now)
            self._beliefs.pop(pair)
            self.notes += _notes(pair, before, after)

    def _heard(self, names: Sequence[str]) -> Sequence[str]:
        """Those that are learned from in this window; of many the next ones in each."""
        if len(names) <= HEARD:
            return names
        first = int(self.now // WINDOW) * HEARD
        return [names[(first + i) % len(names)] for i in range(HEARD)]

    def prior(self, pair: str) -> Belief:
        """What the pair's profile says."""
        if pair not in self._priors:
            self._priors[pair] = prior_of(self.profiles[pair])
        return self._priors[pair]

    def belief(self, pair: str) -> Belief:
        """What is known of a pair by now."""
        if pair not in self._beliefs:
            learned = self.learned.get(pair, Learned())
            self._beliefs[pair] = belief(self.prior(pair), learned, self.now)
        return self._beliefs[pair]

    def fleet_as_known(
        self, goals: Mapping[str, Goal | None], tokens: Mapping[str, tuple[Tokens, Tokens]]
    ) -> Fleet:
        """The fleet with profiles as learned, and margins as wide as they deserve.

        Margins are for the lengths of the pair's busiest server, at the batch that its goal leads to.
        """
        if not self.steering.calibrate:
            return self.fleet
        return replace(
            self.fleet, profiles=tuple(self._profile(p, goals, tokens) for p in self.fleet.profiles)
        )

    def profile(self, pair: str) -> Profile | None:
        """A profile as it is known now, without margin."""
        profile, learned = self.profiles.get(pair), self.learned.get(pair)
        if profile is None or learned is None or not learned.points:
            return profile
        return replace(
            profile, timing=profile_of(self.belief(pair), profile.model, profile.accelerator).timing
        )

    def account(
        self,
        planned: Fleet,
        goals: Mapping[str, Goal | None],
        tokens: Mapping[str, tuple[Tokens, Tokens]],
        used: Collection[str],
    ) -> tuple[Known, ...]:
        """What is known of the pairs in use and those that were read, with the margins of that plan."""
        if not self.steering.calibrate:
            return ()
        margins = {key(p.model, p.accelerator): p.margin for p in planned.profiles}
        return tuple(
            self._account(pair, self._typical(profile, goals, tokens, self.belief(pair)), margins[pair])
            for pair, profile in sorted(self.profiles.items())
            if isinstance(profile.timing, IterationTiming) and (pair in used or pair in self.learned)
        )

    def _account(self, pair: str, typical: tuple[Tokens, Tokens, float], margin: float) -> Known:
        profile, learned = self.profiles[pair], self.learned.get(pair, Learned())
        in_tokens, out_tokens, running = typical
        running = max(running, 1.0)
        before, now = (
            itl_over(known, (running,), in_tokens, out_tokens)
            for known in (self.prior(pair), self.belief(pair))
        )
        return Known(
            model=profile.model,
            accelerator=profile.accelerator,
            running=float(running),
            in_tokens=float(in_tokens),
            out_tokens=float(out_tokens),
            profile_itl=float(before.itl[0]),
            itl=float(now.itl[0]),
            sigma=float(now.sigma[0]),
            readings=learned.readings,
            points=len(learned.points),
            at=learned.at,
            margin=float(margin),
            miss=math.sqrt(learned.miss),
            distrust=distrust(learned),
            kv_tokens=_kv_tokens(learned),
            outliers=learned.outliers,
            strange=len(learned.strange),
            changes=learned.changes,
        )

    def _profile(
        self,
        profile: Profile,
        goals: Mapping[str, Goal | None],
        tokens: Mapping[str, tuple[Tokens, Tokens]],
    ) -> Profile:
        learned = self.learned.get(key(profile.model, profile.accelerator))
        if learned is None or not learned.points or not isinstance(profile.timing, IterationTiming):
            return profile
        known = self.belief(key(profile.model, profile.accelerator))
        made = profile_of(known, profile.model, profile.accelerator)
        typical = self._typical(profile, goals, tokens, known)
        wide = margin(known, *typical, self.steering.confidence, residual=False)
        return replace(
            profile,
            timing=made.timing,
            uncertainty=made.uncertainty,
            margin=min(wide * distrust(learned), MOST),
            kv_tokens=_kv_tokens(learned) or profile.kv_tokens,
        )

    def _typical(
        self,
        profile: Profile,
        goals: Mapping[str, Goal | None],
        tokens: Mapping[str, tuple[Tokens, Tokens]],
        known: Belief,
    ) -> tuple[Tokens, Tokens, float]:
        """Lengths, and the batch at the rate that a replica is to take; where none is known, the limit."""
        servers = [s for s in self.fleet.servers if s.model == profile.model and s.name in tokens]
        best = (1000.0, 300.0, float(profile.max_batch_size))
        for server in servers:
            in_tokens, out_tokens = tokens[server.name]
            goal = goals.get(server.name)
            limit = largest_batch(profile.kv_tokens, in_tokens, out_tokens, profile.max_batch_size)
            best = (in_tokens, out_tokens, float(max(limit, 1)))
            if goal is not None and goal.accelerator == profile.accelerator and goal.max_rate > 0:
                return in_tokens, out_tokens, _batch(known, goal.max_rate, *best)
        return best


def _kv_tokens(learned: Learned) -> int:
    """Tokens that the KV cache holds; 0: too little is known."""
    return round(learned.kv_tokens) if learned.kv_readings >= KV_KNOWN else 0


def _notes(pair: str, before: Learned, after: Learned) -> tuple[str, ...]:
    """What one reading changed that somebody should know."""
    if not before.points and after.points:
        return (f"{pair}: its profile is corrected by what it shows, from now on",)
    if after.changes > before.changes:
        return (f"{pair}: it runs steadily unlike before; what was learned of it is given up",)
    if distrust(after) > 1.0 >= distrust(before):
        return (f"{pair}: readings miss what is foretold by {math.sqrt(after.miss):.0%}; margins widen",)
    if distrust(before) > 1.0 >= distrust(after):
        return (f"{pair}: readings are as foretold again",)
    return ()


def prior_of(profile: Profile) -> Belief:
    """What is believed of a profile before anything is seen, as uncertain as it says or given ones are."""
    assert isinstance(profile.timing, IterationTiming)
    timing, uncertainty = profile.timing, profile.uncertainty or GIVEN
    if not timing.gamma:
        timing = replace(timing, gamma=GAMMA)
        uncertainty = replace(uncertainty, gamma=GIVEN.gamma)
    return belief_of(replace(profile, timing=timing, uncertainty=uncertainty))


def _batch(known: Belief, rate: float, in_tokens: Tokens, out_tokens: Tokens, limit: float) -> float:
    """Requests that decode at a rate, by Little's law; at most the limit."""
    alpha, beta, kappa, delta, *epsilon = known.values.tolist()
    each = beta + kappa * (in_tokens + out_tokens / 2) + delta * in_tokens / max(out_tokens, 1.0)
    free = 1.0 - rate * out_tokens * each
    if free <= 0:
        return limit
    whole = alpha + (epsilon[0] if epsilon else 0.0)
    return float(min(rate * out_tokens * whole / free, limit))
