"""On which accelerator a workload runs, and which others it could be moved to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from flyball.adapters.kubernetes.engine import Engine
from flyball.adapters.kubernetes.known import Known
from flyball.adapters.kubernetes.labels import ACCELERATOR, Said
from flyball.adapters.kubernetes.nodes import PRODUCTS, Pool, product_values
from flyball.adapters.kubernetes.objects import Pod, PodSpec
from flyball.wire.errors import WireError

UNKNOWN = "unknown"
"""The accelerator of what is seen and never acted on."""


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where a workload runs, and could."""

    accelerator: str = UNKNOWN
    pinned: bool = False
    """Whether its template allows one type of card alone."""
    types: tuple[str, ...] | None = None
    """Of the cards that its template allows; None: it does not ask."""
    problems: tuple[str, ...] = ()


def place_of(
    said: Said,
    engine: Engine,
    template: PodSpec,
    pods: Sequence[Pod],
    model: str,
    pool: Pool,
    known: Known,
    where: str,
) -> Place:
    """By its template, else by its label, else where its pods run, else the only type that there is."""
    problems: list[str] = []
    types = _allowed(template, engine.resource, pool, known, where, problems)
    pinned = types is not None and len(types) == 1
    named = _named(said, engine.cards, model, known, where, problems)
    ran = _run_on(pods, pool)
    found = ""
    if pinned and types is not None:
        found = known.accelerator(types[0], engine.cards, model)
        if not found:
            count = f"{engine.cards} " if engine.cards else ""
            problems.append(f"{where}: the data have no accelerator of {count}{types[0]} cards")
        elif not known.closed and named:
            found = named  # of several of one type, the label says which
    elif named:
        found = named
        if ran and known.type_of(named) not in ran:
            problems.append(
                f"{where}: its label says {named}, its pods run on {' and '.join(sorted(ran))}: a label "
                f"moves no pods. Correct it, or give its template a nodeSelector, {PRODUCTS[1]} say"
            )
    else:
        there = ran or list(types or pool.types(engine.resource))
        if len(there) > 1 and ran:
            problems.append(
                f"{where}: its pods run on {' and '.join(sorted(ran))}; it is taken for one of {ran[0]}. "
                f"Give its template a nodeSelector, {PRODUCTS[1]} say, and the others a workload of their own"
            )
        if there and (ran or len(there) == 1):
            found = known.accelerator(there[0], engine.cards, model)
    if not found:
        problems.append(
            f"{where}: nothing says on which accelerator it runs, so it is not acted on. Give its template a "
            f"nodeSelector, {PRODUCTS[1]} say, or put the label {ACCELERATOR} on it"
        )
    return Place(found or UNKNOWN, pinned, types, tuple(problems))


def candidates_of(
    place: Place, moves: Iterable[str], engine: Engine, model: str, pool: Pool, known: Known
) -> set[str]:
    """Accelerators that a server with this one workload could have; empty: all that there are.

    `moves`: those to which its template may be changed.
    """
    if place.accelerator == UNKNOWN:
        return {UNKNOWN}
    if place.pinned:
        return {place.accelerator, *moves}
    types = place.types
    if types is None and not known.closed:
        # A label alone moves it, but no label makes a card of another vendor of what its template asks for.
        foreign = set(pool.types()) - set(pool.types(engine.resource)) if engine.resource else set()
        return known.without(foreign) if foreign else set()
    names = {known.accelerator(t, engine.cards, model) for t in types or pool.types(engine.resource)}
    return {place.accelerator, *names} - {""}


def _allowed(
    template: PodSpec, resource: str, pool: Pool, known: Known, where: str, problems: list[str]
) -> tuple[str, ...] | None:
    """Types of card that a template allows; None where it leaves that open."""
    asked: list[str] = []
    for value in product_values(template):
        try:
            asked.append(known.card_type(value))
        except WireError as error:
            problems.append(f"{where}: its template asks for {value}: {error}")
    if asked:
        return tuple(dict.fromkeys(asked))
    nodes = pool.matching(template)
    if nodes is None:
        return None
    among, every = pool.types(resource, nodes), pool.types(resource)
    return among if among and among != every else None


def _named(said: Said, cards: int, model: str, known: Known, where: str, problems: list[str]) -> str:
    if not said.accelerator:
        return ""
    try:
        return known.named(said.accelerator, cards, model)
    except WireError as error:
        problems.append(f"{where}: its accelerator: {error}")
        return ""


def _run_on(pods: Iterable[Pod], pool: Pool) -> list[str]:
    """Types of the cards of the nodes with its pods, most first."""
    types = Counter(cards.type for pod in pods if (cards := pool.cards.get(pod.spec.node_name)) is not None)
    return sorted(types, key=lambda type_: (-types[type_], type_))
