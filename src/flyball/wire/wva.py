"""From VariantAutoscaling objects and their ConfigMaps to Inferno's kinds, namespace by namespace.

Variants of one model in one class are workloads of one server, each on its own accelerator. What has no
counterpart is told in notes, what cannot be read in errors; neither makes the others unusable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from flyball.spec.fleet import Generation
from flyball.wire.errors import WireError
from flyball.wire.inferno_in import DEFAULT_CLASS, LAST_PRIORITY
from flyball.wire.inferno_system import MARKS
from flyball.wire.kinds.documents import Objects
from flyball.wire.kinds.inferno_objects import METRICS, Document, Ref, ref_of
from flyball.wire.wva_config import PRICES, Config, Price, config_of
from flyball.wire.wva_objects import in_words, object_of
from flyball.wire.wva_shapes import KIND, Entry, Variant, excluded, variant_of

DEFAULT_COST = 10.0
"""Of a variant that says none; the WVA's own, and as meaningless there."""
KINDS = ("Deployment", "StatefulSet", "LeaderWorkerSet")
"""Of workloads that are found without a label."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A workload that a variant scales, and what is wanted of it."""

    ref: Ref
    """Of the variant."""
    namespace: str
    kind: str
    name: str
    server: str
    model: str
    service_class: str = ""
    accelerator: str = ""
    least: int = 0
    most: int | None = None
    promises: dict[str, str] = {}
    """Of its class for its model, as annotations have them: by ttft and itl."""


class Imported(msgspec.Struct, frozen=True):
    """What was taken over."""

    namespaces: dict[str, Objects] = {}
    targets: tuple[Target, ...] = ()
    notes: tuple[str, ...] = ()
    """What was not, and why."""
    errors: tuple[str, ...] = ()
    """What was left out, as it cannot be read."""


def imported(
    variants: Iterable[Document], maps: Iterable[Document] = (), free: Mapping[str, str] | None = None
) -> Imported:
    """Take over objects, with ConfigMaps of prices and classes; `free`: targets of class Free by metric."""
    return _Importer(variants, maps, free or {}).run()


class _Group(msgspec.Struct):
    """A server to be: the variants of one model in one class."""

    server: str
    model: str
    service_class: str
    variants: list[Variant]


class _Importer:
    def __init__(
        self, variants: Iterable[Document], maps: Iterable[Document], free: Mapping[str, str]
    ) -> None:
        self.notes: list[str] = []
        self.errors: list[str] = []
        self.free = free
        self.variants = self._read(variants)
        self.config: Config = config_of(maps, self.variants)

    def run(self) -> Imported:
        groups: dict[str, list[_Group]] = {}
        for namespace in sorted({one.ref.namespace for one in self.variants}):
            groups[namespace] = self._grouped([v for v in self.variants if v.ref.namespace == namespace])
        self.promised = self._promised(groups)
        namespaces, targets = {}, []
        for namespace, found in groups.items():
            namespaces[namespace], made = self._namespace(namespace, found)
            targets += made
        if any(_says_cost(v) for v in self.variants) and not any(o.models for o in namespaces.values()):
            self.notes.append(
                "spec.variantCost is not carried over: it has no unit. Without profiles in the objects, "
                "prices are the library's"
            )
        said = (*self.config.notes, *self.notes)
        errors = (*self.errors, *self.config.errors)
        return Imported(namespaces, tuple(targets), tuple(dict.fromkeys(said)), tuple(dict.fromkeys(errors)))

    def _read(self, documents: Iterable[Document]) -> list[Variant]:
        found: dict[Ref, Variant] = {}
        for one in documents:
            ref = ref_of(KIND, one)
            if excluded(one):
                self.notes.append(f"{ref} is passed over: it is excluded, or being deleted")
                continue
            try:
                variant = variant_of(one)
            except WireError as error:
                self.errors.append(str(error))
                continue
            if ref in found:
                self.errors.append(str(WireError(str(ref), "stands twice", mend="Keep one of the two")))
                continue
            found[ref] = variant
            if not variant.is_named:
                self.notes.append(
                    f"{ref} names no workload: it is taken for the {variant.kind} of its own name"
                )
            if variant.kind not in KINDS:
                self.notes.append(
                    f"{ref}: a {variant.kind} is found by its labels only: set them, and give --kinds"
                )
            self.notes += (f"{ref}: {path} is not carried over" for path in variant.left)
        return [found[ref] for ref in sorted(found)]

    # ---- servers -----------------------------------------------------------------------------------

    def _grouped(self, variants: Sequence[Variant]) -> list[_Group]:
        groups: list[_Group] = []
        for one in variants:
            service_class, said = self.config.class_of(one)
            if said:
                self.notes.append(said)
            fitting = [g for g in groups if (g.model, g.service_class) == (one.model, service_class)]
            group = next((g for g in fitting if not _same_place(one, g.variants)), None)
            if group is not None:
                group.variants.append(one)
                continue
            if fitting:
                self.notes.append(
                    f"{one.ref} is a server of its own: {fitting[0].server} serves {one.model} on "
                    f"{one.accelerator} already"
                )
            taken = {g.server for g in groups}
            server = one.name if one.name not in taken else f"{one.name}-{one.ref.name}"
            groups.append(_Group(server, one.model, service_class, [one]))
        for group in groups:
            names = list(dict.fromkeys(one.name for one in group.variants))
            if len(names) > 1:
                self.notes.append(
                    f"{', '.join(names)} in {group.variants[0].ref.namespace} are variants of one server, "
                    f"{group.server}: outside of `flyball operator --wva` they must have "
                    f"inferno.server.name={group.server} as label"
                )
        return groups

    def _promised(self, groups: Mapping[str, list[_Group]]) -> dict[str, dict[str, dict[str, float]]]:
        """Rows of the classes that are used, by class and model: the same in every namespace."""
        used = {g.service_class for found in groups.values() for g in found if g.service_class}
        promised = {name: dict(self.config.classes[name].rows) for name in sorted(used)}
        for found in groups.values():
            for group in found:
                if group.service_class:
                    row = self.config.row(group.service_class, group.model) or {}
                    promised[group.service_class].setdefault(group.model, row)
        free = sorted({g.model for found in groups.values() for g in found if not g.service_class})
        self.ships_free = DEFAULT_CLASS not in promised
        return promised | (
            {DEFAULT_CLASS: {m: {} for m in free}} if free and self.free and self.ships_free else {}
        )

    # ---- a namespace -------------------------------------------------------------------------------

    def _namespace(self, namespace: str, groups: list[_Group]) -> tuple[Objects, list[Target]]:
        entries = self._entries(groups)
        priced = self._priced(namespace, entries, groups)
        shown = Counter(e.generation for rows in entries.values() for e in rows if e.generation)
        generation: Generation | None = shown.most_common(1)[0][0] if shown else None
        bare = [g for g in groups if g.model not in entries]
        if entries and bare:
            models = ", ".join(sorted({g.model for g in bare}))
            self.notes.append(
                f"{namespace}: {models} without a profile beside models with one: it cannot be planned. Add "
                "a Model, or take the profiles out, so that the library's hold for all"
            )
        used = {g.service_class or DEFAULT_CLASS for g in groups}
        names = [n for n in self.promised if n in used and (n != DEFAULT_CLASS or entries)]
        objects = Objects(
            accelerators=tuple(_accelerator(namespace, name, price) for name, price in priced.items()),
            models=tuple(
                object_of(namespace, "Model", model, {"name": model, "data": [e.row() for e in rows]})
                for model, rows in sorted(entries.items())
            ),
            service_classes=tuple(self._class(namespace, name, generation) for name in names),
            servers=tuple(self._server(namespace, group, entries.get(group.model, ())) for group in groups),
        )
        targets: dict[tuple[str, str], Target] = {}
        for group in groups:
            for one in group.variants:
                key = one.kind, one.name
                if key in targets:
                    self.notes.append(
                        f"{one.ref}: {targets[key].ref} names {one.kind} {one.name} too, and holds"
                    )
                    continue
                targets[key] = self._target(one, group)
        return objects, list(targets.values())

    def _entries(self, groups: Iterable[_Group]) -> dict[str, list[Entry]]:
        """Entries with parameters by model, one for each accelerator, all of one generation."""
        found: list[tuple[Variant, str, Entry]] = []
        for group in groups:
            for one in group.variants:
                for entry in one.entries:
                    if entry.generation:
                        found.append((one, group.model, entry))
                    else:
                        self.notes.append(
                            f"{one.ref}: {entry.path} has no parameters: it is no profile, and the batch is "
                            "the engine's own"
                        )
        shown = Counter(entry.generation for _, _, entry in found)
        made: dict[str, dict[str, Entry]] = {}
        for one, model, entry in found:
            main = shown.most_common(1)[0][0]
            if entry.generation != main and entry.generation and main:
                problem = (
                    f"has {MARKS[entry.generation]}, but most profiles of this namespace have {MARKS[main]}"
                )
                mend = "Write those, or put it into another namespace"
                self.errors.append(str(WireError(str(one.ref), problem, path=entry.path, mend=mend)))
                continue
            kept = made.setdefault(model, {}).setdefault(entry.acc, entry)
            if kept.row() != entry.row():
                self.notes.append(
                    f"{one.ref}: {entry.path} differs from what another variant says, which holds"
                )
        return {model: list(rows.values()) for model, rows in made.items()}

    def _priced(
        self, namespace: str, entries: dict[str, list[Entry]], groups: Iterable[_Group]
    ) -> dict[str, Price]:
        """Prices of all that models have entries for; entries without one are taken out if others have."""
        wanted = sorted({entry.acc for rows in entries.values() for entry in rows})
        variants = [one for group in groups for one in group.variants]
        priced: dict[str, Price] = {}
        for name in wanted:
            own = next((v for v in variants if v.accelerator == name and _says_cost(v)), None)
            if name in self.config.prices:
                priced[name] = self.config.prices[name]
            elif own is not None and own.cost is not None:
                cost = own.cost / own.units
                priced[name] = Price(cost)
                taken = f"spec.variantCost is taken for {cost:g} cents per hour of a card"
                self.notes.append(f"{namespace}: accelerator {name}: {taken}")
        bare = [name for name in wanted if name not in priced]
        if bare and not priced:
            priced = {name: Price(DEFAULT_COST) for name in bare}
            said = (
                f"nothing says what {', '.join(bare)} cost: each is taken for {DEFAULT_COST:g} cents per hour"
            )
            self.notes.append(f"{namespace}: {said}")
        elif bare:
            said = f"nothing says what {', '.join(bare)} cost: profiles on them are left out. Add them to"
            self.notes.append(f"{namespace}: {said} the ConfigMap {PRICES}")
        for model, rows in list(entries.items()):
            entries[model] = [entry for entry in rows if entry.acc in priced]
            if not entries[model]:
                del entries[model]
        return priced

    def _class(self, namespace: str, name: str, generation: Generation | None) -> Document:
        if name == DEFAULT_CLASS and self.ships_free:
            known = {
                m: self.free[m] for m in METRICS if m in self.free and (generation != "G1" or m == "itl")
            }
            rows: list[Document] = [{"model": m, "targets": known} for m in self.promised[name]]
            priority = LAST_PRIORITY
        else:
            priority = self.config.classes[name].priority
            rows = [
                {"model": m, **in_words(row, generation)} for m, row in sorted(self.promised[name].items())
            ]
        return object_of(namespace, "ServiceClass", name, {"name": name, "priority": priority, "data": rows})

    def _server(self, namespace: str, group: _Group, entries: Sequence[Entry]) -> Document:
        spec: Document = {"name": group.server, "model": group.model}
        if group.service_class:
            spec["class"] = group.service_class
        if len({one.name for one in group.variants}) == 1:  # else bounds are of its workloads, one by one
            bounds = _bounds(group.variants[0])
            spec |= {key: value for key, value in bounds.items() if value is not None}
        if batch := _batch(entries):
            spec["maxBatchSize"] = batch
        accelerators = sorted({entry.acc for entry in entries})
        if accelerators:
            spec["accelerators"] = accelerators
        return object_of(namespace, "Server", group.server, spec)

    def _target(self, one: Variant, group: _Group) -> Target:
        row = self.promised[group.service_class].get(group.model, {}) if group.service_class else {}
        promises = {
            metric: f"mean<{row[key]:g}ms"
            for metric, key in (("ttft", "slo-ttft"), ("itl", "slo-itl"))
            if row.get(key)
        }
        own = {entry.acc for entry in one.entries if entry.generation}
        return Target(
            ref=one.ref,
            namespace=one.ref.namespace,
            kind=one.kind,
            name=one.name,
            server=group.server,
            model=group.model,
            service_class=group.service_class,
            accelerator=one.accelerator or (own.pop() if len(own) == 1 else ""),
            least=one.least or 0,
            most=one.most,
            promises=promises,
        )


def _says_cost(one: Variant) -> bool:
    """Whether it has a cost of its own: where none is written, the API server writes one."""
    return one.cost not in (None, DEFAULT_COST)


def _same_place(one: Variant, others: Iterable[Variant]) -> bool:
    """Whether another workload of a server is on the same accelerator already."""
    return any(
        one.accelerator and one.accelerator == other.accelerator and one.units == other.units
        and (one.kind, one.name) != (other.kind, other.name)
        for other in others
    )  # fmt: skip


def _accelerator(namespace: str, name: str, price: Price) -> Document:
    spec = {"name": name, "type": price.device or name, "multiplicity": 1, "cost": price.cost}
    return object_of(namespace, "Accelerator", name, spec)


def _bounds(one: Variant) -> Document:
    return {"minNumReplicas": one.least or None, "maxNumReplicas": one.most}


def _batch(entries: Sequence[Entry]) -> int:
    """The batch of entries that hold for any length: Inferno would count one without atTokens as 1."""
    return min((e.batch for e in entries if e.batch and not e.at_tokens), default=0)
