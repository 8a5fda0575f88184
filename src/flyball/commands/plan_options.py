"""The options of `flyball plan`: light, as every start of the command line imports them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from flyball.spec.service_class import Metric

PLANNED = """
Exit codes:

- 0: everything is served
- 2: the input or an option is wrong
- 3: a plan was made, but it does not serve every server whole
- 4: an output could not be written
- 70: a fault of Flyball itself
- 130: interrupted; for `--serve`, Ctrl-C is the way to end it: 0 or 3
"""

Flag = Annotated[bool, Parameter(negative=(), show_default=False)]
Format = Literal["table", "json", "yaml", "csv"]
Solver = Literal["auto", "exact", "greedy", "unlimited"]


@dataclass(frozen=True)
class OneModel:
    """A model planned without files, on the cards of the catalogue."""

    model: str | None = None
    """Its name, as on the hub or in short. Nothing is profiled: how fast it is on each card comes from the
    library of profiles or is reckoned from data sheets, and the bars say how far that is known."""
    rate: str | None = None
    """Requests per second: 20, 20/s or 1200/min."""
    in_tokens: Annotated[str | None, Parameter(name=["--in", "--in-tokens"])] = None
    """Input tokens of a request; left out: 1000."""
    out_tokens: Annotated[str | None, Parameter(name=["--out", "--out-tokens"])] = None
    """Output tokens of a request; left out: 300."""
    ttft: str | None = None
    """Target of the time to first token: p95<1s, mean<200ms, or 1s (which means p95)."""
    itl: str | None = None
    """Target of the time between tokens: p95<50ms."""
    e2e: str | None = None
    """Target of the whole response time: p95<20s."""
    trace: Path | None = None
    """Recorded requests instead of --rate, --in and --out: CSV (Azure's, or time, input, output), JSON lines
    (Mooncake's), or a result of vllm bench serve. Planned is for the busiest window."""
    window: str | None = None
    """Of a trace, such as 1min; left out: 5min."""
    growth: str | None = None
    """Load to come on top: 30%."""
    spare: str | None = None
    """Replicas beside what the load needs: n+1, or a number."""
    cards: str | None = None
    """Only these: H100,L40S. Left out: all that have a price."""
    prices: Path | None = None
    """Own prices of cards, dollars per hour: CSV (accelerator,price_per_hour) or YAML (H100: 2.10)."""
    engine: str | None = None
    """vllm (as left out), sglang or trtllm."""
    precision: str | None = None
    """Of the weights: bf16, fp8, int8, int4, mxfp4, nvfp4. Left out: as published, or as the name says."""
    confidence: str | None = None
    """With which the replicas are enough, as far as profiles are known: 80 % where left out; 50%: as likely
    as not."""
    add: tuple[Path, ...] = ()
    """A file with cards or models of one's own (kind: Cards, kind: Models); may be given again."""


ONE = Parameter(name="*", group="One model")
NONE = OneModel()


def plan(
    path: Path | None = None,
    /,
    *,
    sample: Flag = False,
    one: Annotated[OneModel, ONE] = NONE,
    solver: Annotated[Solver | None, Parameter(env_var="FLYBALL_SOLVER")] = None,
    what_if: str | None = None,
    compare: Path | None = None,
    explain: str | None = None,
    plot: Flag = False,
    report: Path | None = None,
    serve: Flag = False,
    port: int = 8090,
    format: Format = "table",
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
) -> int:
    """Plan a fleet, or one model: which accelerator, how many replicas, which batch, and why.

    Examples:

    `flyball plan --model Llama-3.1-8B --rate 20 --in 1000 --out 300 --ttft 'p95<1s' --itl 'p95<50ms'`

    `flyball plan --model Qwen3-32B --trace requests.csv --prices mine.csv --growth 30% --spare n+1`

    `flyball plan --sample`

    `flyball plan my-fleet/ --report plan.html`

    `flyball plan fleet.yaml --what-if 'load*2, capacity[A100]+16'`

    `flyball plan fleet.yaml --explain chat --plot`

    Parameters
    ----------
    path
        A directory of fleet files, one file (Inferno's system document of any generation, or Flyball's own
        form, JSON or YAML), or - for standard input.
    sample
        Plan the sample fleet that comes with Flyball.
    solver
        auto (never worse than greedy), exact (proves the optimum), greedy (Inferno's order) or unlimited
        (takes no notice of capacity). Left out: what the fleet's own settings say, else auto.
    what_if
        Plan with changes, and show the difference to the plan without: `load*2`, `load[chat]*1.5`, `in=2000`,
        `capacity[A100]=16`, `price[H100]*0.8`, `ttft*0.5`; separated by commas. Loads are in requests/s,
        prices in $/h, latencies in seconds.
    compare
        Plan another fleet, and show the difference to the plan of the first.
    explain
        Everything about the decision for one server: all candidates, and why the others are none.
    plot
        Curves of one server in the terminal: of the one that --explain names, else of the dearest.
    report
        Write the report, a page with plots that needs nothing else, to this file.
    serve
        Serve the report on this machine until interrupted.
    port
        Port for --serve; where it is taken, a free one is used.
    format
        table; json and yaml are Inferno's solution in the generation of the input (for Flyball's own form,
        the whole plan with reasons); csv is a line for each server, of one model for each of its options.
    output
        Write to this file, whole or not at all, and not to standard output.
    """
    from flyball.commands.one_model import Wanted
    from flyball.commands.plan import Request, run

    said = asdict(one)
    targets: dict[Metric, str | None] = {
        "ttft": said.pop("ttft"),
        "itl": said.pop("itl"),
        "e2e": said.pop("e2e"),
    }
    return run(
        Request(
            path=path,
            sample=sample,
            one=Wanted(**said, targets=targets),
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
