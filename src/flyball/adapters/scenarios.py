"""Scenarios from files, and those that are shipped."""

from __future__ import annotations

from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from flyball.adapters.files import read_fleet
from flyball.adapters.traces import read_trace
from flyball.calibrate.catalogue import catalogue_for
from flyball.profiles import sample
from flyball.spec.fleet import Fleet
from flyball.spec.scenario import Scenario, Trace
from flyball.wire.errors import WireError
from flyball.wire.fields import near_matches
from flyball.wire.scenario import Sources, scenario_from_own
from flyball.wire.text import SIZE_LIMIT, decode

SAMPLE = "sample"
"""As a fleet: the shipped sample fleet."""
SUFFIX = ".yaml"


def scenario_of(text: str) -> Scenario:
    """From a file where there is one or a path is meant, else a shipped one by its name. Or WireError."""
    path = Path(text)
    if path.is_file() or path.suffix or path.parent != Path():
        return read_scenario(path)
    return shipped_scenario(text)


def read_scenario(path: Path) -> Scenario:
    """Read a scenario file; fleets and traces in it are looked for beside it. Or WireError."""
    where = str(path)
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_LIMIT + 1)
    except FileNotFoundError:
        mend = f"Correct the path; shipped are {', '.join(shipped_scenarios())}"
        raise WireError(where, "there is no such scenario", mend=mend) from None
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or str(error)
        mend = "Give a file that this user may read"
        raise WireError(where, f"cannot be read ({problem})", mend=mend) from None

    def fleet(name: str) -> Fleet:
        return sample.sample_fleet() if name == SAMPLE else read_fleet(path.parent / name, catalogue_for)

    def trace(name: str) -> Trace:
        return read_trace(path.parent / name)

    document = decode(data, where)
    catalogue = catalogue_for(document.get("fleet") if isinstance(document, dict) else None)
    return scenario_from_own(document, where, catalogue, Sources(fleet, trace))


def shipped_scenarios() -> dict[str, str]:
    """The shipped scenarios by name, in order, and what each is about."""
    return {name: shipped_scenario(name).about for name in sorted(_shipped())}


@cache
def shipped_scenario(name: str) -> Scenario:
    """A shipped scenario by its name, read once. Or WireError."""
    files = _shipped()
    if name not in files:
        mend = near_matches(name, files)
        raise WireError("scenario", "there is no such shipped scenario", value=name, mend=mend)
    document = decode(files[name].read_bytes(), name)
    return scenario_from_own(document, name, sample.catalogue(), Sources(_shipped_fleet, _no_trace))


def _shipped() -> dict[str, Traversable]:
    folder = resources.files("flyball.profiles").joinpath("scenarios")
    return {f.name.removesuffix(SUFFIX): f for f in folder.iterdir() if f.name.endswith(SUFFIX)}


def _shipped_fleet(name: str) -> Fleet:
    if name == SAMPLE:
        return sample.sample_fleet()
    raise WireError("scenario", "a shipped scenario has its fleet in it", path="fleet", value=name)


def _no_trace(name: str) -> Trace:
    raise WireError("scenario", "a shipped scenario has no traces", path="load", value=name)
