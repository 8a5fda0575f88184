"""The options of `flyball loop`: light, as every start of the command line imports them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from flyball.commands.plan_options import Flag
from flyball.commands.power_outputs_options import Outputs
from flyball.commands.serve_options import (
    ACTUATOR_HERE,
    COLLECTOR_HERE,
    LISTEN,
    LOOP_HERE,
    ActuatorListen,
    CollectorListen,
    LoopListen,
)

if TYPE_CHECKING:
    from flyball.commands.loop_parts import Request
    from flyball.commands.loop_power import PowerRequest

LOOPED = """
Exit codes:

- 0: it was ended (SIGTERM, Ctrl-C)
- 2: an option or a data file is wrong, or the port is taken
- 5: there is no cluster, it cannot be reached, or it refuses
- 70: a fault of Flyball itself
"""
LOOP_VARIABLES = (
    "CONTROLLER_HOST",
    "CONTROLLER_PORT",
    "COLLECTOR_HOST",
    "COLLECTOR_PORT",
    "ACTUATOR_HOST",
    "ACTUATOR_PORT",
    "INFERNO_CONTROL_PERIOD",
    "INFERNO_CONTROL_DYNAMIC",
    "INFERNO_DATA_PATH",
    "INFERNO_CYCLE_LOG",
    "INFERNO_PROMETHEUS_URL",
    "INFERNO_PROMETHEUS_TOKEN_PATH",
    "INFERNO_PROMETHEUS_CA_PATH",
    "INFERNO_PROMETHEUS_INSECURE",
    "INFERNO_PROMETHEUS_WINDOW",
    "DEFAULT_MAX_BATCH_SIZE",
    "WATCH_NAMESPACE",
)
"""Inferno's, for its control loop."""


@dataclass(frozen=True)
class InCluster:
    """Which cluster, and what of it."""

    kubeconfig: Path | None = None
    """Left out: KUBECONFIG, the pod's service account, the user's own."""
    context: str | None = None
    """Of the kubeconfig."""
    namespace: str = ""
    """Of our own objects: Lease, memory, recommendations. Left out, the pod's, else flyball."""
    watch: Annotated[str, Parameter(env_var="WATCH_NAMESPACE")] = ""
    """Only workloads of this namespace; left out, of all."""
    kinds: tuple[str, ...] = ()
    """Further kinds with /scale: leaderworkersets.leaderworkerset.x-k8s.io/v1."""


@dataclass(frozen=True)
class Metrics:
    """Where metrics come from."""

    prometheus: Annotated[str | None, Parameter(env_var="INFERNO_PROMETHEUS_URL")] = None
    """Its address. Left out, load is what labels state."""
    prometheus_token: Annotated[Path | None, Parameter(env_var="INFERNO_PROMETHEUS_TOKEN_PATH")] = None
    """A file with a bearer token; read again for each request."""
    prometheus_ca: Annotated[Path | None, Parameter(env_var="INFERNO_PROMETHEUS_CA_PATH")] = None
    """Authorities to trust (PEM)."""
    prometheus_insecure: Annotated[Flag, Parameter(env_var="INFERNO_PROMETHEUS_INSECURE")] = False
    """Trust any certificate."""
    window: Annotated[str, Parameter(env_var="INFERNO_PROMETHEUS_WINDOW")] = "1m"
    """Over which rates are taken."""
    metrics: Path | None = None
    """Names of metrics of another engine than vLLM (kind: Metrics)."""
    speed: float = 1.0
    """Of a sandbox whose engines run faster than time."""


@dataclass(frozen=True)
class Elsewhere:
    """Parts that run elsewhere, Flyball's or Inferno's own; without a host the part runs here."""

    collector_host: Annotated[str, Parameter(env_var="COLLECTOR_HOST")] = ""
    """Of a collector."""
    collector_port: Annotated[int, Parameter(env_var="COLLECTOR_PORT")] = 8080
    """Of it."""
    inferno_host: Annotated[str, Parameter(env_var="INFERNO_HOST")] = ""
    """Of an optimizer."""
    inferno_port: Annotated[int, Parameter(env_var="INFERNO_PORT")] = 8080
    """Of it."""
    actuator_host: Annotated[str, Parameter(env_var="ACTUATOR_HOST")] = ""
    """Of an actuator."""
    actuator_port: Annotated[int, Parameter(env_var="ACTUATOR_PORT")] = 8080
    """Of it."""
    tuner_host: Annotated[str, Parameter(env_var="TUNER_HOST")] = ""
    """Of a model tuner; without it the loop learns by itself, where profiles have the form for it."""
    tuner_port: Annotated[int, Parameter(env_var="TUNER_PORT")] = 8081
    """Of it."""


@dataclass(frozen=True)
class Keda:
    """The external scaler that KEDA asks for servers in mode keda."""

    external_scaler_port: int | None = None
    """Where it listens; 0 takes a free one. Left out, there is none."""
    external_scaler_host: str = "127.0.0.1"
    """Address; 0.0.0.0 is every address of this machine."""
    external_scaler_certificate: Path | None = None
    """Answer by TLS with this certificate (PEM); read again when it changes."""
    external_scaler_key: Path | None = None
    """Its key (PEM)."""

    def listen(self) -> dict[str, object] | None:
        """None: there is none."""
        if self.external_scaler_port is None:
            return None
        return {
            "host": self.external_scaler_host,
            "port": self.external_scaler_port,
            "certificate": self.external_scaler_certificate,
            "key": self.external_scaler_key,
        }


@dataclass(frozen=True)
class Power:
    """Watts: the kinds PowerDomain and PowerPolicy, and what exporters measure."""

    power: Flag = False
    """See and hold watts, as the kinds of power ask for it; where they are not installed there is nothing."""
    power_metrics: Path | None = None
    """Names of metrics of other exporters than Kepler and DCGM (kind: PowerMetrics)."""
    rack_label: str = "topology.kubernetes.io/rack"
    """The label with which nodes say their rack."""
    climatik_mode: Literal["Observe", "Recommend", "Enforce"] = "Recommend"
    """Of Climatik's PowerCappingConfigs, which say no mode."""

    def request(self, outputs: Outputs) -> PowerRequest | None:
        """None: watts are not looked at."""
        if not self.power:
            return None
        from flyball.commands.loop_power import PowerRequest

        return PowerRequest(
            metrics=self.power_metrics,
            rack_label=self.rack_label,
            climatik_mode=self.climatik_mode,
            outputs=outputs,
        )


CLUSTER, METRICS = Parameter(name="*", group="Cluster"), Parameter(name="*", group="Metrics")
PARTS, KEDA = Parameter(name="*", group="Parts elsewhere"), Parameter(name="*", group="KEDA")
POWER = Parameter(name="*", group="Power")
ANY, NONE, ALL_HERE, NO_KEDA, NO_POWER = InCluster(), Metrics(), Elsewhere(), Keda(), Power()
OUTPUTS, NO_OUTPUTS = Parameter(name="*", group="Power outputs"), Outputs()


def loop(
    period: Annotated[float, Parameter(env_var="INFERNO_CONTROL_PERIOD")] = 60.0,
    dynamic: Annotated[Flag, Parameter(env_var="INFERNO_CONTROL_DYNAMIC")] = False,
    /,
    *,
    data: Annotated[Path | None, Parameter(env_var="INFERNO_DATA_PATH")] = None,
    mode: Literal["act", "recommend"] = "act",
    max_batch_size: Annotated[int, Parameter(env_var="DEFAULT_MAX_BATCH_SIZE")] = 0,
    cycle_log: Annotated[str | None, Parameter(env_var="INFERNO_CYCLE_LOG")] = None,
    ledger: Path | None = None,
    cluster: Annotated[InCluster, CLUSTER] = ANY,
    metrics: Annotated[Metrics, METRICS] = NONE,
    elsewhere: Annotated[Elsewhere, PARTS] = ALL_HERE,
    keda: Annotated[Keda, KEDA] = NO_KEDA,
    power: Annotated[Power, POWER] = NO_POWER,
    outputs: Annotated[Outputs, OUTPUTS] = NO_OUTPUTS,
    listen: Annotated[LoopListen, LISTEN] = LOOP_HERE,
) -> int:
    """Govern the model servers of a cluster: observe, decide, act, period after period.

    Governed is what has the label inferno.server.managed=true. Its page, and /invoke for a cycle on demand,
    are on port 3300. Only one of several loops acts: who holds the Lease.

    Examples:

    `flyball loop`

    `flyball loop 30 --prometheus http://127.0.0.1:9090 --mode recommend`

    `INFERNO_DATA_PATH=sample-data/large/ flyball loop 60 true`

    Parameters
    ----------
    period
        Seconds between cycles; 0: only on demand.
    dynamic
        true reads the static data anew in each cycle.
    data
        Directory of Inferno's static data: accelerators, models, classes. Left out, the library knows them.
    mode
        For servers that do not say it themselves: act on them, or only recommend.
    max_batch_size
        Pins the batch of servers that pin none.
    cycle_log
        A file to which each cycle adds a line of JSON; - is none.
    ledger
        A file that keeps every cycle for `flyball replay`.
    """
    from msgspec.structs import replace

    from flyball.commands.loop import run

    asked = request_of(data, cluster, metrics)
    return run(
        replace(
            asked,
            period=period,
            dynamic=dynamic,
            mode=mode,
            max_batch_size=max_batch_size,
            cycle_log=None if cycle_log in (None, "-") else Path(cycle_log),
            ledger=ledger,
            collector=address(elsewhere.collector_host, elsewhere.collector_port),
            optimizer=address(elsewhere.inferno_host, elsewhere.inferno_port),
            actuator=address(elsewhere.actuator_host, elsewhere.actuator_port),
            tuner=address(elsewhere.tuner_host, elsewhere.tuner_port),
            external_scaler=keda.listen(),
            power=power.request(outputs),
            listen=asdict(listen),
        )
    )


def address(host: str, port: int) -> str | None:
    """Of a part elsewhere; None: there is none."""
    if not host:
        return None
    return host if "://" in host else f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


SERVES = """
Exit codes:

- 0: it was ended (SIGTERM, Ctrl-C)
- 2: an option is wrong, or the port is taken
- 5: there is no cluster, it cannot be reached, or it refuses
- 70: a fault of Flyball itself
"""


def collector(
    *,
    data: Annotated[Path | None, Parameter(env_var="INFERNO_DATA_PATH")] = None,
    cluster: Annotated[InCluster, CLUSTER] = ANY,
    metrics: Annotated[Metrics, METRICS] = NONE,
    listen: Annotated[CollectorListen, LISTEN] = COLLECTOR_HERE,
) -> int:
    """Serve what Inferno's control loop reads: GET /collect.

    A server whose load is not known is left out of the answer, so that nobody takes it for idle.

    Examples:

    `flyball collector`

    `flyball collector --prometheus http://127.0.0.1:9090`

    Parameters
    ----------
    data
        Directory of Inferno's static data; left out, the library knows models and accelerators.
    """
    from flyball.commands.loop_services import collector as run

    return run(request_of(data, cluster, metrics), asdict(listen))


def actuator(
    *,
    data: Annotated[Path | None, Parameter(env_var="INFERNO_DATA_PATH")] = None,
    cluster: Annotated[InCluster, CLUSTER] = ANY,
    listen: Annotated[ActuatorListen, LISTEN] = ACTUATOR_HERE,
) -> int:
    """Carry out what Inferno's control loop decides: POST /update.

    What an update does not speak of is left alone; the last replica of a server stays.

    Examples:

    `flyball actuator`

    `flyball actuator --port 3303 --watch infer`

    Parameters
    ----------
    data
        Directory of Inferno's static data; left out, the library knows models and accelerators.
    """
    from flyball.commands.loop_services import actuator as run

    return run(request_of(data, cluster, NONE), asdict(listen))


def request_of(data: Path | None, cluster: InCluster, metrics: Metrics) -> Request:
    """What the options that commands on a cluster share ask for."""
    from flyball.commands.loop_parts import Request

    return Request(
        data=data,
        kubeconfig=cluster.kubeconfig,
        context=cluster.context,
        namespace=cluster.namespace,
        watch=cluster.watch,
        kinds=cluster.kinds,
        prometheus=metrics.prometheus,
        token_file=metrics.prometheus_token,
        ca_file=metrics.prometheus_ca,
        insecure=metrics.prometheus_insecure,
        window=metrics.window,
        metrics=metrics.metrics,
        speed=metrics.speed,
    )
