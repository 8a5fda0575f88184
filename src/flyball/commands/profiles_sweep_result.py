"""What comes of a sweep: the fit, and the ways to keep it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from flyball.calibrate.over_batch import largest_batch
from flyball.client.errors import CallError
from flyball.client.tuner import TunerClient
from flyball.commands.output import STANDARD_OUTPUT, put, say
from flyball.commands.profiles_asked import DONE, WRONG, deliver, plotted, precision_of, printed, tokens_of
from flyball.commands.profiles_exchange import GENERATIONS, inferno_text
from flyball.commands.profiles_fit import Fitted, Made, Subject, document_text, lead, made_of, write_report
from flyball.report import profile_fit, profile_sweep
from flyball.spec.library import Entry
from flyball.spec.profile import IterationTiming
from flyball.wire.errors import WireError
from flyball.wire.measurements import measurements_from_csv
from flyball.wire.sweep import sweep_csv, tuner_points

if TYPE_CHECKING:
    from rich.console import Console

    from flyball.commands.profiles_sweep import Sweep
    from flyball.commands.profiles_sweep_run import Log

UNREACHED = 5


def give(sweep: Sweep, subject: Subject, log: Log, tuner: TunerClient | None) -> int:
    """Fit, write, and show; the exit code, which only the tuner can spoil."""
    # Through its own CSV: so `flyball profiles fit` gives the same profile.
    csv = _csv(sweep, subject, log)
    if sweep.csv is not None:
        deliver(csv, sweep.csv, machine=True)
    measured = measurements_from_csv(csv, "the sweep")
    measured = measured._replace(left_out=())
    subject = subject._replace(kv_tokens=log.kv_tokens or subject.kv_tokens)
    made = made_of(subject, measured)
    if sweep.output is not None:
        deliver(_text(sweep, made, log), sweep.output, machine=True)
    if sweep.report is not None:
        write_report(made, sweep.report)
    if STANDARD_OUTPUT not in (sweep.output, sweep.csv):
        put(printed(None, lambda console: _print(console, sweep, made, log)), machine=False)
    return DONE if tuner is None else _calibrate(tuner, sweep, made, log)


def _csv(sweep: Sweep, subject: Subject, log: Log) -> str:
    version = f", version {log.version}" if log.version else ""
    title = f"flyball profiles sweep: {subject.model} on {subject.accelerator.name}{version}"
    every = [*((t, True) for t in log.taken), *((t, False) for t in log.full)]
    return sweep_csv(
        title,
        [
            (
                t.point,
                (
                    float(np.quantile(t.itl, 0.95)),
                    float(np.quantile(t.ttft, 0.95)),
                    t.throughput,
                    float(len(t.ttft)),
                ),
                counts,
            )
            for t, counts in every
        ],
    )


def _text(sweep: Sweep, made: Made, log: Log) -> str:
    """The profile in the form asked for."""
    if sweep.format == "yaml":
        return document_text(made)
    if sweep.format == "csv":
        from flyball.wire.library import entries_to_csv

        return entries_to_csv([_entry(sweep.about, made, log)])
    sizes = tokens_of(sweep.in_tokens, sweep.out_tokens)
    return inferno_text([made.subject.accelerator], [made.profile], GENERATIONS[sweep.format], sizes)


def _entry(about: Fitted, made: Made, log: Log) -> Entry:
    """The profile as an entry of the library, for --add."""
    from flyball.profiles.library import find_model

    model, card = entry_names(about)
    profile = made.profile
    assert isinstance(profile.timing, IterationTiming)
    assert profile.uncertainty is not None
    shapes = len({(t.step.in_tokens, t.step.out_tokens) for t in log.taken})
    points = len(made.fit.time) - int(made.fit.aside.sum())
    weights = precision_of(about.precision) or find_model(model).precision
    return Entry(
        model, card, about.tp, about.engine, weights, "measured", profile.timing, profile.uncertainty,
        log.version, profile.kv_tokens, shapes, points, source="flyball profiles sweep",
    )  # fmt: skip


def _calibrate(tuner: TunerClient, sweep: Sweep, made: Made, log: Log) -> int:
    model, unit = made.subject.model, made.subject.accelerator.name
    sizes = tokens_of(sweep.in_tokens, sweep.out_tokens)
    batch = max(largest_batch(made.profile.kv_tokens, *sizes), 1)
    points = tuner_points(model, unit, batch, [(t.point, t.rate) for t in log.taken])
    with tuner:
        try:
            learned = tuner.calibrate(points)
        except CallError as error:
            say(f"flyball: {error}")
            return WRONG if error.status is not None and error.status < 500 else UNREACHED
    found = [each.perf_parms for each in learned if (each.name, each.acc) == (model, unit)]
    if not found or found[0] is None:
        say("flyball: the tuner learned nothing from the points; its log says why")
        return WRONG
    p = found[0]
    say(
        f"The tuner learned {model} on {unit}: alpha {p.alpha:.4g} ms, beta {p.beta:.4g} ms, "
        f"gamma {p.gamma:.4g} ms."
    )
    return DONE


def entry_names(about: Fitted) -> tuple[str, str]:
    """Model and card of an entry of the library. WireError: it has only known ones."""
    from flyball.profiles.library import find_card, find_model

    if about.model is None or about.card is None:
        mend = "Say --model and --card, or take --format yaml"
        raise WireError("--format csv", "is a table of models and cards that are known", mend=mend)
    return find_model(about.model, where="--model").name, find_card(about.card, where="--card").name


def _print(console: Console, sweep: Sweep, made: Made, log: Log) -> None:
    done, measured = made.fit, made.measured
    console.print(lead(made), soft_wrap=True)
    for line in (*made.subject.notes, *log.notes):
        console.print(f"Note: {line.rstrip('.')}.", soft_wrap=True)
    console.print(profile_sweep.steps_table(log.taken, measured.points, done))
    console.print(profile_fit.parameters_table(done))
    for line in profile_fit.summary(measured.points, done):
        console.print(line, soft_wrap=True)
    if log.kv_tokens:
        console.print(f"KV cache: {log.kv_tokens:,} tokens, as the engine says.", soft_wrap=True)
    if sweep.output is None:
        console.print(
            "To keep the profile: --output profile.yaml, a document for a fleet; with --format csv a table "
            "for --add of the other commands; with --format inferno-g3 Inferno's model data.",
            soft_wrap=True,
        )
    elif sweep.format == "csv":
        console.print(f"To use it: flyball profiles show {made.subject.model} --add {sweep.output}")
    if sweep.csv is not None:
        asked = "".join(
            f" --{name} {value}"
            for name, value in (("model", sweep.about.model), ("card", sweep.about.card))
            if value
        )
        console.print(f"To fit it again: flyball profiles fit {sweep.csv}{asked}", soft_wrap=True)
    if sweep.plot:
        console.print("")
        plotted(console, profile_fit.charts(measured.points, done))
