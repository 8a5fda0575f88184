"""`flyball boost render`: the children of ModelBoosters as YAML, without a cluster."""

from __future__ import annotations

import gc
import sys
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from flyball.boosting.asked import Asked, asked_of, lacks
from flyball.boosting.errors import BoosterError
from flyball.boosting.expand import expand
from flyball.boosting.judge import judge
from flyball.boosting.settings import Images, PolicyGeneration, Settings
from flyball.boosting.sized import Choice, sized
from flyball.commands.output import STANDARD_OUTPUT, put, say
from flyball.decide.boost_known import device_memory_of, weights_of
from flyball.wire.errors import WireError
from flyball.wire.fields import near_matches
from flyball.wire.kthena_booster import ModelBooster, read_booster
from flyball.wire.kthena_meta import Plain
from flyball.wire.manifests import manifest, objects_in

DONE, WRONG, UNWRITTEN = 0, 2, 4
KIND = "ModelBooster"
POLICIES: dict[str, PolicyGeneration | None] = {"v0.4": "v0.4", "v1": "v1", "none": None}


class RefusedError(ValueError):
    """A booster that no admission would let in."""


def render(files: tuple[Path, ...], policies: str, images: str | None) -> int:
    """Print the children; returns the exit code."""
    try:
        if not files:
            raise WireError("FILE", "no file is given", mend="Such as booster.yaml, or - for standard input")
        found, settings = images_of(images), Settings(POLICIES[policies])
        before: dict[Asked, Choice] = {}
        with _uncollected():
            boosters = [*_boosters(files)]
            texts = [manifest(child) for one in boosters for child in children(one, found, settings, before)]
    except (WireError, BoosterError, RefusedError) as error:
        say(f"flyball: {error}")
        return WRONG
    try:
        put("---\n".join(texts), machine=True)
    except OSError as error:
        say(f"flyball: {error.filename}: cannot be written ({error.strerror}). Name a place that can be.")
        return UNWRITTEN
    return DONE


def children(
    booster: ModelBooster, images: Images, settings: Settings, before: dict[Asked, Choice]
) -> list[Plain]:
    """The children; notes and warnings go to standard error. BoosterError, RefusedError, WireError.

    `before`: what was chosen so far, which is added to.
    """
    title = title_of(booster)
    verdict = judge(booster, weights_of, device_memory_of)
    if verdict.refusal:
        raise RefusedError(f"{title}: {verdict.refusal}")
    owned = bool(booster.metadata.uid)
    if not owned:  # pods are selected by it, so that it must differ from that of any other booster
        name = f"{booster.metadata.namespace}/{booster.metadata.name}"
        metadata = msgspec.structs.replace(booster.metadata, uid=str(uuid.uuid5(uuid.NAMESPACE_OID, name)))
        booster = msgspec.structs.replace(booster, metadata=metadata)
    made = expand(_sized(booster, title, before), images, settings)
    for text in (*verdict.warnings, *made.notes):
        say(f"{title}: {text}")
    documents = made.documents()
    if not owned:
        for one in documents:
            del one["metadata"]["ownerReferences"]
    return documents


def title_of(booster: ModelBooster) -> str:
    """The booster in sentences."""
    namespace = booster.metadata.namespace
    return f"{KIND} {namespace + '/' if namespace else ''}{booster.metadata.name}"


def images_of(text: str | None) -> Images:
    """`downloader=IMAGE,runtime=IMAGE`. Or WireError."""
    known = [field.name for field in msgspec.structs.fields(Images)]
    found = {}
    for part in (text or "").split(",") if text is not None else ():
        name, equals, image = (one.strip() for one in part.partition("="))
        if not equals or not image:
            raise WireError("--images", "allowed is downloader=IMAGE,runtime=IMAGE", value=text)
        if name not in known:
            raise WireError("--images", "there is no such image", value=name, mend=near_matches(name, known))
        found[name] = image
    return Images(**found)


def _sized(booster: ModelBooster, title: str, before: dict[Asked, Choice]) -> ModelBooster:
    if not lacks(booster):
        return booster
    from flyball.decide.boost import choose

    asked = asked_of(booster)
    try:
        choice = before[asked] = before.get(asked) or choose(booster)
    except WireError as error:
        raise RefusedError(f"{title}: {error}") from None
    say(f"{title}: {choice.reason}")
    return sized(booster, choice)


def _boosters(files: Iterable[Path]) -> Iterator[ModelBooster]:
    others: dict[str, None] = {}
    found = False
    for path in files:
        where = "standard input" if path == STANDARD_OUTPUT else str(path)
        for place, document in objects_in(where, _contents(path, where)):
            if document.get("kind") == KIND:
                found = True
                yield read_booster(document, place)
            else:
                others[str(document.get("kind") or "an object without a kind")] = None
    if others:
        say(f"flyball: passed over: {', '.join(others)}")
    if not found:
        names = ", ".join(map(str, files))
        raise WireError(names, f"there is no {KIND} in it", mend="Write one, or see flyball boost --help")


def _contents(path: Path, where: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if path == STANDARD_OUTPUT else path.read_bytes()
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or str(error)
        raise WireError(where, f"cannot be read ({problem})", mend="Correct the path") from None


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the garbage collector, which would look through all that is kept again and again."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
