"""`flyball boost`: on what a model would run, and the ModelBooster that asks for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from flyball.boosting import asked
from flyball.boosting.config import SGLANG, VLLM
from flyball.boosting.errors import BoosterError
from flyball.boosting.judge import judge
from flyball.boosting.sized import Choice, sized
from flyball.commands.output import console_of, put, say
from flyball.decide.boost import Looked, choice_of, look
from flyball.decide.boost_known import device_memory_of, weights_of
from flyball.wire.errors import WireError
from flyball.wire.kthena import WORKLOAD, WORKLOAD_API
from flyball.wire.kthena_booster import read_booster
from flyball.wire.manifests import manifest

DONE, WRONG, UNWRITTEN, UNREACHABLE = 0, 2, 4, 5
TYPES = {"vllm": VLLM, "sglang": SGLANG}
MANAGER = "flyball-boost"
LONGEST = 40
"""Of a name that is made from a model's: room is left for those of its pods."""
_OPTIONS = {
    asked.TTFT: "--ttft",
    asked.ITL: "--itl",
    asked.CLASS: "--class",
    asked.RATE: "--rate",
    asked.IN: "--in",
    asked.OUT: "--out",
    asked.ACCELERATOR: "--cards",
}


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asks for; None is not said."""

    model: str
    ttft: str | None = None
    itl: str | None = None
    service_class: str | None = None
    rate: str | None = None
    in_tokens: str | None = None
    out_tokens: str | None = None
    cards: str | None = None
    least: int | None = None
    most: int | None = None
    engine: str = "vllm"
    image: str | None = None
    cache: str | None = None
    name: str | None = None
    namespace: str = ""
    kubeconfig: Path | None = None
    context: str | None = None
    dry_run: bool = False
    as_yaml: bool = False


class RefusedError(ValueError):
    """A booster that is not admitted, or options that do not go together."""


def run(request: Request) -> int:
    """Choose, show, and write where that is asked for; returns the exit code."""
    from flyball.adapters.kubernetes.errors import ClusterError

    try:
        return _offline(request) if request.dry_run else _on_cluster(request)
    except (WireError, BoosterError, RefusedError) as error:
        say(f"flyball: {_as_options(str(error))}")
        return WRONG
    except ClusterError as error:
        say(f"flyball: {error}")
        return UNREACHABLE
    except OSError as error:
        say(f"flyball: {error.filename}: cannot be written ({error.strerror}). Name a place that can be.")
        return UNWRITTEN


def document_of(request: Request, namespace: str, replicas: int = 1) -> dict[str, Any]:
    """The ModelBooster that says what is asked for, and nothing of hardware. Or RefusedError, WireError."""
    said = {
        asked.CLASS: request.service_class,
        asked.TTFT: request.ttft,
        asked.ITL: request.itl,
        asked.RATE: request.rate,
        asked.IN: request.in_tokens,
        asked.OUT: request.out_tokens,
        asked.ACCELERATOR: request.cards,
        # As annotations they reach Flyball on a cluster with Kthena's own definition, too.
        "flyball.dev/min-replicas": None if request.least is None else str(request.least),
        "flyball.dev/max-replicas": None if request.most is None else str(request.most),
    }
    annotations = {key: value for key, value in said.items() if value is not None}
    if not annotations.keys() & {asked.CLASS, asked.TTFT, asked.ITL}:
        raise RefusedError("nothing is promised: give --ttft, --itl or --class, such as --ttft 'p95<1s'")
    worker = {"type": "server"} | ({"image": request.image} if request.image else {})
    backend: dict[str, Any] = {
        "name": request.engine,
        "type": TYPES[request.engine],
        "modelURI": uri_of(request.model),
        **({"cacheURI": request.cache} if request.cache else {}),
        "replicas": replicas,
        "workers": [worker],
    }
    metadata: dict[str, Any] = {"name": request.name or name_of(request.model)}
    metadata |= {"namespace": namespace} if namespace else {}
    return {
        "apiVersion": WORKLOAD_API,
        "kind": "ModelBooster",
        "metadata": metadata | {"annotations": annotations},
        "spec": {"backend": backend},
    }


def uri_of(model: str) -> str:
    """Where a model is: as given, else on the hub. WireError: a short name that the library does not know."""
    from flyball.profiles.library import find_model, models

    if "://" in model:
        return model
    if "/" in model:
        return f"hf://{model.strip('/')}"
    names = [name for one in models() for name in (one.name, *one.aliases)]
    found = next((name for name in names if name.rpartition("/")[2].casefold() == model.casefold()), None)
    if found is None:
        near = find_model(model, where="MODEL").name
        raise WireError(
            "MODEL", "has no organisation", value=model, mend=f"Such as {near}, or hf://ORG/{model}"
        )
    return f"hf://{found}"


def name_of(model: str) -> str:
    """A name for the object: the model's, as Kubernetes takes it."""
    last = model.rstrip("/").rpartition("/")[2].casefold()
    name = re.sub(r"[^a-z0-9]+", "-", last).strip("-")[:LONGEST].strip("-")
    return name if name[:1].isalpha() else f"model-{name}".strip("-")


def _offline(request: Request) -> int:
    choice, looked = _chosen(request, request.namespace, None)
    _show(looked, choice, aside=True)
    put(manifest(document_of(request, request.namespace, choice.replicas)), machine=True)
    return DONE


def _on_cluster(request: Request) -> int:
    from flyball.adapters.kubernetes.api import Api
    from flyball.adapters.kubernetes.errors import NotFound
    from flyball.adapters.kubernetes.free_cards import free_cards
    from flyball.adapters.kubernetes.governed import Kind

    with closing(Api(request.kubeconfig, request.context)) as api:
        namespace = request.namespace or api.namespace or "default"
        choice, looked = _chosen(request, namespace, free_cards(api))
        document = document_of(request, namespace, choice.replicas)
        kind = Kind(WORKLOAD, "v1alpha1", "modelboosters", "ModelBooster")
        _show(looked, choice, aside=request.as_yaml)
        try:
            path = kind.path(namespace, document["metadata"]["name"])
            api.apply(path, document, dict, MANAGER, force=False)
        except NotFound as error:
            say(
                f"flyball: {error}\nIs the namespace there, and the kind? To install the kind: "
                "flyball crds modelbooster | kubectl apply --server-side -f -"
            )
            return UNREACHABLE
    if request.as_yaml:
        put(manifest(document), machine=True)
    say(
        f"ModelBooster {namespace}/{document['metadata']['name']} is written; flyball operator carries it out"
    )
    return DONE


def _chosen(request: Request, namespace: str, free: Mapping[str, int] | None) -> tuple[Choice, Looked]:
    """What would be chosen. BoosterError, RefusedError, WireError."""
    booster = read_booster(document_of(request, namespace), "the object")
    verdict = judge(booster, weights_of, device_memory_of)
    if verdict.refusal:
        raise RefusedError(verdict.refusal)
    looked = look(asked.asked_of(booster), free)
    choice = choice_of(looked, free)
    replicas = sized(booster, choice).spec.backend.replicas
    assert replicas is not None
    return msgspec.structs.replace(choice, replicas=replicas), looked


def _show(looked: Looked, choice: Choice, aside: bool) -> None:
    """The options side by side, the chosen one first, and why it is."""
    import io

    from flyball.decide.estimate import estimates
    from flyball.report import estimates as shown

    server = looked.plan.servers[0].server
    bars = estimates(looked.made.fleet, looked.sized, server, looked.made.beliefs)
    console = console_of(to_file=aside)
    console.print(shown.asked(looked.made.fleet), soft_wrap=True)
    if bars:
        first = [one for one in bars if one.option.accelerator == choice.accelerator]
        others = [one for one in shown.best_of_each(bars) if one.card != choice.card]
        console.print(shown.table([*first, *others]))
    console.print(choice.reason, soft_wrap=True)
    if choice.next_best:
        console.print(f"Next best: {choice.next_best}.", soft_wrap=True)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    if aside:
        say(text.rstrip("\n"))
    else:
        put(text, machine=False)


def _as_options(message: str) -> str:
    """Annotations by the options that they come from."""
    for key, option in _OPTIONS.items():
        message = re.sub(rf"(ModelBooster \S+: )?metadata\.annotations\[{re.escape(key)}\]", option, message)
    return message.replace("spec.backend.workers[0].image", "--image")
