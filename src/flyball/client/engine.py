"""The client of an engine with OpenAI's API, such as vLLM: streamed answers, timed piece by piece."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
import msgspec

from flyball.client.connection import CONNECT, LOCAL, address_of, token_in, trust_of
from flyball.client.errors import CallError, shown_text, unanswered
from flyball.client.read import read
from flyball.spec.measurement import Streamed
from flyball.units import Seconds
from flyball.wire.engine import EngineMetrics, ModelNames, Piece, metrics_from_text, reason_in

COMPLETIONS, CHAT = "v1/completions", "v1/chat/completions"
EVENT, END = b"data:", b"[DONE]"
LONGEST = 1000
"""Characters of a refusal that a message repeats."""
_PIECE = msgspec.json.Decoder(Piece)


class Flight:
    """An answer under way."""

    __slots__ = ("arrivals", "in_tokens", "out_tokens", "sent")

    def __init__(self) -> None:
        self.sent: Seconds = time.monotonic()
        self.arrivals: list[Seconds] = []
        self.in_tokens = self.out_tokens = 0

    def seen(self) -> Streamed:
        """So far."""
        return Streamed(self.sent, tuple(self.arrivals), self.in_tokens, self.out_tokens)


class EngineClient:
    """Asks one replica, as many questions at once as wanted. ValueError: an option makes no sense; else
    CallError.
    """

    def __init__(
        self, url: str, *, token_file: Path | None = None, ca: Path | None = None, timeout: Seconds = 60.0
    ) -> None:
        """`timeout` is for a silent engine: to the first piece, and between two."""
        self.url = address_of(url).removesuffix("/v1")
        if not timeout > 0:
            raise ValueError(f"the timeout is {timeout:g}: it is seconds above 0")
        self.timeout = timeout
        self.route = COMPLETIONS
        token = None if token_file is None else token_in(token_file)
        self._token = token is not None
        self._http = httpx2.AsyncClient(
            verify=trust_of(ca, True) if self.url.startswith("https:") else False,
            timeout=httpx2.Timeout(timeout, connect=min(timeout, CONNECT), pool=None),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None),
            # Packed pieces would come in lumps.
            headers={"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {token}"} if token else {}),
            mounts=LOCAL,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def models(self) -> list[str]:
        """The models that it serves."""
        url = f"{self.url}/v1/models"
        answer = await self._got(url)
        if not answer.is_success:
            raise self._refused(answer, url)
        try:
            return [each.id for each in read(answer.content, ModelNames).data]
        except ValueError as error:
            mend = "Is this an engine with OpenAI's API, and nothing in between?"
            raise CallError(200, f"it lists no models: {error}", url=url, mend=mend) from None

    async def metrics(self) -> EngineMetrics | None:
        """What its metrics say; None where it has none, or others than vLLM's."""
        try:
            answer = await self._got(f"{self.url}/metrics")
        except CallError:
            return None
        found = metrics_from_text(answer.text) if answer.is_success else None
        return found if found is not None and found.engines else None

    async def version(self) -> str:
        """Of the engine; "" where it does not say."""
        try:
            answer = await self._got(f"{self.url}/version")
            said = msgspec.json.decode(answer.content) if answer.is_success else None
        except (CallError, msgspec.DecodeError, UnicodeDecodeError):
            return ""
        version = said.get("version") if isinstance(said, dict) else None
        return shown_text(version, 40) if isinstance(version, str) else ""

    async def _got(self, url: str) -> httpx2.Response:
        try:
            return await self._http.get(url)
        except httpx2.HTTPError as error:
            raise unanswered(error, url, self.timeout) from None

    async def probe(self, model: str, prompt: str, out_tokens: int, served: Sequence[str]) -> Streamed:
        """A first question, by which it finds the route that is there; the answer says its tokens."""
        try:
            return await self._probed(model, prompt, out_tokens)
        except CallError as error:
            # A model that is not there is a 404 too.
            if error.status not in (404, 405) or model not in served:
                raise
        self.route = CHAT
        return await self._probed(model, prompt, out_tokens)

    async def _probed(self, model: str, prompt: str, out_tokens: int) -> Streamed:
        flight = Flight()
        await self.answer(flight, model, prompt, out_tokens)
        url = f"{self.url}/{self.route}"
        if not flight.arrivals:
            mend = "Is the model one that generates text?"
            raise CallError(200, "the stream holds no text", url=url, mend=mend)
        if not flight.in_tokens or not flight.out_tokens:
            mend = "Let it take stream_options with include_usage, and nothing in between strip it"
            raise CallError(200, "the stream does not say how many tokens it took", url=url, mend=mend)
        return flight.seen()

    async def answer(self, flight: Flight, model: str, prompt: str, out_tokens: int) -> None:
        """Ask, and note in `flight` when each piece of the answer came."""
        url = f"{self.url}/{self.route}"
        asked = _question(self.route, model, prompt, out_tokens)
        flight.sent = time.monotonic()
        try:
            async with self._http.stream("POST", url, json=asked) as answer:
                if not answer.is_success:
                    await answer.aread()
                    raise self._refused(answer, url)
                kind = answer.headers.get("content-type", "")
                if not kind.startswith("text/event-stream"):
                    mend = "Nothing between here and the engine may collect the answer first"
                    problem = f"the answer is no stream but {shown_text(kind, 60) or 'of no stated kind'}"
                    raise CallError(answer.status_code, problem, url=url, mend=mend)
                await self._note(answer, flight, url)
        except httpx2.HTTPError as error:
            raise unanswered(error, url, self.timeout) from None

    async def _note(self, answer: httpx2.Response, flight: Flight, url: str) -> None:
        rest = b""
        ended = False
        async for data in answer.aiter_bytes():
            now = time.monotonic()
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if not line.startswith(EVENT):
                    continue
                event = line[len(EVENT) :].strip()
                if event == END:
                    ended = True
                    continue
                piece = _piece(event, url)
                if piece.choices and piece.choices[0].holds_text:
                    flight.arrivals.append(now)
                if piece.usage is not None:
                    flight.in_tokens = piece.usage.prompt_tokens
                    flight.out_tokens = piece.usage.completion_tokens
        if not ended:
            flight.out_tokens = 0
            raise CallError(None, "the stream broke off", url=url, mend="Its log says more")

    def _refused(self, answer: httpx2.Response, url: str) -> CallError:
        status = answer.status_code
        said = shown_text(reason_in(answer.content), LONGEST)
        if status in (401, 403):
            mend = "The key is none of the engine's" if self._token else "Give a file with the key"
            mend += " (--api-key-file)"
        elif status == 404:
            mend = "Is this an engine with OpenAI's API? Give its address without a path behind it"
        elif 300 <= status < 400:
            there = shown_text(answer.headers.get("location", ""), 200)
            mend = f"It is elsewhere{': ask ' + there if there else ''}; redirections are not followed"
        else:
            mend = "Its log says more" if status >= 500 else ""
        return CallError(status, said or "it does not say why", url=url, mend=mend)


def _piece(event: bytes, url: str) -> Piece:
    try:
        piece = _PIECE.decode(event)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        mend = "Is this an engine with OpenAI's API, and nothing in between?"
        raise CallError(200, f"its stream cannot be understood: {error}", url=url, mend=mend) from None
    if piece.error is not None:
        said = shown_text(reason_in(event), LONGEST)
        raise CallError(None, said or "it broke off the stream", url=url, mend="Its log says more")
    return piece


def _question(route: str, model: str, prompt: str, out_tokens: int) -> dict[str, Any]:
    """All of so many tokens: an engine that knows `ignore_eos` does not end early."""
    words: dict[str, Any] = {"prompt": prompt}
    if route == CHAT:
        words = {"messages": [{"role": "user", "content": prompt}]}
    return {
        "model": model,
        **words,
        "max_tokens": out_tokens,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
