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
Module = Literal["kubernetes", "kwok", "keda", "helm"]

sandbox = App(
    name="sandbox",
    help="A real Kubernetes on this machine, without GPUs: control plane, nodes with accelerators, pods that "
    "start, get ready and go as pods do, and the metrics of the engines that would run in them.",
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
    engines: Annotated[bool, Parameter(negative="--no-engines")] = True,
    speed: float = 1.0,
    seed: int = 0,
    error: float | None = None,
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
        URL of a further HTTP service discovery whose targets Prometheus scrapes.
    alerts
        URL of a webhook that Alertmanager tells about alerts.
    engines
        Play the engines in the pods: under the load that the labels of workloads ask for, they have the
        metrics of vLLM, which Prometheus scrapes.
    speed
        Of the engines' time: simulated seconds in one of ours.
    seed
        Of the engines' requests, and of how they differ from the library's profiles.
    error
        By how much of itself each parameter of an engine may differ from the library's, 0 to 0.9; left
        out: 0.1.
    detach
        Come back once it is ready, and leave it running until `flyball sandbox down`.
    """
    from flyball.commands.sandbox import Up, bring_up

    asked = Up(name, fleet, cold_start, parts, scrape, targets, alerts, engines, speed, seed, error)
    return bring_up(asked, detach)


@sandbox.command(help_epilogue=ENDED)
def demo(
    *,
    speed: float = 10.0,
    period: float = 30.0,
    seed: int = 0,
    port: int = 3300,
) -> int:
    """Govern a sandbox: Kubernetes, engines under load, Prometheus, and the loop with its page.

    Three servers of two classes on NVIDIA cards, one of them with bursts of load. Prometheus takes part
    where it is installed; else the load is what labels state.

    Examples:

    `flyball sandbox demo`

    `flyball sandbox demo --speed 60 --port 0`

    Parameters
    ----------
    speed
        Of the engines' time and of the loop: simulated seconds in one of ours.
    period
        Simulated seconds between the loop's cycles.
    seed
        Of the engines' requests, and of how they differ from the library's profiles.
    port
        Of the page; 0 takes a free one.
    """
    from flyball.commands.sandbox_demo import Demo, run

    return run(Demo(speed, period, seed, port))


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
        kubernetes, kwok, keda, helm; left out: kubernetes and kwok, which every sandbox needs.
    """
    from flyball.commands.sandbox import build_all

    return build_all(modules)
