"""What an optimizer elsewhere says, followed with care: Inferno's control loop without its defects.

* A server that it does not speak of keeps what it has.
* Without an answer, or where demand cannot be seen, nothing shrinks.
* A number is reached in steps, and less is believed when it was said for a while.
"""

from __future__ import annotations

import msgspec

from flyball.guards.numbers import Wanted, covers, remember, stabilised, step
from flyball.laws.pool import decision, known
from flyball.spec.decision import Cause, Decision, Hold, Order, Step
from flyball.spec.snapshot import Observation, Snapshot
from flyball.units import Seconds


class AdvisedMemory(msgspec.Struct, frozen=True):
    """By server: numbers that were said, on whichever accelerator."""

    wanted: dict[str, Wanted] = {}


class Advised(msgspec.Struct, frozen=True):
    """Follow the advice in the snapshot."""

    period: Seconds = 60.0
    stabilisation: Seconds = 60.0
    """Fewer replicas only if fewer were said for so long."""
    up: float = 1.0
    down: float = 0.5
    """At most this share more or fewer at once; at least four more or one fewer."""
    stale: Seconds = 300.0
    """Demand older than this is not seen."""
    scale_to_zero: bool = False
    """Only where demand can be seen without a replica."""
    name: str = "advised"

    def __call__(self, snapshot: Snapshot, memory: AdvisedMemory | None) -> tuple[Decision, AdvisedMemory]:
        """Move every server that is seen towards what is said of it."""
        now = snapshot.seen.time
        seen = {o.server: o for o in snapshot.seen.servers}
        said = {o.server: o for o in snapshot.advice or ()}
        wanted, steps = dict(memory.wanted) if memory else {}, []
        for server in sorted(snapshot.fleet.servers, key=lambda s: s.name):
            name = server.name
            if name in seen and name in said:
                wanted[name] = remember(wanted.get(name, ()), now, said[name].replicas, self.stabilisation)
                steps.append(self._step(seen[name], said[name], wanted[name], now))
        notes = [] if snapshot.advice is not None else ["no advice: everything stays as it is"]
        silent = [s.name for s in snapshot.fleet.servers if s.name in seen and s.name not in said]
        if snapshot.advice is not None and silent:
            notes.append(f"no allocation for {', '.join(sorted(silent))}: kept as it is")
        return decision(self.name, snapshot, steps, notes), AdvisedMemory(wanted)

    def _step(self, seen: Observation, said: Order, wanted: Wanted, now: Seconds) -> Step:
        was = tuple(
            Order(seen.server, v.accelerator, v.ready + v.pending, v.max_batch_size)
            for v in sorted(seen.variants, key=lambda v: v.accelerator)
            if v.ready + v.pending
        )
        have = sum(o.replicas for o in was)
        rate = known(seen.arrival_rate)
        blind = rate is None or (seen.arrival_rate is not None and seen.arrival_rate.age > self.stale)
        allowed, holds = said.replicas, []
        if not allowed and have and not self.scale_to_zero:
            allowed = 1
            holds.append(Hold("no_data", 0, 1))
        if allowed < have:
            lasting = covers(wanted, now, self.stabilisation, self.period)
            kept = max(stabilised(wanted, have), allowed) if lasting and not blind else have
            if kept > allowed:
                holds.append(Hold("no_data" if blind else "stabilisation", said.replicas, kept))
                allowed = kept
        if have and (stepped := step(have, allowed, self.up, self.down)) != allowed:
            holds.append(Hold("step", allowed, stepped))
            allowed = stepped
        accelerator = said.accelerator or (was[0].accelerator if was else "")
        if blind and was:
            accelerator = was[0].accelerator
        orders = [Order(seen.server, accelerator, allowed, said.max_batch_size)] if accelerator else []
        orders += [Order(o.server, o.accelerator, 0) for o in was if o.accelerator != accelerator]
        asked = {(o.accelerator, o.replicas) for o in orders if o.replicas}
        return Step(
            seen.server,
            tuple(sorted(orders, key=lambda o: o.accelerator)),
            was,
            _cause(was, asked, accelerator),
            demand=rate or 0.0,
            offered=rate,
            holds=tuple(holds),
        )


def _cause(was: tuple[Order, ...], asked: set[tuple[str, int]], accelerator: str) -> Cause:
    if not was:
        return "start"
    if {(o.accelerator, o.replicas) for o in was} == asked:
        return "steady"
    return "demand" if accelerator in {o.accelerator for o in was} else "cheaper"
