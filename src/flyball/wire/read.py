"""Documents of any form to a fleet: Flyball's own by `kind: Fleet`, Inferno's by its keys."""

from __future__ import annotations

from collections.abc import Mapping

from flyball.spec.fleet import Fleet
from flyball.wire.catalogue import Catalogue
from flyball.wire.errors import WireError
from flyball.wire.inferno import fleet_from_documents, is_inferno
from flyball.wire.own import fleet_from_own, is_own


def fleet_from(docs: Mapping[str, object], catalogue: Catalogue | None = None) -> Fleet:
    """Read documents by name; `catalogue` is there for Flyball's own form; or WireError.

    Beside a document of Flyball's own there may be others, but no second fleet in any form.
    """
    own = [where for where, doc in docs.items() if is_own(doc)]
    if not own:
        return fleet_from_documents(docs)
    others = [where for where, doc in docs.items() if where != own[0] and (is_own(doc) or is_inferno(doc))]
    if others:
        raise WireError(own[0], f"{others[0]} beside it is a fleet too", mend="Keep one, or name one file")
    return fleet_from_own(docs[own[0]], own[0], catalogue)
