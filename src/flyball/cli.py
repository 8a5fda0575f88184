"""The command line: wiring only. Heavy modules are imported where they are used, so that it starts fast."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter, UnusedCliTokensError

from flyball.commands.boost_options import boosting
from flyball.commands.call_options import CALLED, call
from flyball.commands.crds import DEFINED, crds
from flyball.commands.emulate_options import EMULATED, LOAD_VARIABLES, emulate
from flyball.commands.import_options import importing
from flyball.commands.look_options import (
    BACKTESTED,
    CHECKED,
    COMPARED,
    TOLD,
    backtest,
    diff,
    doctor,
    freeze,
    release,
    unfreeze,
    why,
)
from flyball.commands.loop_options import LOOP_VARIABLES, LOOPED, SERVES, actuator, collector, loop
from flyball.commands.operator_options import OPERATED, OPERATOR_VARIABLES, operator
from flyball.commands.plan_options import PLANNED, Flag, Solver, plan
from flyball.commands.power_options import powering
from flyball.commands.profiles_options import profiles
from flyball.commands.sandbox_options import sandbox
from flyball.commands.serve_options import HERE, LISTEN, TUNER_VARIABLES, Listen, serve_tuner

SERVED = """
Exit codes:

- 0: it was ended (Ctrl-C)
- 2: the scenario or an option is wrong
- 70: a fault of Flyball itself
"""
SERVICE = """
Exit codes:

- 0: it was ended (SIGTERM, Ctrl-C)
- 2: an option is wrong, the port is taken, or the state cannot be used
- 70: a fault of Flyball itself
"""
FAULT, INTERRUPTED = 70, 130
EMPTY = (
    "FLYBALL_SOLVER",
    "INFERNO_HOST",
    "INFERNO_PORT",
    *TUNER_VARIABLES,
    *LOAD_VARIABLES,
    *LOOP_VARIABLES,
    *OPERATOR_VARIABLES,
)
"""Environment variables of which empty is as good as not set."""
SERVICE_LINK = "tcp://"
"""How Kubernetes' own variables for a service begin: one named `inferno` sets INFERNO_PORT for every pod."""
TRACEBACK = "FLYBALL_TRACEBACK"
"""Environment variable: where it is set, a fault shows where it is."""

app = App(
    name="flyball",
    help="Flyball, the governor for LLM inference fleets: accelerators, replicas and batch for every model "
    "server, so that latency targets hold at the least cost.",
    help_epilogue="Try `flyball plan --help`, or `flyball plan --sample`.",
    help_format="markdown",
    version_flags=["--version"],
    suppress_keyboard_interrupt=False,
)


@app.command(name="--install-completion")
def install_completion(*, shell: Literal["bash", "zsh", "fish"] | None = None, startup: Flag = False) -> int:
    """Install the completion of a shell.

    Parameters
    ----------
    shell
        Whose completion; left out, that of the shell from which this is called.
    startup
        Also load it in the shell's start-up file (.bashrc, .zshrc), which is left alone otherwise.
    """
    from flyball.commands.completion import install

    return install(app, shell, startup)


app.command(plan, help_epilogue=PLANNED)
app.command(profiles)
app.command(sandbox)
app.command(emulate, help_epilogue=EMULATED)
app.command(loop, help_epilogue=LOOPED)
app.command(operator, help_epilogue=OPERATED)
app.command(collector, help_epilogue=SERVES)
app.command(actuator, help_epilogue=SERVES)
app.command(doctor, help_epilogue=CHECKED)
app.command(why, help_epilogue=TOLD)
app.command(diff, help_epilogue=COMPARED)
app.command(release, help_epilogue=TOLD)
app.command(freeze, help_epilogue=TOLD)
app.command(unfreeze, help_epilogue=TOLD)
app.command(backtest, help_epilogue=BACKTESTED)
app.command(crds, help_epilogue=DEFINED)
app.command(boosting)
app.command(powering)
app.command(importing)


REPLAYED = """
Exit codes:

- 0: the same decision came out, to the bit
- 2: there is no such ledger or cycle
- 3: another decision came out
- 70: a fault of Flyball itself
"""
SIMULATED = """
Exit codes:

- 0: all runs are done
- 2: the input or an option is wrong
- 4: an output could not be written
- 70: a fault of Flyball itself
- 130: interrupted; what was done is shown
"""


@app.command(help_epilogue=SIMULATED)
def simulate(
    scenario: str,
    /,
    *,
    policy: tuple[str, ...] = (),
    seeds: str = "3",
    duration: str | None = None,
    jobs: int | None = None,
    interpreted: Flag = False,
    report: Path | None = None,
    format: Literal["table", "json", "csv"] = "table",
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
) -> int:
    """Let control laws steer a simulated fleet, and judge them: attainment, cost, energy, steadiness.

    Examples:

    `flyball simulate llm-d-reference`

    `flyball simulate llm-d-reference --policy flyball,static:8 --seeds 20 --report build/simulation.html`

    `flyball simulate my-scenario.yaml --policy hpa:target=8 --policy keda:running=30,queue=2 --duration 2h`

    Parameters
    ----------
    scenario
        A scenario file, or the name of a shipped one.
    policy
        Laws, separated by commas or given several times: flyball, static, hpa, keda, keda-tuned, slo-aware,
        or those of installed packages (entry points of the group flyball.laws). With parameters: static:8,
        hpa:target=8, slo-aware:up=0.7,max=12. Left out: flyball, slo-aware, keda, hpa.
    seeds
        How many (20 is from 1 to 20), or a range (5-10). All laws see the same seeds.
    duration
        Run so long instead: 90min, 24h.
    jobs
        Processes; left out, one for each core.
    interpreted
        Do without the compiled inner loop.
    report
        Write the report, a page with plots that needs nothing else, to this file.
    format
        table; json has all figures of all runs; csv is a line for each law and class.
    output
        Write to this file, whole or not at all, and not to standard output.
    """
    from flyball.commands.simulate import Request, run

    return run(
        Request(
            scenario=scenario,
            policy=policy,
            seeds=seeds,
            duration=duration,
            jobs=jobs,
            interpreted=interpreted,
            report=report,
            format=format,
            output=output,
        )
    )


@app.command(help_epilogue=SERVED)
def live(
    scenario: str = "day",
    /,
    *,
    speed: float = 60.0,
    seed: int = 1,
    port: int = 8090,
    ledger: Path | None = None,
    anew: Annotated[Flag, Parameter(name="--anew")] = False,
) -> int:
    """Govern a simulated fleet under load, with a page on this machine that shows what happens and why.

    Examples:

    `flyball live`

    `flyball live outage --speed 10 --ledger build/ledger.sqlite`

    Parameters
    ----------
    scenario
        A shipped scenario by name, or a file (`kind: Scenario`).
    speed
        Simulated seconds in a second; 0 is paused. The page can change it.
    seed
        Of all that is left to chance.
    port
        Port of the page; where it is taken, a free one is used.
    ledger
        Keep every cycle in this file, for `flyball replay`; left out, in one that is gone at the end. What
        the same servers had shown of their models in it is known from the start.
    anew
        Learn of models from nothing, whatever the ledger holds.
    """
    from flyball.commands.live import Request, run

    return run(Request(scenario=scenario, speed=speed, seed=seed, port=port, ledger=ledger, anew=anew))


services = App(
    name="serve",
    help="Serve Inferno's REST contracts on Flyball's engine: optimizer, queue analysis or model tuner.",
    help_epilogue=SERVICE,
)
app.command(services)


@services.default
def serve(
    *,
    stateful: Annotated[Flag, Parameter(name=["--stateful", "-F"])] = False,
    state: Path | None = None,
    generation: Literal["G1", "G2", "G3"] | None = None,
    solver: Annotated[Solver | None, Parameter(env_var="FLYBALL_SOLVER")] = None,
    budget: float = 60.0,
    listen: Annotated[Listen, LISTEN] = HERE,
) -> int:
    """Serve the optimizer: Inferno's routes in its three generations, and /v1/plan with reasons and what-if.

    Examples:

    `flyball serve`

    `flyball serve --stateful --state optimizer.json --port 3302`

    `flyball serve --host 0.0.0.0 --token-file tokens --certificate tls.crt --key tls.key`

    Parameters
    ----------
    stateful
        Keep a system between requests, with the routes that change it.
    state
        Keep it in this file too, so that a restart goes on with it.
    generation
        The words to answer in as long as no data shows a generation; left out: G3.
    solver
        For requests that do not say ?solver=; greedy is the original's choice. Left out: what the request's
        settings say, else auto.
    budget
        Seconds at most that the solver takes for a request; a plan that the clock stopped says so.
    """
    from flyball.commands.serve import Optimizer, optimizer

    return optimizer(asdict(listen), Optimizer(stateful, state, generation, solver, budget))


@services.command(name="queue")
def serve_queue(*, listen: Annotated[Listen, LISTEN] = HERE) -> int:
    """Serve the queue analysis: how one replica fares at a load, what it can take, and how much to batch.

    Example:

    `flyball serve queue --port 8081`
    """
    from flyball.commands.serve import queue

    return queue(asdict(listen))


services.command(serve_tuner, name="tuner")
app.command(call, help_epilogue=CALLED)


@app.command(help_epilogue=REPLAYED)
def replay(
    number: int,
    /,
    *,
    ledger: Path = Path("build/ledger.sqlite"),
    server: str | None = None,
    all: Flag = False,
) -> int:
    """Decide a recorded cycle again: from what it saw and remembered follows the same decision, to the bit.

    Examples:

    `flyball replay 120`

    `flyball replay 120 --ledger /var/lib/flyball/ledger.sqlite --server chat`

    Parameters
    ----------
    number
        The cycle's number in the ledger; the page of a server shows it beside each decision.
    ledger
        The file that `flyball live --ledger` keeps.
    server
        Tell about this server only, also if nothing changed for it.
    all
        Tell about all servers, not only about those that changed.
    """
    from flyball.commands.replay import run

    return run(number, ledger, server=server, everything=all)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: exit codes as documented, messages and no tracebacks."""
    sys.exit(_code(sys.argv[1:] if arguments is None else arguments))


def _code(arguments: Sequence[str]) -> int:
    from flyball.commands.output import say

    for name in EMPTY:
        value = os.environ.get(name, "")
        if not value or value.startswith(SERVICE_LINK):
            os.environ.pop(name, None)
    # "-" is taken for an option, "./-" for a path; both are the same Path("-").
    tokens = ["./-" if token == "-" else token for token in arguments]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what a terminal cannot show becomes a question mark
            stream.reconfigure(errors="replace" if stream is sys.stdout else "backslashreplace")
    try:
        code = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
        return code if isinstance(code, int) else 0
    except UnusedCliTokensError as error:
        more = " ".join(error.unused_tokens or ())
        hint = f"the page of a simulated fleet is flyball live {more}" if tokens[0] == "serve" else ""
        say(f"flyball: there is no place for {more}: {hint or 'one path is enough'}.\nTry flyball --help.")
        return 2
    except CycloptsError as error:
        say(f"flyball: {str(error).strip()}\nTry flyball --help.")
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        say(
            f"flyball: a fault of Flyball itself, please report it: {type(error).__name__}: {error}. "
            f"With {TRACEBACK}=1 it shows where."
        )
        return FAULT
