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

    None of those that serve leaves before the first new one is ready; pending ones, which serve nobody, count
    last. `max_rate` is of one replica within the targets; an accelerator without one keeps all it has.
    """
    old = sorted(name for name in asked if name != to)
    have = ready.get(to, 0)
    if have >= replicas > 0:
        return dict.fromkeys(old, 0)
    left = math.inf if not have else demand - have * max_rate.get(to, 0.0)
    keep = dict.fromkeys(old, 0)
    for serving in (True, False):
        for name in old:
            there = ready.get(name, 0) if serving else asked[name] - keep[name]
            rate = max_rate.get(name, 0.0)
            needed = there if rate <= 0 else min(there, max(_ceil(left / rate), 0))
            keep[name] += needed
            left -= needed * rate
        if not have:
            left = demand - sum(keep[name] * max_rate.get(name, 0.0) for name in old)
    return keep


def _ceil(value: float) -> int:
    return 1 << 30 if math.isinf(value) else math.ceil(value - 1e-9)
