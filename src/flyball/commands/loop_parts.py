"""The parts of a control loop on a cluster, here or elsewhere, put together from options."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from flyball.spec.decision import Decision, Order, Step
from flyball.spec.fleet import Fleet, replica_prices
from flyball.spec.snapshot import Snapshot
from flyball.spec.steering import Steering
from flyball.units import Seconds

if TYPE_CHECKING:
    from flyball.adapters.cluster import ClusterReader
    from flyball.adapters.kubernetes.actuator import KubernetesActuator
    from flyball.adapters.kubernetes.checkpoint import Checkpoint
    from flyball.adapters.kubernetes.governed import Cluster
    from flyball.adapters.kubernetes.known import Known
    from flyball.adapters.kubernetes.lease import Lease
    from flyball.adapters.kubernetes.listing import Scope
    from flyball.adapters.kubernetes.recommend import Recommender
    from flyball.adapters.prometheus.client import Prometheus
    from flyball.commands.loop_power import Powering, PowerRequest
    from flyball.laws.law import Law
    from flyball.loop.ports import Actuator, Advisor, FleetSource
    from flyball.power.view import View
    from flyball.spec.power import Policy, PowerSeen
    from flyball.wire.inferno_loop import Collected
    from flyball.wire.metrics import MetricNames

NAMESPACE = "flyball"
"""Of our own objects, where neither an option nor a service account says it."""
ANSWER: Seconds = 7.0
"""For one request to the API server: within the 8 s for the writes of a cycle."""
SCRAPE: Seconds = 6.0
"""For all of Prometheus' answers: within the runner's 10 s for what is seen, which replicas are part of."""


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
    collector: str | None = None
    optimizer: str | None = None
    actuator: str | None = None
    tuner: str | None = None
    """Addresses of parts that run elsewhere."""
    power: PowerRequest | None = None
    """None: watts are not looked at."""
    external_scaler: dict[str, Any] | None = None
    """Where it listens; None: there is none."""
    listen: dict[str, Any] = {}
    assembler: Any = None
    """Makes, from `Rules`, what makes clusters of what is listed; None: labels and data alone say it."""
    targets: Any = tuple
    """Gives further workloads, whatever their labels, as `Scope` has them."""


class Parts(msgspec.Struct):
    """What a loop is made of; the lease and what hangs on it only where it writes to a cluster itself."""

    reader: Any
    """Ports FleetSource, Sensor and Clock."""
    law: Remembering
    advisor: Advisor | None = None
    source: FleetSource | None = None
    """Of fleets, where it is not the reader."""
    hands: Actuator | None = None
    lease: Lease | None = None
    checkpoint: Checkpoint | None = None
    recommender: Recommender | None = None
    power: Powering | None = None
    """None: watts are not looked at."""
    address: str = ""


def parts_of(request: Request, stack: ExitStack) -> Parts:
    """The parts as asked for: here, or elsewhere. ClusterError, CallError, WireError, ValueError."""
    steering = Steering(period=request.period, plan_period=min(60.0, request.period or 60.0))
    law, advisor = _decider(request, steering)
    api = None
    if request.collector is None or request.actuator is None:
        from flyball.adapters.kubernetes.api import Api

        api = stack.enter_context(closing(Api(request.kubeconfig, request.context, ANSWER)))
    parts = Parts(
        _reader(request, api, stack), law, advisor, address=api.address if api else request.collector or ""
    )
    if request.tuner is not None:
        parts.source = _tuned(parts, request.tuner)
    if request.actuator is None:
        _act_here(parts, request, api, stack)
    else:
        _act_there(parts, request)
    return parts


def _decider(request: Request, steering: Steering) -> tuple[Remembering, Advisor | None]:
    from flyball.decide.law import Flyball

    if request.optimizer is None:
        return Remembering(Flyball(steering), steering), None
    from flyball.client.optimizer import OptimizerClient
    from flyball.commands.loop_remote import RemoteOptimizer
    from flyball.laws.advised import Advised

    if request.data is None:
        raise ValueError("an optimizer elsewhere wants Inferno's data: give --data, or INFERNO_DATA_PATH")
    law = Advised(period=request.period)
    return Remembering(law, steering), RemoteOptimizer(OptimizerClient(request.optimizer))


def _reader(request: Request, api: Any, stack: ExitStack) -> Any:
    if request.collector is None:
        return reader_of(request, api, stack)
    from flyball.client.control import CollectorClient
    from flyball.commands.loop_data import Data
    from flyball.commands.loop_remote import RemoteCollector

    if request.data is None:
        raise ValueError("a collector elsewhere wants Inferno's data: give --data, or INFERNO_DATA_PATH")
    return RemoteCollector(
        CollectorClient(request.collector), Data(request.data, request.dynamic), request.speed
    )


def _act_here(parts: Parts, request: Request, api: Any, stack: ExitStack) -> None:
    from flyball.adapters.kubernetes.checkpoint import Checkpoint
    from flyball.commands.loop_power import holding, power_of

    if request.collector is not None:
        raise ValueError("with a collector elsewhere the actuator is elsewhere, too: set ACTUATOR_HOST")
    namespace = request.namespace or own_namespace(api.namespace)
    parts.lease = lease_of(request, namespace, stack)
    actuator, parts.recommender = _hands(api, parts.lease, namespace, parts.reader, parts.law, stack)
    parts.hands = Hands(parts.reader, actuator, parts.recommender, parts.law)
    parts.power = power_of(request, parts.reader, stack)
    if parts.power is not None:
        parts.hands = holding(parts.power, parts.hands, parts.law, parts.lease, request, api, stack)
    parts.checkpoint = Checkpoint(api, parts.lease, namespace)


def _act_there(parts: Parts, request: Request) -> None:
    from flyball.client.control import ActuatorClient
    from flyball.commands.loop_remote import RemoteActuator

    assert request.actuator is not None
    client = ActuatorClient(request.actuator)
    parts.hands = RemoteActuator(client, lambda: _collected(parts.reader).resources)


def _tuned(parts: Parts, address: str) -> FleetSource:
    from flyball.client.tuner import TunerClient
    from flyball.commands.loop_data import Tuned

    return Tuned(parts.reader, TunerClient(address), lambda: _collected(parts.reader).replicas)


def _collected(reader: Any) -> Collected:
    """What was collected last, here or elsewhere."""
    from flyball.adapters.collected import collected
    from flyball.commands.loop_remote import RemoteCollector
    from flyball.wire.inferno_loop import Collected

    if isinstance(reader, RemoteCollector):
        return reader.found or Collected()
    return collected(reader.cluster, reader.seen, reader.metrics) if reader.cluster else Collected()


def own_namespace(found: str | None) -> str:
    """Of the pod, else of our objects."""
    return found if found and found != "default" else NAMESPACE


def lease_of(request: Request, namespace: str, stack: ExitStack) -> Lease:
    """A lease that is tried for from now on, and given back at the end."""
    from flyball.adapters.kubernetes.api import Api
    from flyball.adapters.kubernetes.lease import RENEW_DEADLINE, Lease

    api = stack.enter_context(closing(Api(request.kubeconfig, request.context, timeout=RENEW_DEADLINE / 2)))
    ensure_namespace(api, namespace)
    lease = Lease(api, namespace)
    lease.start()
    stack.callback(lease.stop)
    return lease


def ensure_namespace(api: Any, namespace: str, pauses: Sequence[Seconds] = (0.5, 1.0, 2.0, 4.0)) -> None:
    """Make it where it is not there, and where we may; else who writes there will say so. Unreachable.

    `pauses`: before it is tried again where the API server is busy.
    """
    from flyball.adapters.kubernetes.errors import ApiError, NotFound
    from flyball.adapters.kubernetes.objects import Workload

    for pause in (*pauses, 0.0):
        try:
            try:
                api.get(f"/api/v1/namespaces/{namespace}", Workload)
            except NotFound:
                body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
                api.post("/api/v1/namespaces", body, Workload)
            return
        except ApiError as error:
            if not error.passing:
                return  # we may not, or another one has just made it
        time.sleep(pause)


def reader_of(
    request: Request, api: Any, stack: ExitStack, *, scraped: Seconds | None = None
) -> ClusterReader:
    """The cluster and its metrics as the loop sees them, until the stack ends. Or WireError, ValueError.

    `scraped`: the reader's; None: its own.
    """
    from flyball.adapters.cluster import SCRAPED, ClusterReader
    from flyball.adapters.kubernetes.assemble import Assembler, Rules
    from flyball.adapters.kubernetes.rollout import HOLD
    from flyball.adapters.prometheus.presence import Presence
    from flyball.adapters.prometheus.read import read
    from flyball.commands.loop_data import Data, DataAssembler

    rules = Rules(
        mode=request.mode,  # type: ignore[arg-type]
        max_batch_size=request.max_batch_size,
        hold=HOLD / request.speed,
    )
    scrape = past = None
    if (asked := prometheus_of(request)) is not None:
        stack.callback(asked.close)
        names, window = names_of(request), window_of(request.window)
        scrape = lambda: read(asked, names, window, request.speed, SCRAPE)  # noqa: E731
        past = Presence(asked, names).pods
    assembler: Any
    if request.assembler is not None:
        assembler = request.assembler(rules)
    elif request.data is None:
        assembler = Assembler(known_of(request), rules)
    else:
        assembler = DataAssembler(Data(request.data, request.dynamic), rules)
    wait = SCRAPED if scraped is None else scraped
    scope = scope_of(request)
    return ClusterReader(api, assembler, scope, scrape, past, scraped=wait, speed=request.speed)


def scope_of(request: Request) -> Scope:
    """What is listed. ValueError."""
    from flyball.adapters.kubernetes.labels import NAME
    from flyball.adapters.kubernetes.listing import Scope, kind_of

    named = NAME if request.assembler is not None else ""
    kinds = tuple(map(kind_of, request.kinds))
    return Scope(namespace=request.watch, kinds=kinds, named=named, targets=request.targets)


def prometheus_of(request: Request) -> Prometheus | None:
    """The Prometheus that is named; None: none is. ValueError."""
    from flyball.adapters.prometheus.client import Prometheus

    if request.prometheus is None:
        return None
    return Prometheus(request.prometheus, request.token_file, request.ca_file, request.insecure)


def names_of(request: Request) -> MetricNames:
    """How metrics are called. Or WireError."""
    from flyball.adapters.prometheus.mapping import read_names, shipped_names

    return read_names(request.metrics) if request.metrics else shipped_names()


def known_of(request: Request) -> Known:
    """What is known of models and accelerators: the data that are given, else the library. Or WireError."""
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
    stack.callback(events.close)
    actuator = KubernetesActuator(
        api,
        lease,
        lambda: law.cluster_of(reader),
        lambda: frozen(api, namespace),
        events=events,
        why=law.why,
        busy=reader.busy,
    )
    stack.callback(actuator.close)
    return actuator, Recommender(api, lease, namespace, events=events)


class Remembering:
    """A law, and what it decided last."""

    def __init__(self, law: Law[Any], steering: Steering) -> None:
        self._law, self.steering = law, steering
        self.name, self.period = law.name, law.period
        self.decision: Decision | None = None
        self.fleet: Fleet | None = None
        self.power: PowerSeen | None = None
        self._steps: dict[str, Step] = {}

    def __call__(self, snapshot: Snapshot, memory: Any) -> tuple[Decision, Any]:
        """Decide, and remember."""
        self.decision, after = self._law(snapshot, memory)
        self.fleet, self.power = snapshot.fleet, snapshot.power
        self._steps = {step.server: step for step in self.decision.steps}
        return self.decision, after

    def asks(self, snapshot: Snapshot, memory: Any) -> Mapping[str, tuple[Policy, View]]:
        """What the law wants algorithms of power policies to be asked."""
        from flyball.laws.law import Asking

        return self._law.asks(snapshot, memory) if isinstance(self._law, Asking) else {}

    def cluster_of(self, reader: ClusterReader) -> Cluster | None:
        """The cluster that the last decision was made from; its versions guard what is written."""
        return None if self.decision is None else reader.cluster_of(self.decision.time)

    def why(self, server: str) -> str:
        """Why it has what it has, in a sentence."""
        from flyball.report import moves

        step = self._steps.get(server)
        return "" if step is None else moves.why(step)

    def costs(self) -> dict[str, float]:
        """Dollars per hour of what is ordered, by server."""
        if self.decision is None or self.fleet is None:
            return {}
        price = replica_prices(self.fleet)
        model = {s.name: s.model for s in self.fleet.servers}
        return {
            step.server: sum(o.replicas * price(model[o.server], o.accelerator) for o in step.orders)
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
        cluster = self._law.cluster_of(self._reader)
        if cluster is None:
            return (
                "nothing is written: the cluster could not be read, or was read anew since it was decided",
            )
        acting = {g.server for g in cluster.governed if g.mode == "act"}
        said = self._actuator.act([o for o in orders if o.server in acting])
        return (*said, *self._recommender.publish(cluster, orders, self._law.why, self._law.costs()))


def window_of(text: str) -> Seconds:
    """Of rates: 1m, 90s. Or WireError."""
    from flyball.wire.quantities import parse_duration

    asked = text.strip()
    return parse_duration(asked + "in" if asked.endswith("m") else asked, "--window", positive=True)
