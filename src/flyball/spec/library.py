"""Entries of the library of latency profiles: a model on cards of one kind under one engine, as measured."""

from __future__ import annotations

from typing import Literal

import msgspec

from flyball.spec.model import Precision
from flyball.spec.profile import IterationTiming, Uncertainty

EntryTier = Literal["measured", "op-level"]
"""measured: fitted to runs of the engine; op-level: added up from measured times of its kernels."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A latency profile of the library: what was measured, how well, and what speaks against it."""

    model: str
    """As in the library of models."""
    card: str
    """As in the library of cards."""
    tp: int
    """Cards that share the model."""
    engine: str
    precision: Precision
    """Of the weights; of the experts' weights where they differ."""
    tier: EntryTier
    timing: IterationTiming
    uncertainty: Uncertainty
    version: str = ""
    """Of the engine; empty: not recorded."""
    kv_tokens: int = 0
    shapes: int = 0
    """Lengths of prompt and answer that it was measured at; 0: op-level."""
    points: int = 0
    suspect: str = ""
    """Why its figures are not to be carried over to anything else; empty: nothing speaks against it."""
    notes: str = ""
    source: str = ""
