"""The sample catalogue and the sample fleet."""

from __future__ import annotations

from functools import cache
from importlib import resources

from flyball.spec.fleet import Fleet
from flyball.wire import text
from flyball.wire.catalogue import Catalogue, catalogue_from_own
from flyball.wire.own import fleet_from_own

CATALOGUE_FILE = "catalogue.yaml"
SAMPLE_FILE = "sample-fleet.yaml"


@cache
def catalogue() -> Catalogue:
    """The shipped accelerators, prices and profiles; read once."""
    return catalogue_from_own(_packaged(CATALOGUE_FILE), CATALOGUE_FILE)


@cache
def sample_fleet() -> Fleet:
    """The shipped fleet: 27 servers in 4 classes on 20 accelerators, some cards short; read once."""
    return fleet_from_own(_packaged(SAMPLE_FILE), SAMPLE_FILE, catalogue())


def _packaged(name: str) -> object:
    return text.decode(resources.files("flyball.profiles").joinpath(name).read_bytes(), name)
