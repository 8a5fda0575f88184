"""Models and default service classes in Flyball's own form: `kind: Models`, `kind: ServiceClasses`.

A model may leave out what follows from its shape: KV bytes, kind of attention, parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast, get_args

import msgspec

from flyball.spec.model import (
    Attention,
    Model,
    Precision,
    Shape,
    attention_of,
    count_active,
    count_parameters,
    kv_bytes_per_token,
)
from flyball.spec.service_class import ServiceClass
from flyball.wire.catalogue import API_VERSION, check_head
from flyball.wire.errors import WireError, child
from flyball.wire.fields import Fields, parse_flag, parse_list, parse_name, parse_text
from flyball.wire.own import fleet_from_own
from flyball.wire.quantities import parse_count, parse_number

MAX_PARAMETERS = 10**14
MOST_LAYERS = 10_000
MOST_EXPERTS = 100_000
MAX_WIDTH = 10**7

_SCALES = {"k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}
_FLAGS = {"gated": True, "tied": False, "gatedQuery": False}
_AMOUNTS = ("linear", "other")
_SHAPE = {
    "hidden": "hidden",
    "heads": "heads",
    "vocab": "vocab",
    "kvHeads": "kv_heads",
    "headDim": "head_dim",
    "ffn": "ffn",
    "gated": "gated",
    "tied": "tied",
    "denseLayers": "dense_layers",
    "expertFfn": "expert_ffn",
    "sharedFfn": "shared_ffn",
    "kvLayers": "kv_layers",
    "windowLayers": "window_layers",
    "window": "window",
    "linear": "linear",
    "gatedQuery": "gated_query",
    "kvRank": "kv_rank",
    "qRank": "q_rank",
    "ropeDim": "rope_dim",
    "nopeDim": "nope_dim",
    "valueDim": "value_dim",
    "indexBytes": "index_bytes",
    "other": "other",
}


def models_from_own(doc: object, where: str) -> tuple[Model, ...]:
    """Read a `kind: Models` document. Or WireError."""
    fields = Fields(doc, where, "", ("apiVersion", "kind", "models"))
    check_head(fields, "Models")
    return fields.each("models", _model, lambda m: m.name)


def classes_from_own(doc: object, where: str) -> tuple[ServiceClass, ...]:
    """Read a `kind: ServiceClasses` document: the list `classes`, as in a fleet. Or WireError."""
    fields = Fields(doc, where, "", ("apiVersion", "kind", "classes"))
    check_head(fields, "ServiceClasses")
    fleet = {"apiVersion": API_VERSION, "kind": "Fleet", "classes": fields.values.get("classes", [])}
    return fleet_from_own(fleet, where).service_classes


def parse_parameters(value: object, where: str, path: str = "") -> int:
    """Read how many parameters, `8.03B`, `494M`, `1.03T` or a plain number; 1 to 1e14. Or WireError."""
    scale = 1
    number = value
    if isinstance(value, str) and (unit := value.strip()[-1:].casefold()) in _SCALES:
        number, scale = value.strip()[:-1], _SCALES[unit]
    try:
        found = round(parse_number(number, where, path, high=MAX_PARAMETERS / scale) * scale)
    except WireError:
        found = 0
    if not found:
        problem = "allowed is a number of parameters from 1 to 1e14, such as 8.03B, 494M or 1.03T"
        raise WireError(where, problem, path=path, value=value)
    return found


def _model(value: object, where: str, path: str) -> Model:
    about = ("name", "aliases", "source", "special")
    sizes = ("parameters", "activeParameters", "layers", "context", "experts", "expertsPerToken")
    fields = Fields(
        value, where, path, (*about, *sizes, "attention", "precision", "kvBytesPerToken", "shape")
    )
    layers = fields.read("layers", parse_count, low=1, high=MOST_LAYERS)
    experts = fields.read("experts", parse_count, 0, high=MOST_EXPERTS)
    per_token = fields.read("expertsPerToken", parse_count, low=1, high=experts) if experts else 0
    if not experts and "expertsPerToken" in fields.values:
        mend = "Say how many experts a layer has, as experts: 128"
        raise WireError(where, "is missing", path=child(path, "experts"), mend=mend)
    shape = fields.read("shape", _shape, None, layers=layers, experts=experts)
    special = fields.read("special", parse_text, "")
    counted = None if shape is None or special else shape
    total = count_parameters(layers, counted, experts) if counted else None
    parameters = _read_or(fields, "parameters", parse_parameters, total)
    used = count_active(layers, counted, per_token) if counted else None
    active = _read_or(fields, "activeParameters", parse_parameters, used if experts else parameters)
    if active > parameters:
        problem = f"is more than all {parameters:,} parameters"
        raise WireError(where, problem, path=child(path, "activeParameters"), value=active)
    kind = attention_of(shape) if shape else "gqa"
    attention = fields.read("attention", parse_name, kind, known=get_args(Attention), what="attention")
    precision = fields.read("precision", parse_name, "bf16", known=get_args(Precision), what="precision")
    kv_bytes = kv_bytes_per_token(layers, shape) if shape else None
    aliases: list[object] = fields.read("aliases", parse_list, [])
    return Model(
        name=fields.read("name", parse_text),
        parameters=parameters,
        active_parameters=active,
        layers=layers,
        kv_bytes_per_token=_read_or(fields, "kvBytesPerToken", partial(parse_count, low=1), kv_bytes),
        context=fields.read("context", parse_count, low=1),
        experts=experts,
        experts_per_token=per_token,
        attention=cast(Attention, attention),
        precision=cast(Precision, precision),
        shape=shape,
        special=special,
        source=fields.read("source", parse_text, ""),
        aliases=tuple(parse_text(a, where, child(child(path, "aliases"), i)) for i, a in enumerate(aliases)),
    )


def _read_or(fields: Fields, key: str, parse: Callable[..., int], derived: int | None) -> int:
    """The value of a field, or what follows from the shape; where there is neither, WireError."""
    if key not in fields.values and derived is None:
        mend = f"Add {key}, or the shape that it follows from"
        raise WireError(fields.where, "is missing", path=child(fields.path, key), mend=mend)
    return fields.read(key, parse, derived or 0)


def _shape(value: object, where: str, path: str, *, layers: int, experts: int) -> Shape:
    fields = Fields(value, where, path, tuple(_SHAPE))
    mla = "kvRank" in fields.values
    needed = {"hidden", "heads", "vocab"} | (
        {"kvRank", "ropeDim", "nopeDim", "valueDim"} if mla else {"kvHeads"}
    )
    if experts:
        needed.add("expertFfn")
    limits = {key: layers for key in ("denseLayers", "kvLayers")}
    read: dict[str, int | bool] = {}
    for key, field in _SHAPE.items():
        if key in _FLAGS:
            read[field] = fields.read(key, parse_flag, _FLAGS[key])
        elif key in _AMOUNTS:
            read[field] = fields.read(key, parse_parameters, 0)
        elif key in needed:
            read[field] = fields.read(key, parse_count, low=1)
        else:
            read[field] = fields.read(key, parse_count, 0, high=limits.get(key, MAX_WIDTH))
    if not mla and not read["head_dim"]:
        read["head_dim"] = read["hidden"] // read["heads"]
    shape = msgspec.convert(read, Shape)
    if shape.window_layers > (shape.kv_layers or layers):
        problem = f"is more than the {shape.kv_layers or layers} layers with a KV cache"
        raise WireError(where, problem, path=child(path, "windowLayers"), value=shape.window_layers)
    if bool(shape.window) != bool(shape.window_layers):
        raise WireError(
            where, "window and windowLayers stand together or not at all", path=path, mend="Add the other"
        )
    return shape
