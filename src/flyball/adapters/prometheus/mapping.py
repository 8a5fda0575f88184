"""How metrics are called: the shipped names of vLLM and of exporters of power, and files of others."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from flyball.wire.errors import WireError
from flyball.wire.metrics import MetricNames, metrics_from_own
from flyball.wire.power_metrics import PowerMetrics, power_metrics_from_own
from flyball.wire.text import decode

SIZE_LIMIT = 2**20


def shipped_names() -> MetricNames:
    """The names of vLLM, and of the endpoint picker before it."""
    return metrics_from_own(*_shipped("vllm.yaml"))


def shipped_power() -> PowerMetrics:
    """The names of Kepler, old and new, and of the DCGM exporter."""
    return power_metrics_from_own(*_shipped("power.yaml"))


def read_names(path: Path) -> MetricNames:
    """Read a file with the names of an engine's metrics. Or WireError."""
    return metrics_from_own(*_read(path))


def read_power_names(path: Path) -> PowerMetrics:
    """Read a file with the names of exporters' metrics. Or WireError."""
    return power_metrics_from_own(*_read(path))


def _shipped(name: str) -> tuple[object, str]:
    return decode(resources.files(__package__).joinpath(name).read_bytes(), name), name


def _read(path: Path) -> tuple[object, str]:
    where = str(path)
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_LIMIT + 1)
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or str(error)
        mend = "Give a file that this user may read"
        raise WireError(where, f"cannot be read ({problem})", mend=mend) from None
    return decode(data, where, SIZE_LIMIT), where
