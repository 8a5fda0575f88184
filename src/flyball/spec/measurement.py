"""Measurements: times that a load generator saw of one engine at one load."""

from __future__ import annotations

import msgspec

from flyball.units import Seconds, Tokens


class Point(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Means of a run at one load and one length of prompt and answer."""

    in_tokens: Tokens
    out_tokens: Tokens
    tpot: Seconds
    """Between the tokens of a request."""
    concurrency: float = 0.0
    """Requests in the system; 0: not known, `running` is."""
    running: float = 0.0
    """Of these, requests that decode; 0: not known."""
    ttft: Seconds | None = None
    """None: not measured."""
    line: int = 0
    """Where it stands in its file; 0: nowhere."""


class Run(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model on cards of one system under one engine, at one layout, in the words of whoever measured it."""

    path: str
    """Of the model."""
    system: str
    engine: str
    version: str
    precision: str
    tp: int
    moe_tp: int
    """Cards that share the matrices of an expert; 0 or 1: none."""
    moe_ep: int
    """Ranks that the experts are split over."""
    points: tuple[Point, ...]


class Streamed(msgspec.Struct, frozen=True):
    """One streamed answer as it came in; moments are seconds of one clock."""

    sent: Seconds
    arrivals: tuple[Seconds, ...] = ()
    """Of its pieces, most of them a token."""
    in_tokens: int = 0
    out_tokens: int = 0
    """As the engine counted them; 0: cut short."""
