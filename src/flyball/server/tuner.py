"""Inferno's model tuner over HTTP: it learns the parameters of each model on each accelerator from what
replicas show.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.handlers import BaseRouteHandler
from litestar.openapi.spec import OpenAPIType, Schema

from flyball.calibrate.inferno.pair import States, ill_conditioned, needs_calibration, warming_up
from flyball.calibrate.inferno.tuner import Observed, Reasons, calibrate, tune
from flyball.server.service.answers import JSON, Refusal
from flyball.server.service.describe import describe
from flyball.server.service.exchange import note
from flyball.server.service.service import Service
from flyball.server.service.telemetry import telemetry_of
from flyball.server.service.work import Limits, body_of, worked
from flyball.spec.calibration import Pair, Tuning
from flyball.units import Seconds
from flyball.wire.errors import WireError
from flyball.wire.inferno_shapes import AllocationShape, LoadShape, ModelData, PerfShape, ProfileShape
from flyball.wire.inferno_tuner import (
    SIZE_LIMIT,
    CalibrationStatus,
    CalibrationStatuses,
    Group,
    Parameters,
    Refused,
    ReplicaShape,
    WarmUp,
    merged,
    parameters_of,
    profile_of,
    read_groups,
    read_models,
    read_points,
    written,
)

Clock = Callable[[], Seconds]
"""Seconds since 1970."""
Keep = Callable[[States], None]
"""Write the states down; they are there when this returns. Or OSError."""
Web = Request[Any, Any, Any]
Answer = Response[bytes]
Learn = Callable[[States, Observed, Tuning, Seconds], tuple[States, Reasons]]
Groups = Mapping[Pair, Group]

KEPT_PAIRS_LIMIT = 10_000
"""That are known at once: there is no way to take one out."""
REPLICA = ReplicaShape(
    name="chat/pod-0",
    model="granite_8b",
    service_class="Premium",
    current_alloc=AllocationShape(
        accelerator="H100",
        num_replicas=1,
        max_batch=256,
        itl_average=8.72,
        ttft_average=25.2,
        load=LoadShape(arrival_rate=60.0, throughput=60.0, avg_in_tokens=512.0, avg_out_tokens=128.0),
    ),
)
ENTRY = ProfileShape("granite_8b", "H100", 1, 256, perf_parms=PerfShape(8.0, 0.016, 0.0005))
UNREADABLE = "The body cannot be read, or is empty."


class Tuner:
    """All that is learned: readers take `states` as they are, learners exchange them as a whole, in turn."""

    def __init__(
        self, tuning: Tuning, clock: Clock, states: States | None = None, keep: Keep | None = None
    ) -> None:
        self.tuning, self.clock = tuning, clock
        self.states: States = states or {}
        self._keep = keep
        self._one = threading.Lock()

    def learn(self, how: Learn, groups: Groups) -> tuple[States, Reasons]:
        """Take in what replicas show; all states then, and of whom nothing was learned and why. Kept first,
        then shown; or Refusal: then nothing has changed.
        """
        observed = {pair: group.observations for pair, group in groups.items()}
        with self._one:
            before = self.states
            after, reasons = how(before, observed, self.tuning, self.clock())
            if len(after) > max(KEPT_PAIRS_LIMIT, len(before)):
                raise Refusal(422, f"{len(after):,} pairs of model and accelerator: at most "
                              f"{KEPT_PAIRS_LIMIT:,} are learned. Start a second tuner")  # fmt: skip
            if self._keep is not None and after != before:
                try:
                    self._keep(after)
                except OSError as error:
                    raise Refusal(
                        500,
                        f"{error.filename}: what was learned cannot be kept ({error.strerror}), so nothing "
                        "has changed. Free space there, or let this user write it",
                    ) from None
            self.states = after
            return after, reasons


def service(
    tuning: Tuning, clock: Clock, *, states: States | None = None, keep: Keep | None = None
) -> Service:
    """The routes as a service of their own: it begins with `states`, and `keep` writes each change."""
    return Service(
        name="tuner",
        title="Flyball: model tuner",
        about="Learns the parameters of the third generation of Inferno's model (perfParms) from the loads "
        "and latencies of replicas. Times are milliseconds, rates are requests per minute.",
        handlers=handlers(Tuner(tuning, clock, states, keep)),
        limits=Limits(body=SIZE_LIMIT),
    )


def handlers(tuner: Tuner) -> tuple[BaseRouteHandler, ...]:
    """POST /tune, /calibrate and /merge; GET /getparams, /warmup and /calibration-status."""
    name = Schema(type=OpenAPIType.STRING)
    return (
        _taking(
            "/tune",
            tuner,
            tuned,
            tag="Learn",
            summary="Learn from what replicas show",
            body=list[ReplicaShape],
            example=[REPLICA],
            refusals={
                400: UNREADABLE,
                422: "No replica has traffic, or no pair in the body has parameters yet.",
            },
        ),
        _taking(
            "/calibrate",
            tuner,
            calibrated,
            tag="Learn",
            summary="Learn from points that were measured on purpose",
            body=list[ReplicaShape],
            example=[REPLICA],
            refusals={
                400: UNREADABLE,
                422: "No point has traffic, or no pair could be calibrated.",
            },
        ),
        _taking(
            "/merge",
            tuner,
            merge,
            tag="Show",
            summary="Put what was learned into model data",
            body=ModelData,
            example=ModelData((ENTRY,)),
            refusals={400: UNREADABLE},
        ),
        _showing(
            "/getparams",
            lambda web: parameters(tuner, _asked(web, "model"), _asked(web, "accelerator")),
            summary="The parameters of one pair",
            kind=Parameters,
            query={"model": (name, "The model."), "accelerator": (name, "The accelerator.")},
            refusals={400: "A name is missing.", 404: "Nothing is learned of this pair yet."},
        ),
        _showing(
            "/warmup",
            lambda web: WarmUp(warming_up(tuner.states, tuner.tuning)),
            summary="Whether any pair is still to be learned",
            kind=WarmUp,
        ),
        _showing(
            "/calibration-status",
            lambda web: statuses(tuner),
            summary="How far each pair is",
            kind=CalibrationStatuses,
        ),
    )


def tuned(tuner: Tuner, data: bytes) -> ModelData:
    """The first replica of each pair is an observation; with the filter, each of them is. Answers the
    parameters of the pairs in the body; while a pair collects its first observations it has none.
    """
    groups = _groups(read_groups, data, "replicaSpecs must not be empty")
    if not groups:
        raise Refusal(422, "no replicas with active traffic in request")
    states, reasons = tuner.learn(tune, groups)
    _note(reasons)
    return _learned(states, groups) or _nothing("tuning")


def calibrated(tuner: Tuner, data: bytes) -> ModelData:
    """Two or more points of a pair, unlike in load and lengths, are fitted together, and what was learned
    before is forgotten. Answers the pairs that this call has calibrated.
    """
    groups = _groups(read_points, data, "calibration points must not be empty")
    if not groups:
        raise Refusal(422, "no calibration points with active traffic in request")
    states, reasons = tuner.learn(calibrate, groups)
    _note(reasons)
    done = {pair: group for pair, group in groups.items() if pair not in reasons}
    return _learned(states, done) or _nothing("calibration")


def merge(tuner: Tuner, data: bytes) -> ModelData:
    """Entries of learned pairs get the learned parameters, others stay; learned pairs without an entry
    follow.
    """
    try:
        models = read_models(data)
    except WireError as error:
        raise _unreadable(error) from None
    states = tuner.states
    return merged(models, {pair: s.learned.timing for pair, s in states.items() if s.learned is not None})


def parameters(tuner: Tuner, model: str, accelerator: str) -> Parameters:
    """What was last learned."""
    state = tuner.states.get((model, accelerator))
    if state is None or state.learned is None:
        raise Refusal(404, f"no parameters found for model={model} accelerator={accelerator}")
    learned = state.learned
    return parameters_of((model, accelerator), learned.timing, learned.nis, learned.updates, learned.updated)


def statuses(tuner: Tuner) -> CalibrationStatuses:
    """Observations, and whether they tell the parameters apart."""
    return CalibrationStatuses(
        tuple(
            CalibrationStatus(
                model,
                accelerator,
                state.learned is not None,
                state.calibrated,
                state.seen,
                state.target,
                state.condition_number,
                ill_conditioned(state, tuner.tuning),
                needs_calibration(state, tuner.tuning),
            )
            for (model, accelerator), state in tuner.states.items()
        )
    )


def _groups(read: Callable[[bytes], Groups | None], data: bytes, empty: str) -> Groups:
    try:
        groups = read(data)
    except WireError as error:
        raise _unreadable(error) from None
    if groups is None:
        raise Refusal(400, empty)
    return groups


def _learned(states: States, groups: Groups) -> ModelData | None:
    """The parameters of those pairs that have any; None where none has."""
    rows = [
        profile_of(pair, state.learned.timing, group.max_batch_size)
        for pair, group in groups.items()
        if (state := states.get(pair)) is not None and state.learned is not None
    ]
    return ModelData(tuple(rows)) if rows else None


def _nothing(what: str) -> ModelData:
    raise Refusal(422, f"{what} produced no results for any model/accelerator group")


def _note(reasons: Reasons) -> None:
    """The answers are the original's, without reasons: those go into the log."""
    if reasons:
        note(not_learned={f"{model} on {acc}": reason for (model, acc), reason in reasons.items()})


def _unreadable(error: WireError) -> Refusal:
    return Refusal(400, f"invalid request body: {error}")


def _asked(web: Web, name: str) -> str:
    value = web.query_params.get(name, "")
    if not value:
        raise Refusal(400, f"{name} is required")
    return str(value)


def _sent(data: bytes, status: int = 200) -> Answer:
    return Response(data, status_code=status, media_type=JSON)


def _refusal(_: Any, error: Refusal) -> Answer:
    """Compact, and as an `error`: this service of Inferno's has ways of its own."""
    made = _sent(msgspec.json.encode(Refused(error.message)), error.status)
    made.headers.update(error.headers)
    return made


def _taking(
    path: str,
    tuner: Tuner,
    find: Callable[[Tuner, bytes], ModelData],
    *,
    tag: str,
    summary: str,
    body: Any,
    example: object,
    refusals: Mapping[int, str],
) -> BaseRouteHandler:
    @post(
        path,
        status_code=200,
        summary=summary,
        tags=[tag],
        description=find.__doc__,
        operation_id=path.removeprefix("/"),
        operation_class=describe(
            body=body,
            answer=ModelData,
            example=example,
            answered=ModelData((ENTRY,)),
            refusals=refusals,
            refused=Refused,
        ),
        exception_handlers={Refusal: _refusal},
    )
    async def handle(request: Web) -> Answer:
        data = await body_of(request)
        try:
            return _sent(await worked(request, lambda: written(find(tuner, data))))
        finally:
            telemetry_of(request).state(_sizes(tuner.states))

    return handle


def _sizes(states: States) -> dict[str, int]:
    learned = sum(state.learned is not None for state in states.values())
    return {"pairs": len(states), "learned_pairs": learned}


def _showing(
    path: str,
    find: Callable[[Web], Parameters | WarmUp | CalibrationStatuses],
    *,
    summary: str,
    kind: Any,
    query: Mapping[str, tuple[Schema, str]] | None = None,
    refusals: Mapping[int, str] | None = None,
) -> BaseRouteHandler:
    @get(
        path,
        summary=summary,
        tags=["Show"],
        operation_id=path.removeprefix("/"),
        operation_class=describe(answer=kind, query=query, refusals=refusals, refused=Refused),
        exception_handlers={Refusal: _refusal},
        sync_to_thread=True,
    )
    def handle(request: Web) -> Answer:
        return _sent(written(find(request)))

    return handle
