"""The options of `flyball sandbox`: light, as every start of the command line imports them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from flyball.commands.plan_options import Flag

ENDED = """
Exit codes:

- 0: done, or ended by Ctrl-C
- 2: the fleet or an option is wrong, or there is no such sandbox
- 5: it could not be built, or could not be started
- 70: a fault of Flyball itself
"""
Name = Annotated[str, Parameter(name=["--name", "-n"])]
Module = Literal["kubernetes", "kwok", "keda"]

sandbox = App(
    name="sandbox",
    help="A real Kubernetes on this machine, without GPUs: control plane, nodes with accelerators, and pods "
    "that start, get ready and go as pods do, with nothing running in them.",
    help_epilogue=ENDED,
)


@sandbox.command(help_epilogue=ENDED)
def up(
    *,
    name: Name = "default",
    fleet: Path | None = None,
    cold_start: str = "30s",
    parts: Annotated[tuple[str, ...], Parameter(name="--with", negative="")] = (),
    scrape: str = "2s",
    targets: str = "",
    alerts: str = "",
    detach: Annotated[Flag, Parameter(name=["--detach", "-d"])] = False,
) -> int:
    """Start a sandbox; what it needs is built first, once.

    Examples:

    `flyball sandbox up`

    `flyball sandbox up --fleet fleet.yaml --cold-start 90s --with prometheus,alertmanager --detach`

    `kubectl --kubeconfig $(flyball sandbox kubeconfig) get nodes`

    Parameters
    ----------
    name
        Of the sandbox; several may run side by side.
    fleet
        Its nodes (`kind: SandboxFleet`); left out: 10 nodes with 60 cards of five kinds.
    cold_start
        From scheduled to Ready, and up to a tenth longer, for pods that do not say it themselves
        (annotation sandbox.flyball.dev/cold-start).
    parts
        What else is started: prometheus, alertmanager, keda; separated by commas or given several times.
    scrape
        Time between Prometheus' scrapes.
    targets
        URL of an HTTP service discovery whose targets Prometheus scrapes.
    alerts
        URL of a webhook that Alertmanager tells about alerts.
    detach
        Come back once it is ready, and leave it running until `flyball sandbox down`.
    """
    from flyball.commands.sandbox import Up, bring_up

    return bring_up(Up(name, fleet, cold_start, parts, scrape, targets, alerts), detach)


@sandbox.command(help_epilogue=ENDED)
def down(*, name: Name = "default", all: Flag = False) -> int:
    """End a sandbox: all its processes, all its files.

    Parameters
    ----------
    name
        Of the sandbox.
    all
        End all of them.
    """
    from flyball.commands.sandbox import take_down

    return take_down(name, all)


@sandbox.command(help_epilogue=ENDED)
def status(*, json: Flag = False) -> int:
    """Show which sandboxes are up, and their processes.

    Parameters
    ----------
    json
        As JSON.
    """
    from flyball.commands.sandbox import show

    return show(json)


@sandbox.command(help_epilogue=ENDED)
def kubeconfig(*, name: Name = "default", print: Flag = False) -> int:
    """Say where the kubeconfig of a sandbox is.

    Parameters
    ----------
    name
        Of the sandbox.
    print
        Write out the kubeconfig itself.
    """
    from flyball.commands.sandbox import kubeconfig_of

    return kubeconfig_of(name, print)


@sandbox.command(help_epilogue=ENDED)
def build(*modules: Module) -> int:
    """Build what sandboxes need, and say where it lies; what is built already stays.

    Parameters
    ----------
    modules
        kubernetes, kwok, keda; left out: kubernetes and kwok, which every sandbox needs.
    """
    from flyball.commands.sandbox import build_all

    return build_all(modules)
