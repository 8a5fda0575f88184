"""`flyball crds`: the definitions of our kinds, as the API server takes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from flyball.wire.kinds.kind import Definition

DEFINED = """
Exit codes:

- 0: done, or with --check: the files are as they should be
- 2: there is no such kind, or an option is wrong
- 3: with --check: a file is missing or differs
- 4: a file could not be written or read
- 70: a fault of Flyball itself
"""
DONE, WRONG, DIFFERS, UNWRITTEN = 0, 2, 3, 4


def crds(
    *kinds: str,
    check: Path | None = None,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
) -> int:
    """Print the CustomResourceDefinitions of Flyball's kinds, or keep them as files, one for each kind.

    Examples:

    `flyball crds | kubectl apply --server-side -f -`

    `flyball crds server isrv capacities`

    `flyball crds --output deploy/crds`

    `flyball crds --check deploy/crds`

    `flyball crds modelbooster --output deploy/crds-booster`

    Parameters
    ----------
    kinds
        Only these: kind, plural or short name, in any case; left out: all of Inferno's. ModelBooster is
        printed only where it is named, as it takes the place of Kthena's own definition.
    check
        Print nothing; say which files of this directory are missing or differ.
    output
        Write the files into this directory, which is made where it is missing.
    """
    from flyball.commands.output import put, say

    if check and output:
        say("flyball: --check looks and --output writes: give one of them.\nTry flyball crds --help.")
        return WRONG
    try:
        files = texts_of(chosen(kinds))
    except ValueError as error:
        say(f"flyball: {error}")
        return WRONG
    try:
        if check:
            return _check(check, files)
        if output:
            return _write(output, files)
        put("---\n".join(files.values()), machine=True)
    except (OSError, UnicodeDecodeError) as error:
        say(f"flyball: {error}")
        return UNWRITTEN
    return DONE


def definitions() -> tuple[Definition, ...]:
    """The kinds that Flyball's own objects are of."""
    from flyball.wire.kinds import inferno, power

    return (*inferno.DEFINITIONS, *power.DEFINITIONS)


def further_definitions() -> tuple[Definition, ...]:
    """Kinds of others in a wider form: to be installed only where they are asked for by name."""
    from flyball.wire.kinds import kthena

    return kthena.DEFINITIONS


def chosen(names: tuple[str, ...]) -> tuple[Definition, ...]:
    """The kinds of these names, our own where there are none, each once and in their order. Or ValueError."""
    from flyball.wire.fields import near_matches

    if not names:
        return definitions()
    every = (*definitions(), *further_definitions())
    known = {
        word.lower(): d for d in every for word in (d.kind, d.plural, d.singular, d.name, *d.short_names)
    }
    for name in names:
        if name.lower() not in known:
            raise ValueError(f'there is no kind "{name}". {near_matches(name, [d.kind for d in every])}.')
    wanted = {known[name.lower()].name for name in names}
    return tuple(d for d in every if d.name in wanted)


def texts_of(kinds: tuple[Definition, ...]) -> dict[str, str]:
    """Their files, by name."""
    from flyball.wire.kinds.kind import crd
    from flyball.wire.text import encode_yaml

    return {f"{d.group}_{d.plural}.yaml": encode_yaml(crd(d)) for d in kinds}


def _check(folder: Path, files: dict[str, str]) -> int:
    from flyball.commands.output import say

    found = {name: folder / name for name in files}
    missing = [str(path) for path in found.values() if not path.is_file()]
    differ = [
        str(path)
        for name, path in found.items()
        if path.is_file() and path.read_text(encoding="utf-8") != files[name]
    ]
    for what, paths in (("is missing", missing), ("differs from what Flyball would write", differ)):
        for path in paths:
            say(f"{path} {what}")
    if missing or differ:
        say(f"To write them: flyball crds --output {folder}")
        return DIFFERS
    return DONE


def _write(folder: Path, files: dict[str, str]) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return DONE
