"""What the annotations of a ModelBooster ask of Flyball, and what tells the loop to govern its children."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from flyball.boosting.config import DEVICES, DISAGGREGATED, PARALLEL, amounts, object_of, parallel, pods_of
from flyball.boosting.errors import BoosterError
from flyball.spec.service_class import Metric, Target
from flyball.units import RequestsPerSecond, Tokens
from flyball.wire.errors import WireError, shown
from flyball.wire.kthena_booster import ModelBooster, Worker
from flyball.wire.kthena_serving import ModelServing
from flyball.wire.quantities import parse_rate, parse_target, parse_tokens

OWN = "flyball.dev/"
CLASS, TTFT, ITL = OWN + "class", OWN + "ttft", OWN + "itl"
RATE, IN, OUT, ACCELERATOR = OWN + "rate", OWN + "in", OWN + "out", OWN + "accelerator"
MODEL, MODE, MIN, MAX = OWN + "model", OWN + "mode", OWN + "min", OWN + "max"
CHOICE = OWN + "choice"
"""On the ModelServing: what was chosen for it, so that it stays."""
ASKED_BY = OWN + "asked-by"
"""On the ModelServing: the booster by which it is governed; where it stands, the others are ours, too."""
MANAGED, NAME, SERVER_CLASS = "inferno.server.managed", "inferno.server.name", "inferno.server.class"
"""Labels by which the loop finds what it governs."""
GOVERNING = (ASKED_BY, CLASS, TTFT, ITL, MODEL, MIN, MAX, CHOICE, MANAGED, NAME, SERVER_CLASS)
"""Without the mode, which `flyball release` sets."""

NOMINAL_RATE: RequestsPerSecond = 1.0
"""Where no rate is said; the loop takes it from there by what it measures."""
IN_TOKENS, OUT_TOKENS = 1000.0, 300.0

BATCH = ("max-num-seqs", "max_num_seqs", "max-running-requests", "max_running_requests")
_VENDORS = {
    "rocm": "AMD",
    "amd": "AMD",
    "gaudi": "Intel",
    "habana": "Intel",
    "hpu": "Intel",
    "ascend": "Huawei",
    "tpu": "Google",
    "neuron": "AWS",
    "cpu": "none",
}
"""Words in the names of images."""
_LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


class Asked(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is asked of a model that is to be sized: equal asks get the same accelerator."""

    model: str
    """As the annotation `flyball.dev/model` or its URI names it, `org/model`."""
    engine: str
    vendor: str = ""
    """For whose cards the image is; empty: there is no image yet."""
    service_class: str = ""
    targets: tuple[Target, ...] = ()
    rate: RequestsPerSecond = NOMINAL_RATE
    rated: bool = False
    """Whether the rate was said."""
    in_tokens: Tokens = IN_TOKENS
    out_tokens: Tokens = OUT_TOKENS
    cards: tuple[str, ...] = ()
    """Only these; empty: any."""
    parallel: int = 0
    """Cards of a replica, as its config has them; 0: any number."""
    batch: int = 0
    """As its config has it; 0: any."""


def governed(booster: ModelBooster) -> bool:
    """Whether a booster names a class or a target: what comes of it is then governed by the loop."""
    annotations = booster.metadata.annotations or {}
    return any(key in annotations for key in (CLASS, TTFT, ITL))


def lacks(booster: ModelBooster) -> bool:
    """Whether a booster asks for targets and leaves open on which devices."""
    return governed(booster) and not any(map(_has_devices, booster.spec.backend.workers))


def asked_of(booster: ModelBooster) -> Asked:
    """What a booster asks for that names targets and no devices. Or WireError."""
    annotations, backend = booster.metadata.annotations or {}, booster.spec.backend
    worker = backend.workers[0]

    def text(key: str) -> str:
        return annotations.get(key, "").strip()

    where, found = f"ModelBooster {booster.metadata.name}", []
    of: tuple[tuple[str, Metric], ...] = ((TTFT, "ttft"), (ITL, "itl"))
    for key, metric in of:
        if key in annotations:
            found.append(parse_target(annotations[key], metric, where, _place(key)))
    out = parse_tokens(text(OUT), where, _place(OUT)) if OUT in annotations else OUT_TOKENS
    rate = parse_rate(text(RATE), where, _place(RATE)) if RATE in annotations else NOMINAL_RATE
    for key, value in ((OUT, out), (RATE, rate)):
        if value == 0:
            mend = "Give what is expected, or leave it out"
            problem = "is no load to size for"
            raise WireError(where, problem, path=_place(key), value=annotations[key], mend=mend)
    return Asked(
        model=_model(booster, worker),
        engine=backend.type,
        vendor=vendor_of(worker.image or ""),
        service_class=text(CLASS),
        targets=tuple(found),
        rate=rate,
        rated=RATE in annotations,
        in_tokens=parse_tokens(text(IN), where, _place(IN)) if IN in annotations else IN_TOKENS,
        out_tokens=out,
        cards=tuple(one.strip() for one in text(ACCELERATOR).split(",") if one.strip()),
        parallel=_parallel(worker),
        batch=_whole(worker, BATCH),
    )


def vendor_of(image: str) -> str:
    """For whose cards an engine's image is, by its name; NVIDIA where it says nothing, empty for none."""
    words = re.split(r"[^a-z0-9]+", image.casefold())
    return next((vendor for word, vendor in _VENDORS.items() if word in words), "NVIDIA" if image else "")


def ask_complaints(booster: ModelBooster) -> Iterator[str]:
    """What is wrong with the annotations of a booster that is to be governed, or sized."""
    if not governed(booster):
        return
    annotations, backend = booster.metadata.annotations or {}, booster.spec.backend
    if booster.spec.autoscaling_policy is not None:
        named = next(key for key in (CLASS, TTFT, ITL) if key in annotations)
        yield f"spec.autoscalingPolicy: {named} lets Flyball scale it, and two would; keep one of them"
    name = annotations.get(CLASS)
    if name is not None and not _LABEL.fullmatch(name):
        detail = "allowed are up to 63 letters, digits, -, _ and . as in a label"
        yield f"{_place(CLASS)}: {detail}; found {shown(name)}"
    if not lacks(booster):
        return
    if backend.type == DISAGGREGATED:
        yield "spec.backend.type: prefill and decode are not sized; name devices in resources.limits of both"
    worker = backend.workers[0]
    if pods_of(worker) > 1 or (worker.replicas or 1) > 1:
        yield "spec.backend.workers[0]: one pod on one node is sized; leave its pods and replicas out"
    try:
        asked_of(booster)
    except (WireError, BoosterError) as error:
        yield str(error)


def as_governed(serving: ModelServing, booster: ModelBooster) -> ModelServing:
    """The ModelServing with what the loop needs to govern it, where the booster asks for that."""
    if not governed(booster):
        return serving
    said, backend = booster.metadata.annotations or {}, booster.spec.backend
    annotations = {key: said[key] for key in (CLASS, TTFT, ITL, MODE, CHOICE) if key in said}
    # The engine is started with a directory, which says nothing of the model in it.
    annotations |= {ASKED_BY: booster.metadata.name, MODEL: _model(booster, backend.workers[0])}
    for key, bound in ((MIN, backend.min_replicas), (MAX, backend.max_replicas)):
        if bound is not None:
            annotations[key] = str(bound)
    labels = {MANAGED: "true", NAME: booster.metadata.name}
    if _LABEL.fullmatch(said.get(CLASS, "")):
        labels[SERVER_CLASS] = said[CLASS]
    metadata = msgspec.structs.replace(
        serving.metadata,
        labels={**(serving.metadata.labels or {}), **labels},
        annotations={**(serving.metadata.annotations or {}), **annotations},
    )
    return msgspec.structs.replace(serving, metadata=metadata)


def _has_devices(worker: Worker) -> bool:
    try:
        named = {*amounts(worker, "limits"), *amounts(worker, "requests")}
    except BoosterError:
        return True  # unreadable, which is said elsewhere
    return any(name in named for name in DEVICES)


def _model(booster: ModelBooster, worker: Worker) -> str:
    """The model's name; what is quantised while it is loaded has that at its end."""
    said = (booster.metadata.annotations or {}).get(MODEL, "").strip()
    if said:
        return said
    name = booster.spec.backend.model_uri.partition("://")[2].strip("/")
    loaded = object_of(worker.config).get("quantization") == "fp8"
    return f"{name}-FP8" if loaded and "fp8" not in name.casefold() else name


def _whole(worker: Worker, names: tuple[str, ...]) -> int:
    config = object_of(worker.config)
    text = next((str(config[name]) for name in names if name in config), "")
    return int(text) if text.isascii() and text.isdecimal() else 0


def _parallel(worker: Worker) -> int:
    config = object_of(worker.config)
    return parallel(worker) if any(name in config for names in PARALLEL for name in names) else 0


def _place(key: str) -> str:
    return f"metadata.annotations[{key}]"
