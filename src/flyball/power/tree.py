"""The tree of domains: which node is where. A domain holds what its labels select and what is below it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from flyball.spec.power import Domain, DomainLevel, PowerNode


class Tree(msgspec.Struct, frozen=True):
    """Domains and the nodes in them. A node may be in several trees, such as a rack's and a feed's."""

    domains: dict[str, Domain]
    """By name, each after its parent."""
    nodes: dict[str, tuple[str, ...]]
    """Of each domain, sorted."""
    above: dict[str, tuple[str, ...]]
    """Of each node: the domains that it is in, in order of `domains`."""
    errors: dict[str, str] = {}
    """Domains that are left out, and why."""


def tree_of(domains: Iterable[Domain], nodes: Iterable[PowerNode]) -> Tree:
    """Place the nodes. A domain below one that is not there or below itself is left out, with its error."""
    known, errors = _placed(domains)
    there = sorted(nodes, key=lambda n: n.name)
    below: dict[str, list[str]] = {name: [] for name in known}
    for domain in known.values():
        if domain.parent:
            below[domain.parent].append(domain.name)
    members: dict[str, set[str]] = {}
    for domain in reversed(known.values()):
        own = {n.name for n in there if domain.labels and domain.labels.items() <= n.labels.items()}
        if not (domain.labels or domain.parent or below[domain.name]):
            own = {n.name for n in there}
        members[domain.name] = own.union(*(members[name] for name in below[domain.name]))
    return Tree(
        domains=known,
        nodes={name: tuple(sorted(members[name])) for name in known},
        above={n.name: tuple(name for name in known if n.name in members[name]) for n in there},
        errors=errors,
    )


def lowest(tree: Tree, node: str, level: DomainLevel = "Rack") -> str | None:
    """The domain of a level that a node is in; of several the smallest, then the first by name."""
    found = [name for name in tree.above.get(node, ()) if tree.domains[name].level == level]
    return min(found, key=lambda name: (len(tree.nodes[name]), name), default=None)


def _placed(domains: Iterable[Domain]) -> tuple[dict[str, Domain], dict[str, str]]:
    """Each after its parent, else by name."""
    waiting: dict[str, Domain] = {}
    errors: dict[str, str] = {}
    for domain in sorted(domains, key=lambda d: d.name):
        if domain.name in waiting:
            errors[domain.name] = f"two domains are called {domain.name}: the first is kept, rename the other"
        else:
            waiting[domain.name] = domain
    every, known = set(waiting), {}
    while ready := [d for d in waiting.values() if not d.parent or d.parent in known]:
        for domain in ready:
            known[domain.name] = waiting.pop(domain.name)
    for name, domain in waiting.items():
        gone = "is not there" if domain.parent not in every else "is left out, or is below it"
        errors[name] = f"{name} is a part of {domain.parent}, which {gone}: correct parentRef"
    return known, errors
