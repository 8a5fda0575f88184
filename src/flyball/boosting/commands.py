"""Command lines of the engines; where a shell is needed, quoted for it."""

from __future__ import annotations

import shlex

from flyball.boosting.config import (
    GPU,
    SGLANG,
    VLLM,
    connector_name,
    devices,
    flags,
    pods_of,
)
from flyball.boosting.storage import Storage
from flyball.wire.kthena_booster import Backend, Worker
from flyball.wire.kthena_meta import Plain

_SCRIPT = "examples/online_serving/multi-node-serving.sh"
_INSTALL = {
    "MooncakeConnector": "pip install mooncake-transfer-engine",
    "NixlConnector": "PIP_DISABLE_PIP_VERSION_CHECK=1 pip install -U --no-cache-dir nixl",
}
_SKIP_INSTALL = "KTHENA_SKIP_ENGINE_DEPENDENCY_INSTALL"
_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_INIT_PORT = 20000
"""Over which the nodes of an SGLang instance find each other."""

RAY_WORKER = ["bash", "-c", f"chmod u+x {_SCRIPT} && {_SCRIPT} worker --ray_address=$(ENTRY_ADDRESS)"]
"""Of the further pods of a vLLM instance. Kubernetes fills in the address."""


def engine_command(backend: Backend, worker: Worker, storage: Storage, port: int) -> list[str]:
    """The command of the first pod of an instance."""
    if backend.type == SGLANG:
        return sglang_command(worker, storage, port)
    arguments = ["python3", "-m", "vllm.entrypoints.openai.api_server", "--model", storage.model]
    arguments += flags(worker.config)
    if storage.adapters:
        arguments += ["--enable-lora", "--lora-modules", *map("=".join, storage.adapters)]
    before = []
    if backend.type == VLLM and pods_of(worker) > 1:
        arguments += ["--distributed_executor_backend", "ray"]
        cluster = f"--ray_cluster_size={pods_of(worker)} --num-gpus={devices(worker)}"
        before += [f"chmod u+x {_SCRIPT}", f"{_SCRIPT} leader {cluster}"]
    install = _INSTALL.get(connector_name(worker))
    if install and _on_gpus(backend) and env_value(backend.env, _SKIP_INSTALL) not in _TRUE:
        before.insert(0, install)
    return ["bash", "-c", " && ".join([*before, shlex.join(arguments)])] if before else arguments


def sglang_command(worker: Worker, storage: Storage, port: int) -> list[str]:
    """The command of every pod of an SGLang instance: its nodes differ in their index alone."""
    arguments = ["python3", "-m", "sglang.launch_server", "--model-path", storage.model]
    arguments += ["--host", "0.0.0.0", "--port", str(port), "--enable-metrics"]
    arguments += flags(worker.config, leave_out=("host", "port", "enable-metrics"))
    if storage.adapters:
        arguments += ["--enable-lora", "--lora-paths", *map("=".join, storage.adapters)]
    if pods_of(worker) > 1:
        arguments += ["--nnodes", str(pods_of(worker)), "--node-rank", "$(WORKER_INDEX)"]
        arguments += ["--dist-init-addr", f"$(ENTRY_ADDRESS):{_INIT_PORT}"]
    return arguments


def drain_command(backend: Backend, port: int) -> list[str]:
    """Waits, before an engine is stopped, until it neither answers nor has requests waiting."""
    running, waiting = "vllm:num_requests_running", "vllm:num_requests_waiting"
    if backend.type == SGLANG:
        running, waiting = "sglang:num_running_reqs", "sglang:num_queue_reqs"
    return ["/bin/sh", "-c", _drain_script(port, running, waiting)]


def env_value(env: list[Plain] | None, name: str) -> str | None:
    """The literal text of the first variable of that name, None where there is none."""
    found = next((one for one in env or () if one.get("name") == name), None)
    if found is None:
        return None
    value = found.get("value")
    return value if isinstance(value, str) else ""


def _on_gpus(backend: Backend) -> bool:
    return any(devices(worker, (GPU,)) > 0 for worker in backend.workers)


def _drain_script(port: int, running: str, waiting: str) -> str:
    # Kthena's script to the letter: another one would restart the pods of whoever comes from there.
    def read(metric: str) -> str:
        return f"""$(echo "$METRICS" | grep '{metric}' | grep -v '#' | awk '{{print $2}}' || true)"""

    say = '  echo "Terminating: {}" >> /proc/1/fd/1'
    return "\n".join(
        [
            "while true; do",
            f"  METRICS=$(curl -s --max-time 2 http://localhost:{port}/metrics)",
            f"  RUNNING={read(running)}",
            f"  WAITING={read(waiting)}",
            '  if [ -z "$RUNNING" ]; then',
            "  " + say.format("Metrics endpoint unavailable, exiting preStop"),
            "    exit 0",
            "  fi",
            '  if [ "$RUNNING" = "0.0" ] && [ "$WAITING" = "0.0" ]; then',
            "  " + say.format("No active or waiting requests, safe to terminate"),
            "    exit 0",
            "  else",
            "  " + say.format("Running: $RUNNING, Waiting: $WAITING"),
            "    sleep 5",
            "  fi",
            "done\n",
        ]
    )
