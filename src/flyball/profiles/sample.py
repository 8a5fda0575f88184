"""The shipped catalogue, the sample fleet, and a fleet for one model against the catalogue."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib import resources

from flyball.spec.fleet import Fleet, Settings
from flyball.spec.server import Load, Server
from flyball.spec.service_class import ModelTargets, ServiceClass, Target
from flyball.units import RequestsPerSecond, Tokens
from flyball.wire import text
from flyball.wire.catalogue import Catalogue, catalogue_from_own
from flyball.wire.errors import WireError
from flyball.wire.fields import near_matches
from flyball.wire.own import EVERY_MODEL, fleet_from_own

CATALOGUE_FILE = "catalogue.yaml"
SAMPLE_FILE = "sample-fleet.yaml"
DEFAULT_CLASS = "Default"


@cache
def catalogue() -> Catalogue:
    """The shipped accelerators, prices and profiles; read once."""
    return catalogue_from_own(_packaged(CATALOGUE_FILE), CATALOGUE_FILE)


@cache
def sample_fleet() -> Fleet:
    """The shipped fleet: 27 servers in 4 classes on 20 accelerators, some cards short; read once."""
    return fleet_from_own(_packaged(SAMPLE_FILE), SAMPLE_FILE, catalogue())


def fleet_for(
    model: str,
    rate: RequestsPerSecond,
    in_tokens: Tokens,
    out_tokens: Tokens,
    targets: Iterable[Target],
    *,
    throughput: float = 0.0,
    where: str = "model",
) -> Fleet:
    """One server of a model on every accelerator that has its profile, as many cards as it takes.

    The model may be named without its organisation, in any case; WireError where the catalogue lacks it.
    `throughput` is in output tokens per second. `where` is what an error names as the model's place.
    """
    name = find_model(model, where)
    profiles = tuple(p for p in catalogue().profiles if p.model == name)
    used = {p.accelerator for p in profiles}
    promise = ModelTargets(EVERY_MODEL, tuple(targets), throughput)
    load = Load(arrival_rate=rate, in_tokens=in_tokens, out_tokens=out_tokens)
    return Fleet(
        accelerators=tuple(a for a in catalogue().accelerators if a.name in used),
        profiles=profiles,
        service_classes=(ServiceClass(DEFAULT_CLASS, priority=1, models=(promise,)),),
        servers=(Server(_last_part(name), name, DEFAULT_CLASS, load, min_replicas=1),),
        settings=Settings(unlimited=True),
    )


def find_model(model: str, where: str = "model") -> str:
    """The catalogue's name of a model, given in full or by its last part, in any case. Or WireError."""
    names = sorted({p.model for p in catalogue().profiles})
    wanted = model.strip().casefold()
    found = [n for n in names if wanted in (n.casefold(), _last_part(n).casefold())]
    if len(found) == 1:
        return found[0]
    raise WireError(
        where,
        "the catalogue has no such model",
        value=model,
        mend=near_matches(_last_part(model), {_last_part(name) for name in names}),
    )


def _last_part(model: str) -> str:
    return model.rpartition("/")[2]


def _packaged(name: str) -> object:
    return text.decode(resources.files("flyball.profiles").joinpath(name).read_bytes(), name)
