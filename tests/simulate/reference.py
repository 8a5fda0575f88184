"""Token by token: what the kernel must give, written to be obvious, not fast. It shares no code with it."""

from __future__ import annotations

from dataclasses import dataclass, field

from flyball.spec.scenario import Engine


@dataclass(eq=False)
class Request:
    arrival: float
    in_tokens: int
    out_tokens: int
    cached: int
    given: int = 0
    held: int = 0
    """KV tokens."""
    whole: int = 0
    """Tokens to compute before the next one can be given."""
    blocks: int = 0
    first: float = -1.0
    finish: float = -1.0
    replica: int = -1

    @property
    def decoding(self) -> bool:
        return self.held >= self.whole


@dataclass(eq=False)
class Replica:
    engine: Engine
    number: int
    running: list[Request] = field(default_factory=list)
    waiting: list[Request] = field(default_factory=list)
    end: float | None = None
    """When the iteration under way ends."""
    gives: dict[int, int] = field(default_factory=dict)
    """Tokens that the iteration computes, by place in `running`."""
    preemptions: int = 0
    most_blocks: int = 0
    gaps: list[float] = field(default_factory=list)
    last: dict[int, float] = field(default_factory=dict)

    @property
    def untouched(self) -> float:
        e = self.engine
        return 1.0 - e.experts_per_token / e.experts if e.experts else 0.0

    @property
    def total(self) -> int:
        return self.engine.kv_tokens // self.engine.block_size if self.engine.kv_tokens else 10**12

    def free(self) -> int:
        return self.total - sum(r.blocks for r in self.running)

    def blocks(self, tokens: int) -> int:
        return -(-tokens // self.engine.block_size)

    def begin(self, now: float) -> None:
        """Compose an iteration."""
        e = self.engine
        preempted = False
        while True:
            need = sum(self.blocks(r.held + 1) - r.blocks for r in self.running if r.decoding)
            if need <= self.free():
                break
            victim = self.running.pop()
            victim.blocks = victim.held = 0
            self.waiting.insert(0, victim)
            self.preemptions += 1
            preempted = True
        self.gives = {}
        budget = e.batched_tokens
        for i, r in enumerate(self.running):
            if r.decoding:
                r.blocks = self.blocks(r.held + 1)
                self.gives[i] = 1
                budget -= 1
        for i, r in enumerate(self.running):
            if not r.decoding:
                self.gives[i] = min(r.whole - r.held, budget)
                budget -= self.gives[i]
        while not preempted and self.waiting and budget > 0 and len(self.running) < e.max_sequences:
            r = self.waiting[0]
            r.whole = r.in_tokens + r.given
            if self.blocks(r.whole) > self.free():
                break
            self.waiting.pop(0)
            self.running.append(r)
            r.blocks = self.blocks(r.whole)
            r.held = r.cached
            self.gives[len(self.running) - 1] = min(r.whole - r.held, budget)
            budget -= self.gives[len(self.running) - 1]
        if not self.running:
            self.end = None
            return
        self.most_blocks = max(self.most_blocks, sum(r.blocks for r in self.running))
        computed = sum(n for i, n in self.gives.items() if not self.running[i].decoding)
        self.end = now + (
            e.alpha
            + e.beta * len(self.running)
            + e.kappa * sum(r.held for r in self.running)
            + e.epsilon * (self.untouched - self.untouched ** len(self.running))
            + e.delta * computed
        )

    def complete(self) -> list[Request]:
        """End the iteration."""
        assert self.end is not None
        now = self.end
        over = []
        for i, r in enumerate(list(self.running)):
            r.held += self.gives[i]
            if r.held < r.whole:
                continue
            r.given += 1
            if r.given == 1:
                r.first = now
            else:
                self.gaps.append(now - self.last[id(r)])
            self.last[id(r)] = now
            if r.given == r.out_tokens:
                r.finish, r.replica = now, self.number
                self.running.remove(r)
                over.append(r)
            else:
                r.whole = r.held  # from now on it decodes
        self.begin(now)
        return over


def simulate(
    engine: Engine,
    count: int,
    router: str,
    requests: list[Request],
    uniforms: list[float],
    until: float = float("inf"),
) -> tuple[list[Request], list[Request], list[Replica]]:
    """(finished, refused, replicas) of `count` replicas up to `until`."""
    replicas = [Replica(engine, i) for i in range(count)]
    finished: list[Request] = []
    refused: list[Request] = []
    turn = 0

    def run(to: float) -> None:
        for replica in replicas:
            while replica.end is not None and replica.end <= to:
                finished.extend(replica.complete())

    for request, uniform in zip(requests, uniforms, strict=True):
        run(request.arrival)
        if router == "random":
            at = min(int(uniform * count), count - 1)
        elif router == "round_robin":
            at = turn % count
        else:
            order = [(turn + i) % count for i in range(count)]
            at = min(order, key=lambda i: len(replicas[i].running) + len(replicas[i].waiting))
        turn = at + 1
        replica = replicas[at]
        if replica.blocks(request.in_tokens + request.out_tokens - 1) > replica.total:
            refused.append(request)
            continue
        replica.waiting.append(request)
        if replica.end is None:
            replica.begin(request.arrival)
    run(until)
    return finished, refused, replicas
