"""The port of all outputs."""

from __future__ import annotations

from typing import Protocol

from flyball.power.tell import News


class Notifier(Protocol):
    """Someone to tell. It remembers what it told, so that what failed or waits is told with the next news."""

    def tell(self, news: News) -> tuple[str, ...]:
        """Tell what is new; may take seconds. Says in a sentence each what could not be told."""
        ...
