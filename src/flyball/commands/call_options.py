"""The options of `flyball call`: light, as every start of the command line imports them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

CALLED = """
Operations of the optimizer:

- `plan FILE` (Flyball's own, any fleet), `optimizeOne FILE` (a system of Inferno's)
- `getAccelerators`, `getAccelerator NAME`, `getCapacities`, `getCapacity TYPE`, `getModels`, `getModel NAME`,
  `getModelAcceleratorPerf NAME ACC`, `getServiceClasses`, `getServiceClass NAME`,
  `getServiceClassModelTarget NAME MODEL`, `getServers`, `getServer NAME`

Of a stateful optimizer:

- `optimize FILE`, `applyAllocation`
- `setAccelerators FILE`, `addAccelerator FILE`, `removeAccelerator NAME`, `setCapacities FILE`,
  `setCapacity FILE`, `removeCapacity TYPE`, `setModels FILE`, `addModel NAME`, `removeModel NAME`,
  `addModelAcceleratorPerf FILE`, `removeModelAcceleratorPerf NAME ACC`, `setServiceClasses FILE`,
  `addServiceClass NAME PRIORITY`, `removeServiceClass NAME`, `addServiceClassModelTargets FILE`,
  `removeServiceClassModelTarget NAME MODEL`, `setServers FILE`, `addServer FILE`, `removeServer NAME`

Of the queue analysis: `solve FILE`, `target FILE`, `optimize FILE`

Of the model tuner, at TUNER_HOST and TUNER_PORT, else at http://127.0.0.1:8081:

- `tune FILE`, `calibrate FILE`, `merge FILE`
- `getparams MODEL ACCELERATOR`, `warmup`, `calibration-status`

Of every service of Flyball: `healthz`, `readyz`, `metrics`

Exit codes:

- 0: it is answered; a plan serves everybody
- 2: the input or an option is wrong, or the service refuses it (4xx)
- 3: a plan was made, but it does not serve every server whole
- 4: the output could not be written
- 5: the service cannot be reached, fails (5xx), or is none
- 70: a fault of Flyball itself
- 130: interrupted
"""


def call(
    operation: str | None = None,
    /,
    *arguments: str,
    url: str | None = None,
    token_file: Path | None = None,
    ca: Path | None = None,
    timeout: float = 120.0,
    what_if: str | None = None,
    solver: Literal["auto", "exact", "greedy", "unlimited"] | None = None,
    explain: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    budget: float | None = None,
    format: Literal["table", "json", "yaml"] | None = None,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
) -> int:
    """Ask a service, Flyball's or Inferno's own, by the operations of Inferno's REST contracts.

    Examples:

    `flyball call plan fleet.yaml --what-if 'load*2' --solver greedy`

    `flyball call optimizeOne fleet-directory/ --url https://planner:8080 --token-file token --ca ca.pem`

    `flyball call getModelAcceleratorPerf granite_13b A100`

    `flyball call getServers --format yaml -o servers.yaml`

    `flyball call solve question.json --url http://127.0.0.1:8082`

    `flyball call getparams granite_13b A100`

    Parameters
    ----------
    operation
        What to ask for; the operations stand below.
    arguments
        The names that belong to it, or the file that it sends: JSON or YAML, - for standard input; for
        optimizeOne and plan also a directory with Inferno's files.
    url
        Address of the service; left out, where INFERNO_HOST and INFERNO_PORT say, else
        http://127.0.0.1:8080; for the model tuner see above.
    token_file
        File whose first line is the token to send (lines with # are comments).
    ca
        Authorities to trust instead of the system's, for https (PEM).
    timeout
        Seconds of silence after which it gives up.
    what_if
        For plan: with changes such as `load*2, capacity[A100]=16`.
    solver
        For what plans: instead of what the service takes by itself.
    explain
        For what plans: also why, for every server.
    budget
        For what plans: seconds at most for the solver.
    format
        Left out: a table for plans on a terminal, else json. json is what the service answered.
    output
        Write to this file, whole or not at all, and not to standard output.
    """
    from flyball.commands.call import Request, run

    return run(
        Request(
            operation=operation,
            arguments=arguments,
            url=url,
            token_file=token_file,
            ca=ca,
            timeout=timeout,
            what_if=what_if,
            solver=solver,
            explain=explain,
            budget=budget,
            format=format,
            output=output,
        )
    )
