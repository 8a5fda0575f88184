"""A fleet's history, as Prometheus would have scraped it: one pod for each thing that can happen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.prometheus import Line, histogram

STEP, BACK, AHEAD = 5.0, 400.0, 300.0
TTFT = (0.1, 0.25, 0.5, 1.0, 2.5)
ITL = (0.01, 0.025, 0.05, 0.1)
TOKENS = (100.0, 200.0, 500.0, 1000.0, 2000.0)


class Engine(NamedTuple):
    """What a pod shows at a time: seconds since now, and since its counters began."""

    labels: dict[str, str]
    running: Callable[[float], float]
    waiting: Callable[[float], float]
    rate: float
    """Finished requests a second, each of 150 and 400 input tokens in turn and 100 output tokens."""
    since: float = -BACK
    until: float = AHEAD
    began: float = -BACK
    restarted: float | None = None
    given_up: float = 0.0
    """Requests a second that get a first token and never finish."""

    def lines(self, t: float) -> Iterator[Line]:
        began = self.restarted if self.restarted is not None and t >= self.restarted else self.began
        count = self.rate * (t - began)
        first = (self.rate + self.given_up) * (t - began)
        model = {**self.labels, "model_name": "llama", "engine": self.labels.get("engine", "0")}
        yield "vllm:num_requests_running", model, self.running(t)
        yield "vllm:num_requests_waiting", model, self.waiting(t)
        yield "vllm:kv_cache_usage_perc", model, 0.5
        for reason, share in (("stop", 0.75), ("length", 0.25)):
            yield "vllm:request_success_total", {**model, "finished_reason": reason}, count * share
        yield "vllm:prompt_tokens_total", model, first * 275.0
        yield "vllm:generation_tokens_total", model, count * 100.0
        yield "vllm:num_preemptions_total", model, 0.0
        yield "vllm:prefix_cache_queries_total", model, first * 275.0
        yield "vllm:prefix_cache_hits_total", model, first * 55.0
        yield from histogram(
            "vllm:time_to_first_token_seconds", model, TTFT, {0.2: first * 0.9, 2.0: first * 0.1}
        )
        yield from histogram("vllm:request_time_per_output_token_seconds", model, ITL, {0.02: count})
        yield from histogram(
            "vllm:request_prompt_tokens", model, TOKENS, {150.0: count / 2, 400.0: count / 2}
        )
        yield from histogram("vllm:request_generation_tokens", model, TOKENS, {100.0: count})


def pod(name: str, **more: str) -> dict[str, str]:
    return {"namespace": "n", "pod": name, "job": "engines", **more}


def steady(value: float) -> Callable[[float], float]:
    return lambda _: value


ENGINES = (
    Engine(pod("chat-0"), steady(8.0), steady(0.0), 2.0),
    Engine(pod("chat-1"), steady(8.0), steady(2.0), 4.0),
    Engine(pod("full-0"), steady(16.0), lambda t: 3.0 * (t + BACK), 1.0),
    Engine(
        pod("restart-0"),
        lambda t: 100.0 if t < -10.0 else 5.0,
        steady(0.0),
        2.0,
        restarted=-10.0,
    ),
    Engine(pod("new-0"), steady(30.0), steady(12.0), 0.0, since=-10.0, began=-10.0),
    Engine(pod("late-0"), steady(1.0), steady(0.0), 1.0, until=-20.0),
    Engine(pod("nan-0"), steady(float("inf")), steady(float("nan")), 1.0),
    Engine(pod("twice-0"), steady(6.0), steady(0.0), 3.0),
    Engine(pod("twice-0", job="again"), steady(6.0), steady(0.0), 3.0),
    Engine(pod("hang-0"), steady(3.0), steady(0.0), 0.0),
    Engine(pod("pair-0", engine="0"), steady(3.0), steady(1.0), 1.0),
    Engine(pod("pair-0", engine="1"), steady(4.0), steady(0.0), 2.0),
    Engine(pod("impatient-0"), steady(4.0), steady(0.0), 5.0, given_up=5.0),
    Engine({"job": "elsewhere"}, steady(1000.0), steady(0.0), 1000.0),
)


def old(t: float) -> Iterator[Line]:
    """An engine before vLLM 0.10."""
    model = {**pod("old-0"), "model_name": "llama"}
    yield "vllm:num_requests_running", model, 4.0
    yield "vllm:num_requests_waiting", model, 0.0
    yield "vllm:gpu_cache_usage_perc", model, 0.25
    yield "vllm:request_success_total", {**model, "finished_reason": "stop"}, t + BACK
    yield "vllm:generation_tokens_total", model, 100.0 * (t + BACK)
    yield "vllm:gpu_prefix_cache_queries_total", model, 10.0 * (t + BACK)
    yield "vllm:gpu_prefix_cache_hits_total", model, 5.0 * (t + BACK)
    yield from histogram("vllm:time_per_output_token_seconds", model, ITL, {0.03: 99.0 * (t + BACK)})


def router(t: float) -> Iterator[Line]:
    """Endpoint pickers: one that hands on, one that turns away, and one before a server at zero."""
    here = {"namespace": "n", "job": "epp"}
    chat = {**here, "model_name": "chat", "target_model_name": "llama", "priority": "0"}
    for prefix in ("llm_d_epp", "inference_objective"):
        yield f"{prefix}_request_total", chat, 6.0 * (t + BACK)
        yield (
            f"{prefix}_request_error_total",
            {**chat, "error_code": "InferencePoolResourceExhausted"},
            2.0 * (t + BACK),
        )
        yield f"{prefix}_request_error_total", {**chat, "error_code": "ModelServerError"}, 50.0 * (t + BACK)
    for band in ("0", "1"):
        yield (
            "inference_extension_flow_control_queue_size",
            {
                **here,
                "model_name": "zero",
                "target_model_name": "",
                "inference_pool": "zero",
                "priority": band,
            },
            0.5 * (t + BACK),
        )


def samples(now: float) -> Iterator[tuple[float, Line]]:
    """Everything around now, Unix seconds."""
    for index in range(int((BACK + AHEAD) / STEP) + 1):
        t = index * STEP - BACK
        at = now + t
        for engine in ENGINES:
            if engine.since <= t <= engine.until:
                yield from ((at, line) for line in engine.lines(t))
        yield from ((at, line) for line in (*old(t), *router(t)))
