"""What the free-form config of the workers says: flags, port, connector, served name, devices.

Errors and their order are Kthena's; so are the texts of values in them, which follow Go's printing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from flyball.boosting.errors import BoosterError, PortError
from flyball.wire.kthena_booster import Backend, Worker
from flyball.wire.kthena_text import quantity

VLLM, DISAGGREGATED, SGLANG = "vLLM", "vLLMDisaggregated", "SGLang"
DEFAULT_PORTS = {SGLANG: 30000}
VLLM_PORT = 8000
_SERVING = ("server", "prefill", "decode")
_DEVICES = ("nvidia.com/gpu", "huawei.com/ascend-1980")
"""Those that Kthena counts."""
GPU = "nvidia.com/gpu"
DEVICES = (
    GPU,
    "amd.com/gpu",
    "gpu.intel.com/i915",
    "gpu.intel.com/xe",
    "habana.ai/gaudi",
    "aws.amazon.com/neuron",
    "google.com/tpu",
    "huawei.com/ascend-1980",
)
"""Those that are known."""
PARALLEL = (
    ("tensor-parallel-size", "tensor_parallel_size", "tp-size", "tp"),
    ("pipeline-parallel-size", "pipeline_parallel_size", "pp-size", "pp"),
)
"""Spellings of the flags that spread a model over devices."""

CONNECTORS = {
    "LMCacheConnectorV1": "lmcache",
    "MooncakeConnector": "mooncake",
    "MooncakeConnectorV1": "mooncake",
    "NixlConnector": "nixl",
}
_ROLES = {"prefill": ("kv_producer", "kv_both"), "decode": ("kv_consumer", "kv_both")}
_GO_KINDS = {dict: "object", list: "array", str: "string", bool: "bool", int: "number", float: "number"}
_GO_TYPES = {
    dict: "map[string]interface {}", list: "[]interface {}", bool: "bool", int: "float64", float: "float64",
}  # fmt: skip


def object_of(config: Any) -> dict[str, Any]:
    """The config as an object, empty where there is none. Or BoosterError."""
    if config is None or isinstance(config, dict):
        return config or {}
    kind = _GO_KINDS[type(config)]
    raise BoosterError(f"json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}")


def flags(config: Any, leave_out: Iterable[str] = ()) -> Iterator[str]:
    """`--name value` of each entry, by name; whole numbers as such, objects as JSON, lists as several words.

    Null and an empty list are no flag at all, empty text is a flag without a value.
    """
    for key, value in sorted(object_of(config).items()):
        words = [*_words(value)] if isinstance(value, list) else [_word(value)]
        name = key.replace("_", "-")
        if value is None or value == [] or name in leave_out:
            continue
        yield f"--{name}"
        yield from (word for word in words if word)


def engine_port(backend: Backend) -> int:
    """The port that all serving workers share. Or PortError."""
    default = DEFAULT_PORTS.get(backend.type, VLLM_PORT)
    shared = 0
    for index, worker in enumerate(backend.workers):
        if worker.type not in _SERVING:
            continue
        try:
            config = object_of(worker.config)
        except BoosterError as error:
            message = f"failed to get port for worker {worker.type}: {error}"
            raise PortError(message, index, None) from None
        port = default
        if "port" in config:
            port = _port(config["port"], index, worker)
        if shared and shared != port:
            raise PortError(f"workers use different engine ports: {shared} and {port}", index, port)
        shared = port
    return shared or default


def served_name(backend: Backend) -> str | None:
    """The first text `served-model-name` of a worker that answers requests."""
    for worker in backend.workers:
        if worker.type in ("server", "decode"):
            config = worker.config if isinstance(worker.config, dict) else {}
            if isinstance(found := config.get("served-model-name"), str):
                return found
    return None


def connector_name(worker: Worker) -> str:
    """The connector that a worker's kv-transfer-config names, empty where it names none."""
    config = worker.config if isinstance(worker.config, dict) else {}
    text = config.get("kv-transfer-config")
    try:
        transfer = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return ""
    name = transfer.get("kv_connector") if isinstance(transfer, dict) else None
    return name if isinstance(name, str) else ""


def kv_connector(backend: Backend) -> str | None:
    """The kind of connector that prefill and decode share, None where neither has one. Or BoosterError."""
    found: dict[str, str] = {}
    for role in _ROLES:
        workers = [worker for worker in backend.workers if worker.type == role]
        if len(workers) > 1:
            raise BoosterError(
                f"backend {backend.name}: found {len(workers)} {role} workers, expected at most 1; "
                f"duplicate {role} workers are not supported"
            )
    for role in _ROLES:
        for worker in backend.workers:
            if worker.type == role and (name := _declared_connector(worker)):
                found[role] = name
    if not found:
        return None
    for role, other in (("decode", "prefill"), ("prefill", "decode")):
        if other not in found:
            raise BoosterError(
                f'backend {backend.name}: {role} worker specifies kv_connector "{found[role]}" but the '
                f"{other} worker has no kv-transfer-config; "
                "prefill and decode must configure the same kv connector"
            )
    prefill, decode = found["prefill"], found["decode"]
    if CONNECTORS[prefill] != CONNECTORS[decode]:
        raise BoosterError(
            f'backend {backend.name}: kv_connector mismatch between prefill ("{prefill}") and decode '
            f'("{decode}") workers; prefill and decode must use the same kv connector'
        )
    return CONNECTORS[prefill]


def devices(worker: Worker, names: Iterable[str] = _DEVICES) -> int:
    """Accelerators that a pod of the worker is limited to."""
    limits = amounts(worker, "limits")
    return sum(int(quantity(limits[name], "limits", name)) for name in names if name in limits)


def amounts(worker: Worker, kind: str) -> dict[str, Any]:
    """The `limits` or `requests` of a worker. Or BoosterError."""
    found = (worker.resources or {}).get(kind)
    if not isinstance(found, dict | None):
        raise BoosterError(f"resources.{kind} of worker {worker.type}: allowed is a map of quantities")
    return found or {}


def parallel(worker: Worker) -> int:
    """Devices over which the engine's config spreads the model."""
    config = object_of(worker.config)
    size = 1
    for names in PARALLEL:
        text = next((str(config[name]) for name in names if name in config), "1")
        size *= int(text) if text.isascii() and text.isdecimal() and int(text) else 1
    return size


def pods_of(worker: Worker) -> int:
    """Pods of an instance of the worker's role, the first included."""
    return max(worker.pods or 0, 1)


def printed(value: object) -> str:
    """A value of JSON as Go's %v writes it; used in messages only."""
    if value is None or isinstance(value, bool):
        return {None: "<nil>", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{printed(value[key])}' for key in sorted(value))}]"
    if isinstance(value, list):
        return f"[{' '.join(map(printed, value))}]"
    if isinstance(value, int | float):
        # From six digits before the point on, Go writes an exponent.
        return str(int(value)) if value == int(value) and abs(value) < 1e6 else _scientific(float(value))
    return str(value)


def _scientific(value: float) -> str:
    mantissa, _, exponent = f"{value:e}".partition("e")
    if -4 <= int(exponent) < 6:
        return repr(value)
    digits = repr(value).partition("e")[0].replace(".", "").replace("-", "").strip("0") or mantissa
    sign = "-" if value < 0 else ""
    return f"{sign}{digits[0]}{'.' + digits[1:] if digits[1:] else ''}e{int(exponent):+03d}"


def _port(value: Any, index: int, worker: Worker) -> int:
    text = printed(value)
    if not (text.isascii() and text.removeprefix("+").isdecimal() and 1 <= int(text) <= 65535):
        raise PortError(f'invalid port "{text}" for worker {worker.type}', index, value)
    return int(text)


def _declared_connector(worker: Worker) -> str | None:
    """A worker's connector, checked with its role. Or BoosterError."""
    head = f"worker {worker.type}"
    try:
        text = object_of(worker.config).get("kv-transfer-config")
    except BoosterError as error:
        raise BoosterError(f"{head}: invalid config: failed to unmarshal config: {error}") from None
    if text is None:
        return None
    if not isinstance(text, str):
        raise BoosterError(f"{head}: kv-transfer-config must be a JSON string, got {_GO_TYPES[type(text)]}")
    try:
        transfer = object_of(json.loads(text))
    except (ValueError, RecursionError) as error:  # a BoosterError is a ValueError, too
        raise BoosterError(
            f"{head}: invalid kv-transfer-config: failed to unmarshal config: {error}"
        ) from None
    name, role = transfer.get("kv_connector"), transfer.get("kv_role")
    if not isinstance(name, str) or not name:
        raise BoosterError(f"{head}: kv-transfer-config is set but kv_connector is missing")
    if name not in CONNECTORS:
        supported = ", ".join(CONNECTORS)
        raise BoosterError(f'{head}: unsupported kv_connector "{name}" (supported: {supported})')
    if not isinstance(role, str) or not role:
        raise BoosterError(f"{head}: kv-transfer-config is set but kv_role is missing")
    if role not in _ROLES[worker.type]:
        allowed = ", ".join(_ROLES[worker.type])
        raise BoosterError(f'{head}: invalid kv_role "{role}", expected one of [{allowed}]')
    return name


def _words(values: list[Any]) -> Iterator[str]:
    """The items of a list; one that holds lists or objects is one word of JSON."""
    if any(isinstance(value, dict | list) for value in values):
        yield _word(values)
    else:
        yield from map(_word, values)


def _word(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return repr(value) if isinstance(value, float) else msgspec.json.encode(value, order="sorted").decode()
