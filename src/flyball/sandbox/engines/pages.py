"""The router's metrics page, and the targets for Prometheus' HTTP service discovery."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from flyball.sandbox.engines.engines import Engines
from flyball.sandbox.engines.pool import Pool
from flyball.simulate.metrics_text import escape

ROUTER_JOB = "router"
NO_ROOM, FAILED = "InferencePoolResourceExhausted", "Internal"
"""As the endpoint picker calls them."""


class _Family(msgspec.Struct, frozen=True):
    """One figure, under the names that the endpoint picker has had for it."""

    kind: str
    about: str
    value: Callable[[Pool], int | Mapping[str, int]]
    """Or several, by error_code."""
    names: tuple[str, ...]


# From the metrics guide of the Gateway API inference extension (inference_model_, later
# inference_objective_), and from llm-d's router, which took the endpoint picker over (llm_d_epp_).
_FAMILIES = (
    _Family(
        "counter",
        "Requests that were handed to a pod.",
        lambda pool: pool.dispatched,
        ("inference_model_request_total", "inference_objective_request_total", "llm_d_epp_request_total"),
    ),
    _Family(
        "counter",
        "Requests that failed: lost with their pod, too long for any, or turned away.",
        lambda pool: {
            NO_ROOM: pool.turned_away,
            FAILED: pool.record.lost - pool.turned_away,
        },
        (
            "inference_model_request_error_total",
            "inference_objective_request_error_total",
            "llm_d_epp_request_error_total",
        ),
    ),
    _Family(
        "gauge",
        "Requests that are at the pods.",
        lambda pool: pool.replicas.present - pool.replicas.queued,
        ("inference_objective_running_requests", "llm_d_epp_request_running"),
    ),
    _Family(
        "gauge",
        "Requests that wait at the router, as no pod takes them.",
        lambda pool: pool.replicas.queued,
        ("inference_extension_flow_control_queue_size", "llm_d_epp_flow_control_queue_size"),
    ),
    _Family(
        "gauge",
        "Pods that take requests.",
        lambda pool: len(pool.replicas.route),
        ("inference_pool_ready_pods", "llm_d_epp_ready_endpoints"),
    ),
)


def router_page(engines: Engines, speed: float) -> str:
    """What the router has seen of each server, in Prometheus' text format."""
    lines = [
        *("# HELP flyball_sandbox_time_seconds Simulated time.", "# TYPE flyball_sandbox_time_seconds gauge"),
        f"flyball_sandbox_time_seconds {engines.time!r}",
        "# HELP flyball_sandbox_speed Simulated seconds in one second.",
        "# TYPE flyball_sandbox_speed gauge",
        f"flyball_sandbox_speed {float(speed)!r}",
    ]
    pools = [(_labels(*server, pool.model), pool) for server, pool in sorted(engines.pools.items())]
    for family in _FAMILIES:
        for name in family.names:
            lines += [f"# HELP {name} {family.about}", f"# TYPE {name} {family.kind}"]
            for labels, pool in pools:
                value = family.value(pool)
                if isinstance(value, int):
                    lines.append(f"{name}{{{labels}}} {value}")
                else:
                    lines += [f'{name}{{{labels},error_code="{code}"}} {n}' for code, n in value.items()]
    return "\n".join(lines) + "\n"


def _labels(namespace: str, server: str, model: str) -> str:
    said = {
        "namespace": namespace,
        "name": server,
        "inference_pool": server,
        "model_name": model,
        "target_model_name": model,
    }
    return ",".join(f'{key}="{escape(value)}"' for key, value in said.items())


class Scraped(msgspec.Struct, frozen=True):
    """One item of Prometheus' HTTP service discovery."""

    targets: tuple[str, ...]
    labels: dict[str, str]


def targets_of(engines: Engines, address: str) -> Iterable[Scraped]:
    """Every pod's page and the router's, all at one address (host:port)."""
    yield Scraped((address,), {"job": ROUTER_JOB, "__metrics_path__": "/router/metrics"})
    yield from _pods(engines, address)


def _pods(engines: Engines, address: str) -> Iterator[Scraped]:
    for pod in sorted(engines.pods, key=lambda pod: (pod.namespace, pod.name)):
        yield Scraped(
            (address,),
            {
                "namespace": pod.namespace,
                "pod": pod.name,
                "job": pod.workload,
                "instance": f"{pod.namespace}/{pod.name}",
                "__metrics_path__": f"/pods/{pod.namespace}/{pod.name}/metrics",
            },
        )
