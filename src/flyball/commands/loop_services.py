"""`flyball collector` and `flyball actuator`: the loop's two ends as services of their own."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from flyball.commands.look_parts import with_api
from flyball.commands.loop_parts import Request, lease_of, own_namespace, reader_of
from flyball.commands.output import say
from flyball.spec.decision import Order

if TYPE_CHECKING:
    from flyball.adapters.cluster import ClusterReader
    from flyball.adapters.kubernetes.api import Api
    from flyball.adapters.kubernetes.governed import Cluster
    from flyball.wire.inferno_loop import Collected, Update

Listen = Mapping[str, Any]


def collector(request: Request, listen: Listen) -> int:
    """Serve /collect until told to end; returns the exit code."""
    from flyball.server.control import collector as service
    from flyball.server.service.run import Options, serve

    def run(api: Api) -> int:
        with ExitStack() as stack:
            reader = reader_of(request, api, stack)
            return serve(service(Collecting(reader).collect), Options(**listen))

    return with_api(request, run)


class Collecting:
    """Collects, one request after the other."""

    def __init__(self, reader: ClusterReader) -> None:
        self._reader, self._turn = reader, threading.Lock()

    def collect(self) -> Collected:
        """What runs now. ControlError."""
        from flyball.adapters.collected import collected
        from flyball.adapters.kubernetes.errors import ClusterError
        from flyball.server.control import ControlError

        with self._turn:
            try:
                self._reader.fleet()
                seen = self._reader.observe()
            except ClusterError as error:
                raise ControlError(str(error)) from None
            assert self._reader.cluster is not None
            return collected(self._reader.cluster, seen, self._reader.metrics)


def actuator(request: Request, listen: Listen) -> int:
    """Serve /update until told to end; returns the exit code."""
    from flyball.adapters.kubernetes.actuator import KubernetesActuator
    from flyball.adapters.kubernetes.events import Events
    from flyball.adapters.kubernetes.freeze import frozen
    from flyball.server.control import actuator as service
    from flyball.server.service.run import Options, serve

    def run(api: Api) -> int:
        with ExitStack() as stack:
            namespace = request.namespace or own_namespace(api.namespace)
            lease = lease_of(request, namespace, stack)
            reader = reader_of(request, api, stack)
            events = Events(api)
            stack.callback(events.close)
            acting = KubernetesActuator(
                api, lease, lambda: reader.cluster, lambda: frozen(api, namespace), events=events
            )
            stack.callback(acting.close)
            carry = Carrying(reader, acting)
            ready = lambda: "" if lease.holds() else "another process leads"  # noqa: E731
            return serve(service(carry.update, ready), Options(**listen))

    return with_api(request, run)


class Carrying:
    """Carries updates out, one after the other."""

    def __init__(self, reader: ClusterReader, acting: Any) -> None:
        self._reader, self._acting, self._turn = reader, acting, threading.Lock()

    def update(self, update: Update) -> tuple[str, ...]:
        """What was not done, in a sentence each; all of it is logged. ControlError."""
        from flyball.adapters.kubernetes.errors import ClusterError
        from flyball.server.control import ControlError

        with self._turn:
            try:
                self._reader.fleet()
            except ClusterError as error:
                raise ControlError(str(error)) from None
            assert self._reader.cluster is not None
            said = self._acting.act(orders_of(self._reader.cluster, update))
        for text in said:
            say(f"flyball: {text}")
        return tuple(said)


def orders_of(cluster: Cluster, update: Update) -> list[Order]:
    """Orders for the workloads of the servers that are spoken of.

    An allocation without an accelerator asks for no replica; the last one stays all the same, as the load
    that comes back would not be seen without any.
    """
    orders, by_server = [], cluster.by_server()
    for asked in update.orders:
        workloads = by_server.get(asked.server, [])
        if not workloads:
            continue
        names = {w.accelerator for w in workloads}
        main = max(workloads, key=lambda w: (w.replicas, w.accelerator))
        accelerator = asked.accelerator or main.accelerator
        orders.append(replace(asked, accelerator=accelerator, replicas=max(asked.replicas, 1)))
        if accelerator in names:
            orders += [Order(asked.server, name, 0) for name in sorted(names - {accelerator})]
        elif len(names) == 1:  # Inferno's way: the label moves
            orders.append(Order(asked.server, main.accelerator, 0))
    return orders
