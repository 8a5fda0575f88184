"""What the commands of `flyball profiles` are asked for: names to models, cards and entries; output."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from flyball.adapters.whole import write_whole
from flyball.commands.output import STANDARD_OUTPUT, console_of, put, say
from flyball.spec.library import Entry
from flyball.spec.model import Precision
from flyball.units import Tokens
from flyball.wire import quantities
from flyball.wire.errors import WireError
from flyball.wire.fields import near_matches

if TYPE_CHECKING:
    from rich.console import Console

    from flyball.report.curves import Chart

DONE, WRONG, UNWRITTEN = 0, 2, 4
ENGINES = ("vllm", "sglang", "trtllm")
SIZE_LIMIT = 50_000_000


def told(work: Callable[[], None]) -> int:
    """Do it; what is wrong with the input, or with an output, is said and becomes the exit code."""
    try:
        work()
    except WireError as error:
        say(f"flyball: {error}")
        return WRONG
    except OSError as error:
        say(f"flyball: {error.filename}: cannot be written ({error.strerror}). Name a place that can be.")
        return UNWRITTEN
    return DONE


def deliver(text: str, output: Path | None, *, machine: bool) -> None:
    """To a file, whole or not at all, or to standard output. Or OSError."""
    if output is not None and output != STANDARD_OUTPUT:
        write_whole(output, text)
        say(f"written to {output}")
    else:
        put(text, machine=machine)


def printed(output: Path | None, draw: Callable[[Console], None]) -> str:
    """What is drawn on a console, as text."""
    console = console_of(output is not None and output != STANDARD_OUTPUT)
    draw(console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def plotted(console: Console, charts: Sequence[Chart]) -> None:
    """Draw plots on a console, one below the other."""
    from flyball.report.curves import ServerCurves
    from flyball.report.terminal import draw

    console.file.write(
        draw(
            ServerCurves("", "", list(charts)),
            width=console.width,
            color=console.color_system is not None and not console.no_color,
            ascii_only=console.options.ascii_only,
        )
        + "\n"
    )


def bytes_of(path: Path, where: str) -> bytes:
    """What is in a file, or on standard input. Or WireError."""
    import sys

    try:
        if path == STANDARD_OUTPUT:
            data = sys.stdin.buffer.read(SIZE_LIMIT + 1)
        else:
            with path.open("rb") as file:
                data = file.read(SIZE_LIMIT + 1)
    except (OSError, ValueError, AttributeError) as error:
        problem = getattr(error, "strerror", None) or str(error)
        raise WireError(where, f"cannot be read ({problem})", mend="Correct the path") from None
    if len(data) > SIZE_LIMIT:
        raise WireError(where, f"is larger than the limit of {SIZE_LIMIT:,} bytes", mend="Cut it")
    return data


def text_of(path: Path, where: str) -> str:
    """The same as text. Or WireError."""
    try:
        return bytes_of(path, where).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problem = f"is not text in UTF-8 (byte {error.start})"
        raise WireError(where, problem, mend="Give a CSV file") from None


def known_entries(add: Iterable[Path]) -> tuple[Entry, ...]:
    """The library's entries, and one's own before them. Or WireError."""
    from flyball.profiles.latency import entries
    from flyball.wire.library import entries_from_csv

    own = [entry for path in add for entry in entries_from_csv(text_of(path, f"--add {path}"), str(path))]
    return (*own, *entries())


def chosen(
    entries: Sequence[Entry],
    model: str | None = None,
    card: str | None = None,
    engine: str | None = None,
    tier: str | None = None,
) -> list[Entry]:
    """The entries that are asked for. WireError: there is no such model or card."""
    found = list(entries)
    if model is not None:
        wanted = _models_like(model, entries)
        found = [e for e in found if wanted(e)]
    if card is not None:
        names = _cards_named(card, entries)
        found = [e for e in found if e.card in names]
    return [e for e in found if engine in (None, e.engine) and tier in (None, e.tier)]


def _models_like(name: str, entries: Sequence[Entry]) -> Callable[[Entry], bool]:
    from flyball.calibrate.pair import same_model
    from flyball.profiles.library import find_model

    own = {e.model for e in entries if name.casefold() in (e.model.casefold(), _last(e.model))}
    if own:
        return lambda e: e.model in own
    model = find_model(name, where="--model")
    return lambda e: same_model(e, model)


def _cards_named(text: str, entries: Sequence[Entry]) -> set[str]:
    from flyball.profiles.library import find_card

    own = {e.card.casefold(): e.card for e in entries}
    return {
        own.get(name.strip().casefold()) or find_card(name, where="--card").name for name in text.split(",")
    }


def _last(name: str) -> str:
    return name.rpartition("/")[2].casefold()


def precision_of(text: str | None) -> Precision | None:
    """The precision of the weights that a name says. Or WireError."""
    if text is None:
        return None
    found: Precision = known_name(text, get_args(Precision), "--precision", "precision")  # type: ignore[assignment]
    return found


def engine_of(text: str) -> str:
    """An engine by its name. Or WireError."""
    return known_name(text, ENGINES, "--engine", "engine")


def known_name(text: str, known: Iterable[str], where: str, what: str) -> str:
    """The one of the known names that is meant, whatever its case. Or WireError."""
    names = tuple(known)
    if text.casefold() in names:
        return text.casefold()
    raise WireError(where, f"there is no such {what}", value=text, mend=near_matches(text, names))


def tokens_of(in_tokens: str, out_tokens: str) -> tuple[Tokens, Tokens]:
    """Input and output tokens of a request. Or WireError."""
    answer = quantities.parse_tokens(out_tokens, "--out")
    if answer < 1:
        raise WireError("--out", "an answer has a token at least", value=out_tokens, mend="Such as --out 300")
    return quantities.parse_tokens(in_tokens, "--in"), answer
