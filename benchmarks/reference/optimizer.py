"""The original's allocation of accelerators to servers: candidates, transition penalty, unlimited and greedy.

Documents are the original's JSON, parsed; field names match whatever their case, and what is missing is zero.
The original breaks ties by the order of a hash map; here they are broken by name.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from benchmarks.reference.queue import G1, G2, G3, MAX_QUEUE_TO_BATCH_RATIO

ACCELERATOR_PENALTY_FACTOR = 0.1
DEFAULT_CLASS = "Free"
LOWEST_PRIORITY = 100

Spec = dict[str, Any]
Allocation = dict[str, Any]
Candidates = dict[str, dict[str, Allocation]]


def power(spec: Spec, utilization: float) -> float:
    """Power (W) at a utilization (0..1); as in the original, nothing uses it."""
    spec = lowered(spec)
    idle, mid, full, mid_utilization = (float(spec[name]) for name in ("idle", "midpower", "full", "midutil"))
    # Defect: a midUtil of 0 or 1 divides by zero, whatever the utilization.
    low_slope = (mid - idle) / mid_utilization
    high_slope = (full - mid) / (1 - mid_utilization)
    if utilization <= mid_utilization:
        return idle + low_slope * utilization
    return mid + high_slope * (utilization - mid_utilization)


def transition_penalty(current: Spec, candidate: Spec) -> float:
    """Value (cents/hour) of moving from one allocation to another."""
    current, candidate = lowered(current), lowered(candidate)
    old_cost, new_cost = float(current.get("cost", 0.0)), float(candidate.get("cost", 0.0))
    if current.get("accelerator", "") != candidate.get("accelerator", ""):
        return ACCELERATOR_PENALTY_FACTOR * (old_cost + new_cost) + (new_cost - old_cost)
    if current.get("numreplicas", 0) == candidate.get("numreplicas", 0):
        # Defect: staying is worth nothing at any cost, so that a dear accelerator is never left.
        return 0.0
    return new_cost - old_cost


def lowered(value: Any) -> Any:
    """The same document with every field name in lower case."""
    if isinstance(value, dict):
        return {name.lower(): lowered(item) for name, item in value.items()}
    if isinstance(value, list):
        return [lowered(item) for item in value]
    return value


class System:
    """A system document with its parts looked up by name."""

    def __init__(self, document: Spec) -> None:
        """Read a parsed document."""
        system = lowered(document)
        system = system.get("system", system)

        def items(part: str, field: str) -> list[Spec]:
            """Entries of one part of the document."""
            return system.get(part, {}).get(field) or []

        self.accelerators = {a["name"]: a for a in items("acceleratordata", "accelerators")}
        self.profiles = {(p["name"], p["acc"]): p for p in items("modeldata", "models")}
        self.servers = {s["name"]: s for s in items("serverdata", "servers")}
        self.capacity = {c["type"]: c["count"] for c in items("capacitydata", "count")}
        self.options: Spec = system.get("optimizerdata", {}).get("optimizer", {})
        self.targets: dict[tuple[str, str], Spec] = {}
        self.priorities: dict[str, int] = {}
        for service_class in items("serviceclassdata", "serviceclasses"):
            name, priority = service_class["name"], service_class.get("priority", 0)
            self.priorities[name] = priority if 1 <= priority <= LOWEST_PRIORITY else LOWEST_PRIORITY
            for target in service_class.get("modeltargets") or []:
                self.targets[name, target["model"]] = target
        self.generation = generation(self.profiles.values())

    def class_name(self, server: Spec) -> str:
        """Name of a server's service class."""
        return server.get("class") or DEFAULT_CLASS

    def priority(self, name: str) -> int:
        """Priority of a server, 1 the highest."""
        return self.priorities.get(self.class_name(self.servers[name]), LOWEST_PRIORITY)

    def units(self, name: str, accelerator: str) -> tuple[str, int] | None:
        """Card type and number of cards for one replica of a server, None if the accelerator is unknown."""
        spec = self.accelerators.get(accelerator)
        if spec is None:
            return None
        profile = self.profiles[self.servers[name]["model"], accelerator]
        # Defect: a missing multiplicity makes an accelerator free of cards.
        return spec.get("type", ""), instances(profile) * spec.get("multiplicity", 0)


def generation(profiles: Iterable[Spec]) -> int:
    """Generation (1, 2, 3) that the performance data are written for."""
    names = {name for profile in profiles for name in profile}
    if names & {"decodeparms", "prefillparms"}:
        return 2
    return 1 if names & {"alpha", "beta"} else 3


def instances(profile: Spec) -> int:
    """Accelerator units for one replica."""
    count: int = profile.get("acccount", 0)
    return count if count > 0 else 1


def candidates(document: Spec) -> Candidates:
    """Allocation of each accelerator that can serve each server, by server and accelerator."""
    system = System(document)
    return {name: _candidates(system, server) for name, server in sorted(system.servers.items())}


def _candidates(system: System, server: Spec) -> dict[str, Allocation]:
    """Allocation of each accelerator that can serve one server, its value the transition penalty."""
    current = server.get("currentalloc", {})
    kept = current.get("accelerator", "") if server.get("keepaccelerator") else ""
    found = {}
    for name in sorted(system.accelerators):
        if kept and name != kept:
            continue
        allocation = _allocation(system, server, name)
        if allocation is not None:
            allocation["value"] = transition_penalty(current, allocation)
            found[name] = allocation
    return found


def _allocation(system: System, server: Spec, name: str) -> Allocation | None:
    """Allocation of one accelerator to one server, None if it cannot serve."""
    load = server.get("currentalloc", {}).get("load", {})
    arrival_rate = load.get("arrivalrate", 0.0)
    input_tokens = load.get("avgintokens", 0)
    output_tokens = load.get("avglength" if system.generation == 1 else "avgouttokens", 0)
    model = server.get("model", "")
    profile = system.profiles.get((model, name))
    target = system.targets.get((system.class_name(server), model))
    if profile is None or target is None or arrival_rate < 0 or input_tokens < 0 or output_tokens < 0:
        return None
    if system.generation == 3 and not any(profile.get("perfparms", {}).values()):
        return None
    unit_cost = system.accelerators[name].get("cost", 0.0) * instances(profile)
    if arrival_rate == 0 or output_tokens == 0:
        return _idle_allocation(system, server, name, profile, unit_cost)

    # Defect: input tokens and memory play no part in the scaling of the batch.
    scaled = profile.get("maxbatchsize", 0) * profile.get("attokens", 0) // output_tokens
    max_batch_size = server.get("maxbatchsize", 0) or max(scaled, 1)
    queue = _queue(system, server, profile, max_batch_size, input_tokens, output_tokens)
    tps = target.get("slo-tps", 0.0)
    ttft = target.get("slo-ttw" if system.generation == 1 else "slo-ttft", 0.0)
    try:
        *rates, metrics = queue.size(ttft, target.get("slo-itl", 0.0), tps)
        rate_star = min(rates) if system.generation == 1 else metrics["throughput"]
        # Defect: with a tokens/s target the offered load is not looked at.
        total_rate = tps / output_tokens if tps else arrival_rate / 60
        replicas = max(math.ceil(total_rate / rate_star), server.get("minnumreplicas", 0))
        metrics = queue.analyze(total_rate / replicas)
    except ValueError:
        return None
    first_token = {1: "avgWaitTime", 2: "ttft", 3: "avgTTFT"}[system.generation]
    return {
        "accelerator": name,
        "numReplicas": replicas,
        "maxBatch": max_batch_size,
        "cost": unit_cost * replicas,
        "itlAverage": metrics["avgTokenTime"],
        _wait_field(system): metrics[first_token],
        "rho": metrics["rho"],
        "maxRPM": rate_star * 60,
    }


def _queue(
    system: System, server: Spec, profile: Spec, max_batch_size: int, input_tokens: int, output_tokens: int
) -> G1 | G2 | G3:
    """Queue model of one replica."""
    if system.generation == 1:
        return G1(profile.get("alpha", 0.0), profile.get("beta", 0.0), max_batch_size, output_tokens)
    if system.generation == 2:
        decode, prefill = profile.get("decodeparms", {}), profile.get("prefillparms", {})
        return G2(
            decode.get("alpha", 0.0),
            decode.get("beta", 0.0),
            prefill.get("gamma", 0.0),
            prefill.get("delta", 0.0),
            max_batch_size,
            MAX_QUEUE_TO_BATCH_RATIO * max_batch_size,
            input_tokens,
            output_tokens,
        )
    parms = profile.get("perfparms", {})
    return G3(
        parms.get("alpha", 0.0),
        parms.get("beta", 0.0),
        parms.get("gamma", 0.0),
        max_batch_size,
        server.get("maxqueuesize", 0),
        input_tokens,
        output_tokens,
    )


def _wait_field(system: System) -> str:
    """Name of an allocation's field for the time (ms) to the first token."""
    return "waitAverage" if system.generation == 1 else "ttftAverage"


def _idle_allocation(system: System, server: Spec, name: str, profile: Spec, unit_cost: float) -> Allocation:
    """Allocation of an accelerator to a server without load."""
    replicas = server.get("minnumreplicas", 0)
    batch = server.get("maxbatchsize", 0) or profile.get("maxbatchsize", 0)
    if replicas == 0 and system.generation > 1:
        return {
            "accelerator": "", "numReplicas": 0, "maxBatch": 0, "cost": 0.0,
            "itlAverage": 0.0, "ttftAverage": 0.0, "rho": 0.0, "maxRPM": 0.0,
        }  # fmt: skip
    if system.generation == 1:
        alpha, beta, ttft = profile.get("alpha", 0.0), profile.get("beta", 0.0), 0.0
    elif system.generation == 2:
        decode, prefill = profile.get("decodeparms", {}), profile.get("prefillparms", {})
        alpha, beta = decode.get("alpha", 0.0), decode.get("beta", 0.0)
        ttft = prefill.get("gamma", 0.0) + prefill.get("delta", 0.0)
    else:
        parms = profile.get("perfparms", {})
        alpha, beta = parms.get("alpha", 0.0), parms.get("beta", 0.0)
        ttft = alpha + beta + parms.get("gamma", 0.0) * batch
    full_time = ttft + alpha + beta * batch
    return {
        "accelerator": name,
        "numReplicas": replicas,
        "maxBatch": batch,
        "cost": unit_cost * replicas,
        "itlAverage": alpha + beta,
        _wait_field(system): ttft,
        "rho": 0.0,
        "maxRPM": batch / full_time * 60_000 if full_time else 0.0,
    }


def optimize(document: Spec) -> dict[str, Allocation]:
    """Allocation of each server that receives one."""
    return solve(document, candidates(document))


def solve(document: Spec, choices: Candidates) -> dict[str, Allocation]:
    """Allocation of each server that receives one, out of candidates already computed."""
    system = System(document)
    if system.options.get("unlimited"):
        return {
            name: min(found.values(), key=lambda allocation: (allocation["value"], allocation["accelerator"]))
            for name, found in sorted(choices.items())
            if found
        }
    if system.options.get("milpsolver") and system.generation < 3:
        raise ValueError("the reference has no mixed-integer solver")
    return Greedy(system, choices).solve()


@dataclass
class Entry:
    """A server waiting for capacity, with its candidates by value and the one that is next to be tried."""

    server: str
    priority: int
    choices: list[Allocation]
    index: int = 0

    def key(self) -> tuple[int, float, float, str]:
        """Order of service: priority, then what a refusal costs (cents/hour), then value, then name."""
        value = self.choices[self.index]["value"]
        last = self.index + 1 == len(self.choices)
        delta = math.inf if last else self.choices[self.index + 1]["value"] - value
        return self.priority, -delta, -value, self.server


class Greedy:
    """The solver for limited capacity."""

    def __init__(self, system: System, choices: Candidates) -> None:
        """Rank the candidates of each server, then the servers."""
        self.system = system
        self.available = dict(system.capacity)
        self.allocations: dict[str, Allocation] = {}
        self.entries = []
        for name, found in choices.items():
            if found:
                ranked = sorted(found.values(), key=lambda a: (a["value"], a["accelerator"]))
                self.entries.append(Entry(name, system.priority(name), ranked))
        self.entries.sort(key=Entry.key)

    def solve(self) -> dict[str, Allocation]:
        """Allocation of each server that receives one."""
        if self.system.options.get("delayedbesteffort"):
            self._best_effort(self._allocate(self.entries))
        else:
            # Defect: a starved priority takes what could have served a lower one whole.
            for group in priority_groups(self.entries):
                self._best_effort(self._allocate(group))
        return dict(sorted(self.allocations.items()))

    def _allocate(self, entries: list[Entry]) -> list[Entry]:
        """Give whole allocations in order; returns the servers left without, as they ran out of choices."""
        waiting, starved = list(entries), []
        while waiting:
            entry = waiting.pop(0)
            choice = entry.choices[entry.index]
            units = self.system.units(entry.server, choice["accelerator"])
            if units is None:
                # Defect: a server at rest has no accelerator, and is forgotten here.
                continue
            kind, per_replica = units
            if self._take(kind, choice["numReplicas"] * per_replica):
                self.allocations[entry.server] = choice
                continue
            entry.index += 1
            if entry.index < len(entry.choices):
                bisect.insort(waiting, entry, key=Entry.key)
            else:
                starved.append(entry)
        return starved

    def _take(self, kind: str, cards: int) -> bool:
        """Take a number of cards of a type, if there are as many."""
        left = self.available.get(kind, 0)
        if left < cards:
            return False
        self.available[kind] = left - cards
        return True

    def _best_effort(self, starved: list[Entry]) -> None:
        """Share what is left among servers that cannot be served whole, as the policy says."""
        policy = self.system.options.get("saturationpolicy", "")
        if policy == "PriorityExhaustive":
            self._share_exhaustively(starved)
        elif policy == "PriorityRoundRobin":
            for group in priority_groups(starved):
                self._share_in_turns(group)
        elif policy == "RoundRobin":
            self._share_in_turns(starved)

    def _fits(self, entry: Entry) -> Iterator[tuple[Allocation, str, int]]:
        """Candidates for which one replica's cards are left: allocation, type, cards for each replica."""
        for choice in entry.choices:
            kind, per_replica = self.system.units(entry.server, choice["accelerator"]) or ("", 0)
            if per_replica > 0 and self.available.get(kind, 0) >= per_replica:
                yield choice, kind, per_replica

    def _share_exhaustively(self, starved: list[Entry]) -> None:
        """Give each server in turn as many replicas as are left of its first candidate that fits."""
        for entry in starved:
            for choice, kind, per_replica in self._fits(entry):
                replicas = min(self.available[kind] // per_replica, choice["numReplicas"])
                if replicas > 0:
                    self._take(kind, replicas * per_replica)
                    self.allocations[entry.server] = scaled(choice, replicas)
                    break

    def _share_in_turns(self, starved: list[Entry]) -> None:
        """Give the servers one replica each, again and again, of the first candidate that fitted."""
        picked: dict[str, tuple[Allocation, str, int]] = {}
        replicas = {entry.server: 0 for entry in starved}
        waiting = starved
        while waiting:
            served = []
            for entry in waiting:
                name = entry.server
                if name not in picked:
                    fitting = next(self._fits(entry), None)
                    if fitting is None:
                        continue
                    picked[name] = fitting
                _, kind, per_replica = picked[name]
                if self._take(kind, per_replica):
                    replicas[name] += 1
                    served.append(entry)
            waiting = served
        for name, (choice, _, _) in picked.items():
            self.allocations[name] = scaled(choice, replicas[name])


def priority_groups(entries: list[Entry]) -> list[list[Entry]]:
    """Consecutive servers of the same priority."""
    return [list(group) for _, group in groupby(entries, key=lambda entry: entry.priority)]


def scaled(allocation: Allocation, replicas: int) -> Allocation:
    """An allocation cut to a number of replicas."""
    fraction = replicas / allocation["numReplicas"]
    # Defect: the latencies stay those of the whole allocation, which meets the targets as this one does not.
    return allocation | {
        "numReplicas": replicas,
        "cost": allocation["cost"] * fraction,
        "value": allocation["value"] * fraction,
    }


def unserved(document: Spec, allocations: dict[str, Allocation]) -> list[str]:
    """Servers without an allocation, by name; if there are any, G3 fails the request as a whole."""
    return sorted(set(System(document).servers) - set(allocations))
