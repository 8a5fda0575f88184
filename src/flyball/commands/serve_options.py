"""The options that all services share, and those of the tuner: light, as every start imports them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

TUNER_VARIABLES = (
    "TUNER_HOST",
    "TUNER_PORT",
    "TUNER_ESTIMATOR_MODE",
    "TUNER_WINDOW_SIZE",
    "TUNER_INIT_OBS",
    "TUNER_WARM_UP_CYCLES",
    "TUNER_MAX_CONDITION_NUMBER",
    "TUNER_RESIDUAL_THRESHOLD",
    "TUNER_INIT_FIT_THRESHOLD",
    "TUNER_INIT_HOLD_BACK",
    "CONFIG_DATA_DIR",
)
"""Inferno's, for the tuner."""

Host = Annotated[str, Parameter(env_var="INFERNO_HOST")]
Port = Annotated[int, Parameter(env_var="INFERNO_PORT")]
TunerHost = Annotated[str, Parameter(env_var="TUNER_HOST")]
TunerPort = Annotated[int, Parameter(env_var="TUNER_PORT")]
Log = Literal["auto", "json", "text", "off"]


@dataclass(frozen=True)
class Listen:
    """Where a service listens, to whom, and how it ends."""

    host: Host = "127.0.0.1"
    """Address; 0.0.0.0 is every address of this machine."""
    port: Port = 8080
    """0 takes a free one."""
    token_file: Path | None = None
    """Ask for one of the bearer tokens in this file, one a line; read again when it changes."""
    certificate: Path | None = None
    """Serve by TLS with this certificate (PEM); read again when it changes."""
    key: Path | None = None
    """Its key (PEM)."""
    log: Log = "auto"
    """Lines of JSON or text on standard error; auto is text on a terminal, else JSON."""
    drain: float = 0.0
    """Seconds to go on after the signal to end, as unready, until balancers have noticed."""
    grace: float = 25.0
    """Seconds that requests under way may then take."""


@dataclass(frozen=True)
class TunerListen(Listen):
    """The same for the tuner, which has variables and a port of its own."""

    host: TunerHost = "127.0.0.1"
    """Address; 0.0.0.0 is every address of this machine."""
    port: TunerPort = 8081
    """0 takes a free one."""


@dataclass(frozen=True)
class LoopListen(Listen):
    """The same for the controller of the loop."""

    host: Annotated[str, Parameter(env_var="CONTROLLER_HOST")] = "127.0.0.1"
    """Address; 0.0.0.0 is every address of this machine."""
    port: Annotated[int, Parameter(env_var="CONTROLLER_PORT")] = 3300
    """0 takes a free one."""


@dataclass(frozen=True)
class OperatorListen(Listen):
    """The same for the operator: probes, metrics and the page."""

    host: str = "127.0.0.1"
    """Address; 0.0.0.0 is every address of this machine."""
    port: int = 8081
    """0 takes a free one."""


@dataclass(frozen=True)
class CollectorListen(Listen):
    """The same for the collector."""

    host: Annotated[str, Parameter(env_var="COLLECTOR_HOST")] = "127.0.0.1"
    """Address; 0.0.0.0 is every address of this machine."""
    port: Annotated[int, Parameter(env_var="COLLECTOR_PORT")] = 3301
    """0 takes a free one."""


@dataclass(frozen=True)
class ActuatorListen(Listen):
    """The same for the actuator."""

    host: Annotated[str, Parameter(env_var="ACTUATOR_HOST")] = "127.0.0.1"
    """Address; 0.0.0.0 is every address of this machine."""
    port: Annotated[int, Parameter(env_var="ACTUATOR_PORT")] = 3303
    """0 takes a free one."""


LISTEN = Parameter(name="*", group="Service")
HERE, TUNER_HERE, LOOP_HERE, OPERATOR_HERE = Listen(), TunerListen(), LoopListen(), OperatorListen()
COLLECTOR_HERE, ACTUATOR_HERE = CollectorListen(), ActuatorListen()


def serve_tuner(
    *,
    estimator: Annotated[Literal["ekf", "sliding-window"], Parameter(env_var="TUNER_ESTIMATOR_MODE")] = "ekf",
    window_size: Annotated[int, Parameter(env_var="TUNER_WINDOW_SIZE")] = 10,
    initial_observations: Annotated[int, Parameter(env_var="TUNER_INIT_OBS")] = 5,
    warm_up_cycles: Annotated[int, Parameter(env_var="TUNER_WARM_UP_CYCLES")] = 5,
    max_condition_number: Annotated[float, Parameter(env_var="TUNER_MAX_CONDITION_NUMBER")] = 1000.0,
    residual_threshold: Annotated[float, Parameter(env_var="TUNER_RESIDUAL_THRESHOLD")] = 0.5,
    fit_threshold: Annotated[float, Parameter(env_var="TUNER_INIT_FIT_THRESHOLD")] = 10.0,
    hold_back: Annotated[bool, Parameter(env_var="TUNER_INIT_HOLD_BACK")] = True,
    config: Annotated[Path | None, Parameter(env_var="CONFIG_DATA_DIR")] = None,
    state: Path | None = None,
    listen: Annotated[TunerListen, LISTEN] = TUNER_HERE,
) -> int:
    """Serve the model tuner: it learns how fast each model runs on each accelerator from what replicas show.

    Examples:

    `flyball serve tuner`

    `flyball serve tuner --state learned.json`

    `flyball serve tuner --estimator sliding-window --window-size 20 --config config-data`

    Parameters
    ----------
    estimator
        ekf, an extended Kalman filter, or sliding-window, which fits the last observations anew each time.
    window_size
        Observations that the window holds.
    initial_observations
        Observations of a pair of model and accelerator before its first fit.
    warm_up_cycles
        Updates of a pair before it has warmed up and the filter refuses outliers.
    max_condition_number
        A fit above it is not taken, as its observations do not tell the parameters apart; 0 takes any.
    residual_threshold
        Relative error above which the worst observation of the window is left out; 0 leaves none out.
    fit_threshold
        Squared relative errors of a first fit above which the filter takes over for good; 0: never.
    hold_back
        A pair that collects its first observations counts as warming up.
    config
        A directory with default-config-data.json: initial parameters and noise. Left out: Inferno's.
    state
        Keep what is learned in this file too, so that a restart goes on with it.
    """
    from flyball.commands.serve import tuner

    settings = {
        "estimator": estimator,
        "window_size": window_size,
        "initial_observations": initial_observations,
        "warm_up_cycles": warm_up_cycles,
        "max_condition_number": max_condition_number,
        "residual_threshold": residual_threshold,
        "fit_threshold": fit_threshold,
        "hold_back": hold_back,
    }
    return tuner(asdict(listen), settings, config, state)
