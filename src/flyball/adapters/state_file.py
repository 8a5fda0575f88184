"""The system of a stateful optimizer in a file."""

from __future__ import annotations

import msgspec

from flyball.adapters.kept import KeptFile, StateFileError
from flyball.wire.inferno_system import System

__all__ = ["StateFile", "StateFileError"]


class _Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: str
    version: int
    system: System


class StateFile(KeptFile[System]):
    """Takes the file for this process until `close`. Or StateFileError."""

    kind = "InfernoSystem"
    what = "state of an optimizer"
    afresh = "an empty system"
    document = _Kept

    def of_document(self, document: _Kept) -> System:
        """The system."""
        return document.system

    def to_document(self, value: System) -> _Kept:
        """The system, and what it is."""
        return _Kept(self.kind, self.version, value)
