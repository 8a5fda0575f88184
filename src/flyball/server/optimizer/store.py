"""The system that is kept between requests: an immutable value, exchanged as a whole."""

from __future__ import annotations

import threading
from collections.abc import Callable

from flyball.server.optimizer.changes import Change
from flyball.server.service.answers import Refusal
from flyball.wire.inferno_system import System

Keep = Callable[[System], None]
"""Write a system down; it is there when this returns. Or OSError."""


class Store:
    """Readers take `system` as it is; changes are made one after the other, kept first, then shown."""

    def __init__(self, system: System, keep: Keep | None = None) -> None:
        self.system = system
        self._keep = keep
        self._one = threading.Lock()

    def change(self, change: Change) -> tuple[System, System]:
        """Make a change; returns what was before and after it. Whatever is raised, nothing has changed."""
        with self._one:
            before = self.system
            after = change(before)
            if self._keep is not None and after is not before:
                try:
                    self._keep(after)
                except OSError as error:
                    raise Refusal(
                        500,
                        f"{error.filename}: the state cannot be kept ({error.strerror}), so nothing has "
                        "changed. Free space there, or let this user write it",
                    ) from None
            self.system = after
            return before, after
