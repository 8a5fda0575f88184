"""The command line: wiring only. Heavy modules are imported where they are used, so that it starts fast."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter

EXIT = """
Exit codes: 0 everything is served; 2 the input or an option is wrong; 3 a plan was made, but it does not serve
every server whole; 4 the plan could not be written; 130 interrupted.
"""

app = App(
    name="flyball",
    help="Flyball, the governor for LLM inference fleets: accelerators, replicas and batch for every model "
    "server, so that latency targets hold at the least cost.",
    version_flags=["--version"],
)
app.register_install_completion_command()

Format = Literal["table", "json", "yaml", "csv"]
Solver = Literal["auto", "exact", "greedy", "unlimited"]


@app.command(help_epilogue=EXIT)
def plan(
    path: Path | None = None,
    /,
    *,
    sample: bool = False,
    model: str | None = None,
    rate: str | None = None,
    in_tokens: Annotated[str, Parameter(name=["--in", "--in-tokens"])] = "1000",
    out_tokens: Annotated[str, Parameter(name=["--out", "--out-tokens"])] = "300",
    ttft: str | None = None,
    itl: str | None = None,
    e2e: str | None = None,
    solver: Annotated[Solver | None, Parameter(env_var="FLYBALL_SOLVER")] = None,
    what_if: str | None = None,
    compare: Path | None = None,
    explain: str | None = None,
    plot: bool = False,
    report: Path | None = None,
    serve: bool = False,
    port: int = 8090,
    format: Format = "table",
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
) -> int:
    """Plan a fleet: which accelerator, how many replicas, which batch for each server, and why.

    Examples:

    flyball plan --sample

    flyball plan my-fleet/ --report plan.html

    flyball plan --model meta-llama/Llama-3.1-8B --rate 20 --in 1000 --out 300 --ttft 'p95<1s' --itl 'p95<50ms'

    flyball plan fleet.yaml --what-if 'load*2, capacity[A100]+16'

    flyball plan fleet.yaml --explain chat --plot

    Parameters
    ----------
    path
        A directory of fleet files, one file (Inferno's system document of any generation, or Flyball's own
        form, JSON or YAML), or - for standard input.
    sample
        Plan the sample fleet that comes with Flyball.
    model
        Plan one model against the sample catalogue; needs --rate. Unknown names get near matches.
    rate
        Requests per second: 20, 20/s or 1200/min.
    in_tokens
        Input tokens of a request.
    out_tokens
        Output tokens of a request.
    ttft
        Target of the time to first token: p95<1s, mean<200ms, or 1s (which means p95).
    itl
        Target of the time between tokens: p95<50ms.
    e2e
        Target of the whole response time: p95<20s.
    solver
        auto (never worse than greedy), exact (proves the optimum), greedy (Inferno's order) or unlimited (takes no
        notice of capacity). Default: what the fleet's own settings say, else auto.
    what_if
        Plan also with changes, and show the difference: load*2, load[chat]*1.5, in=2000, capacity[A100]=16,
        price[H100]*0.8, ttft*0.5; separated by commas.
    compare
        Another fleet to plan, and to show the difference to.
    explain
        Everything about the decision for one server: all candidates, and why the others are none.
    plot
        Curves of one server (--explain names it) in the terminal.
    report
        Write the report, a page with plots that needs nothing else, to this file.
    serve
        Serve the report on this machine until interrupted.
    port
        Port for --serve.
    format
        table; json and yaml are Inferno's solution in the generation of the input (for Flyball's own form,
        the whole plan with reasons); csv is a line for each server.
    output
        Write to this file and not to standard output.
    """
    from flyball.commands.plan import Request, run

    return run(
        Request(
            path=path,
            sample=sample,
            model=model,
            rate=rate,
            in_tokens=in_tokens,
            out_tokens=out_tokens,
            targets={"ttft": ttft, "itl": itl, "e2e": e2e},
            solver=solver,
            what_if=what_if,
            compare=compare,
            explain=explain,
            plot=plot,
            report=report,
            serve=serve,
            port=port,
            format=format,
            output=output,
        )
    )


def main() -> None:
    """Entry point: exit codes as documented, messages and no tracebacks."""
    try:
        code = app(exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        print(f"flyball: {str(error).strip()}", file=sys.stderr)
        print("Try flyball --help.", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    sys.exit(code if isinstance(code, int) else 0)
