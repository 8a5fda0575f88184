"""Hand-over between accelerators: new replicas are ready before old ones leave."""

from __future__ import annotations

import math
from collections.abc import Mapping

from flyball.units import RequestsPerSecond


def still_needed(
    asked: Mapping[str, int],
    ready: Mapping[str, int],
    to: str,
    replicas: int,
    demand: RequestsPerSecond,
    max_rate: Mapping[str, RequestsPerSecond],
) -> dict[str, int]:
    """Replicas that every other accelerator must keep until `replicas` are ready on `to`.

    `max_rate` is of one replica within the targets; an accelerator without one keeps all it has.
    """
    old = sorted(name for name in asked if name != to)
    if ready.get(to, 0) >= replicas > 0:
        return dict.fromkeys(old, 0)
    left = max(demand - ready.get(to, 0) * max_rate.get(to, 0.0), 0.0)
    keep: dict[str, int] = {}
    for name in old:
        rate = max_rate.get(name, 0.0)
        keep[name] = asked[name] if rate <= 0 else min(asked[name], math.ceil(left / rate - 1e-9))
        left = max(left - keep[name] * rate, 0.0)
    return keep
