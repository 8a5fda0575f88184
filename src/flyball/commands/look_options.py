"""The options of the commands that look at a cluster: light, as every start imports them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flyball.commands.loop_options import ANY, CLUSTER, METRICS, NONE, InCluster, Metrics, request_of
from flyball.commands.plan_options import Flag

if TYPE_CHECKING:
    from flyball.commands.loop_parts import Request

CODES = """
- 2: an option or a file is wrong
- 5: there is no cluster, it cannot be reached, or it refuses
- 70: a fault of Flyball itself
"""
CHECKED = f"""
Exit codes:

- 0: nothing is missing; there may be warnings
- 3: something is missing
{CODES.strip()}
"""
COMPARED = f"""
Exit codes:

- 0: nothing would change
- 1: something would change
{CODES.strip()}
"""
TOLD = f"""
Exit codes:

- 0: done
{CODES.strip()}
"""
BACKTESTED = f"""
Exit codes:

- 0: done
{CODES.strip().replace("- 70", "- 4: an output could not be written" + chr(10) + "- 70")}
- 130: interrupted
"""
CONTROLLER = "http://localhost:3300"

Data = Annotated[Path | None, Parameter(env_var="INFERNO_DATA_PATH")]
MaxBatch = Annotated[int, Parameter(env_var="DEFAULT_MAX_BATCH_SIZE")]
Period = Annotated[float, Parameter(env_var="INFERNO_CONTROL_PERIOD")]
Json = Annotated[Flag, Parameter(name="--json")]


def doctor(
    *,
    data: Data = None,
    account: str = "",
    json: Json = False,
    cluster: Annotated[InCluster, CLUSTER] = ANY,
    metrics: Annotated[Metrics, METRICS] = NONE,
) -> int:
    """Check what a cluster lacks for Flyball, in order, each with the command that mends it. Writes nothing.

    Examples:

    `flyball doctor`

    `flyball doctor --prometheus http://127.0.0.1:9090 --account inferno/inferno`

    Parameters
    ----------
    data
        Directory of Inferno's static data; left out, the library knows models and accelerators.
    account
        Check the rights of this service account, NAMESPACE/NAME, and not one's own.
    json
        Print the checks as JSON.
    """
    from flyball.commands.doctor import run

    return run(request_of(data, cluster, metrics), account, as_json=json)


def why(
    server: str,
    /,
    *,
    controller: Annotated[str | None, Parameter(env_var="FLYBALL_CONTROLLER")] = None,
    data: Data = None,
    json: Json = False,
    cluster: Annotated[InCluster, CLUSTER] = ANY,
    metrics: Annotated[Metrics, METRICS] = NONE,
) -> int:
    """Tell why a server has what it has: the last decision, what holds it back, on what its profile rests.

    The running loop is asked first. Where none answers, it is what was recommended last, else a decision that
    is made now from one look at the cluster.

    Examples:

    `flyball why vllm-001`

    `flyball why vllm-001 --controller http://127.0.0.1:8080`

    Parameters
    ----------
    server
        Its name: the label inferno.server.name, else the workload's.
    controller
        Address of the loop's controller; left out, http://localhost:3300.
    data
        Directory of Inferno's static data, for a decision made now.
    json
        Print it as JSON.
    """
    from flyball.commands.why import run

    request = request_of(data, cluster, metrics)
    return run(request, server, controller or CONTROLLER, as_json=json, given=bool(controller))


def diff(
    *,
    data: Data = None,
    period: Period = 60.0,
    max_batch_size: MaxBatch = 0,
    json: Json = False,
    cluster: Annotated[InCluster, CLUSTER] = ANY,
    metrics: Annotated[Metrics, METRICS] = NONE,
) -> int:
    """Show what would change now if the loop acted: one look, one decision, nothing written.

    Decided with the loop's memory, where one keeps it in the cluster.

    Examples:

    `flyball diff`

    `flyball diff --prometheus http://127.0.0.1:9090 --json`

    Parameters
    ----------
    data
        Directory of Inferno's static data; left out, the library knows models and accelerators.
    period
        The loop's, in seconds.
    max_batch_size
        Pins the batch of servers that pin none.
    json
        Print it as JSON.
    """
    from msgspec.structs import replace

    from flyball.commands.diff import run

    request = request_of(data, cluster, metrics)
    return run(replace(request, period=period, max_batch_size=max_batch_size), as_json=json)


def release(
    workload: str,
    /,
    *,
    namespace: str = "",
    kinds: tuple[str, ...] = (),
    kubeconfig: Path | None = None,
    context: str | None = None,
) -> int:
    """Hand a workload back as it was found, and keep every governor from taking it again.

    Replicas and labels become what they were before the first change; the annotation flyball.dev/mode=freeze
    keeps it so, also when its manifest is applied again.

    Examples:

    `flyball release vllm-001`

    `flyball release statefulset/vllm-002 --namespace infer`

    Parameters
    ----------
    workload
        NAME, NAMESPACE/NAME, or KIND/NAME.
    namespace
        Its namespace; left out, the only one that has such a workload.
    kinds
        Further kinds with /scale: leaderworkersets.leaderworkerset.x-k8s.io/v1.
    kubeconfig
        Left out: KUBECONFIG, the pod's service account, the user's own.
    context
        Of the kubeconfig.
    """
    from flyball.commands.release import release as run

    cluster = InCluster(kubeconfig, context, kinds=kinds)
    return run(request_of(None, cluster, NONE), workload, namespace)


def freeze(*, namespace: str = "", kubeconfig: Path | None = None, context: str | None = None) -> int:
    """Stop all writing to workloads: freeze: true in the ConfigMap flyball. The loop goes on observing.

    Parameters
    ----------
    namespace
        Of the loop's own objects; left out, where a loop holds its Lease.
    kubeconfig
        Left out: KUBECONFIG, the pod's service account, the user's own.
    context
        Of the kubeconfig.
    """
    from flyball.commands.release import freeze as run

    return run(_own(namespace, kubeconfig, context), True)


def unfreeze(*, namespace: str = "", kubeconfig: Path | None = None, context: str | None = None) -> int:
    """Let the loop write to workloads again.

    Parameters
    ----------
    namespace
        Of the loop's own objects; left out, where a loop holds its Lease.
    kubeconfig
        Left out: KUBECONFIG, the pod's service account, the user's own.
    context
        Of the kubeconfig.
    """
    from flyball.commands.release import freeze as run

    return run(_own(namespace, kubeconfig, context), False)


def _own(namespace: str, kubeconfig: Path | None, context: str | None) -> Request:
    return request_of(None, InCluster(kubeconfig, context, namespace), NONE)


def backtest(
    *,
    since: str = "7d",
    step: str = "60s",
    data: Data = None,
    period: Period = 60.0,
    max_batch_size: MaxBatch = 0,
    seed: int = 1,
    report: Path | None = None,
    json: Json = False,
    cluster: Annotated[InCluster, CLUSTER] = ANY,
    metrics: Annotated[Metrics, METRICS] = NONE,
) -> int:
    """Replay what Prometheus recorded with Flyball in charge: replicas, cost and attainment, both ways.

    The load, the replicas and the latencies as they were are measured; what Flyball would have made of that
    load is simulated. The recorded replicas are simulated too, which shows how far the simulation holds.

    Examples:

    `flyball backtest --prometheus http://127.0.0.1:9090`

    `flyball backtest --since 24h --prometheus http://127.0.0.1:9090 --report build/backtest.html`

    Parameters
    ----------
    since
        So far back: 7d, 36h, 90min.
    step
        Between two points of the history.
    data
        Directory of Inferno's static data; left out, the library knows models and accelerators.
    period
        Of Flyball's cycle, seconds.
    max_batch_size
        Pins the batch of servers that pin none.
    seed
        Of all that is left to chance.
    report
        Write the simulated runs, as a page with plots, to this file.
    json
        Print it as JSON.
    """
    from msgspec.structs import replace

    from flyball.commands.backtest import Asked, run

    request = request_of(data, cluster, metrics)
    request = replace(request, period=period, max_batch_size=max_batch_size)
    return run(request, Asked(since, step, seed, report, json))
