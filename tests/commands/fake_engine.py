"""A small engine with OpenAI's streaming API, to measure: it batches by iteration, and takes real time.

An iteration takes alpha + beta n + kappa (KV tokens of the n that decode) + delta (prompt tokens that are
computed in it). Run as a process of its own: `python fake_engine.py '{"alpha": 0.002}'` prints its port.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

CHUNK = 2048
"""Prompt tokens that an iteration computes at most."""
DEFAULTS: dict[str, Any] = {
    "alpha": 0.005,
    "beta": 0.0,
    "kappa": 0.0,
    "delta": 0.0,
    "places": 64,
    "model": "tiny",
    "key": "",
    "metrics": True,
    "kv_blocks": 4000,
    "foreign": 0,
    "stream": True,
    "usage": True,
    "chat_only": False,
    "break_at": 0,
    "longest": 0,
}


@dataclass
class Sequence:
    """A request: prompt tokens, answer tokens, prompt tokens that are left to compute, tokens made."""

    prompt: int
    wanted: int
    left: int
    made: int = 0
    pieces: asyncio.Queue[int] = field(default_factory=asyncio.Queue)
    gone: bool = False


class Engine:
    """Sequences that wait, and those in the batch."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.o = options
        self.waiting: deque[Sequence] = deque()
        self.batch: list[Sequence] = []
        self.work = asyncio.Event()

    async def iterate(self) -> None:
        clock = asyncio.get_running_loop().time
        due = clock()
        while True:
            if not (self.batch or self.waiting):
                self.work.clear()
                await self.work.wait()
                due = clock()
            self.batch = [s for s in self.batch if not s.gone]
            while self.waiting and len(self.batch) < self.o["places"]:
                self.batch.append(self.waiting.popleft())
            decoding = [s for s in self.batch if not s.left]
            room, computed = CHUNK, 0
            first = []
            for s in self.batch:
                part = min(s.left, room - computed)
                if part:
                    computed += part
                    s.left -= part
                    if not s.left:
                        first.append(s)
            kv = sum(s.prompt + s.made for s in decoding)
            o = self.o
            # Due times add up: a late wake-up does not lengthen the iterations.
            due += o["alpha"] + o["beta"] * len(decoding) + o["kappa"] * kv + o["delta"] * computed
            await asyncio.sleep(max(due - clock(), 0))
            for s in [*decoding, *first]:
                s.made += 1
                s.pieces.put_nowait(s.made)
            self.batch = [s for s in self.batch if s.made < s.wanted]

    def metrics(self) -> str:
        labels = f'engine="0",model_name="{self.o["model"]}"'
        running = len(self.batch) + self.o["foreign"]
        return (
            "# TYPE vllm:num_requests_running gauge\n"
            f"vllm:num_requests_running{{{labels}}} {running}.0\n"
            f"vllm:num_requests_waiting{{{labels}}} {len(self.waiting)}.0\n"
            f'vllm:cache_config_info{{block_size="16",num_gpu_blocks="{self.o["kv_blocks"]}"}} 1.0\n'
        )


async def serve(engine: Engine, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *rest = head.split("\r\n")
            headers = {k.lower(): v for k, _, v in (each.partition(": ") for each in rest)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            await answer(engine, line.split()[1], headers, body, writer)
    writer.close()


async def answer(
    engine: Engine, path: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter
) -> None:
    o = engine.o
    if path.startswith("/v1") and o["key"] and headers.get("authorization") != f"Bearer {o['key']}":
        return send(writer, 401, {"error": {"message": "Unauthorized"}})
    if path == "/v1/models":
        return send(writer, 200, {"object": "list", "data": [{"id": o["model"], "object": "model"}]})
    if path == "/version":
        return send(writer, 200, {"version": "0.0.fake"})
    if path == "/metrics" and o["metrics"]:
        return send(writer, 200, engine.metrics())
    routes = ["/v1/chat/completions"] if o["chat_only"] else ["/v1/completions", "/v1/chat/completions"]
    if path not in routes:
        return send(writer, 404, {"detail": "Not Found"})
    asked = json.loads(body)
    if asked["model"] != o["model"]:
        said = f"The model `{asked['model']}` does not exist."
        return send(writer, 404, {"object": "error", "message": said, "code": 404})
    text = asked["prompt"] if "prompt" in asked else asked["messages"][0]["content"]
    prompt = len(text.split()) + 3  # a template has some too
    if o["longest"] and prompt + asked["max_tokens"] > o["longest"]:
        return send(writer, 400, {"error": {"message": f"longer than {o['longest']} tokens"}})
    if not o["stream"]:
        return send(writer, 200, {"choices": [{"text": "all at once"}]})
    await stream(engine, prompt, asked["max_tokens"], "prompt" in asked, writer)


async def stream(engine: Engine, prompt: int, wanted: int, plain: bool, writer: asyncio.StreamWriter) -> None:
    sequence = Sequence(prompt, wanted, prompt)
    engine.waiting.append(sequence)
    engine.work.set()
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    choice = {"index": 0, "text": " x"} if plain else {"index": 0, "delta": {"content": " x"}}
    piece = event({"id": "1", "choices": [choice], "usage": None})
    try:
        if not plain:
            writer.write(event({"choices": [{"delta": {"role": "assistant", "content": ""}}]}))
        while await sequence.pieces.get() < wanted:
            writer.write(piece)
            if 0 < engine.o["break_at"] <= len(engine.batch):
                writer.close()
            if writer.is_closing():
                raise ConnectionResetError
            await writer.drain()
        writer.write(piece)
        usage = {"prompt_tokens": prompt, "completion_tokens": wanted}
        if engine.o["usage"]:
            writer.write(event({"choices": [], "usage": usage}))
        writer.write(framed(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        await writer.drain()
    finally:
        sequence.gone = True
        with suppress(ValueError):
            engine.waiting.remove(sequence)


def event(document: object) -> bytes:
    return framed(b"data: " + json.dumps(document).encode() + b"\n\n")


def framed(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def send(writer: asyncio.StreamWriter, status: int, document: object) -> None:
    text = isinstance(document, str)
    data = str(document).encode() if text else json.dumps(document).encode()
    kind = "text/plain" if text else "application/json"
    writer.write(
        f"HTTP/1.1 {status} Words\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n\r\n".encode()
        + data
    )


async def main(options: dict[str, Any]) -> None:
    engine = Engine(DEFAULTS | options)
    server = await asyncio.start_server(lambda r, w: serve(engine, r, w), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await engine.iterate()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
