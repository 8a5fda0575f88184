"""One connection: it may not stay without asking anything."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from flyball.units import Seconds

PATIENCE: Seconds = 30.0
"""So long the head of a first request may take to come; between requests, uvicorn's keep-alive counts."""


class Connection(H11Protocol):
    """uvicorn's, which by itself waits forever for the first request."""

    def connection_made(self, transport: Any) -> None:
        """Begin to wait."""
        super().connection_made(transport)
        self._waiting = asyncio.get_running_loop().call_later(PATIENCE, self._tired)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._waiting.cancel()
        super().connection_lost(exc)

    def _tired(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()
