"""The external scaler of a loop."""

from __future__ import annotations

import math
from contextlib import ExitStack, closing

from flyball.commands.loop_parts import Parts, Request, own_namespace
from flyball.commands.output import say
from flyball.units import Seconds

PERIODS, GRACE = 3.0, 10.0
"""A decision is good for so many periods, and so many seconds more."""


def check_scaler(request: Request) -> None:
    """Whether there can be the external scaler that is asked for. ValueError."""
    if request.external_scaler is None:
        return
    from flyball.server.external_scaler import Options

    Options(**request.external_scaler)
    if request.actuator is not None:
        raise ValueError(
            "--external-scaler-port: with an actuator elsewhere, numbers for KEDA are not known here"
        )


def start_scaler(request: Request, parts: Parts, stack: ExitStack) -> None:
    """Start the external scaler that is asked for, to end with `stack`. ValueError, ClusterError."""
    if request.external_scaler is None or parts.recommender is None or parts.lease is None:
        return
    from flyball.adapters.kubernetes.api import Api
    from flyball.adapters.kubernetes.freeze import frozen
    from flyball.adapters.kubernetes.wanted import Wanted
    from flyball.server.external_scaler import ExternalScaler, Options
    from flyball.server.service.run import is_loopback

    options, lease = Options(**request.external_scaler), parts.lease
    api = stack.enter_context(closing(Api(request.kubeconfig, request.context)))
    namespace = request.namespace or own_namespace(api.namespace)
    wanted = Wanted(good_for(request), lambda: frozen(api, namespace))
    parts.recommender.wanted = wanted
    scaler = ExternalScaler(wanted, options, lambda: lease.term is not None)
    scaler.start()
    stack.callback(scaler.stop)
    print(f"KEDA's external scaler: scalerAddress {scaler.address}", flush=True)
    if options.certificate is None and not is_loopback(options.host):
        say(f"flyball: warning: whoever reaches {scaler.address} may read what is decided, in plain text")


def good_for(request: Request) -> Seconds:
    """How long a decision holds, on the wall clock; where cycles run on demand, always."""
    return PERIODS * request.period / request.speed + GRACE if request.period > 0 else math.inf
