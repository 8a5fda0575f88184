"""The options of `flyball boost`: light, as every start of the command line imports them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from flyball.commands.plan_options import Flag

BOOSTED = """
Exit codes:

- 0: done
- 2: the input or an option is wrong, or the object is refused
- 4: an output could not be written
- 5: there is no cluster, it cannot be reached, or it refuses
- 70: a fault of Flyball itself
"""
RENDERED = """
Exit codes:

- 0: done; there may be warnings
- 2: a file or an option is wrong, or an object is refused
- 4: an output could not be written
- 70: a fault of Flyball itself
"""

boosting = App(
    name="boost",
    help_epilogue=BOOSTED,
)


@boosting.default
def boost(
    model: str,
    /,
    *,
    ttft: str | None = None,
    itl: str | None = None,
    class_: Annotated[str | None, Parameter(name="--class")] = None,
    rate: str | None = None,
    in_tokens: Annotated[str | None, Parameter(name=["--in", "--in-tokens"])] = None,
    out_tokens: Annotated[str | None, Parameter(name=["--out", "--out-tokens"])] = None,
    cards: str | None = None,
    min: int | None = None,
    max: int | None = None,
    engine: Literal["vllm", "sglang"] = "vllm",
    image: str | None = None,
    cache: str | None = None,
    name: str | None = None,
    namespace: str = "",
    kubeconfig: Path | None = None,
    context: str | None = None,
    dry_run: Flag = False,
    output: Annotated[Literal["table", "yaml"], Parameter(name=["--output", "-o"])] = "table",
) -> int:
    """Choose hardware for a model, say why, and write the ModelBooster that asks for it to the cluster.

    The object says what is promised, not on what it runs: the operator chooses as is shown here, from the
    cards that the cluster then has, and the loop scales it from there.

    Examples:

    `flyball boost meta-llama/Llama-3.1-8B --ttft 'p95<1s' --itl 'p95<50ms' --rate 20`

    `flyball boost Qwen/Qwen3-32B --class Chat --cards H100,L40S --min 1 --max 8 --namespace serving`

    `flyball boost hf://Qwen/Qwen3-8B --ttft 500ms --dry-run > booster.yaml`

    Parameters
    ----------
    model
        Its name on the hub, or where it is: hf://, s3://, obs://, pvc://, ms://.
    ttft
        Target of the time to first token: p95<1s, mean<200ms, or 1s (which means p95).
    itl
        Target of the time between tokens: p95<50ms.
    class_
        Class of service; its targets hold where none is given.
    rate
        Requests per second that are expected: 20, 20/s or 1200/min. Left out: 1, and the loop measures.
    in_tokens
        Input tokens of a request; left out: 1000.
    out_tokens
        Output tokens of a request; left out: 300.
    cards
        Only these, or units of them: H100,L40S, or H100x2. Left out: what the cluster has; with --dry-run,
        all on which the model was measured.
    min
        Fewest replicas.
    max
        Most replicas.
    engine
        vllm or sglang.
    image
        Container image of the engine; left out, one of the engine's own for NVIDIA's cards.
    cache
        Where downloads are kept: pvc://CLAIM or hostpath:///PATH. Left out: as long as a pod lives.
    name
        Of the object; left out, after the model.
    namespace
        Left out, the kubeconfig's.
    kubeconfig
        Left out: KUBECONFIG, the pod's service account, the user's own.
    context
        Of the kubeconfig.
    dry_run
        Write nothing, and ask no cluster: print the object as YAML, and the table on standard error.
    output
        table: what was chosen; yaml: the object, and the table on standard error.
    """
    from flyball.commands.boost import Request, run

    return run(
        Request(
            model=model,
            ttft=ttft,
            itl=itl,
            service_class=class_,
            rate=rate,
            in_tokens=in_tokens,
            out_tokens=out_tokens,
            cards=cards,
            least=min,
            most=max,
            engine=engine,
            image=image,
            cache=cache,
            name=name,
            namespace=namespace,
            kubeconfig=kubeconfig,
            context=context,
            dry_run=dry_run,
            as_yaml=dry_run or output == "yaml",
        )
    )


@boosting.command(name="render", help_epilogue=RENDERED)
def render(
    *files: Path,
    policies: Literal["v0.4", "v1", "none"] = "v1",
    images: str | None = None,
) -> int:
    """Print the children of ModelBoosters as YAML, without a cluster: servings, servers, routes, policies.

    Other objects in the files are passed over. Warnings, and what was chosen for boosters that name targets
    and no devices, are on standard error. Children of a booster that was never stored have no owner.

    Examples:

    `flyball boost render booster.yaml`

    `kubectl get modelboosters -A -o yaml | flyball boost render - --policies v0.4`

    `flyball boost render a.yaml b.yaml --images downloader=example/downloader:v1,runtime=example/runtime:v1`

    Parameters
    ----------
    files
        Files in YAML or JSON, each with one document or several; - is standard input.
    policies
        Which AutoscalingPolicy there is: v0.4 (with a binding), v1, or none.
    images
        Of the containers that Kthena brings along: downloader=IMAGE,runtime=IMAGE.
    """
    from flyball.commands.boost_render import render as run

    return run(files, policies, images)
