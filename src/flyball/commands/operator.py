"""`flyball operator`: the reconcilers of our kinds, the control loop and the webhooks, put together."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import msgspec

from flyball.commands.loop import DONE, check, guarded, hosts_of, loop_of, start
from flyball.commands.loop_parts import ANSWER, Request, lease_of, own_namespace, parts_of
from flyball.commands.output import say
from flyball.units import Seconds

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

    from flyball.adapters.kubernetes.api import Api
    from flyball.adapters.kubernetes.events import Events
    from flyball.adapters.kubernetes.lease import Lease
    from flyball.commands.loop import Loop
    from flyball.commands.operator_boosters import Boosting
    from flyball.loop.ports import Actuator
    from flyball.operator.assembler import KindsAssembler
    from flyball.operator.kinds import Kinds, Stored
    from flyball.operator.placing import Placing
    from flyball.operator.planning import Planner
    from flyball.operator.published import Publisher
    from flyball.operator.reconciler import Reconciler, Told
    from flyball.operator.variants import Variants
    from flyball.operator.work import Work
    from flyball.server.service.service import Service
    from flyball.wire.kinds.inferno_objects import Ref

SETTLE: Seconds = 0.05
"""So long a change waits for others of the same hand."""
RESYNC: Seconds = 300.0
"""Every namespace is looked at so often, whatever was heard of it."""
LISTED: Seconds = 20.0
"""So long the loop waits for our kinds before it goes on without."""
LISTED_VARIANTS: Seconds = 5.0
"""The same for VariantAutoscaling objects, of which there may be no such kind."""
LOOK: Seconds = 0.2
SERVINGS = "modelservings.workload.serving.volcano.sh/v1alpha1"
"""What ModelBoosters stand for is governed, too, where it asks for it."""
PLANNED: Seconds = 30.0
"""So long an optimizer elsewhere may be silent; all namespaces wait for it."""


class OperatorRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asks for."""

    asked: Request
    local: bool = False
    loop: bool = True
    wva: bool = False
    boost: bool = False
    optimizer: str | None = None
    stateless: bool = True
    webhook_port: int | None = None
    webhook_host: str = "127.0.0.1"
    webhook_url: str | None = None


def run(request: OperatorRequest) -> int:
    """Run until told to end; returns the exit code."""
    return guarded(lambda stack: _run(request, stack))


def _run(request: OperatorRequest, stack: ExitStack) -> int:
    from flyball.adapters.kubernetes.api import Api
    from flyball.server.service.run import Options, Serving, warning_of

    asked = request.asked
    check(asked)
    if request.wva and not request.loop:
        raise ValueError("--wva names workloads to govern, and --no-loop governs none: give one of them")
    if asked.power is not None and not request.loop:
        raise ValueError("--power is a part of the loop, and --no-loop runs none: give one of them")
    options = Options(**asked.listen)
    api = stack.enter_context(closing(Api(asked.kubeconfig, asked.context, ANSWER)))
    namespace = asked.namespace or own_namespace(api.namespace)
    if request.local:
        _install(api, asked.power is not None)
    operator = _Operator(request, api, namespace, stack)
    serving = Serving(operator.service(hosts_of(options)), options)
    serving.telemetry.registry.register(operator.figures)
    if operator.gauges is not None:
        serving.telemetry.registry.register(operator.gauges)
    print(f"The operator keeps {api.address}; it is at {serving.url} (Ctrl-C ends it)", flush=True)
    if warning := warning_of(options):
        say(f"flyball: warning: {warning}")
    operator.start()
    serving.run()
    return DONE


def _install(api: Api, power: bool) -> None:
    """Have the kinds in the cluster, those of power where they are asked for."""
    from flyball.adapters.kubernetes.definitions import install
    from flyball.wire.kinds.inferno import DEFINITIONS
    from flyball.wire.kinds.kind import crd
    from flyball.wire.kinds.power import DEFINITIONS as OF_POWER

    for name in install(api, [crd(one) for one in (*DEFINITIONS, *(OF_POWER if power else ()))]):
        say(f"flyball: {name} is installed")


class _Operator:
    """All parts; those that write do so only while this process holds the lease."""

    def __init__(self, request: OperatorRequest, api: Api, namespace: str, stack: ExitStack) -> None:
        from flyball.adapters.kubernetes.api import Api as Connection
        from flyball.adapters.kubernetes.events import Events
        from flyball.operator.figures import Figures
        from flyball.operator.kinds import Kinds
        from flyball.operator.reconciler import Reconciler
        from flyball.operator.work import Work

        asked = request.asked
        watched = stack.enter_context(closing(Connection(asked.kubeconfig, asked.context, ANSWER)))
        self._request, self._api, self._namespace, self._stack = request, api, namespace, stack
        self.kinds: Kinds = Kinds(watched, lambda ref: self.work.add(ref.namespace), asked.watch)
        self.variants: Variants | None = None
        if request.wva:
            from flyball.operator.variants import Variants

            self.variants = Variants(watched, asked.watch)
        self.events = Events(api)
        stack.callback(self.events.close)
        told = _teller(self.events)
        self.loop: Loop | None = None
        self.gauges: Collector | None = None
        """Of what the loop wants."""
        self.lease: Lease
        self.publisher: Publisher | None = None
        if request.loop:
            self._govern(told)
        else:
            self.lease = lease_of(asked, namespace, stack)
        held = self.publisher.held if self.publisher is not None else dict
        planner, pushed = _planner(request, self.kinds)
        self.reconciler: Reconciler = Reconciler(
            api, self.lease, self.kinds, planner, held=held, told=told, pushed=pushed
        )
        stack.callback(self.reconciler.close)
        self.work: Work[str] = Work(
            "flyball-reconcile", self._look, self._failed, may=self._may, settle=SETTLE
        )
        self.boosting: Boosting | None = None
        if request.boost:
            from flyball.commands.operator_boosters import Boosting

            self.boosting = Boosting(asked, api, self.lease, namespace, self.events, stack)
        self.figures = Figures(
            lambda: self.work.due, lambda: self.reconciler.writes, self.kinds, self.lease.holds
        )
        self._stop = threading.Event()

    # ---- parts -----------------------------------------------------------------------------------

    def _govern(self, told: Told) -> None:
        """The control loop, with what our kinds say."""
        from flyball.operator.assembler import KindsAssembler
        from flyball.operator.published import Publisher

        made: list[KindsAssembler] = []

        def assembler(rules: Any) -> KindsAssembler:
            more = {"variants": self.variants.read} if self.variants else {}
            made.append(KindsAssembler(self.kinds, rules, **more))
            return made[-1]

        asked = msgspec.structs.replace(self._request.asked, assembler=assembler, namespace=self._namespace)
        if self.variants is not None:
            asked = msgspec.structs.replace(asked, targets=self.variants.targets)
        if self._request.boost:
            kinds = dict.fromkeys((*asked.kinds, SERVINGS))
            asked = msgspec.structs.replace(asked, kinds=tuple(kinds))
        self.parts = parts = parts_of(asked, self._stack)
        assert parts.lease is not None
        assert parts.hands is not None
        self.lease = parts.lease
        self.publisher = Publisher(self._api, parts.lease, self.kinds, told=told)
        self._stack.callback(self.publisher.close)
        parts.hands = Telling(parts.hands, lambda: self._publish(made[-1]))
        if parts.recommender is not None:
            self.gauges = parts.recommender.gauges.registry
        self.live, self.loop = loop_of(asked, parts, self._stack)

    def _publish(self, assembler: KindsAssembler) -> tuple[str, ...]:
        from flyball.operator.published import Seen

        law, reader = self.parts.law, self.parts.reader
        cluster = law.cluster_of(reader)
        if cluster is None or law.decision is None or law.fleet is None or self.publisher is None:
            return ()
        observed = {one.server: one for one in reader.seen.servers}
        return self.publisher.publish(Seen(cluster, observed, law.fleet, law.decision, assembler.refs))

    def service(self, hosts: Any) -> Service:
        """Probes, metrics and, with the loop, its page."""
        from flyball.server.controller import controller
        from flyball.server.service.service import Service

        if self.loop is None:
            about = "Keeps Inferno's kinds in step."
            return Service("operator", "Flyball: operator", about, (), self.unready)
        ledger = str(self._request.asked.ledger or "")
        return controller(self.live, self.loop.invoke, self.unready, ledger, hosts)

    # ---- running ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin; all of it ends with the stack."""
        if self._request.webhook_port is not None:
            from flyball.commands.operator_webhooks import start_webhooks

            start_webhooks(
                self._request,
                self._api,
                self._namespace,
                self.kinds,
                self.figures.reviewed,
                self._stack,
                self._placing(),
            )
        self.kinds.start()
        self._stack.callback(self.kinds.stop)
        if self.variants is not None:
            self.variants.start()
            self._stack.callback(self.variants.stop)
        self.work.start()
        self._stack.callback(self.work.stop)
        if self.boosting is not None:
            self.boosting.start(self._stack)
        if self.loop is not None:
            start(self.live, self.loop, self._loop, self._stack)
        self._stack.callback(self._stop.set)
        threading.Thread(target=self._follow, name="flyball-lead", daemon=True).start()

    def _placing(self) -> Placing | None:
        """What pods are told of racks; None: nothing, as watts are not looked at."""
        from flyball.operator.placing import Placing

        if self.loop is None or self.parts.power is None:
            return None
        self.parts.power.placing = Placing()
        return self.parts.power.placing

    def unready(self) -> str:
        """Why it cannot serve; "": it can."""
        return "" if self.kinds.synced else f"the kinds are not listed yet: {self.kinds.problem}"

    def _loop(self) -> None:
        assert self.loop is not None
        self.kinds.wait(LISTED)
        if self.variants is not None:
            self.variants.watch.wait(LISTED_VARIANTS)
        self.loop.run()

    def _may(self) -> bool:
        return self.lease.holds() and self.kinds.synced

    def _follow(self) -> None:
        """Look at everything when this process begins to lead, and now and then."""
        term: int | None = None
        due, told, who = 0.0, "", ""
        taken: set[str] = set()
        while not self._stop.wait(LOOK):
            now = self.lease.term
            if now is not None and (now != term or time.monotonic() >= due) and self.kinds.synced:
                due = time.monotonic() + RESYNC
                for namespace in self.kinds.namespaces():
                    self.work.add(namespace)
                if self.boosting is not None:
                    self.boosting.again()
                term = now
            elif now is None:
                term = None
            leader = "this process leads" if now is not None else f"{self.lease.holder or 'nobody yet'} leads"
            if self.loop is None and leader != who:  # else the loop says it
                say(f"flyball: {leader}")
                who = leader
            problem = self.kinds.problem
            if problem != told and (problem or told):
                say(f"flyball: {problem or 'the kinds are watched'}")
                told = problem
            taken = self._tell_variants(taken)

    def _tell_variants(self, told: set[str]) -> set[str]:
        """Say once what VariantAutoscaling objects lack; returns all that was said."""
        if self.variants is None:
            return told
        taken = self.variants.last
        said = (self.variants.problem, *taken.errors, *taken.notes)
        for text in dict.fromkeys(said):
            if text and text not in told:
                say(f"flyball: {text}")
        return told | set(said)

    def _look(self, namespace: str) -> Seconds | None:
        began = time.monotonic()
        try:
            return self.reconciler.look(namespace)
        finally:
            self.figures.looked(time.monotonic() - began)

    def _failed(self, namespace: str, error: Exception) -> None:
        from flyball.adapters.kubernetes.errors import ClusterError, Conflict, NotFound

        self.figures.failed()
        if isinstance(error, Conflict | NotFound):
            return  # somebody wrote in between, or took it away: it is looked at again
        kind = "" if isinstance(error, ClusterError) else f"{type(error).__name__}: "
        say(f"flyball: namespace {namespace}: {kind}{error}")


class Telling:
    """Port Actuator: orders are carried out, and then told in the objects."""

    def __init__(self, hands: Actuator, publish: Any) -> None:
        self._hands, self._publish = hands, publish

    def act(self, orders: Any) -> tuple[str, ...]:
        """As the port."""
        said = self._hands.act(orders)
        return (*said, *self._publish())


def _planner(request: OperatorRequest, kinds: Kinds) -> tuple[Planner, Any]:
    from flyball.operator.planning import Elsewhere, built_in

    if request.optimizer is None:
        return built_in, lambda namespace, read: ""
    from flyball.client.optimizer import OptimizerClient

    client = OptimizerClient(request.optimizer, timeout=PLANNED)
    if request.stateless:
        return Elsewhere(client), lambda namespace, read: ""
    from flyball.operator.stateful import Stateful

    kept = Stateful(client, kinds.namespaces)
    return kept, kept.push


def _teller(events: Events) -> Told:
    from flyball.operator.kinds import KINDS

    def told(stored: Stored, ref: Ref, reason: str, message: str, warning: bool) -> None:
        events.tell(KINDS[ref.kind], stored.metadata, reason, message, warning)

    return told
