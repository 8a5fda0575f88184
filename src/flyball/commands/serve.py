"""`flyball serve`: the REST services, put together from options."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from flyball.commands.output import say
from flyball.spec.fleet import Generation, SolverName
from flyball.units import Seconds

if TYPE_CHECKING:
    from flyball.spec.calibration import Prior

WRONG = 2
CONFIGURATION = "default-config-data.json"
"""Of the tuner, in CONFIG_DATA_DIR; the name is Inferno's."""


class Optimizer(msgspec.Struct, frozen=True):
    """What the optimizer keeps, and how it plans."""

    stateful: bool = False
    state: Path | None = None
    generation: Generation | None = None
    solver: SolverName | None = None
    budget: Seconds = 60.0


Listen = Mapping[str, Any]
"""The fields of `server.service.run.Options`."""


def optimizer(listen: Listen, asked: Optimizer) -> int:
    """Serve the optimizer until it is told to end; returns the exit code."""
    from flyball.adapters.state_file import StateFile, StateFileError
    from flyball.server.optimizer.planning import Ask
    from flyball.server.optimizer.service import service
    from flyball.server.service.run import Options, serve
    from flyball.wire.inferno_system import System

    try:
        options = Options(**listen)
        if asked.state is not None and not asked.stateful:
            raise ValueError("--state goes with --stateful: the stateless service keeps nothing")
        if not 0 <= asked.budget <= 600:
            raise ValueError(f"--budget is {asked.budget:g}: it is seconds for the solver, from 0 to 600")
        with ExitStack() as stack:
            file = None if asked.state is None else stack.enter_context(closing(StateFile(asked.state)))
            system = (file.read() if file else None) or System(generation=asked.generation)
            made = service(
                stateful=asked.stateful,
                system=system,
                keep=file.write if file else None,
                usual=Ask(asked.solver, budget=asked.budget),
            )
            return serve(made, options)
    except (StateFileError, ValueError) as error:
        say(f"flyball: {error}")
        return WRONG


def queue(listen: Listen) -> int:
    """Serve the queue analysis until it is told to end; returns the exit code."""
    from flyball.server.queue import service
    from flyball.server.service.run import Options, serve

    try:
        return serve(service(), Options(**listen))
    except ValueError as error:
        say(f"flyball: {error}")
        return WRONG


def tuner(listen: Listen, settings: Mapping[str, Any], directory: Path | None, store: Path | None) -> int:
    """Serve the model tuner until it is told to end; returns the exit code.

    `settings` are fields of `Tuning`; the prior comes from the directory's default-config-data.json.
    """
    from flyball.adapters.learned_file import LearnedFile
    from flyball.server.service.run import Options, serve
    from flyball.server.tuner import service
    from flyball.spec.calibration import Tuning

    try:
        options = Options(**listen)
        tuning = Tuning(**settings, prior=_prior(directory))
        with ExitStack() as stack:
            file = None if store is None else stack.enter_context(closing(LearnedFile(store)))
            states = file.read() if file else None
            made = service(tuning, time.time, states=states, keep=file.write if file else None)
            return serve(made, options)
    except ValueError as error:  # WireError and StateFileError too
        say(f"flyball: {error}")
        return WRONG


def _prior(directory: Path | None) -> Prior:
    """As the file in a directory says; without one, the usual. Or WireError."""
    from flyball.spec.calibration import Prior
    from flyball.wire.errors import WireError
    from flyball.wire.inferno_tuner import read_prior

    if directory is None:
        return Prior()
    path = directory / CONFIGURATION
    try:
        return read_prior(path.read_bytes(), str(path))
    except OSError as error:
        raise WireError(str(path), f"cannot be read ({error.strerror})", mend="Name its directory") from None
