"""Power in a loop on a cluster, put together: objects, sensor, algorithms, levers, and what is told."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from flyball.commands.output import say
from flyball.commands.power_outputs_options import Outputs
from flyball.spec.decision import Order
from flyball.spec.power import DeviceProfile, Domain, Mode, Policy, PowerSeen
from flyball.spec.power_plan import PowerPlan
from flyball.units import Seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flyball.adapters.cluster import ClusterReader
    from flyball.adapters.cluster_power import ClusterPower, Measure
    from flyball.adapters.kubernetes.api import Api
    from flyball.adapters.kubernetes.events import Events
    from flyball.adapters.kubernetes.lease import Lease
    from flyball.adapters.kubernetes.power_levers import PowerLevers
    from flyball.commands.loop_parts import Remembering, Request
    from flyball.loop.ports import Actuator, Algorithms
    from flyball.operator.kinds import Stored
    from flyball.operator.placing import Placing
    from flyball.operator.power_kinds import PowerKinds
    from flyball.operator.power_outputs import PowerOutputs
    from flyball.operator.power_published import PowerPublisher
    from flyball.operator.reconciler import Told
    from flyball.wire.kinds.inferno_objects import Ref

LISTED: Seconds = 5.0
"""So long a look waits for the kinds: within the runner's 10 s for what is seen."""
MEASURED: Seconds = 4.0
"""For all of Prometheus' answers, within the same."""
INSTALL = "flyball crds powerdomain powerpolicy powerrecommendation devicepowerprofile | kubectl apply -f -"


class PowerRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asks for."""

    metrics: Path | None = None
    rack_label: str = ""
    """"": the default."""
    climatik_mode: Mode = "Recommend"
    """Of policies that Climatik's objects make."""
    outputs: Outputs = Outputs()
    """Whom policies may name to be told."""


class Objects(msgspec.Struct, frozen=True):
    """What the objects of power ask for, as the sensor takes them."""

    domains: tuple[Domain, ...]
    discovering: dict[str, str]
    policies: tuple[Policy, ...]
    profiles: tuple[DeviceProfile, ...]
    notes: tuple[str, ...]


class Powering(msgspec.Struct):
    """The parts of a loop that see and hold watts."""

    kinds: PowerKinds
    sensor: ClusterPower
    algorithms: Algorithms
    rack_label: str
    placing: Placing | None = None
    """Tells pods where to go; None: nothing asks."""

    def show(self, seen: PowerSeen, plan: PowerPlan) -> None:
        """The racks as they are now, to whoever makes pods."""
        from flyball.adapters.kubernetes.placement import racks_of

        if self.placing is not None:
            self.placing.show(racks_of(seen, plan, self.rack_label))


def check_power(request: Request) -> None:
    """Whether power can be seen and held as asked for. ValueError."""
    if request.power is None:
        return
    for elsewhere, variable in (
        (request.collector, "COLLECTOR_HOST"),
        (request.optimizer, "INFERNO_HOST"),
        (request.actuator, "ACTUATOR_HOST"),
    ):
        if elsewhere is not None:
            raise ValueError(f"--power wants all parts of the loop in this process: leave {variable} out")


def power_of(request: Request, reader: ClusterReader, stack: ExitStack) -> Powering | None:
    """The parts that are asked for, which watch from now on until the stack ends; None: power is off.

    ValueError, WireError, ClusterError.
    """
    if request.power is None:
        return None
    from flyball.adapters.algorithms import Isolated
    from flyball.adapters.cluster_power import ClusterPower, Options
    from flyball.adapters.kubernetes.api import Api
    from flyball.adapters.kubernetes.listing import kind_of
    from flyball.adapters.kubernetes.power import RACK
    from flyball.commands.loop_parts import ANSWER
    from flyball.operator.power_kinds import PowerKinds

    api = stack.enter_context(closing(Api(request.kubeconfig, request.context, ANSWER)))
    kinds = PowerKinds(api, lambda ref: None, request.watch, request.power.climatik_mode)
    options = Options(
        period=request.period,
        speed=request.speed,
        rack_label=request.power.rack_label or RACK,
        namespace=request.watch,
        kinds=tuple(map(kind_of, request.kinds)),
    )
    sensor = ClusterPower(reader, api, Asked(kinds), _measure(request, stack), options)
    kinds.start()
    stack.callback(kinds.stop)
    algorithms = Isolated()
    stack.callback(algorithms.close)
    return Powering(kinds, sensor, algorithms, options.rack_label)


def _measure(request: Request, stack: ExitStack) -> Measure | None:
    from flyball.adapters.prometheus.mapping import read_power_names, shipped_power
    from flyball.adapters.prometheus.power import PowerSensors
    from flyball.commands.loop_parts import prometheus_of

    assert request.power is not None
    asked = request.power.metrics
    names = read_power_names(asked) if asked else shipped_power()
    prometheus = prometheus_of(request)
    if prometheus is None:
        return None
    stack.callback(prometheus.close)
    sensors = PowerSensors(prometheus, names)
    return lambda places: sensors.read(places, MEASURED)


class Asked:
    """What the objects ask for now, once they were all listed."""

    def __init__(self, kinds: PowerKinds) -> None:
        self._kinds, self._told = kinds, ""

    def __call__(self) -> Objects | None:
        """None: the cluster has none of the kinds. ClusterError where they could not be listed yet."""
        from flyball.adapters.kubernetes.errors import ClusterError

        kinds = self._kinds
        if not kinds.wait(LISTED):  # without them all that is held would be let go
            raise ClusterError(f"the kinds of power are not listed yet: {kinds.problem or 'no answer'}")
        if not is_installed(kinds):
            self._tell(f"power is off: its kinds are not installed. To install them: {INSTALL}")
            return None
        self._tell("")
        found = kinds.objects()
        notes = [f"{ref}: it is left out: {problem}" for ref, problem in sorted(found.problems.items())]
        if kinds.problem:
            notes.append(f"objects of power may be old: {kinds.problem}")
        return Objects(found.domains, found.discovering, found.policies, found.profiles, tuple(notes))

    def _tell(self, text: str) -> None:
        if text and text != self._told:
            say(f"flyball: {text}")
        self._told = text


def is_installed(kinds: PowerKinds) -> bool:
    """Whether the cluster has any of the kinds."""
    return not all(watch.absent for watch in kinds.watches.values())


# ---- what is done and told ---------------------------------------------------------------------


class PowerHands:
    """Port Actuator: caps are carried out beside the orders, and then told."""

    def __init__(
        self,
        hands: Actuator,
        power: Powering,
        law: Remembering,
        levers: PowerLevers,
        told: PowerPublisher,
        outputs: PowerOutputs,
    ) -> None:
        self._hands, self._power, self._law = hands, power, law
        self._levers, self._told, self._outputs = levers, told, outputs
        self._pool = ThreadPoolExecutor(1, "flyball-caps")

    def close(self) -> None:
        """Begin nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def act(self, orders: Sequence[Order]) -> tuple[str, ...]:
        """As the port."""
        seen, decision = self._law.power, self._law.decision
        plan = None if decision is None else decision.power
        if seen is None or plan is None:  # what is held stays held
            return self._hands.act(orders)
        # At once, as each may take most of a cycle's time for writes.
        caps = self._pool.submit(self._levers.apply, plan.caps, seen.workloads, plan.hot, plan.reliefs)
        said = self._hands.act(orders)
        self._power.show(seen, plan)
        if not is_installed(self._power.kinds):
            return (*said, *caps.result())
        untold = self._outputs.tell(seen, plan)
        written = self._told.publish(seen, plan, untold=self._outputs.untold)
        return (*said, *caps.result(), *untold, *written)


def holding(
    power: Powering,
    hands: Actuator,
    law: Remembering,
    lease: Lease,
    request: Request,
    api: Api,
    stack: ExitStack,
) -> PowerHands:
    """The hands, which also carry out caps and write what the objects are to say, until the stack ends."""
    from flyball.adapters.kubernetes.events import Events
    from flyball.adapters.kubernetes.freeze import frozen
    from flyball.adapters.kubernetes.power_levers import PowerLevers
    from flyball.commands.loop_parts import own_namespace
    from flyball.operator.power_published import PowerPublisher

    namespace = request.namespace or own_namespace(api.namespace)
    events = Events(api)
    stack.callback(events.close)
    levers = PowerLevers(api, lease, lambda: frozen(api, namespace), namespace=request.watch)
    stack.callback(levers.close)
    told = PowerPublisher(
        api, lease, power.kinds, namespace, watch=request.watch, told=_teller(events, power.kinds)
    )
    stack.callback(told.close)
    assert request.power is not None
    outputs = request.power.outputs.made(lambda: lease.term is not None)
    stack.callback(outputs.close)
    made = PowerHands(hands, power, law, levers, told, outputs)
    stack.callback(made.close)
    return made


def _teller(events: Events, kinds: PowerKinds) -> Told:
    """Events on objects of power; Climatik's are of the version that the cluster has."""
    by_name = {watch.kind.name: watch for watch in kinds.watches.values()}

    def told(stored: Stored, ref: Ref, reason: str, message: str, warning: bool) -> None:
        there = (w for w in kinds.watches.values() if w.kind.name == ref.kind and not w.absent)
        kind = next(there, by_name[ref.kind]).kind
        events.tell(kind, stored.metadata, reason, message, warning)

    return told
