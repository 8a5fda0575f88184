"""`flyball profiles fit`: a profile from one's own measurements."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from flyball.adapters.whole import write_whole
from flyball.commands.output import STANDARD_OUTPUT, put, say
from flyball.commands.profiles_asked import (
    ENGINES,
    deliver,
    known_entries,
    plotted,
    precision_of,
    printed,
    text_of,
    told,
)
from flyball.spec.accelerator import Accelerator
from flyball.spec.card import Card
from flyball.spec.model import Model
from flyball.spec.profile import Profile
from flyball.wire.errors import WireError
from flyball.wire.measurements import Measurements

if TYPE_CHECKING:
    from rich.console import Console

    from flyball.calibrate.belief import Belief
    from flyball.calibrate.fit import Fit

UNNAMED_MODEL, UNNAMED_CARD = "unnamed-model", "unnamed-card"
MOST_CARDS = 64


class Fitted(msgspec.Struct, frozen=True):
    """What is fitted to what."""

    csv: Path
    model: str | None = None
    card: str | None = None
    tp: int = 1
    engine: str = ENGINES[0]
    precision: str | None = None
    prior: str | None = None
    """library, roofline or none; None: library where it can be."""
    add: tuple[Path, ...] = ()


class Subject(NamedTuple):
    """What was measured, as far as it is known, and what is believed of it."""

    model: str
    accelerator: Accelerator
    before: Belief
    kv_tokens: int
    notes: tuple[str, ...]
    """What is not known."""


class Made(NamedTuple):
    """A fit, the profile it gives, and what it was made of."""

    subject: Subject
    measured: Measurements
    fit: Fit
    profile: Profile


def fit_profile(fitted: Fitted, *, plot: bool, report: Path | None, output: Path | None) -> int:
    """Fit as asked, and show what came of it; returns the exit code."""

    def work() -> None:
        check_files(fitted.csv, report, output)
        made = make(fitted)
        alone = output == STANDARD_OUTPUT
        text = document_text(made)
        shown = "" if alone else printed(None, lambda console: _print(console, made, plot, output is None))
        if output is not None and not alone:
            write_whole(output, text)
            say(f"profile written to {output}")
        if report is not None:
            write_report(made, report)
        if alone:
            deliver(text, None, machine=True)
        else:
            put(shown, machine=False)

    return told(work)


def write_report(made: Made, report: Path) -> None:
    """The fit as a page, into a file. Or OSError."""
    from flyball.report.fit_page import fit_page

    write_whole(report, fit_page(made.subject.model, made.profile, made.measured, made.fit, lead(made)))
    say(f"report written to {report}")


def make(fitted: Fitted) -> Made:
    """Read, and fit. WireError: what cannot be read, and names that do not go with the prior asked for."""
    from flyball.wire.measurements import measurements_from_csv

    where = "standard input" if fitted.csv == STANDARD_OUTPUT else str(fitted.csv)
    measured = measurements_from_csv(text_of(fitted.csv, where), where)
    return made_of(subject_of(fitted), measured)


def made_of(subject: Subject, measured: Measurements) -> Made:
    """The fit of measurements."""
    from flyball.calibrate.fit import fit

    done = fit(subject.before, measured.points)
    return Made(subject, measured, done, _profile(subject, done))


def subject_of(fitted: Fitted) -> Subject:
    """What was measured, and the prior. Or WireError."""
    from flyball.calibrate.fit import anywhere, weak
    from flyball.calibrate.prior import prior
    from flyball.physics.roofline import kv_tokens
    from flyball.profiles.library import accelerator_of

    if not 1 <= fitted.tp <= MOST_CARDS:
        raise WireError(
            "--tp", f"allowed are 1 to {MOST_CARDS} cards", value=fitted.tp, mend="Such as 1, 2, 4"
        )
    wanted = precision_of(fitted.precision)
    model, card, notes = _known(fitted)
    usable = card is not None and card.bandwidth_gbs > 0 < card.tflops
    if fitted.prior in ("library", "roofline") and (model is None or not usable):
        missing = "a model" if model is None else "a card with bandwidth and operations"
        mend = f"{notes[0]}. Name {missing} that is known, or leave --prior out" if notes else ""
        raise WireError(
            "--prior", "is about a model and a card that are known", value=fitted.prior, mend=mend
        )
    room = 0
    if model is not None and card is not None and usable:
        entries = known_entries(fitted.add) if fitted.prior in ("library", None) else ()
        weights = wanted or model.precision
        before = prior(model, card, fitted.tp, fitted.engine, weights, entries)
        before = weak(before) if fitted.prior == "none" else before
        room = kv_tokens(model, card, fitted.tp, weights)
    else:
        before = anywhere(model)
    count = f"x{fitted.tp}" if fitted.tp > 1 else ""
    name = fitted.card or UNNAMED_CARD
    unit = (
        accelerator_of(card, fitted.tp)
        if card is not None
        else Accelerator(f"{name}{count}", type=name, multiplicity=fitted.tp)
    )
    return Subject(model.name if model else fitted.model or UNNAMED_MODEL, unit, before, room, tuple(notes))


def _known(fitted: Fitted) -> tuple[Model | None, Card | None, list[str]]:
    """The model and the card where they are known, and what is to be said of those that are not."""
    from flyball.profiles.library import find_card, find_model

    notes: list[str] = []
    model: Model | None = None
    card: Card | None = None
    for option, name in (("--model", fitted.model), ("--card", fitted.card)):
        if name is None:
            notes.append(f"{option} is not said")
            continue
        try:
            if option == "--model":
                model = find_model(name, where=option)
            else:
                card = find_card(name, where=option)
        except WireError as error:
            notes.append(str(error).rstrip("."))
    return model, card, notes


def _profile(subject: Subject, done: Fit) -> Profile:
    """The profile, its figures rounded to what is known of them."""
    from flyball.calibrate.prior import profile_of
    from flyball.commands.profiles_exchange import rounded

    points = len(done.time) - int(done.aside.sum())
    profile = profile_of(done.after, subject.model, subject.accelerator.name, kv_tokens=subject.kv_tokens)
    source = f"fitted to {points} measurements; prior: {subject.before.source}"
    return rounded(msgspec.structs.replace(profile, source=source))


def document_text(made: Made) -> str:
    """The profile as a catalogue, in YAML."""
    from flyball.commands.profiles_exchange import catalogue_text

    name = f"{made.subject.model.rpartition('/')[2]} on {made.subject.accelerator.name}"
    return catalogue_text(name, [made.subject.accelerator], [made.profile])


def lead(made: Made) -> str:
    """What was fitted to what."""
    from flyball.report.profile_fit import lead as said

    return said(made.subject.model, made.subject.accelerator.name, made.fit)


def check_files(csv: Path | None, report: Path | None, output: Path | None) -> None:
    """Refuse to write over what is read, or one result over the other."""
    named: dict[str, Path | None] = {"the measurements": csv, "--report": report, "--output": output}
    seen: dict[str, str] = {}
    for name, path in named.items():
        if path is None or path == STANDARD_OUTPUT:
            continue
        try:
            real = os.path.realpath(path)
        except ValueError:  # a null character
            continue
        if real in seen and not (path.exists() and not path.is_file()):
            problem = f"is {seen[real]} too, and would be written over"
            raise WireError(name, problem, value=str(path), mend="Name another file")
        seen[real] = name


def _print(console: Console, made: Made, plot: bool, hint: bool) -> None:
    from flyball.report import profile_fit as report

    done, measured = made.fit, made.measured
    console.print(lead(made), soft_wrap=True)
    for line in made.subject.notes:
        console.print(f"Note: {line}.", soft_wrap=True)
    if measured.left_out:
        console.print(f"Columns that were not read: {', '.join(measured.left_out)}.", soft_wrap=True)
    console.print(report.parameters_table(done))
    console.print(report.points_table(measured.points, done))
    if len(measured.points) > report.MOST_ROWS:
        rows = f"the {report.MOST_ROWS} of {len(measured.points)} points that are most off"
        console.print(f"Shown are {rows}; --report has all.", soft_wrap=True)
    for line in report.summary(measured.points, done):
        console.print(line, soft_wrap=True)
    if hint:
        console.print("To keep the profile, as a document for a fleet: --output profile.yaml", soft_wrap=True)
    if plot:
        console.print("")
        plotted(console, report.charts(measured.points, done))
