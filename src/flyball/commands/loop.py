"""`flyball loop`: the control loop on a cluster, put together from options."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from flyball.commands.output import say
from flyball.spec.decision import Decision, Order
from flyball.spec.fleet import Fleet
from flyball.spec.snapshot import Snapshot
from flyball.spec.steering import Steering
from flyball.units import Seconds
from flyball.wire.errors import WireError

if TYPE_CHECKING:
    from flyball.adapters.cluster import ClusterReader
    from flyball.adapters.kubernetes.actuator import KubernetesActuator
    from flyball.adapters.kubernetes.checkpoint import Checkpoint
    from flyball.adapters.kubernetes.lease import Lease
    from flyball.adapters.kubernetes.recommend import Recommender
    from flyball.loop.record import Cycle
    from flyball.server.page.live import Live

DONE, WRONG, UNREACHABLE = 0, 2, 5
NAMESPACE = "flyball"
"""Of our own objects, where neither an option nor a service account says it."""
TAKE_OVER: Seconds = 0.2
"""Between looks at the lease while another process leads."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asks for."""

    period: float = 60.0
    dynamic: bool = False
    data: Path | None = None
    mode: str = "act"
    kubeconfig: Path | None = None
    context: str | None = None
    namespace: str = ""
    watch: str = ""
    kinds: tuple[str, ...] = ()
    prometheus: str | None = None
    token_file: Path | None = None
    ca_file: Path | None = None
    insecure: bool = False
    window: str = "1m"
    """As Prometheus writes it, or as we do."""
    metrics: Path | None = None
    speed: float = 1.0
    max_batch_size: int = 0
    cycle_log: Path | None = None
    ledger: Path | None = None
    lease: bool = True
    listen: dict[str, Any] = {}


def run(request: Request) -> int:
    """Govern until told to end; returns the exit code."""
    from flyball.adapters.kubernetes.errors import ClusterError
    from flyball.adapters.ledger import LedgerError

    try:
        _check(request)
        with ExitStack() as stack:
            return _run(request, stack)
    except ClusterError as error:
        say(f"flyball: {error}")
        return UNREACHABLE
    except (WireError, LedgerError, ValueError) as error:
        say(f"flyball: {error}")
        return WRONG


def _check(request: Request) -> None:
    if not 0 <= request.period <= 86_400:
        raise ValueError(
            f"the period is {request.period:g}: seconds between cycles, up to 86400; 0: on demand only"
        )
    if not 0 < request.speed <= 3600:
        raise ValueError(f"--speed is {request.speed:g}: seconds of a sandbox's engines in one of ours")


def window_of(text: str) -> Seconds:
    """Of rates: 1m, 90s. Or WireError."""
    from flyball.wire.quantities import parse_duration

    asked = text.strip()
    return parse_duration(asked + "in" if asked.endswith("m") else asked, "--window", positive=True)


def _run(request: Request, stack: ExitStack) -> int:
    from flyball.adapters.kubernetes.api import Api
    from flyball.adapters.kubernetes.checkpoint import Checkpoint
    from flyball.adapters.ledger import Ledger
    from flyball.loop.runner import Runner
    from flyball.server.controller import controller
    from flyball.server.page.board import Board
    from flyball.server.page.live import Live
    from flyball.server.service.run import Options, Serving, warning_of

    options = Options(**request.listen)
    api = stack.enter_context(closing(Api(request.kubeconfig, request.context)))
    namespace = request.namespace or _own_namespace(api.namespace)
    lease = _lease(request, namespace, stack)
    reader = reader_of(request, api)
    law = Remembering(Steering(period=request.period, plan_period=min(60.0, request.period or 60.0)))
    actuator, recommender = _hands(api, lease, namespace, reader, law, stack)
    ledger = None
    if request.ledger is not None:
        request.ledger.parent.mkdir(parents=True, exist_ok=True)
        ledger = stack.enter_context(closing(Ledger(request.ledger, version_of("flyball"))))
    hands = Hands(reader, actuator, recommender, law)
    runner = Runner(law, reader, reader, hands, reader, ledger, pace=request.speed)
    live = Live(runner, Board(), None, "cluster")
    checkpoint = Checkpoint(api, lease, namespace)
    loop = Loop(live, lease, checkpoint, law, request.cycle_log)
    hosts = None if not options.local else {"127.0.0.1", "localhost", "::1", options.host}
    serving = Serving(controller(live, loop.invoke, loop.unready, str(request.ledger or ""), hosts), options)
    serving.telemetry.registry.register(recommender.gauges.registry)
    print(f"The loop governs {api.address}; its page is {serving.url} (Ctrl-C ends it)", flush=True)
    if warning := warning_of(options):
        say(f"flyball: warning: {warning}")
    if request.prometheus is None:
        say("flyball: no --prometheus: servers are governed by the load that their labels state")
    thread = threading.Thread(target=loop.run, name="flyball-loop", daemon=True)
    thread.start()
    try:
        serving.run()
    finally:
        live.close()
        loop.end()
        thread.join(15.0)
        lease.stop()
    return DONE


def _own_namespace(found: str | None) -> str:
    """Of the pod, else of our objects."""
    return found if found and found != "default" else NAMESPACE


def _lease(request: Request, namespace: str, stack: ExitStack) -> Lease:
    from flyball.adapters.kubernetes.api import Api
    from flyball.adapters.kubernetes.lease import RENEW_DEADLINE, Lease

    api = stack.enter_context(closing(Api(request.kubeconfig, request.context, timeout=RENEW_DEADLINE / 2)))
    ensure_namespace(api, namespace)
    lease = Lease(api, namespace)
    lease.start()
    return lease


def ensure_namespace(api: Any, namespace: str) -> None:
    """Make it where it is not there, and where we may; else who writes there will say so."""
    from flyball.adapters.kubernetes.errors import ApiError, NotFound
    from flyball.adapters.kubernetes.objects import Workload

    try:
        api.get(f"/api/v1/namespaces/{namespace}", Workload)
    except NotFound:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        api.post("/api/v1/namespaces", body, Workload)
    except ApiError:
        return


def reader_of(request: Request, api: Any) -> ClusterReader:
    """The cluster and its metrics as the loop sees them. Or WireError, ValueError."""
    from flyball.adapters.cluster import ClusterReader
    from flyball.adapters.kubernetes.assemble import Assembler, Rules
    from flyball.adapters.kubernetes.listing import Scope, kind_of
    from flyball.adapters.prometheus.client import Prometheus
    from flyball.adapters.prometheus.mapping import read_names, shipped_names
    from flyball.adapters.prometheus.read import read

    known = _known(request)
    rules = Rules(mode=request.mode, max_batch_size=request.max_batch_size)  # type: ignore[arg-type]
    scope = Scope(namespace=request.watch, kinds=tuple(map(kind_of, request.kinds)))
    scrape = None
    if request.prometheus is not None:
        asked = Prometheus(request.prometheus, request.token_file, request.ca_file, request.insecure)
        names = read_names(request.metrics) if request.metrics else shipped_names()
        window = window_of(request.window)
        scrape = lambda: read(asked, names, window, request.speed)  # noqa: E731
    return ClusterReader(api, Assembler(known, rules), scope, scrape, speed=request.speed)


def _known(request: Request) -> Any:
    from flyball.adapters.files import read_fleet
    from flyball.adapters.kubernetes.known import Given, Library

    if request.data is None:
        return Library()
    return Given(read_fleet(request.data, servers=False))


def _hands(
    api: Any, lease: Lease, namespace: str, reader: ClusterReader, law: Remembering, stack: ExitStack
) -> tuple[KubernetesActuator, Recommender]:
    from flyball.adapters.kubernetes.actuator import KubernetesActuator
    from flyball.adapters.kubernetes.events import Events
    from flyball.adapters.kubernetes.freeze import frozen
    from flyball.adapters.kubernetes.recommend import Recommender

    events = Events(api)
    actuator = KubernetesActuator(
        api,
        lease,
        lambda: reader.cluster,
        lambda: frozen(api, namespace),
        events=events,
        why=law.why,
        busy=reader.busy,
    )
    stack.callback(actuator.close)
    return actuator, Recommender(api, lease, namespace, events=events)


class Remembering:
    """Flyball's law, and what it decided last."""

    def __init__(self, steering: Steering) -> None:
        from flyball.decide.law import Flyball

        self._law = Flyball(steering)
        self.steering = steering
        self.name = self._law.name
        self.period = self._law.period
        self.decision: Decision | None = None
        self.fleet: Fleet | None = None

    def __call__(self, snapshot: Snapshot, memory: Any) -> tuple[Decision, Any]:
        """Decide, and remember."""
        self.decision, after = self._law(snapshot, memory)
        self.fleet = snapshot.fleet
        return self.decision, after

    def why(self, server: str) -> str:
        """Why it has what it has, in a sentence."""
        from flyball.report import moves

        steps = self.decision.steps if self.decision else ()
        step = next((s for s in steps if s.server == server), None)
        return "" if step is None else moves.why(step)

    def costs(self) -> dict[str, float]:
        """Dollars per hour of what is ordered, by server."""
        if self.decision is None or self.fleet is None:
            return {}
        price = {a.name: a.cost for a in self.fleet.accelerators}
        units = {(p.model, p.accelerator): p.accelerator_count for p in self.fleet.profiles}
        model = {s.name: s.model for s in self.fleet.servers}
        return {
            step.server: sum(
                o.replicas * price.get(o.accelerator, 0.0) * units.get((model[o.server], o.accelerator), 1)
                for o in step.orders
            )
            for step in self.decision.steps
        }


class Hands:
    """The port Actuator: what may be acted on is, all else is recommended."""

    def __init__(
        self, reader: ClusterReader, actuator: KubernetesActuator, recommender: Recommender, law: Remembering
    ) -> None:
        self._reader, self._actuator, self._recommender, self._law = reader, actuator, recommender, law

    def act(self, orders: Sequence[Order]) -> tuple[str, ...]:
        """Carry out and publish."""
        cluster = self._reader.cluster
        if cluster is None:
            return ()
        acting = {g.server for g in cluster.governed if g.mode == "act"}
        said = self._actuator.act([o for o in orders if o.server in acting])
        return (*said, *self._recommender.publish(cluster, orders, self._law.why, self._law.costs()))


class Loop:
    """Cycles while this process leads; the memory goes from one leader to the next."""

    def __init__(
        self, live: Live, lease: Lease, checkpoint: Checkpoint, law: Remembering, log: Path | None = None
    ) -> None:
        self._live, self._lease, self._checkpoint, self._law, self._log = live, lease, checkpoint, law, log
        self._stop = threading.Event()
        self._term: int | None = None
        self._turn = threading.Lock()
        self._cycles = 0

    def run(self) -> None:
        """Until `end`."""
        due = time.monotonic()
        period = self._law.period / self._live.runner.pace
        while not self._stop.is_set():
            if self._lease.term is None:
                self._stop.wait(TAKE_OVER)
                continue
            new = self._term != self._lease.term
            if new or (period > 0 and time.monotonic() >= due):
                self.cycle()
                now = time.monotonic()
                due = now + period if new else max(due + period, now)
            rest = due - time.monotonic() if period > 0 else 1.0
            self._stop.wait(min(max(rest, 0.0), 1.0))

    def cycle(self) -> Cycle | None:
        """One cycle, if this process leads."""
        with self._turn:
            term = self._lease.term
            if term is None:
                return None
            if term != self._term:
                self._take_over()
                self._term = term
            made = self._live.cycle()
            self._keep(now=False)
            self._cycles += 1
            for text in (*made.errors, *made.refused) if made else ():
                say(f"cycle {self._cycles}: {text}")
            return made

    def _take_over(self) -> None:
        from flyball.decide.memory import Memory

        data, said = self._checkpoint.read()
        if said:
            say(f"flyball: {said}")
        if data is None:
            return
        try:
            self._live.runner.memory = msgspec.msgpack.decode(data, type=Memory)
        except msgspec.MsgspecError as error:
            say(f"flyball: the memory in the cluster is of another version, so it begins afresh: {error}")

    def _keep(self, now: bool) -> None:
        memory = self._live.runner.memory
        if memory is not None and (said := self._checkpoint.keep(msgspec.msgpack.encode(memory), now=now)):
            say(f"flyball: {said}")

    def invoke(self) -> str:
        """A cycle on demand: what went wrong, or ""."""
        if self._lease.term is None:
            return f"this process does not lead; {self._lease.holder or 'nobody yet'} does"
        made = self.cycle()
        if made is None:
            return "the cluster could not be read"
        return "; ".join(made.errors)

    def unready(self) -> str:
        """Why it cannot serve; "": it can."""
        return ""

    def end(self) -> None:
        """Stop, and keep what was learned."""
        self._stop.set()
        with self._turn:
            self._keep(now=True)
