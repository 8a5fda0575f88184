"""Which generation a namespace is of, and its objects in that generation's words only."""

from __future__ import annotations

from collections import Counter

import msgspec

from flyball.spec.fleet import Generation
from flyball.wire.errors import WireError
from flyball.wire.inferno_system import MARKS, NEWEST, System, marks, shown_generation
from flyball.wire.kinds.inferno_objects import Entries, Ref, WrittenClass, WrittenServer

G1_METRICS = ("itl", "wait")
"""Generation 1 knows no prefill."""


def generation_of(
    models: list[tuple[Ref, tuple[str, Entries]]],
    classes: list[tuple[Ref, WrittenClass]],
    servers: list[tuple[Ref, WrittenServer]],
) -> Generation:
    """That which most models show, of as many the first by name; without models, as in documents."""
    shown = Counter(
        found for _, (_, entries) in models for found in dict.fromkeys(m for e in entries for m in marks(e))
    )
    if shown:
        return shown.most_common(1)[0][0]
    system = System(
        service_classes={c.shape.name: c.shape for _, c in classes},
        servers={s.shape.name: s.shape for _, s in servers},
    )
    return shown_generation(system) or NEWEST


def fitting_model(ref: Ref, model: tuple[str, Entries], generation: Generation) -> tuple[str, Entries]:
    """The model, if all its entries have parameters of the generation. Or WireError."""
    for index, entry in enumerate(model[1]):
        found, path = marks(entry), f"spec.data[{index}]"
        if found and found[0] != generation:
            problem = f"has {MARKS[found[0]]} ({found[0]}), but most models here are of generation "
            problem += f"{generation[1]}, and those of one namespace are of one"
            raise WireError(str(ref), problem, path=path, mend=f"Write {MARKS[generation]}")
        if not found and generation != "G3":
            mend = f"Add {MARKS[generation]}, or take the entry out"
            raise WireError(str(ref), "has no parameters", path=path, mend=mend)
    return model


def fitting_class(ref: Ref, one: WrittenClass, generation: Generation) -> WrittenClass:
    """The class in the generation's words; where those of two stand together, its own hold. Or WireError."""
    shapes = []
    for index, (shape, targets) in enumerate(zip(one.shape.model_targets, one.targets, strict=True)):
        path, own = f"spec.data[{index}]", {t.metric for t in targets}
        foreign, known = (shape.ttft, shape.wait) if generation == "G1" else (shape.wait, shape.ttft)
        names = ("slo-ttft", "slo-ttw") if generation == "G1" else ("slo-ttw", "slo-ttft")
        if foreign and not known and not own & {"ttft", "wait"}:
            problem = f"means nothing in a namespace of generation {generation[1]}"
            place = f"{path}.{names[0]}"
            raise WireError(str(ref), problem, path=place, value=foreign, mend=f"Write {names[1]}")
        for target in targets:
            if generation == "G1" and target.metric not in G1_METRICS:
                problem = "generation 1 does not foretell it"
                place = f"{path}.targets.{target.metric}"
                raise WireError(str(ref), problem, path=place, mend=f"Write {' or '.join(G1_METRICS)}")
        drop = {"ttft": 0.0} if generation == "G1" else {"wait": 0.0}
        shapes.append(msgspec.structs.replace(shape, **drop))
    fitted = msgspec.structs.replace(one.shape, model_targets=tuple(shapes))
    return msgspec.structs.replace(one, shape=fitted)


def fitting_server(ref: Ref, one: WrittenServer, generation: Generation) -> WrittenServer:
    """The server, as `fitting_class` has it: for the length of its requests. Or WireError."""
    current = one.shape.current_alloc
    if current is None or current.load is None:
        return one
    load, path = current.load, "spec.currentAlloc.load"
    if generation == "G1":
        if load.avg_out_tokens and not load.avg_length:
            raise WireError(
                str(ref), "lacks avgLength, generation 1's word", path=path, mend="Write avgLength"
            )
        fit = msgspec.structs.replace(load, avg_in_tokens=0.0, avg_out_tokens=0.0, throughput=0.0)
    else:
        if load.avg_length and not load.avg_out_tokens:
            problem = f"lacks avgOutTokens, and avgLength means nothing in generation {generation[1]}"
            raise WireError(str(ref), problem, path=path, mend="Write avgInTokens and avgOutTokens")
        fit = msgspec.structs.replace(load, avg_length=0.0)
    held = msgspec.structs.replace(current, load=fit)
    return WrittenServer(msgspec.structs.replace(one.shape, current_alloc=held), one.wishes)
