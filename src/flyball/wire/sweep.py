"""A sweep's measurements: as the CSV that `flyball profiles fit` reads, and as points for a model tuner."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flyball.spec.measurement import Point
from flyball.units import to_ms, to_per_minute
from flyball.wire.inferno_shapes import AllocationShape, LoadShape, ServerShape

HEADER = "concurrency,input_tokens,output_tokens,tpot_ms,ttft_ms,p95_itl_ms,p95_ttft_ms,tokens_per_s,requests"


def sweep_csv(title: str, rows: Iterable[tuple[Point, Sequence[float], bool]]) -> str:
    """A line for each point with figures that no fit reads; those that do not count are comments."""
    lines = [f"# {' '.join(title.split())}", HEADER]
    for point, more, counts in rows:
        ttft = "" if point.ttft is None else f"{to_ms(point.ttft):.6g}"
        known = (point.concurrency, point.in_tokens, point.out_tokens, to_ms(point.tpot))
        p95_itl, p95_ttft, throughput, requests = more
        cells = [*known, ttft, to_ms(p95_itl), to_ms(p95_ttft), throughput, requests]
        line = ",".join(each if isinstance(each, str) else f"{each:.6g}" for each in cells)
        lines.append(line if counts else f"# left out: {line}")
    return "\n".join(lines) + "\n"


def tuner_points(
    model: str, accelerator: str, max_batch: int, rows: Iterable[tuple[Point, float]]
) -> list[ServerShape]:
    """Points with the requests per second that they took, in the form of servers."""
    return [
        ServerShape(
            name=f"sweep-{i}",
            model=model,
            max_batch_size=max_batch,
            current_alloc=AllocationShape(
                accelerator,
                1,
                max_batch,
                itl_average=to_ms(point.tpot),
                ttft_average=to_ms(point.ttft or 0.0),
                load=LoadShape(
                    to_per_minute(rate), avg_in_tokens=point.in_tokens, avg_out_tokens=point.out_tokens
                ),
            ),
        )
        for i, (point, rate) in enumerate(rows, 1)
    ]
