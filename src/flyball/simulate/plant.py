"""The plant: a simulated fleet behind the ports of the loop, from event to event.

Time is cut where something happens to the fleet (a replica becomes ready, a node fails, a scrape); between
two cuts the kernel runs each server on its own. All cuts are at times that do not depend on how the plant is
run, so that pausing changes nothing.
"""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from flyball.simulate.cluster import Cluster, Replica
from flyball.simulate.hall import Watch
from flyball.simulate.power import Power
from flyball.simulate.record import Held, Record
from flyball.simulate.replicas import HAND_ON, Gauges
from flyball.simulate.sensor import Sensor
from flyball.simulate.serving import Serving
from flyball.spec.decision import Order
from flyball.spec.scenario import Duration, Engine, Event, World
from flyball.spec.snapshot import Scrape, Variant
from flyball.units import SECONDS_PER_HOUR, Seconds

POLL: Seconds = 1.0
"""A draining replica that is empty is gone at the next multiple of this."""
LOG = 1000
"""Entries that the log keeps."""
SEEN_STARTS = 5
"""Cold starts of which the mean is shown."""


class Standing(NamedTuple):
    """A replica as it stands, for showing."""

    number: int
    accelerator: str
    state: str
    since: Seconds
    """When it was asked for."""
    nodes: dict[str, int]
    """Cards by node."""
    gauges: Gauges | None
    """None: it is not ready."""


class Plant:
    """A fleet that is simulated. It is a clock, a sensor and an actuator."""

    def __init__(
        self,
        world: World,
        seed: int = 0,
        compiled: bool | None = None,
        keep: Seconds | None = None,
    ) -> None:
        """The world at time 0. `keep`: finished requests are remembered for so long only."""
        self.world = world
        self.log: deque[tuple[Seconds, str]] = deque(maxlen=LOG)
        """What happened to the fleet last, with its time."""
        self.happened = 0
        """How much since the start."""
        self._time: Seconds = 0.0
        names = [s.name for s in world.fleet.servers]
        self._check(names)
        starts, chance, eyes, load, hall = np.random.SeedSequence(seed).spawn(5)
        self._starts, self._chance = np.random.default_rng(starts), np.random.default_rng(chance)
        streams = list(zip(world.streams, load.spawn(len(world.streams)), strict=True))
        self._servers = {
            s.name: Serving(s, world, [x for stream, x in streams if stream.server == s.name], compiled, keep)
            for s in world.fleet.servers
        }
        self._accelerators = {a.name: a for a in world.fleet.accelerators}
        self._leave: dict[int, int] = {}
        self._speed: dict[str, float] = {}
        self._cluster = Cluster(world.fleet, world.nodes, world.placing)
        self._power = Power(world.draws)
        self._watch = (
            Watch(world.hall, (m.node for m in self._cluster.machines.values()), np.random.default_rng(hall))
            if world.hall
            else None
        )
        self._tokens = any(d.token for d in world.draws)
        self._sensor = Sensor(world.measuring, np.random.default_rng(eyes))
        self._events = sorted(world.events, key=lambda e: e.at)
        self._next_event = 0
        for server, variants in world.start.items():
            self._servers[server].wanted.update(variants)
        self._settle(at_once=True)
        self._settle()
        self._happen_due()
        self._scrape()

    def _check(self, names: list[str]) -> None:
        for stream in self.world.streams:
            if stream.server not in names:
                raise ValueError(f"a stream is for the server '{stream.server}', which is not in the fleet")
        engines = {(e.model, e.accelerator) for e in self.world.engines}
        models = {s.name: s.model for s in self.world.fleet.servers}
        types = {a.name for a in self.world.fleet.accelerators}
        for engine in self.world.engines:
            if engine.accelerator not in types:
                raise ValueError(
                    f"an engine is for '{engine.accelerator}', which is no accelerator of the fleet"
                )
        for server, variants in self.world.start.items():
            if server not in models:
                raise ValueError(f"start names the server '{server}', which is not in the fleet")
            for accelerator in variants:
                if (models[server], accelerator) not in engines:
                    raise ValueError(
                        f"start has '{server}' on '{accelerator}', for which '{models[server]}' has no engine"
                    )

    # ---- clock ---------------------------------------------------------------------------------

    def now(self) -> Seconds:
        """Seconds since the beginning."""
        return self._time

    def run(self, until: Seconds) -> None:
        """Let time go on."""
        while self._time < until:
            end = min(until, self._next())
            for serving in self._servers.values():
                serving.run(self._time, end)
            self._spend(end - self._time)
            self._time = end
            self._count_power()
            if self._watch is not None and end >= self._watch.due:
                self._watch.close(
                    self._cluster.machines.values(),
                    self._power.joules,
                    self._cluster.replicas,
                    self._power.by_card,
                )
            self._settle()
            self._happen_due()
            if end >= self._sensor.due:
                self._scrape()

    def copy(self) -> Plant:
        """Another plant that goes on in the same way, apart from this one."""
        other = copy.copy(self)
        other._servers = {name: s.copy() for name, s in self._servers.items()}
        for name in ("_starts", "_chance", "_cluster", "_power"):
            setattr(other, name, copy.deepcopy(getattr(self, name)))
        other._watch = self._watch.copy() if self._watch is not None else None
        other._speed, other.log, other._sensor = dict(self._speed), self.log.copy(), self._sensor.copy()
        return other

    def _next(self) -> Seconds:
        after = self._sensor.due
        if self._watch is not None:
            after = min(after, self._watch.due)
        if self.world.hold:
            after = min(after, (math.floor(self._time / HAND_ON) + 1) * HAND_ON)
        if self._next_event < len(self._events):
            after = min(after, self._events[self._next_event].at)
        for replica in self._cluster.replicas:
            if replica.state == "draining":
                after = min(after, replica.due, (math.floor(self._time / POLL) + 1) * POLL)
            elif replica.state == "pending":
                after = min(after, replica.due)
        return after

    def _spend(self, seconds: Seconds) -> None:
        for replica in self._cluster.replicas:
            serving = self._servers[replica.server]
            serving.held += seconds
            if replica.state != "draining":
                serving.asked += seconds
            if replica.places:
                serving.cards += seconds * replica.cards
                serving.dollars += seconds * replica.price / SECONDS_PER_HOUR

    # ---- actuator ------------------------------------------------------------------------------

    def act(self, orders: Sequence[Order]) -> tuple[str, ...]:
        """Ask for these replicas; returns at once. Says in a sentence each what could not be asked for."""
        wrong = []
        for order in orders:
            serving = self._servers.get(order.server)
            if serving is None:
                wrong.append(f"there is no server '{order.server}'")
            elif order.accelerator not in self._accelerators:
                wrong.append(
                    f"'{order.server}' cannot run on '{order.accelerator}': there is no such accelerator"
                )
            elif order.accelerator not in serving.engines:
                wrong.append(
                    f"'{order.server}' cannot run on '{order.accelerator}': "
                    f"there is no engine of {serving.model} for it"
                )
            elif order.replicas < 0:
                wrong.append(
                    f"'{order.server}' cannot have {order.replicas} replicas on '{order.accelerator}'; "
                    "ask for 0 or more"
                )
            else:
                serving.wanted[order.accelerator] = order.replicas
        self._settle()
        return tuple(wrong)

    def shun(self, nodes: Sequence[str], leave: Sequence[int] = ()) -> None:
        """From now on replicas of these numbers go first, in this order, then those on these nodes.

        To these nodes new ones go last.
        """
        self._cluster.shunned = {name: place for place, name in enumerate(nodes)}
        self._leave = {number: place for place, number in enumerate(leave)}

    def prefer(self, nodes: Sequence[str]) -> None:
        """From now on replicas go to these nodes first, as far as they have cards for them."""
        self._cluster.preferred = frozenset(nodes)

    def _settle(self, at_once: bool = False) -> None:
        """Bring the replicas to where they are wanted, as far as that goes now."""
        cluster, now = self._cluster, self._time
        for replica in list(cluster.replicas):
            if replica.state == "draining":
                serving = self._servers[replica.server]
                empty = serving.replicas.load(replica.engine_number) == 0
                if now >= replica.due or (empty and now % POLL == 0.0):
                    self._end(replica)
        for serving in self._servers.values():
            for accelerator, wanted in serving.wanted.items():
                here = [r for r in cluster.of(serving.name, accelerator) if r.state != "draining"]
                for _ in range(wanted - len(here)):
                    self._ask(serving, serving.engines[accelerator])
                self._shrink(serving, here, len(here) - wanted)
        for replica in cluster.replicas:
            if replica.state != "pending":
                continue
            if not replica.places and cluster.place(replica):
                replica.due = now + (0.0 if at_once else _draw(self.world.cold_start, self._starts))
            if replica.places and replica.due <= now:
                self._begin(replica, seen=not at_once)

    def _ask(self, serving: Serving, engine: Engine) -> None:
        accelerator = self._accelerators[engine.accelerator]
        units = engine.accelerator_count
        self._cluster.asked += 1
        self._cluster.replicas.append(
            Replica(
                self._cluster.asked,
                serving.name,
                engine,
                accelerator.type,
                accelerator.multiplicity * units,
                accelerator.cost * units,
                self._time,
            )
        )

    def _shrink(self, serving: Serving, here: list[Replica], count: int) -> None:
        """Take away pending ones, the youngest first, then the least loaded."""
        if count <= 0:
            return
        pending = [r for r in reversed(here) if r.state == "pending"]
        ready = [r for r in reversed(here) if r.state == "ready"]
        shunned = self._cluster.shunned
        ready.sort(
            key=lambda r: (
                self._leave.get(r.number, len(self._leave)),
                min((shunned.get(n, len(shunned)) for n in r.places), default=0),
                serving.replicas.load(r.engine_number),
            )
        )
        for replica in [*pending, *ready][:count]:
            if replica.state == "pending":
                self._cluster.remove(replica)
            else:
                self._drain(replica)

    def _begin(self, replica: Replica, seen: bool) -> None:
        serving = self._servers[replica.server]
        replica.state, replica.due = "ready", math.inf
        replica.engine_number = serving.replicas.add(
            replica.engine, self._speed.get(replica.accelerator, 1.0)
        )
        serving.replicas.route.append(replica.engine_number)
        if seen:
            serving.starts = (*serving.starts, self._time - replica.asked)[-SEEN_STARTS:]

    def _drain(self, replica: Replica) -> None:
        replica.state, replica.due = "draining", self._time + self.world.grace
        self._servers[replica.server].replicas.route.remove(replica.engine_number)

    def _end(self, replica: Replica, failed: bool = False) -> None:
        """A replica is gone; what it has is lost."""
        if replica.engine_number >= 0:
            serving = self._servers[replica.server]
            lost = serving.replicas.remove(replica.engine_number, self._time)
            serving.record.lose(lost, self._time)
        self._power.forget(replica)
        if not failed:
            self._cluster.remove(replica)

    # ---- events --------------------------------------------------------------------------------

    def happen(self, event: Event) -> str:
        """Let an event happen now, whatever its time; says in a sentence what it did."""
        said = self._happen(event)
        self.log.append((self._time, said))
        self.happened += 1
        self._settle()
        return said

    def _happen_due(self) -> None:
        while self._next_event < len(self._events) and self._events[self._next_event].at <= self._time:
            self._next_event += 1
            self.happen(self._events[self._next_event - 1])

    def _happen(self, event: Event) -> str:
        servers = [event.name] if event.name else list(self._servers)
        whom = f"'{event.name}'" if event.name else "all servers"
        if event.what in ("load", "lose_replica", "blind", "stale") and event.name not in {
            "",
            *self._servers,
        }:
            return f"there is no server '{event.name}'"
        match event.what:
            case "load":
                for name in servers:
                    for each in self._servers[name].sources:
                        each.scale(event.value)
                return f"the load of {whom} is {event.value:g} times its own"
            case "lose_node":
                return self._lose_node(event.name)
            case "return_node":
                lost = [n for n, m in self._cluster.machines.items() if not m.alive and event.name in ("", n)]
                for name in lost:
                    self._cluster.bring_back(name)
                return f"back: {', '.join(lost)}" if lost else f"no node '{event.name}' is lost"
            case "capacity":
                over = self._cluster.limit(event.name, int(event.value))
                for replica in over:
                    if replica.state == "ready":
                        self._drain(replica)
                    else:
                        self._cluster.unplace(replica)
                        replica.due = math.inf
                return (
                    f"{int(event.value)} cards of {event.name} may be used; {len(over)} replicas have to go"
                )
            case "lose_replica":
                ready = [r for name in servers for r in self._cluster.of(name) if r.state == "ready"]
                if not ready:
                    return f"{whom} has no replica that could fail"
                replica = ready[int(self._chance.integers(len(ready)))]
                self._end(replica)
                return f"replica {replica.number} of '{replica.server}' failed"
            case "slow":
                if event.name not in {"", *self._accelerators}:
                    return f"there is no accelerator '{event.name}'"
                for name in [event.name] if event.name else self._accelerators:
                    self._speed[name] = event.value
                for replica in self._cluster.replicas:
                    if replica.engine_number >= 0 and event.name in ("", replica.accelerator):
                        self._servers[replica.server].replicas.slow(
                            replica.engine_number, replica.engine, event.value, self._time
                        )
                return f"engines on {event.name or 'all accelerators'} take {event.value:g} times as long"
            case "blind" | "stale":
                self._sensor.trouble(event.what, event.name, self._time, event.value)
                return f"{whom}: {event.what} for {event.value:g} s"

    def _lose_node(self, name: str) -> str:
        alive = {n: m for n, m in self._cluster.machines.items() if m.alive}
        if not name:
            in_use = [n for n, m in alive.items() if m.used]
            if not in_use:
                return "no node is in use"
            name = in_use[int(self._chance.integers(len(in_use)))]
        if name not in alive:
            return f"there is no node '{name}' that is alive"
        failed = self._cluster.lose(name)
        for replica in failed:
            self._end(replica, failed=True)
        return f"node {name} failed, and {len(failed)} replicas with it"

    # ---- sensor --------------------------------------------------------------------------------

    def observe(self) -> Scrape:
        """What a scrape shows now, over the sensor's window."""
        variants = {name: self._variants(s) for name, s in self._servers.items()}
        watts = self._power.watts() if self._power.known else None
        shots = self._sensor.shots(self._time, self._servers)
        return self._sensor.observe(self._time, shots, variants, self._cluster.capacity(), watts)

    def _variants(self, serving: Serving) -> tuple[Variant, ...]:
        found = []
        here = self._cluster.of(serving.name)
        for name, engine in serving.engines.items():
            mine = [r for r in here if r.engine.accelerator == name]
            waits = [self._time - r.asked for r in mine if r.state == "pending"]
            states = [r.state for r in mine]
            if mine:
                found.append(
                    Variant(
                        name,
                        states.count("ready"),
                        states.count("pending"),
                        states.count("draining"),
                        engine.max_sequences,
                        max(waits, default=0.0),
                    )
                )
        return tuple(found)

    def _scrape(self) -> None:
        self._power.close(self._cluster.machines.values())
        self._sensor.scrape(self._time, self._servers)

    def _count_power(self) -> None:
        if self._power.known:
            computing = [(r, *self._computed(r)) for r in self._cluster.replicas if r.places]
            self._power.count(self._time, self._cluster.machines.values(), computing)

    def _computed(self, replica: Replica) -> tuple[Seconds, Seconds, int]:
        number = replica.engine_number
        if number < 0:
            return 0.0, 0.0, 0
        replicas = self._servers[replica.server].replicas
        return *replicas.busy(number, self._time), replicas.tokens(number) if self._tokens else 0

    # ---- for judging and showing ---------------------------------------------------------------

    def record(self, server: str) -> Record:
        """The requests of a server that are over."""
        return self._servers[server].record

    def held(self, server: str) -> Held:
        """What a server has used up to now."""
        s = self._servers[server]
        return Held(s.held, s.asked, s.cards, s.dollars, self._power.by_server.get(server, 0.0))

    def serving(self, server: str) -> Serving:
        """A server's inside, for tests and metrics."""
        return self._servers[server]

    def standing(self, server: str) -> tuple[Standing, ...]:
        """A server's replicas, in the order in which they were asked for."""
        engine = self._servers[server].replicas
        return tuple(
            Standing(
                r.number,
                r.accelerator,
                r.state,
                r.asked,
                dict(r.places),
                engine.gauges(r.engine_number) if r.engine_number >= 0 else None,
            )
            for r in self._cluster.of(server)
        )

    def engine_number(self, server: str, replica: int) -> int:
        """A replica's number among the server's computing ones; KeyError where it does not compute."""
        for r in self._cluster.of(server):
            if r.number == replica and r.engine_number >= 0:
                return r.engine_number
        raise KeyError(f"'{server}' has no replica {replica} that computes")

    @property
    def cluster(self) -> Cluster:
        """Nodes and replicas, for showing."""
        return self._cluster

    @property
    def power(self) -> Power:
        """Energy and heat up to the last scrape, for showing."""
        return self._power

    @property
    def watch(self) -> Watch:
        """What nodes truly drew, for judging. ValueError: the world has no hall."""
        if self._watch is None:
            raise ValueError("nobody watches what nodes draw: give the world a hall")
        return self._watch


def _draw(law: Duration, rng: np.random.Generator) -> Seconds:
    if law.cov <= 0 or law.mean <= 0:
        return law.mean
    spread = math.log1p(law.cov * law.cov)
    return float(law.mean * math.exp(rng.normal(-0.5 * spread, math.sqrt(spread))))
