"""The one error of an expansion, in Kthena's words where it has any."""

from __future__ import annotations


class BoosterError(ValueError):
    """A ModelBooster that has no children as it stands; the message says what is wrong with which value."""


class PortError(BoosterError):
    """A port that is none, or ports that differ: which worker, and the value."""

    def __init__(self, message: str, worker: int, value: object) -> None:
        super().__init__(message)
        self.worker, self.value = worker, value
