"""One connection: it may not stay without asking anything, or without taking what it asked for."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from flyball.units import Seconds

PATIENCE: Seconds = 30.0
"""So long the head of a first request may take to come, and an answer may stand still on its way out."""


class Connection(H11Protocol):
    """uvicorn's, which by itself waits forever: for the first request, for the rest of the head or of a
    refused body once a byte of it has come, and for a client that does not read.
    """

    def connection_made(self, transport: Any) -> None:
        """Begin to look after it."""
        super().connection_made(transport)
        self._before: tuple[object, int] = (None, 0)
        self._look_later()

    def connection_lost(self, exc: Exception | None) -> None:
        """Look no more."""
        self._looking.cancel()
        super().connection_lost(exc)

    def _look_later(self) -> None:
        self._looking = asyncio.get_running_loop().call_later(PATIENCE, self._look)

    def _look(self) -> None:
        now = self.cycle, self.transport.get_write_buffer_size()
        stays, unsent = now == self._before, now[1]
        self._before = now
        self._look_later()
        if stays and unsent:
            self.transport.abort()  # to close would be to wait until it is sent
        elif stays and (self.cycle is None or self.cycle.response_complete):
            self.transport.close()
