"""`flyball import wva`: from VariantAutoscaling objects to what governs their workloads."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from flyball.commands.output import STANDARD_OUTPUT, put, say
from flyball.wire.errors import WireError
from flyball.wire.wva import Imported, Target
from flyball.wire.wva_objects import FIELDS

DONE, WRONG, PARTLY, UNWRITTEN, UNREACHABLE = 0, 2, 3, 4, 5


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asks for."""

    files: tuple[Path, ...] = ()
    from_cluster: bool = False
    namespace: str = ""
    form: str = "objects"
    kubeconfig: Path | None = None
    context: str | None = None
    output: Path | None = None


def run(request: Request) -> int:
    """Read, and print or write; returns the exit code."""
    from flyball.adapters.kubernetes.errors import ClusterError

    if bool(request.files) == request.from_cluster:
        say("flyball: give files, or --from-cluster, one of them.\nTry flyball import wva --help.")
        return WRONG
    try:
        taken = _taken(request)
    except ClusterError as error:
        say(f"flyball: {error}")
        return UNREACHABLE
    except WireError as error:
        say(f"flyball: {error}")
        return WRONG
    _tell(taken)
    if not taken.targets:
        say("flyball: no VariantAutoscaling was found that could be taken over")
        return WRONG
    texts = {name: _text(taken, name, request.form) for name in taken.namespaces}
    try:
        if request.output is None:
            put(("---\n" if request.form == "objects" else "").join(texts.values()), machine=True)
        else:
            _write(request.output, texts, "yaml" if request.form == "objects" else "sh")
    except OSError as error:
        say(f"flyball: {error.filename}: cannot be written ({error.strerror}). Name a place that can be.")
        return UNWRITTEN
    return PARTLY if taken.errors else DONE


# ---- what is read ------------------------------------------------------------------------------


def _taken(request: Request) -> Imported:
    from flyball.operator.variants import free_targets
    from flyball.wire.kinds.documents import read_namespace
    from flyball.wire.wva import imported
    from flyball.wire.wva_documents import given_in

    if request.from_cluster:
        variants, maps = _of_cluster(request)
    else:
        given = given_in(_contents(request.files))
        variants, maps = given.variants, given.maps
        if given.others:
            say(f"flyball: passed over: {', '.join(given.others)}")
    kept = [one for one in variants if request.namespace in ("", _namespace(one))]
    made = imported(kept, maps, free_targets())
    unread = (
        text for objects in made.namespaces.values() for text in read_namespace(objects).errors.values()
    )
    return msgspec.structs.replace(made, errors=(*made.errors, *unread))


def _namespace(one: dict[str, Any]) -> str:
    return str((one.get("metadata") or {}).get("namespace", "default"))


def _contents(files: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    for path in files:
        where = "standard input" if path == STANDARD_OUTPUT else str(path)
        try:
            yield where, sys.stdin.buffer.read() if path == STANDARD_OUTPUT else path.read_bytes()
        except (OSError, ValueError) as error:
            problem = getattr(error, "strerror", None) or str(error)
            mend = "Give a file that this user may read"
            raise WireError(where, f"cannot be read ({problem})", mend=mend) from None


def _of_cluster(request: Request) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    from flyball.adapters.kubernetes.api import Api
    from flyball.operator.kinds import Stored
    from flyball.operator.variants import VARIANTS, config_maps, document

    with closing(Api(request.kubeconfig, request.context)) as api:
        found = api.items(VARIANTS.path(request.namespace), Stored)
        maps, problem = config_maps(api)
    if problem:
        say(f"flyball: {problem}")
    return tuple(map(document, found)), maps


# ---- what is written ---------------------------------------------------------------------------


def _text(taken: Imported, namespace: str, form: str) -> str:
    """Objects of a namespace in YAML, or its commands."""
    from flyball.wire.text import encode_yaml

    targets = [one for one in taken.targets if one.namespace == namespace]
    if form != "objects":
        return "".join(f"{line}\n" for one in targets for line in commands_of(one))
    objects = taken.namespaces[namespace]
    head = ["# What makes the workloads those of the servers below (not needed with flyball operator --wva):"]
    for one in targets:
        head.append(f"# {_label(one, f'inferno.server.name={one.server}')}")
        shared = sum(other.server == one.server for other in targets) > 1  # then bounds are in no Server
        kept = ("accelerator", "min", "max") if shared else ("accelerator",)
        if said := {k: v for k, v in annotations_of(one).items() if k in kept}:
            head.append(f"# {_annotate(one, said)}")
    documents = [encode_yaml(document) for field in FIELDS for document in getattr(objects, field)]
    return "\n".join(head) + "\n" + "---\n".join(documents)


def commands_of(one: Target) -> list[str]:
    """What makes a workload governed without any object."""
    label = _label(one, "inferno.server.managed=true", f"inferno.server.name={one.server}")
    return [label, _annotate(one, annotations_of(one))]


def annotations_of(one: Target) -> dict[str, str]:
    """Annotations of a workload, without their prefix."""
    said = {"model": one.model, **one.promises, "accelerator": one.accelerator}
    said["min"] = str(one.least or "")
    said["max"] = "" if one.most is None else str(one.most)
    return {key: value for key, value in said.items() if value}


def _label(one: Target, *labels: str) -> str:
    return shlex.join(
        ["kubectl", "label", one.kind.lower(), one.name, "-n", one.namespace, "--overwrite", *labels]
    )


def _annotate(one: Target, said: dict[str, str]) -> str:
    words = [f"flyball.dev/{key}={value}" for key, value in said.items()]
    return shlex.join(
        ["kubectl", "annotate", one.kind.lower(), one.name, "-n", one.namespace, "--overwrite", *words]
    )


def _write(folder: Path, texts: dict[str, str], suffix: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.{suffix}").write_text(text, encoding="utf-8")


def _tell(taken: Imported) -> None:
    """The table, and what was not taken over."""
    import io

    from rich import box
    from rich.table import Table

    from flyball.commands.output import console_of

    if taken.targets:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in ("variant", "workload", "server", "model", "class", "accelerator", "replicas"):
            table.add_column(name, no_wrap=True)
        for one in taken.targets:
            most = "" if one.most is None else str(one.most)
            table.add_row(
                *(f"{one.ref.namespace}/{one.ref.name}", f"{one.kind} {one.name}", one.server, one.model),
                *(one.service_class or "Free", one.accelerator or "-", f"{one.least}..{most}"),
            )
        console = console_of(to_file=True)
        console.print(table)
        assert isinstance(console.file, io.StringIO)
        say(console.file.getvalue().rstrip("\n"))
    for note in taken.notes:
        say(f"flyball: {note}")
    for error in taken.errors:
        say(f"flyball: left out: {error}")
