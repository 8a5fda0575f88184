"""Documents of Inferno's model tuner: what replicas show in, parameters and their standing out.

Milliseconds and requests per minute in the documents; `Observation` and `Prior` are in seconds. Field names
are taken whatever their case, unknown ones are passed over.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, field

from flyball.spec.calibration import Observation, Pair, Prior
from flyball.spec.profile import ChunkedTiming
from flyball.units import Seconds, from_ms, from_per_minute, to_ms
from flyball.wire.errors import WireError, shown
from flyball.wire.inferno_sections import Section, section_of
from flyball.wire.inferno_shapes import ModelData, PerfShape, ProfileShape, Reference, ServerShape
from flyball.wire.inferno_write import document_of
from flyball.wire.text import decode

T = TypeVar("T")
WHERE = "the body"
SIZE_LIMIT = 16 * 2**20
DIGITS = 8
"""Of the figures in answers, as single precision has them."""
BATCH_LIMIT = 4096
"""Requests in a batch that is learned from: what an estimate takes grows with it."""
BATCH_TOKENS_LIMIT = 250_000_000
"""Tokens of a full batch: no engine holds more."""
PAIRS_LIMIT = 1000
"""Of models and accelerators in one body: each may take a fit, which takes a third of a second."""
POINTS_LIMIT = 1000
"""In one body to calibrate with: all points of a pair are fitted together."""
ONE_CARD, USUAL_BATCH = 1, 256
"""Of a learned pair that the models given to /merge do not have."""

Positive = Annotated[float, Meta(ge=1e-9, le=1e12)]


class ReplicaShape(ServerShape, frozen=True):
    """A replica, in the form of a server; its name plays no part."""

    name: Reference = ""


class FilterShape(msgspec.Struct, frozen=True, rename="lower"):
    """How uncertain an observation is."""

    gamma_factor: Positive = field(default=1.0, name="gammafactor")
    error_level: Positive = field(default=0.5, name="errorlevel")
    t_percentile: Positive = field(default=1.96, name="tpercentile")


class ModelShape(msgspec.Struct, frozen=True):
    """Where the parameters begin, and how they may change."""

    init_state: tuple[Positive, Positive, Positive] = field(default=(5.0, 0.05, 0.00005), name="initstate")
    percent_change: tuple[Positive, Positive, Positive] = field(
        default=(0.15, 0.15, 0.15), name="percentchange"
    )
    bounded_state: bool = field(default=False, name="boundedstate")
    expected_observations: tuple[Positive, Positive] = field(
        default=(200.0, 40.0), name="expectedobservations"
    )


class Group(msgspec.Struct, frozen=True):
    """The replicas of a pair that have traffic: the largest of their batches, and what they show."""

    max_batch_size: int
    observations: tuple[Observation, ...]


class Parameters(msgspec.Struct, frozen=True):
    """The parameters of one pair; milliseconds."""

    accelerator: str
    alpha: float
    beta: float
    gamma: float
    last_updated: str = field(name="lastUpdated")
    model: str
    nis: Annotated[
        float, Meta(description="Of the last observation; 0 while warming up, and without a filter.")
    ]
    update_count: int = field(name="updateCount")


class WarmUp(msgspec.Struct, frozen=True):
    """Whether any pair is still to be learned."""

    warming_up: bool = field(name="warmingUp")


class CalibrationStatus(msgspec.Struct, frozen=True, rename="camel"):
    """How far one pair is."""

    model: str
    accelerator: str
    store_present: Annotated[bool, Meta(description="Whether it has parameters.")]
    calibrated: bool
    obs_count: int
    obs_target: Annotated[
        int, Meta(description="Observations that its first fit takes, or that calibrated it.")
    ]
    condition_number: Annotated[
        float | None, Meta(description="Of that fit, 0 before it; null where it has no bound.")
    ]
    ill_conditioned: Annotated[bool, Meta(description="The observations do not tell the parameters apart.")]
    needs_calibration: bool


class CalibrationStatuses(msgspec.Struct, frozen=True):
    """How far each pair is."""

    statuses: tuple[CalibrationStatus, ...]


class Refused(msgspec.Struct, frozen=True):
    """Why not."""

    error: str


def read_points(data: bytes) -> dict[Pair, Group] | None:
    """As `read_groups`, so few that they can be fitted together."""
    groups = read_groups(data)
    count = sum(len(group.observations) for group in (groups or {}).values())
    if count > POINTS_LIMIT:
        problem = f"holds {count:,} points, allowed are up to {POINTS_LIMIT:,}"
        raise WireError(WHERE, problem, mend="Send fewer of each pair, or the pairs one after the other")
    return groups


def read_groups(data: bytes) -> dict[Pair, Group] | None:
    """The replicas with traffic by pair; None for an empty list. Or WireError."""
    document = decode(data, WHERE, SIZE_LIMIT)
    if document is not None and not isinstance(document, list):
        raise WireError(
            WHERE, f"expected a list [...], got {shown(document)}", mend="Write a list of replicas"
        )
    replicas = Section(WHERE, "", document).rows(ReplicaShape)
    if not replicas:
        return None
    found: dict[Pair, Group] = {}
    for replica in replicas:
        now = replica.current_alloc
        if now is None or now.load is None or now.load.arrival_rate <= 0:
            continue
        if not replica.model or not now.accelerator:
            continue  # nobody could ask for what was learned
        pair = (replica.model, now.accelerator)
        before = found.get(pair, Group(0, ()))
        batch = replica.max_batch_size or now.max_batch
        made = _observation(replica, batch)
        found[pair] = Group(
            max(before.max_batch_size, batch),
            before.observations if made is None else (*before.observations, made),
        )
    if len(found) > PAIRS_LIMIT:
        problem = f"holds {len(found):,} pairs of model and accelerator, allowed are up to {PAIRS_LIMIT:,}"
        raise WireError(WHERE, problem, mend="Split it")
    return found


def _observation(replica: ServerShape, batch: int) -> Observation | None:
    """What it shows; None where something of it is missing, or beyond what is learned from."""
    now = replica.current_alloc
    if now is None or now.load is None:
        return None
    load = now.load
    if min(batch, load.avg_in_tokens, now.ttft_average, now.itl_average) <= 0 or load.avg_out_tokens < 1:
        return None
    tokens = batch * (load.avg_in_tokens + load.avg_out_tokens)
    if batch > BATCH_LIMIT or tokens > BATCH_TOKENS_LIMIT:
        return None
    return Observation(
        arrival_rate=from_per_minute(load.arrival_rate),
        in_tokens=load.avg_in_tokens,
        out_tokens=load.avg_out_tokens,
        max_batch_size=batch,
        ttft=from_ms(now.ttft_average),
        itl=from_ms(now.itl_average),
        queue_size=replica.max_queue_size,
    )


def read_models(data: bytes) -> tuple[ProfileShape, ...]:
    """The entries of model data. Or WireError."""
    return tuple(section_of(decode(data, WHERE, SIZE_LIMIT), WHERE, "models").rows(ProfileShape))


def read_prior(data: bytes, where: str) -> Prior:
    """The configuration of the filter, as in default-config-data.json. Or WireError.

    `minState` and `maxState` play no part: bounds follow the state, as in the original.
    """
    document = decode(data, where)
    noise = _part(section_of(document, where, "filterData"), FilterShape)
    model = _part(section_of(document, where, "modelData"), ModelShape)
    deviation = noise.error_level / noise.t_percentile / math.sqrt(noise.gamma_factor)
    ttft, itl = (from_ms(deviation * each) for each in model.expected_observations)
    return Prior(
        ChunkedTiming(*map(from_ms, model.init_state)), model.percent_change, (ttft, itl), model.bounded_state
    )


def _part(section: Section, kind: type[T]) -> T:
    return kind() if section.value is None else section.read(kind)


def profile_of(pair: Pair, timing: ChunkedTiming, max_batch_size: int, acc_count: int = 0) -> ProfileShape:
    """A learned pair as an entry of model data."""
    model, accelerator = pair
    return ProfileShape(
        name=model,
        acc=accelerator,
        acc_count=acc_count,
        max_batch_size=max_batch_size,
        perf_parms=_written(timing),
    )


def merged(models: tuple[ProfileShape, ...], learned: Mapping[Pair, ChunkedTiming]) -> ModelData:
    """The entries with what was learned as their parameters, and the learned pairs that are not there."""
    known = [
        msgspec.structs.replace(each, perf_parms=_written(learned[each.name, each.acc]))
        if (each.name, each.acc) in learned
        else each
        for each in models
    ]
    there = {(each.name, each.acc) for each in models}
    more = [
        profile_of(pair, timing, USUAL_BATCH, ONE_CARD)
        for pair, timing in learned.items()
        if pair not in there
    ]
    return ModelData((*known, *more))


def _written(timing: ChunkedTiming) -> PerfShape:
    return PerfShape(to_ms(timing.alpha), to_ms(timing.beta), to_ms(timing.gamma))


def parameters_of(
    pair: Pair, timing: ChunkedTiming, nis: float, updates: int, updated: Seconds
) -> Parameters:
    """One pair; `updated` is seconds since 1970."""
    written = _written(timing)
    moment = datetime.fromtimestamp(updated, UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
    model, accelerator = pair
    return Parameters(
        accelerator, written.alpha, written.beta, written.gamma, f"{moment}Z", model, nis, updates
    )


def written(document: ModelData | Parameters | WarmUp | CalibrationStatuses) -> bytes:
    """An answer as it is sent."""
    if isinstance(document, ModelData):
        return msgspec.json.encode(document_of(document, "G3", DIGITS))
    plain = msgspec.to_builtins(document)
    if isinstance(document, Parameters):
        plain |= {name: float(f"{plain[name]:.{DIGITS}g}") for name in ("alpha", "beta", "gamma")}
    return msgspec.json.encode(plain)
