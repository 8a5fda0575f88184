"""A replica's metrics as vLLM writes them, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterator

from flyball.simulate import histogram
from flyball.simulate.plant import Plant
from flyball.simulate.replicas import Counters, Gauges, IntArray


def metrics_text(plant: Plant, server: str, replica: int) -> str:
    """The metrics page of one replica; KeyError where it does not compute."""
    serving = plant.serving(server)
    number = plant.engine_number(server, replica)
    replicas = serving.replicas
    return page(serving.model, replicas.gauges(number), replicas.counters(number, plant.now()))


def page(model: str, gauges: Gauges, c: Counters) -> str:
    """The metrics page of a replica that serves a model under this name, with what it has and has done."""
    labels = f'engine="0",model_name="{escape(model)}"'
    lines: list[str] = []

    def add(name: str, kind: str, about: str, value: float, more: str = "") -> None:
        # A counter's family is named without `_total` in OpenMetrics only; the text format has it.
        lines.extend([f"# HELP vllm:{name} {about}", f"# TYPE vllm:{name} {kind}"])
        lines.append(f"vllm:{name}{{{labels}{more}}} {float(value)!r}")

    add("num_requests_running", "gauge", "Requests in the batch.", gauges.running)
    add("num_requests_waiting", "gauge", "Requests that wait for a place in the batch.", gauges.waiting)
    add("kv_cache_usage_perc", "gauge", "Share of the KV cache in use; 1 is full.", gauges.kv_usage)
    add("prompt_tokens_total", "counter", "Prompt tokens of requests with a first token.", c.prompt_tokens)
    add("generation_tokens_total", "counter", "Tokens given.", c.tokens)
    add("request_success_total", "counter", "Requests finished.", c.finished, ',finished_reason="length"')
    add("num_preemptions_total", "counter", "Times that a request was preempted.", c.preemptions)
    add("prefix_cache_queries_total", "counter", "Tokens looked for in the prefix cache.", c.queries)
    add("prefix_cache_hits_total", "counter", "Tokens found in the prefix cache.", c.hits)
    lines += _histogram(
        "time_to_first_token_seconds",
        "Time to the first token.",
        labels,
        c.ttft,
        c.ttft_sum,
        histogram.TTFT_BOUNDS,
    )
    lines += _histogram(
        "inter_token_latency_seconds",
        "Time between tokens.",
        labels,
        c.itl,
        c.itl_sum,
        histogram.TOKEN_BOUNDS,
    )
    lines += _histogram(
        "request_time_per_output_token_seconds",
        "Mean time between the tokens of a request.",
        labels,
        c.tpot,
        c.tpot_sum,
        histogram.TOKEN_BOUNDS,
    )
    # Of all sizes together: how they spread is not counted, their mean is exact.
    for name, about, total in (
        ("request_prompt_tokens", "Prompt tokens of a finished request.", c.in_tokens),
        ("request_generation_tokens", "Tokens given to a finished request.", c.out_tokens),
    ):
        lines += [f"# HELP vllm:{name} {about}", f"# TYPE vllm:{name} histogram"]
        lines.append(f'vllm:{name}_bucket{{{labels},le="+Inf"}} {c.finished}')
        lines += [
            f"vllm:{name}_sum{{{labels}}} {float(total)!r}",
            f"vllm:{name}_count{{{labels}}} {c.finished}",
        ]
    return "\n".join(lines) + "\n"


def _histogram(
    name: str, about: str, labels: str, fine: IntArray, total: float, bounds: tuple[float, ...]
) -> Iterator[str]:
    counts = histogram.cumulative(fine, bounds)
    yield f"# HELP vllm:{name} {about}"
    yield f"# TYPE vllm:{name} histogram"
    for bound, value in zip([*map(repr, bounds), "+Inf"], counts.tolist(), strict=True):
        yield f'vllm:{name}_bucket{{{labels},le="{bound}"}} {value}'
    yield f"vllm:{name}_sum{{{labels}}} {total!r}"
    yield f"vllm:{name}_count{{{labels}}} {int(counts[-1])}"


def escape(text: str) -> str:
    """A label's value as it stands between its quotes."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
