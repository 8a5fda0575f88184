"""`flyball profiles export` and `import`: entries as documents, and from what others have measured."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from flyball.commands.output import say
from flyball.commands.profiles import Listed
from flyball.commands.profiles_asked import deliver, printed, text_of, tokens_of, told
from flyball.spec.accelerator import Accelerator
from flyball.spec.fleet import Fleet, Generation
from flyball.spec.library import Entry
from flyball.spec.measurement import Run
from flyball.spec.profile import IterationTiming, Profile
from flyball.wire.errors import WireError

if TYPE_CHECKING:
    from rich.console import Console

    from flyball.calibrate.measured import Configuration

DIGITS, SIGMA_DIGITS = 5, 3
GENERATIONS: dict[str, Generation] = {"inferno-g1": "G1", "inferno-g2": "G2", "inferno-g3": "G3"}
LOST = {
    "G1": "lengths of prompt and answer (they stand for the given ones), prefill, gamma",
    "G2": "the cost of a KV token (it stands for the given lengths)",
    "G3": "that a prompt token costs another time than an output token (one stands for both at the given "
    "lengths), gamma",
}
PACKAGES = ("aiconfigurator-core", "aiconfigurator")
TABLE = "silicon_sample.csv"


# ---- documents ---------------------------------------------------------------------------------


def rounded(profile: Profile) -> Profile:
    """A profile whose figures have as many digits as are known of them."""
    timing, uncertainty = profile.timing, profile.uncertainty
    if isinstance(timing, IterationTiming):
        timing = msgspec.structs.replace(timing, **_short(timing, DIGITS))
    if uncertainty is not None:
        uncertainty = msgspec.structs.replace(uncertainty, **_short(uncertainty, SIGMA_DIGITS))
    return msgspec.structs.replace(profile, timing=timing, uncertainty=uncertainty)


def _short(values: msgspec.Struct, digits: int) -> dict[str, float]:
    items = msgspec.structs.asdict(values).items()
    return {name: float(f"{value:.{digits}g}") for name, value in items if isinstance(value, float)}


def catalogue_text(name: str, accelerators: Sequence[Accelerator], profiles: Sequence[Profile]) -> str:
    """A catalogue as YAML: its lists stand in a fleet as they are."""
    from flyball.wire.catalogue import API_VERSION, accelerator_document, profile_document
    from flyball.wire.text import encode_yaml

    return encode_yaml(
        {
            "apiVersion": API_VERSION,
            "kind": "Catalogue",
            "name": name,
            "accelerators": [accelerator_document(a) for a in accelerators],
            "profiles": [profile_document(p) for p in profiles],
        }
    )


def hardware_of(entries: Iterable[Entry]) -> tuple[list[Accelerator], list[Profile], int]:
    """Units and profiles of entries, one for each model and unit; and how many were left out for that.

    Of several the one that is not suspect, measured, and rests on most points.
    """
    from flyball.calibrate.near import known_card
    from flyball.profiles.library import accelerator_of

    best: dict[tuple[str, str], Entry] = {}
    units: dict[str, Accelerator] = {}
    count = 0
    for entry in sorted(entries, key=lambda e: (bool(e.suspect), e.tier != "measured", -e.points)):
        count += 1
        name = entry.card if entry.tp == 1 else f"{entry.card}x{entry.tp}"
        best.setdefault((entry.model, name), entry)
        card = known_card(entry.card)
        bare = Accelerator(name, type=entry.card, multiplicity=entry.tp)
        units.setdefault(name, accelerator_of(card, entry.tp) if card else bare)
    profiles = [rounded(_profile(entry, unit)) for (_, unit), entry in sorted(best.items())]
    return sorted(units.values(), key=lambda a: a.name), profiles, count - len(profiles)


def _profile(entry: Entry, unit: str) -> Profile:
    made = "measured" if entry.tier == "measured" else "added up from measured kernels"
    suspect = f"; suspect: {entry.suspect}" if entry.suspect else ""
    source = f"{made} on {entry.tp} {entry.card} with {entry.engine} {entry.version}".rstrip()
    return Profile(
        entry.model,
        unit,
        entry.timing,
        kv_tokens=entry.kv_tokens,
        source=f"{source}, {entry.precision} weights{suspect}",
        uncertainty=entry.uncertainty,
    )


# ---- export ------------------------------------------------------------------------------------


def export_entries(listed: Listed, format: str, in_tokens: str, out_tokens: str, output: Path | None) -> int:
    """Write the entries asked for; returns the exit code."""

    def work() -> None:
        sizes = tokens_of(in_tokens, out_tokens)
        found, known = listed.entries()
        if not found:
            mend = "flyball profiles list shows what there is"
            raise WireError("export", f"none of {known} entries is meant", mend=mend)
        if format == "csv":
            from flyball.wire.library import entries_to_csv

            deliver(entries_to_csv(found), output, machine=True)
            return
        units, profiles, left_out = hardware_of(found)
        if left_out:
            say(
                f"{len(profiles)} of {len(found)} entries: one for each model and unit, measured ones first. "
                "Narrow with --engine and --tier, or take --format csv, which holds them all."
            )
        if format == "yaml":
            text = catalogue_text("exported", units, profiles)
        else:
            text = inferno_text(units, profiles, GENERATIONS[format], sizes)
        deliver(text, output, machine=True)

    return told(work)


def inferno_text(
    units: Sequence[Accelerator],
    profiles: Sequence[Profile],
    generation: Generation,
    sizes: tuple[float, float],
) -> str:
    """Inferno's model data; what it cannot hold is said on standard error."""
    from flyball.calibrate.over_batch import largest_batch
    from flyball.calibrate.simpler import simpler
    from flyball.wire.inferno import system_document

    made, off = [], []
    for profile in profiles:
        assert isinstance(profile.timing, IterationTiming)
        batch = max(largest_batch(profile.kv_tokens, *sizes, profile.max_batch_size), 1)
        simple = simpler(profile.timing, generation, *sizes, batch)
        off.append((simple.here, simple.elsewhere, f"{profile.model} on {profile.accelerator}"))
        made.append(
            msgspec.structs.replace(
                profile,
                timing=simple.timing,
                max_batch_size=batch,
                at_tokens=round(sizes[1]),
            )
        )
    here, _, name = max(off)
    elsewhere = max(far for _, far, _ in off)
    say(
        f"Lost in {generation}: {LOST[generation]}; experts, uncertainty and KV tokens (maxBatchSize is "
        f"what fits). For {sizes[0]:,.0f} input and {sizes[1]:,.0f} output tokens the time between tokens is "
        f"off by {here:.1%} at most ({name}), for half and twice as long ones by {elsewhere:.0%}."
    )
    fleet = Fleet(
        accelerators=tuple(units),
        profiles=tuple(made),
        service_classes=(),
        servers=(),
        generation=generation,
    )
    system = system_document(fleet)["system"]
    assert isinstance(system, dict)
    return msgspec.json.format(msgspec.json.encode(system["modelData"]), indent=4).decode() + "\n"


# ---- import ------------------------------------------------------------------------------------


class Chosen(msgspec.Struct, frozen=True):
    """Which measured runs are asked for; None is not said."""

    csv: Path | None = None
    model: str | None = None
    system: str | None = None
    backend: str | None = None


def import_aiconfigurator(asked: Chosen, format: str | None, output: Path | None) -> int:
    """Fit entries to AIConfigurator's measured runs; returns the exit code."""

    def work() -> None:
        from flyball.wire.aiconfigurator import chosen, runs_from_csv

        path, source = _table(asked.csv)
        every = runs_from_csv(text_of(path, str(path)), str(path))
        runs = chosen(every, asked.model, asked.system, asked.backend)
        if not runs:
            names = sorted({run.path for run in every})
            mend = f"It has models such as {', '.join(names[:6])}" if names else "Give another table"
            raise WireError(str(path), f"none of its {len(every)} configurations is meant", mend=mend)
        entries = _fitted(runs, source)
        form = format or ("table" if output is None else "csv")
        deliver(_text(entries, len(runs), form, output), output, machine=form != "table")

    return told(work)


def _table(given: Path | None) -> tuple[Path, str]:
    """Where the table is, and what entries made of it say of their source. Or WireError."""
    if given is not None:
        return given, f"AIConfigurator's {TABLE}"
    for name in PACKAGES:
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        for file in package.files or ():
            if file.name == TABLE:
                return Path(str(package.locate_file(file))), (
                    f"AIConfigurator {package.version} end-to-end measurements"
                )
    mend = f"pip install {PACKAGES[0]}, or give its {TABLE}: flyball profiles import aiconfigurator {TABLE}"
    raise WireError("import", f"no package {PACKAGES[0]} with its table {TABLE} is installed", mend=mend)


def _fitted(runs: Sequence[Run], source: str) -> list[Entry]:
    from flyball.calibrate.entry import in_order, measured_entries, measured_entry
    from flyball.calibrate.measured import Configuration

    known: list[Configuration] = []
    unknown: dict[str, int] = {}
    for run in runs:
        try:
            known.append(Configuration.of(run))
        except WireError:
            name = f"{run.path} on {run.system}"
            unknown[name] = unknown.get(name, 0) + 1
    if unknown:
        few = ", ".join(list(unknown)[:4]) + (", ..." if len(unknown) > 4 else "")
        say(f"Passed over, as the model or the card is not known here: {few}.")
    fit = _watched(known, "fitting")
    return in_order(measured_entries(fit, lambda c: measured_entry(c, source=source)))


def _watched(items: Sequence[Configuration], label: str) -> Iterator[Configuration]:
    """A bar on standard error, where somebody watches."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield from progress.track(items, description=label)


def _text(entries: Sequence[Entry], runs: int, form: str, output: Path | None) -> str:
    from flyball.calibrate.entry import LEAST_POINTS
    from flyball.report import profiles as report

    what = "1 entry" if len(entries) == 1 else f"{len(entries)} entries"
    counted = f"{what} of {runs} configurations"
    if len(entries) < runs:
        counted += f"; the others have fewer than {LEAST_POINTS} points or are not known"
    counted += "."
    if form == "csv":
        from flyball.wire.library import entries_to_csv

        say(counted)
        return entries_to_csv(entries)
    if form == "yaml":
        units, profiles, left_out = hardware_of(entries)
        say(counted + (f" {left_out} more have the same model and unit: csv holds them." if left_out else ""))
        return catalogue_text("imported", units, profiles)

    def draw(console: Console) -> None:
        if entries:
            console.print(report.entries_table(entries))
        console.print(counted, soft_wrap=True)
        console.print("To use them: --output mine.csv, then --add mine.csv with the other commands.")

    return printed(output, draw)
