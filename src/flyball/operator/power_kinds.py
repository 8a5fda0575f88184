"""The kinds of power as they stand in the cluster, Climatik's among them, read into the nouns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import msgspec

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.governed import Kind
from flyball.adapters.kubernetes.watch import Watch
from flyball.operator.kinds import Stored, document, ref_of, watch_of
from flyball.spec.power import DeviceProfile, Domain, Mode, Policy
from flyball.units import Seconds
from flyball.wire import climatik
from flyball.wire.errors import WireError
from flyball.wire.kinds import power as kinds
from flyball.wire.kinds.inferno_objects import Document, Ref
from flyball.wire.kinds.power_documents import discover_label, domain_of, policy_of, profile_of

KINDS = {
    definition.kind: Kind(definition.group, kinds.VERSION, definition.plural, definition.kind)
    for definition in (kinds.POWER_DOMAIN, kinds.POWER_POLICY, kinds.DEVICE_POWER_PROFILE)
}
CLIMATIK = tuple(
    Kind("climatik-project.io", version, "powercappingconfigs", climatik.KIND)
    for version in ("v1alpha1", "v1")
)
"""Its definitions do not agree on the version: a cluster has one of them, or none."""
STEP: Seconds = 0.05

T = TypeVar("T")


class PowerObjects(msgspec.Struct, frozen=True):
    """What the objects ask for, each in order of namespace and name."""

    domains: tuple[Domain, ...] = ()
    discovering: dict[str, str] = {}
    """By domain: the label whose values are domains below it."""
    policies: tuple[Policy, ...] = ()
    profiles: tuple[DeviceProfile, ...] = ()
    problems: dict[Ref, str] = {}
    """Objects that are left out, and why."""


class PowerKinds:
    """Watches the kinds. `changed` is called with the kind and name of whatever changed."""

    def __init__(
        self, api: Api, changed: Callable[[Ref], None], namespace: str = "", climatik_mode: Mode = "Recommend"
    ) -> None:
        """`namespace`: of policies; "": all. `climatik_mode`: of policies that Climatik's objects make."""
        self._mode = climatik_mode
        self.watches: dict[str, Watch[Stored]] = {
            kind.path(): watch_of(api, kind, changed, namespace if kind.name in _NAMESPACED else "")
            for kind in (*KINDS.values(), *CLIMATIK)
        }

    def start(self) -> None:
        """Begin to list and to watch."""
        for watch in self.watches.values():
            watch.start()

    def stop(self) -> None:
        """Begin nothing more."""
        for watch in self.watches.values():
            watch.stop()

    def wait(self, limit: Seconds) -> bool:
        """Wait until all kinds that the cluster has were listed; whether they were."""
        until = time.monotonic() + limit
        while not self.synced and time.monotonic() < until:
            time.sleep(STEP)
        return self.synced

    @property
    def synced(self) -> bool:
        """Whether all kinds that the cluster has were listed once."""
        return all(watch.synced or watch.absent for watch in self.watches.values())

    @property
    def problem(self) -> str:
        """Why what is known may be old; "": it is not. A kind that is not there is no problem."""
        troubles = (w.problem for w in self.watches.values() if not w.absent)
        return next((each for each in troubles if each), "")

    @property
    def absent(self) -> tuple[str, ...]:
        """Our kinds whose definitions are not installed."""
        return tuple(name for name, kind in KINDS.items() if self.watches[kind.path()].absent)

    def get(self, ref: Ref) -> Stored | None:
        """One object; None: there is none."""
        key = ref.namespace, ref.name
        found = (w.get(key) for w in self.watches.values() if w.kind.name == ref.kind)
        return next((one for one in found if one is not None), None)

    def objects(self) -> PowerObjects:
        """All of them, read; what cannot be read is left out and told."""
        stored: dict[str, dict[tuple[str, str], Stored]] = {}
        for watch in self.watches.values():
            of_kind = stored.setdefault(watch.kind.name, {})
            for one in watch.all():  # both versions of one definition show the same objects
                of_kind.setdefault((one.metadata.namespace, one.metadata.name), one)
        return read_objects({kind: tuple(of.values()) for kind, of in stored.items()}, self._mode)


_NAMESPACED = (kinds.POWER_POLICY.kind, climatik.KIND)


def read_objects(stored: Mapping[str, Iterable[Stored]], climatik_mode: Mode = "Recommend") -> PowerObjects:
    """Objects by kind as nouns; one that cannot be read does not hold up the others."""
    problems: dict[Ref, str] = {}

    def read(kind: str, parse: Callable[[Document], T]) -> list[T]:
        found = []
        for one in stored.get(kind, ()):
            try:
                found.append(parse(document(one)))
            except WireError as error:
                problems[ref_of(kind, one)] = str(error)
        return found

    pairs = read(kinds.POWER_DOMAIN.kind, lambda one: (domain_of(one), discover_label(one)))
    policies = read(kinds.POWER_POLICY.kind, policy_of)
    policies += read(climatik.KIND, lambda one: climatik.policy_from_climatik(one, climatik_mode))
    return PowerObjects(
        domains=tuple(domain for domain, _ in pairs),
        discovering={domain.name: label for domain, label in pairs if label},
        policies=tuple(policies),
        profiles=tuple(read(kinds.DEVICE_POWER_PROFILE.kind, profile_of)),
        problems=problems,
    )
