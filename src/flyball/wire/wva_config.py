"""What the Workload Variant Autoscaler keeps in ConfigMaps: prices of accelerators, and classes of service.

Each key holds a text of its own, JSON or YAML. Two forms are about: a key for each accelerator or class, and
one key with a list of all of them. Prices are cents per hour, limits milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from flyball.wire.errors import WireError, child
from flyball.wire.kinds.inferno_objects import Document, ref_of
from flyball.wire.quantities import parse_count, parse_number
from flyball.wire.text import decode
from flyball.wire.wva_shapes import Variant

PRICES, CLASSES = "accelerator-unit-costs", "service-classes-config"
"""Names of the two in a cluster."""
PRICE_NAMES, CLASS_NAMES = (PRICES, "accelerator-unitcost"), (CLASSES, "serviceclass")
"""How they end; a release's name may come before."""
USELESS = (
    "saturation",
    "capacity-scaling",
    "scale-to-zero",
    "queueing-model",
    "variantautoscaling-config",
    "wva-manager",
)
"""In the names of its other ConfigMaps."""
DEFAULT_MODEL = "default/default"
"""Of an entry that holds for models that no class names."""
LIMITS = {
    "slo-itl": "slo-itl",
    "slo-tpot": "slo-itl",
    "slo-ttft": "slo-ttft",
    "slo-ttw": "slo-ttw",
    "slo-tps": "slo-tps",
}
"""Inferno's word by what may be written."""


class Price(msgspec.Struct, frozen=True):
    """Of one unit of an accelerator."""

    cost: float
    """Cents per hour."""
    device: str = ""
    """Its card, as nodes name it."""


class Class(msgspec.Struct):
    """A class of service, and what it promises by model."""

    name: str
    priority: int
    rows: dict[str, dict[str, float]]
    keys: set[str]
    """Under which it is found: its name and that of its ConfigMap's key, in small letters."""


class Config(msgspec.Struct):
    """What the ConfigMaps say."""

    prices: dict[str, Price] = {}
    classes: dict[str, Class] = {}
    notes: list[str] = []
    errors: list[str] = []

    def row(self, class_name: str, model: str, otherwise: bool = True) -> dict[str, float] | None:
        """What a class promises for a model, `otherwise` what for any."""
        rows = self.classes[class_name].rows
        return rows.get(model, rows.get(DEFAULT_MODEL) if otherwise else None)

    def class_of(self, variant: Variant) -> tuple[str, str]:
        """The class of a variant, "" where there is none; and what is to be said of that.

        Its reference is followed; where it leads nowhere, it is the class that names the model.
        """
        said = ""
        if variant.slo is not None:
            asked = dict.fromkeys(word.lower() for word in reversed(variant.slo) if word)
            found = [one.name for word in asked for one in self.classes.values() if word in one.keys]
            fitting = [name for name in found if self.row(name, variant.model) is not None]
            if fitting:
                return fitting[0], ""
            name, key = variant.slo
            what = f"{found[0]} promises nothing for {variant.model}" if found else "there is no such class"
            said = f"{variant.ref}: spec.sloClassRef is {key} of {name}: {what}"
        for otherwise in (False, True) if variant.slo is not None else (False,):
            for name in self.classes:
                if self.row(name, variant.model, otherwise) is not None:
                    return name, said and f"{said}; {name}, which names the model, is taken"
        return "", said and f"{said}; it is in class Free"


def config_of(maps: Iterable[Document], variants: Iterable[Variant] = ()) -> Config:
    """What is of use in ConfigMaps; what cannot be read is among its errors."""
    config, asked = Config(), {variant.slo[0] for variant in variants if variant.slo}
    for one in sorted(maps, key=lambda one: ref_of("ConfigMap", one)):
        ref = ref_of("ConfigMap", one)
        prices, classes = ref.name.endswith(PRICE_NAMES), ref.name.endswith(CLASS_NAMES) or ref.name in asked
        if not (prices or classes):
            if any(word in ref.name for word in USELESS):
                said = "thresholds and settings of the WVA have no use here"
                config.notes.append(f"{ref} is passed over: {said}")
            continue
        for key, text in sorted((one.get("data") or {}).items()):
            try:
                where = f"{ref}: data.{key}"
                value = decode(str(text).encode(), where)
                if prices:
                    _take_prices(config, key, value, where)
                else:
                    _take_classes(config, key, value, where)
            except WireError as error:
                config.errors.append(str(error))
    return config


def _take_prices(config: Config, key: str, value: object, where: str) -> None:
    for name, path, row in _rows(key, value, where):
        if "cost" not in row:
            raise WireError(where, "is missing", path=child(path, "cost"), mend="Write cents per hour")
        cost = parse_number(row["cost"], where, child(path, "cost"), what="cents per hour")
        price = Price(cost, str(row.get("device") or row.get("type") or ""))
        if config.prices.setdefault(name, price) != price:
            config.notes.append(f"{where}: {name} has another price already, which holds")


def _take_classes(config: Config, key: str, value: object, where: str) -> None:
    for name, path, row in _rows(key, value, where):
        priority = parse_count(row.get("priority") or 0, where, child(path, "priority"), high=1_000_000)
        made = config.classes.setdefault(name, Class(name, priority, {}, {name.lower()}))
        made.keys |= {key.lower(), key.lower().rpartition(".")[0] or key.lower()}
        if (entries := row.get("data")) is None:
            _take_row(made, row, where, path)
            continue
        below = child(path, "data")
        if not isinstance(entries, list):
            raise WireError(where, "expected a list [...]", path=below, value=entries)
        for index, entry in enumerate(entries):
            _take_row(made, entry, where, child(below, index))


def _take_row(made: Class, entry: object, where: str, path: str) -> None:
    if not isinstance(entry, dict) or not isinstance(entry.get("model"), str):
        raise WireError(
            where, "expected an entry with a model", path=path, value=entry, mend="Write model: NAME"
        )
    limits = {
        LIMITS[key]: parse_number(value, where, child(path, key), what="milliseconds")
        for key, value in entry.items()
        if key in LIMITS
    }
    made.rows.setdefault(entry["model"], limits)


def _rows(key: str, value: object, where: str) -> Iterator[tuple[str, str, Document]]:
    """Name, path and fields of each thing that a key holds: itself, or all of a list."""
    if isinstance(value, list):
        for index, row in enumerate(value):
            if not isinstance(row, dict) or not isinstance(row.get("name"), str):
                raise WireError(where, "expected an object with a name", path=f"[{index}]", value=row)
            yield row["name"], f"[{index}]", row
        return
    if not isinstance(value, dict):
        raise WireError(where, "expected an object {...} or a list of them", value=value)
    yield str(value.get("name") or key.rpartition(".")[0] or key), "", value
