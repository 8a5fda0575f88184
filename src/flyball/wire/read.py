"""Documents of any form to a fleet: Flyball's own by `kind: Fleet`, Inferno's by its keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from flyball.spec.fleet import Fleet
from flyball.wire.catalogue import Catalogue
from flyball.wire.errors import WireError
from flyball.wire.inferno import fleet_from_documents, is_inferno
from flyball.wire.own import fleet_from_own, is_own

CatalogueSource: TypeAlias = Catalogue | Callable[[object], Catalogue] | None
"""A catalogue, or where to get the one that a document asks for."""


def fleet_from(docs: Mapping[str, object], catalogue: CatalogueSource = None, servers: bool = True) -> Fleet:
    """Read documents by name; `catalogue` is there for Flyball's own form; or WireError.

    `servers`: whether Inferno's server data must be there.

    Beside a document of Flyball's own there may be others, but no second fleet in any form.
    """
    own = [where for where, doc in docs.items() if is_own(doc)]
    if not own:
        return fleet_from_documents(docs, servers)
    others = [where for where, doc in docs.items() if where != own[0] and (is_own(doc) or is_inferno(doc))]
    if others:
        raise WireError(own[0], f"{others[0]} beside it is a fleet too", mend="Keep one, or name one file")
    document = docs[own[0]]
    if callable(catalogue):
        catalogue = catalogue(document) if isinstance(document, dict) and "catalogue" in document else None
    return fleet_from_own(document, own[0], catalogue)
