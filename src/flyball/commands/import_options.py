"""The options of `flyball import`: light, as every start of the command line imports them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from flyball.commands.plan_options import Flag

TAKEN = """
Exit codes:

- 0: all of it was taken over, but for what is said
- 2: a file or an option is wrong, or there is nothing to take over
- 3: some objects could not be read; the others were taken over
- 4: an output could not be written
- 5: there is no cluster, it cannot be reached, or it refuses
- 70: a fault of Flyball itself
"""

importing = App(
    name="import",
    help="Take over what other autoscalers were told: VariantAutoscaling objects (llm-d's WVA).",
    help_epilogue=TAKEN,
)


@importing.command(name="wva", help_epilogue=TAKEN)
def import_wva(
    *files: Path,
    from_cluster: Flag = False,
    namespace: str = "",
    as_: Annotated[Literal["objects", "annotations"], Parameter(name="--as")] = "objects",
    kubeconfig: Path | None = None,
    context: str | None = None,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
) -> int:
    """Print what governs the workloads of VariantAutoscaling objects: objects, or commands for kubectl.

    Nothing is written to a cluster. A table of what was taken over, and what was not, is on standard error.

    Examples:

    `flyball import wva variants.yaml configmaps.yaml > objects.yaml`

    `flyball import wva --from-cluster --as annotations`

    `kubectl get va,cm -A -o yaml | flyball import wva - --output governed`

    Parameters
    ----------
    files
        Files in YAML or JSON with VariantAutoscaling objects and ConfigMaps; - is standard input.
    from_cluster
        Read the objects of a cluster, and its ConfigMaps accelerator-unit-costs and service-classes-config.
    namespace
        Only of this namespace; left out, of all. Objects without one are taken to be in default.
    as_
        objects: of Inferno's kinds, for `flyball operator`; annotations: kubectl commands that say the same
        on the workloads, for `flyball loop`, without profiles and prices.
    kubeconfig
        Left out: KUBECONFIG, the pod's service account, the user's own.
    context
        Of the kubeconfig.
    output
        Write a file for each namespace into this directory, which is made where it is missing.
    """
    from flyball.commands.import_wva import Request, run

    return run(
        Request(
            files=files,
            from_cluster=from_cluster,
            namespace=namespace,
            form=as_,
            kubeconfig=kubeconfig,
            context=context,
            output=output,
        )
    )
