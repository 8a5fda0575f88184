"""The options of `flyball emulate`: light, as every start of the command line imports them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flyball.commands.plan_options import Flag

EMULATED = """
Exit codes:

- 0: done, or ended by Ctrl-C or SIGTERM; all labels are as they were (with --once: as the one cycle set them)
- 2: an option, or the file of phases, is wrong
- 3: some objects could not be put back; --restore tries it again
- 5: there is no cluster, it cannot be reached, or it refuses
- 70: a fault of Flyball itself
"""
LOAD_VARIABLES = (
    "INFERNO_LOAD_INTERVAL",
    "INFERNO_LOAD_ALPHA",
    "INFERNO_LOAD_THETA",
    "INFERNO_LOAD_SKEW",
    "INFERNO_LOAD_PHASES",
)
"""Inferno's, for its load emulator."""


def emulate(
    interval: Annotated[str, Parameter(env_var="INFERNO_LOAD_INTERVAL")] = "60",
    alpha: Annotated[str, Parameter(env_var="INFERNO_LOAD_ALPHA")] = "0.5",
    /,
    *,
    theta: Annotated[str, Parameter(env_var="INFERNO_LOAD_THETA")] = "1",
    skew: Annotated[str | None, Parameter(env_var="INFERNO_LOAD_SKEW")] = None,
    phases: Annotated[Path | None, Parameter(env_var="INFERNO_LOAD_PHASES")] = None,
    seed: int | None = None,
    count: int | None = None,
    once: Flag = False,
    restore: Flag = False,
    namespace: str = "",
    kubeconfig: Path | None = None,
    context: str | None = None,
) -> int:
    """Let the load labels of managed servers vary around their values, as if there were users.

    Examples:

    `flyball emulate`

    `flyball emulate 20 0.1 --theta 0.2 --skew 0.3 --namespace infer`

    `flyball emulate --phases ramp.yaml --seed 1`

    `flyball emulate --restore`

    Parameters
    ----------
    interval
        Between changes: seconds, or a time with its unit.
    alpha
        Standard deviation of a change, as a share of the undisturbed value: 0 to 1.
    theta
        Share of the way back to the undisturbed value in each cycle: at 1 each change starts from it anew,
        below 1 loads drift.
    skew
        Also split each server's rate over those of its pods that have load labels of their own: at 0
        evenly, at 1 by chance alone. Left out: pods are left alone.
    phases
        A file with ramps of the rate: phases: [{duration: 6m, ratio: 5.0}, {duration: 0s}].
    seed
        Of all that is left to chance; left out, another one each time.
    count
        End after so many cycles, and put all labels back.
    once
        Change the labels once and leave them so.
    restore
        Only put back what an emulator that was killed has left.
    namespace
        Of the servers; left out: all.
    kubeconfig
        Left out: KUBECONFIG, else the pod's service account, else the user's.
    context
        Of the kubeconfig; left out: its current one.
    """
    from flyball.commands.emulate import Request, run

    return run(
        Request(
            interval=interval,
            alpha=alpha,
            theta=theta,
            skew=skew,
            phases=phases,
            seed=seed,
            count=1 if once else count,
            leave=once,
            restore=restore,
            namespace=namespace,
            kubeconfig=kubeconfig,
            context=context,
        )
    )
