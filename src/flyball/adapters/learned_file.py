"""What the model tuner has learned in a file: seconds, requests per second."""

from __future__ import annotations

import msgspec

from flyball.adapters.kept import KeptFile
from flyball.calibrate.inferno.pair import State, States


class _Pair(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: str
    accelerator: str
    state: State


class _Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: str
    version: int
    pairs: tuple[_Pair, ...]


class LearnedFile(KeptFile[States]):
    """Takes the file for this process until `close`. Or StateFileError."""

    kind = "LearnedParameters"
    what = "store of a model tuner"
    afresh = "nothing learned"
    document = _Kept

    def of_document(self, document: _Kept) -> States:
        """The states by pair."""
        return {(each.model, each.accelerator): each.state for each in document.pairs}

    def to_document(self, value: States) -> _Kept:
        """The states in their order, and what they are."""
        pairs = tuple(_Pair(model, accelerator, state) for (model, accelerator), state in value.items())
        return _Kept(self.kind, self.version, pairs)
