"""How an engine's metrics are called: the shipped names of vLLM, and files of others."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from flyball.wire.errors import WireError
from flyball.wire.metrics import MetricNames, metrics_from_own
from flyball.wire.text import decode

SIZE_LIMIT = 2**20


def shipped_names() -> MetricNames:
    """The names of vLLM, and of the endpoint picker before it."""
    name = "vllm.yaml"
    return metrics_from_own(decode(resources.files(__package__).joinpath(name).read_bytes(), name), name)


def read_names(path: Path) -> MetricNames:
    """Read a file with the names of an engine's metrics. Or WireError."""
    where = str(path)
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_LIMIT + 1)
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or str(error)
        mend = "Give a file that this user may read"
        raise WireError(where, f"cannot be read ({problem})", mend=mend) from None
    return metrics_from_own(decode(data, where, SIZE_LIMIT), where)
