"""The options of `flyball operator`: light, as every start of the command line imports them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from flyball.commands.loop_options import (
    CLUSTER,
    METRICS,
    NO_OUTPUTS,
    NO_POWER,
    OUTPUTS,
    POWER,
    InCluster,
    Metrics,
    Power,
    address,
    request_of,
)
from flyball.commands.plan_options import Flag
from flyball.commands.power_outputs_options import Outputs
from flyball.commands.serve_options import LISTEN, OPERATOR_HERE, OperatorListen

OPERATED = """
Exit codes:

- 0: it was ended (SIGTERM, Ctrl-C)
- 2: an option is wrong, or a port is taken
- 5: there is no cluster, it cannot be reached, or it refuses
- 70: a fault of Flyball itself
"""
OPERATOR_VARIABLES = ("INFERNO_STATELESS",)
"""Inferno's, for its controller."""


@dataclass(frozen=True)
class Optimizer:
    """An optimizer elsewhere, Flyball's or Inferno's own; without a host it is built in."""

    inferno_host: Annotated[str, Parameter(env_var="INFERNO_HOST")] = ""
    """Its host."""
    inferno_port: Annotated[int, Parameter(env_var="INFERNO_PORT")] = 8080
    """Its port."""
    stateless: Annotated[bool, Parameter(env_var="INFERNO_STATELESS", negative="--stateful")] = True
    """It gets all data with each request; --stateful: it is told of objects as they come, change and go."""


@dataclass(frozen=True)
class Webhooks:
    """What is asked before objects of our kinds are stored."""

    webhook_port: int | None = None
    """Where it listens; 0 takes a free one. Left out, there is none."""
    webhook_host: str = "127.0.0.1"
    """Address; 0.0.0.0 is every address of this machine."""
    webhook_url: str | None = None
    """By which the API server reaches it, https://HOST:PORT; left out, by the Service flyball-webhook."""


NO_WEBHOOKS, BUILT_IN = Webhooks(), Optimizer()
ANY, NONE = InCluster(), Metrics()


def operator(
    *,
    local: Flag = False,
    mode: Literal["recommend", "act"] = "recommend",
    loop: bool = True,
    period: Annotated[float, Parameter(env_var="INFERNO_CONTROL_PERIOD")] = 60.0,
    ledger: Path | None = None,
    wva: Flag = False,
    boost: Flag = False,
    optimizer: Annotated[Optimizer, Parameter(name="*", group="Optimizer")] = BUILT_IN,
    webhooks: Annotated[Webhooks, Parameter(name="*", group="Webhooks")] = NO_WEBHOOKS,
    cluster: Annotated[InCluster, CLUSTER] = ANY,
    metrics: Annotated[Metrics, METRICS] = NONE,
    power: Annotated[Power, POWER] = NO_POWER,
    outputs: Annotated[Outputs, OUTPUTS] = NO_OUTPUTS,
    listen: Annotated[OperatorListen, LISTEN] = OPERATOR_HERE,
) -> int:
    """Keep Inferno's kinds in step: Accelerator, Model, ServiceClass, Server, Capacity, Optimizer.

    An Optimizer with optimize: true, or with a period, plans the Servers of its namespace; what each is to
    have, and why, stands in the Server. Workloads with the label inferno.server.managed=true, or with a
    Server's name as inferno.server.name, are governed as by `flyball loop`; they are only recommended for,
    until it is told to act.

    Examples:

    `flyball operator --local`

    `flyball operator --mode act --prometheus http://prometheus.monitoring:9090`

    `INFERNO_HOST=inferno-optimizer INFERNO_PORT=80 flyball operator --no-loop --stateful`

    Parameters
    ----------
    local
        Outside of the cluster, for a trial: the kinds are installed where they are missing, and webhooks are
        reached by address.
    mode
        For servers that do not say it themselves: act on them, or only recommend.
    loop
        Govern workloads, too; --no-loop: only plan.
    period
        Seconds between cycles of the loop; 0: only on demand.
    ledger
        A file that keeps every cycle for `flyball replay`.
    boost
        Keep ModelBoosters, too, in the place of Kthena's controller.
    wva
        Take VariantAutoscaling objects for Servers, too.
    """
    from msgspec.structs import replace

    from flyball.commands.operator import OperatorRequest, run

    asked = replace(
        request_of(None, cluster, metrics),
        period=period,
        mode=mode,
        ledger=ledger,
        power=power.request(outputs),
        listen=asdict(listen),
    )
    return run(
        OperatorRequest(
            asked=asked,
            local=local,
            loop=loop,
            wva=wva,
            boost=boost,
            optimizer=address(optimizer.inferno_host, optimizer.inferno_port),
            stateless=optimizer.stateless,
            **asdict(webhooks),
        )
    )
