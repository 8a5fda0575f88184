"""The options of `flyball profiles`: light, as every start of the command line imports them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from flyball.commands.plan_options import Flag

SHOWN = """
Exit codes:

- 0: done
- 2: the input or an option is wrong
- 4: an output could not be written
- 70: a fault of Flyball itself
"""
Engine = Literal["vllm", "sglang", "trtllm"]
Tier = Literal["measured", "op-level"]
Output = Annotated[Path | None, Parameter(name=["--output", "-o"])]
Input = Annotated[str, Parameter(name=["--in", "--in-tokens"])]
Answer = Annotated[str, Parameter(name=["--out", "--out-tokens"])]

profiles = App(
    name="profiles",
    help="Latency profiles: what is known of a model on a card, fitted to own measurements, compared, "
    "exchanged.",
    help_epilogue=SHOWN,
)


@profiles.command(name="list", help_epilogue=SHOWN)
def list_profiles(
    *,
    model: str | None = None,
    card: str | None = None,
    engine: Engine | None = None,
    tier: Tier | None = None,
    add: tuple[Path, ...] = (),
    format: Literal["table", "csv", "json"] = "table",
    output: Output = None,
) -> int:
    """List the library of profiles: what each entry rests on, and how far it is known.

    Examples:

    `flyball profiles list --model Llama-3.1-8B`

    `flyball profiles list --card H200 --engine vllm --tier measured --format csv`

    Parameters
    ----------
    model
        Only of this model, and of others of its shape.
    card
        Only on this card.
    engine
        Only of this engine.
    tier
        measured: runs of the engine; op-level: added up from measured times of its kernels.
    add
        A table of entries of one's own beside the library's (as `import` and `export --format csv` write
        it); may be given again.
    format
        table; csv and json have times in seconds and all flags in full.
    output
        Write to this file, whole or not at all, and not to standard output.
    """
    from flyball.commands.profiles import Listed, list_entries

    return list_entries(Listed(model, card, engine, tier, add), format, output)


@profiles.command(help_epilogue=SHOWN)
def show(
    model: str,
    /,
    *,
    card: str | None = None,
    tp: int | None = None,
    engine: Engine = "vllm",
    precision: str | None = None,
    in_tokens: Input = "1000",
    out_tokens: Answer = "300",
    add: tuple[Path, ...] = (),
    plot: Flag = False,
    output: Output = None,
) -> int:
    """Show what is believed of a model on cards, measured there or not, and how far it is known.

    Examples:

    `flyball profiles show Llama-3.1-8B --card H100 --plot`

    `flyball profiles show Qwen3-32B --card H100,L40S --tp 2 --precision fp8`

    Parameters
    ----------
    model
        Its name, as on the hub or in short; an end such as -FP8 says the precision.
    card
        Cards, such as H100,L40S; left out: those on which the model was measured, else the cheapest that
        hold it.
    tp
        Cards that share the model; left out: as few as hold it.
    engine
        vllm, sglang or trtllm.
    precision
        Of the weights: bf16, fp8, int8, int4, mxfp4, nvfp4. Left out: as published, or as the name says.
    in_tokens
        Input tokens of a request.
    out_tokens
        Output tokens of a request.
    add
        A table of entries of one's own beside the library's; may be given again.
    plot
        The time between tokens over the batch, as a plot in the terminal.
    output
        Write to this file, whole or not at all, and not to standard output.
    """
    from flyball.commands.profiles import Asked, show_pairs

    asked = Asked(model, card, tp, engine, precision, in_tokens, out_tokens, add)
    return show_pairs(asked, plot=plot, output=output)


@profiles.command(help_epilogue=SHOWN)
def fit(
    csv: Path,
    /,
    *,
    model: str | None = None,
    card: str | None = None,
    tp: int = 1,
    engine: Engine = "vllm",
    precision: str | None = None,
    prior: Literal["library", "roofline", "none"] | None = None,
    add: tuple[Path, ...] = (),
    plot: Flag = False,
    report: Path | None = None,
    output: Output = None,
) -> int:
    """Fit a profile to one's own measurements, a run a line, and say what they taught.

    Columns: concurrency (or running), input_tokens, output_tokens, tpot_ms or itl_ms (_s: seconds), and
    ttft_ms where it was measured. The names that vllm bench serve, AIPerf, GenAI-Perf and inference-perf
    write are read as well.

    Examples:

    `flyball profiles fit runs.csv --model Llama-3.1-8B --card H100 --plot`

    `flyball profiles fit runs.csv --model ours --card X1 --output profile.yaml --report fit.html`

    Parameters
    ----------
    csv
        The measurements, or - for standard input.
    model
        What was measured. With a known model and card the library's belief is the prior, so that a few runs
        suffice.
    card
        On which card.
    tp
        Cards that share the model.
    engine
        vllm, sglang or trtllm.
    precision
        Of the weights; left out: as published, or as the name says.
    prior
        library, roofline (data sheets alone) or none (next to nothing). Left out: library where model and
        card are known, else none.
    add
        A table of entries of one's own beside the library's; may be given again.
    plot
        Fit and residuals as plots in the terminal.
    report
        Write a page with plots that needs nothing else to this file.
    output
        Write the profile, a document to put into a fleet (kind: Catalogue), to this file; - prints it alone.
    """
    from flyball.commands.profiles_fit import Fitted, fit_profile

    return fit_profile(
        Fitted(csv, model, card, tp, engine, precision, prior, add), plot=plot, report=report, output=output
    )


SWEPT = """
Exit codes:

- 0: done
- 2: the input or an option is wrong, or the replica refuses it (4xx)
- 4: an output could not be written
- 5: the replica or the tuner cannot be reached or fails (5xx); what was measured until then is fitted
- 70: a fault of Flyball itself
- 130: interrupted; what was measured is fitted
"""


@profiles.command(help_epilogue=SWEPT)
def sweep(
    url: str,
    /,
    *,
    model: str | None = None,
    card: str | None = None,
    tp: int = 1,
    engine: Engine = "vllm",
    precision: str | None = None,
    prior: Literal["library", "roofline", "none"] | None = None,
    add: tuple[Path, ...] = (),
    served_model: str | None = None,
    in_tokens: Input = "1000",
    out_tokens: Answer = "300",
    loads: str | None = None,
    each: str = "20s",
    max_itl: str = "200ms",
    max_ttft: Annotated[str, Parameter(name=["--max-ttft", "--ttft"])] = "10s",
    api_key_file: Path | None = None,
    ca: Path | None = None,
    timeout: float = 60.0,
    dry_run: Flag = False,
    csv: Path | None = None,
    tuner: str | None = None,
    plot: Flag = False,
    report: Annotated[Path | None, Parameter(name=["--report", "--html"])] = None,
    format: Literal["yaml", "csv", "inferno-g1", "inferno-g2", "inferno-g3"] = "yaml",
    output: Annotated[Path | None, Parameter(name=["--output", "-o", "--save"])] = None,
) -> int:
    """Measure a running replica under rising load, and fit its profile: the library's belief is the prior.

    It sends requests of its own to an engine with OpenAI's API (vLLM, SGLang and others), so many in flight
    at once, of random words that no prefix cache holds. Give it a replica that serves nobody else meanwhile.

    Examples:

    `flyball profiles sweep http://127.0.0.1:8000 --model Llama-3.1-8B --card H100 --dry-run`

    `flyball profiles sweep http://127.0.0.1:8000 --model Llama-3.1-8B --card H100 --csv runs.csv --plot`

    `flyball profiles sweep https://replica:8000 --card L40S --loads 1,4,16 --each 64 --api-key-file key`

    Parameters
    ----------
    url
        Address of the replica itself, not of what spreads requests over several.
    model
        What it serves, as in the library. Left out: the one model that it serves.
    card
        On which card.
    tp
        Cards that share the model.
    engine
        vllm, sglang or trtllm.
    precision
        Of the weights; left out: as published, or as the name says.
    prior
        library, roofline (data sheets alone) or none (next to nothing). Left out: library where model and
        card are known, else none.
    add
        A table of entries of one's own beside the library's; may be given again.
    served_model
        The name under which it serves the model, where it is another one.
    in_tokens
        Input tokens of a request; the last two steps have half and twice as many.
    out_tokens
        Output tokens of a request; the last two steps have half as many.
    loads
        Requests in flight, such as 1,2,4,8,16,32. Left out: doubling from 1, up to 256.
    each
        How long a step is measured after its warm-up: a time such as 20s, or a number of requests.
    max_itl
        It stops climbing where the time between tokens is longer: 200ms is the 95th percentile, mean<100ms
        the mean.
    max_ttft
        The same for the time to first token.
    api_key_file
        File whose first line is the key to send (lines with # are comments).
    ca
        Authorities to trust instead of the system's, for https (PEM).
    timeout
        Seconds of silence after which it gives up.
    dry_run
        Show the steps and how long they take; send nothing.
    csv
        Write the measurements to this file, as `flyball profiles fit` reads them.
    tuner
        Send the measurements to the model tuner at HOST:PORT (`flyball serve tuner`) as a calibration.
    plot
        Fit and residuals as plots in the terminal.
    report
        Write a page with plots that needs nothing else to this file.
    format
        Of --output. yaml is a document to put into a fleet (kind: Catalogue); csv a table for --add of the
        other commands; inferno-g1 to -g3 model data of its generations, which hold less.
    output
        Write the profile to this file; - prints it alone.
    """
    from flyball.commands.profiles_fit import Fitted
    from flyball.commands.profiles_sweep import Sweep, sweep_replica

    return sweep_replica(
        Sweep(
            url=url,
            about=Fitted(csv or Path("-"), model, card, tp, engine, precision, prior, add),
            served_model=served_model,
            in_tokens=in_tokens,
            out_tokens=out_tokens,
            loads=loads,
            each=each,
            max_itl=max_itl,
            max_ttft=max_ttft,
            api_key_file=api_key_file,
            ca=ca,
            timeout=timeout,
            csv=csv,
            tuner=tuner,
            dry_run=dry_run,
            plot=plot,
            report=report,
            format=format,
            output=output,
        )
    )


@profiles.command(help_epilogue=SHOWN)
def compare(
    *pairs: str,
    in_tokens: Input = "1000",
    out_tokens: Answer = "300",
    engine: Engine = "vllm",
    add: tuple[Path, ...] = (),
    output: Output = None,
) -> int:
    """Compare models on cards side by side: parameters, latency, capacity, and how sure the order is.

    A pair is MODEL@CARD, with xN for N cards and :ENGINE for another engine.

    Examples:

    `flyball profiles compare Llama-3.1-8B@H100 Llama-3.1-8B@L40S`

    `flyball profiles compare Llama-3.1-70B@H100x4 Llama-3.1-70B-FP8@H200x2:trtllm --in 4000 --out 500`

    Parameters
    ----------
    pairs
        Two or more; the first is what the others are compared with.
    in_tokens
        Input tokens of a request.
    out_tokens
        Output tokens of a request.
    engine
        Of pairs that do not say theirs.
    add
        A table of entries of one's own beside the library's; may be given again.
    output
        Write to this file, whole or not at all, and not to standard output.
    """
    from flyball.commands.profiles import compare_pairs

    return compare_pairs(pairs, in_tokens, out_tokens, engine, add, output)


@profiles.command(name="export", help_epilogue=SHOWN)
def export_profiles(
    *,
    model: str | None = None,
    card: str | None = None,
    engine: Engine | None = None,
    tier: Tier | None = None,
    in_tokens: Input = "1000",
    out_tokens: Answer = "300",
    add: tuple[Path, ...] = (),
    format: Literal["yaml", "csv", "inferno-g1", "inferno-g2", "inferno-g3"] = "yaml",
    output: Output = None,
) -> int:
    """Write entries of the library as documents: Flyball's own form, its table, or Inferno's model data.

    Examples:

    `flyball profiles export --model Llama-3.1-8B --output profiles.yaml`

    `flyball profiles export --model Llama-3.1-8B --format inferno-g3 --in 500 --out 200`

    Parameters
    ----------
    model
        Only of this model, and of others of its shape.
    card
        Only on this card.
    engine
        Only of this engine.
    tier
        measured or op-level.
    in_tokens
        Input tokens of the requests that Inferno's parameters are made for.
    out_tokens
        Output tokens of these.
    add
        A table of entries of one's own beside the library's; may be given again.
    format
        yaml is a document to put into a fleet (kind: Catalogue); csv the library's own table; inferno-g1 to
        -g3 model data of its generations, which hold less: what is lost is said.
    output
        Write to this file, whole or not at all, and not to standard output.
    """
    from flyball.commands.profiles import Listed
    from flyball.commands.profiles_exchange import export_entries

    return export_entries(Listed(model, card, engine, tier, add), format, in_tokens, out_tokens, output)


imports = App(
    name="import",
    help="Make entries of what others have measured.",
    help_epilogue=SHOWN,
)
profiles.command(imports)


@imports.command(help_epilogue=SHOWN)
def aiconfigurator(
    csv: Path | None = None,
    /,
    *,
    model: str | None = None,
    system: str | None = None,
    backend: str | None = None,
    format: Literal["table", "csv", "yaml"] | None = None,
    output: Output = None,
) -> int:
    """Fit entries to the measured runs of AIConfigurator, as the library's were.

    Examples:

    `flyball profiles import aiconfigurator --model Llama-3.1 --system h100_sxm`

    `flyball profiles import aiconfigurator silicon_sample.csv --backend vllm --output mine.csv`

    Parameters
    ----------
    csv
        Its table silicon_sample.csv; left out, that of the installed package aiconfigurator-core.
    model
        Only models with these words in their name.
    system
        Only systems with these words in their name, such as h100_sxm.
    backend
        Only engines with these words in their name.
    format
        table; csv is what --add of the other commands reads; yaml a document to put into a fleet. Left out:
        csv into a file, else table.
    output
        Write to this file, whole or not at all, and not to standard output.
    """
    from flyball.commands.profiles_exchange import Chosen, import_aiconfigurator

    return import_aiconfigurator(Chosen(csv, model, system, backend), format, output)
