"""The client of the queue analysis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flyball.client.connection import Client
from flyball.client.operations import HEALTH, QUEUE
from flyball.wire.inferno_queue import QueueAnalysis, QueueOptimum, QueueRequest

Question = QueueRequest | Mapping[str, Any] | bytes


class QueueClient(Client):
    """Asks the queue analysis, Flyball's or Inferno's: milliseconds, requests per second."""

    operations = QUEUE | HEALTH

    def solve(self, question: Question) -> QueueAnalysis:
        """How a replica fares at a load."""
        return self._ask(QueueAnalysis, "solve", body=question)

    def target(self, question: Question) -> QueueAnalysis:
        """The most load that a replica takes within its targets, and how it fares there."""
        return self._ask(QueueAnalysis, "target", body=question)

    def optimize(self, question: Question) -> QueueOptimum:
        """The smallest batch that gives up next to no throughput within the targets."""
        return self._ask(QueueOptimum, "optimize", body=question)
