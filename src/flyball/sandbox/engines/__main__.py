"""`python -m flyball.sandbox.engines`: serve the metrics of a cluster's engines until it is ended."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from flyball.sandbox.engines.asked import Asked
from flyball.sandbox.engines.clock import EngineClock
from flyball.sandbox.engines.engines import Engines
from flyball.sandbox.engines.lister import Lister
from flyball.sandbox.engines.pool import warm_up
from flyball.sandbox.engines.service import EngineService
from flyball.sandbox.engines.truth import ERROR, Truth, stated_profiles
from flyball.sandbox.engines.watch import Seen, seen
from flyball.sandbox.part import Pretence

DONE, WRONG = 0, 2


def run(
    *,
    kubeconfig: Path,
    port: int = 0,
    speed: float = 1.0,
    seed: int = 0,
    error: float = ERROR,
    profiles: Path | None = None,
    traces: Annotated[Path, Parameter(show_default=False)] = Path(),
    parent: int | None = None,
) -> int:
    """Serve the metrics of the engines that would run in a cluster's pods.

    Parameters
    ----------
    kubeconfig
        The cluster.
    port
        On this machine's loopback; 0 is any free one.
    speed
        Simulated seconds in one second.
    seed
        Of the requests and of the engines.
    error
        By how much of itself each parameter of a true engine may be off from the library's profile, 0 to 0.9.
    profiles
        A file with `kind: Catalogue`, whose profiles hold as they are.
    traces
        Folder in which traces are looked for; else here.
    parent
        The id of the process that starts this one; when that has ended, this ends too.
    """
    try:
        Pretence(speed, seed, error)
        if not kubeconfig.is_file():
            raise ValueError(f"--kubeconfig is {kubeconfig}: there is no such file")
        truth = Truth(error, seed, stated_profiles(profiles) if profiles is not None else None)
        lister, asked = Lister(kubeconfig), Asked(traces)
        clock = EngineClock(speed)

        def look() -> Seen:
            return seen(lister.list(), asked, clock.of)

        warm_up()
        service = EngineService(Engines(truth.engine_of, seed), clock, look, port, parent)
    except ValueError as problem:
        print(f"flyball: {problem}", file=sys.stderr)
        return WRONG
    print(service.url, flush=True)  # whoever started this reads the port from here
    service.run()
    return DONE


def main(words: Sequence[str] | None = None) -> int:
    """Run with these words of a command line, or those of this process; the exit code."""
    app = App(name="engines", result_action="return_value")
    app.default(run)
    code: int = app(words)
    return code


if __name__ == "__main__":
    sys.exit(main())
