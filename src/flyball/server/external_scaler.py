"""KEDA's external scaler over gRPC: how many replicas a server should have, for KEDA to carry out.

The metric is the number of replicas and its target is 1, so the HPA that KEDA keeps goes to that number.
Where there is no number that holds, the answer is an error: KEDA does what its `fallback` says, or nothing.
Source: KEDA 2.21, pkg/scalers/externalscaler/externalscaler.proto.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import msgspec

from flyball.adapters.kubernetes.wanted import Stale, Unknown, Wanted, Withheld
from flyball.server.service.tls import Certificate
from flyball.units import Seconds
from flyball.wire.keda import (
    ScaledObject,
    is_active,
    metric_spec,
    metric_value,
    read_metrics_request,
    read_scaled_object,
)

SERVICE = "externalscaler.ExternalScaler"
METRIC, TARGET = "desired-replicas", 1.0
SERVER, WORKLOAD = "server", "workload"
"""What a trigger's metadata may say."""
LOOK: Seconds = 0.2
"""Between looks at whether we still lead, and at what streams tell."""
GRACE: Seconds = 1.0
LARGEST = 64 * 1024
"""Bytes of a request."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Where to listen, in plain text or with TLS. ValueError."""

    host: str = "127.0.0.1"
    port: int = 9090
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            mend = "a port is a number from 0 (any free one) to 65535"
            raise ValueError(f"the external scaler's port is {self.port}: {mend}")
        if (self.certificate is None) != (self.key is None):
            there, missing = ("certificate", "key") if self.key is None else ("key", "certificate")
            raise ValueError(f"the external scaler has a {there} and no {missing}: TLS wants both, as PEM")


_STATUS = (
    (Unknown, grpc.StatusCode.NOT_FOUND),
    (Withheld, grpc.StatusCode.FAILED_PRECONDITION),
    (Stale, grpc.StatusCode.UNAVAILABLE),
    (ValueError, grpc.StatusCode.INVALID_ARGUMENT),
)


class ExternalScaler:
    """Answers KEDA while `leads` says so; else its port is closed, and KEDA looks for whoever leads."""

    def __init__(self, wanted: Wanted, options: Options, leads: Callable[[], bool] = lambda: True) -> None:
        """`start` has it listen. ValueError: the certificate is none."""
        self._wanted, self._leads, self._host = wanted, leads, options.host
        self.certificate = None
        if options.certificate is not None and options.key is not None:
            self.certificate = Certificate(options.certificate, options.key)
        self.port = options.port
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        """host:port, as a trigger's scalerAddress has it."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{host}:{self.port}"

    def start(self) -> None:
        """Answer from now on, in a thread of its own. ValueError: the port cannot be had."""
        tried: list[str | None] = []
        ready = threading.Event()

        def tell(problem: str | None) -> None:
            tried.append(problem)
            ready.set()

        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run(tell)), name="flyball-external-scaler", daemon=True
        )
        self._thread.start()
        ready.wait()
        if tried[0] is not None:
            self._thread.join()
            raise ValueError(tried[0])

    def stop(self) -> None:
        """End: streams are ended, other answers may be finished."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    async def _run(self, tell: Callable[[str | None], None]) -> None:
        server: grpc.aio.Server | None = None
        try:
            try:
                server = await self._listening()  # also where another leads: to find out whether we could
            except Exception as error:
                tell(f"the external scaler cannot listen on {self.address}: {error}")
                return
            tell(None)
            while not self._stop.is_set():
                if server is not None and not self._leads():
                    await server.stop(GRACE)
                    server = None
                elif server is None and self._leads():
                    try:
                        server = await self._listening()
                    except RuntimeError:  # somebody took the port meanwhile
                        server = None
                await asyncio.sleep(LOOK)
        finally:
            if server is not None:
                await server.stop(GRACE)

    async def _listening(self) -> grpc.aio.Server:
        """A server that listens; RuntimeError."""
        # Without SO_REUSEPORT a port that is taken is an error.
        server = grpc.aio.server(
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", LARGEST)]
        )
        server.add_generic_rpc_handlers((self._handlers(),))
        if self.certificate is None:
            port = server.add_insecure_port(self.address)
        else:
            port = server.add_secure_port(self.address, _credentials(self.certificate))
        await server.start()
        self.port = port
        return server

    def _handlers(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "IsActive": grpc.unary_unary_rpc_method_handler(self._is_active),
                "StreamIsActive": grpc.unary_stream_rpc_method_handler(self._stream_is_active),
                "GetMetricSpec": grpc.unary_unary_rpc_method_handler(self._metric_spec),
                "GetMetrics": grpc.unary_unary_rpc_method_handler(self._metrics),
            },
        )

    # ---- what is asked -------------------------------------------------------------------------

    async def _is_active(self, request: bytes, context: Any) -> bytes:
        return is_active(await self._number(read_scaled_object, request, context) > 0)

    async def _stream_is_active(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        told: bool | None = None
        while not self._stop.is_set() and self._leads():
            active = await self._number(read_scaled_object, request, context) > 0
            if active != told:
                yield is_active(active)
                told = active
            await asyncio.sleep(LOOK)

    async def _metric_spec(self, request: bytes, context: Any) -> bytes:
        # The same for all and always: without it KEDA could not even fall back.
        return metric_spec(METRIC, TARGET)

    async def _metrics(self, request: bytes, context: Any) -> bytes:
        return metric_value(METRIC, await self._number(read_metrics_request, request, context))

    async def _number(self, read: Callable[[bytes], ScaledObject], request: bytes, context: Any) -> int:
        """Replicas; or the call ends with a status."""
        try:
            asking = read(request)
            return self._wanted.replicas(
                asking.namespace,
                server=asking.metadata.get(SERVER, ""),
                workload=asking.metadata.get(WORKLOAD, ""),
                near=asking.name,
            )
        except (Unknown, Withheld, Stale, ValueError) as error:
            status = next(status for kind, status in _STATUS if isinstance(error, kind))
            said = f"no such message: {error}" if isinstance(error, ValueError) else str(error)
        await context.abort(status, said)
        raise AssertionError  # abort has raised


def _credentials(certificate: Certificate) -> Any:
    """From its files, which are read again when they change; a pair that does not fit is not taken."""

    def current() -> Any:
        pair = certificate.key.read_bytes(), certificate.certificate.read_bytes()
        return grpc.ssl_server_certificate_configuration([pair])

    def renewed() -> Any:
        return current() if certificate.renew() is None else None

    return grpc.dynamic_ssl_server_credentials(current(), renewed)
