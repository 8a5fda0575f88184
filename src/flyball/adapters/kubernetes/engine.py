"""What a pod template says of the engine in it: the model, the batch, the cards."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from flyball.adapters.kubernetes.objects import Container, Pod, PodSpec, Resources, WorkloadSpec

MODEL_FLAGS = ("--model", "--model-path", "--model-id", "--model_name_or_path")
SERVED_FLAGS = ("--served-model-name",)
QUANTIZATION_FLAGS = ("--quantization", "-q")
BATCH_FLAGS = ("--max-num-seqs", "--max-running-requests", "--max-batch-size", "--max_batch_size")
MODEL_VARIABLES = ("MODEL", "MODEL_ID", "MODEL_NAME", "HF_MODEL_ID", "VLLM_MODEL")
SERVE = ("serve", "trtllm-serve")
"""What the model's name follows."""
CARDS = (
    "nvidia.com/gpu",
    "amd.com/gpu",
    "habana.ai/gaudi",
    "google.com/tpu",
    "aws.amazon.com/neuron",
    "gpu.intel.com/i915",
    "gpu.intel.com/xe",
)
"""Resources that are cards; whatever else is asked for is none."""
_VARIABLE = re.compile(r"\$(?:\(([A-Za-z_][\w.]*)\)|\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))")


class Engine(msgspec.Struct, frozen=True, gc=False):
    """What a template says of its engine."""

    models: tuple[str, ...] = ()
    """Names of the model, the one of its weights first."""
    max_batch_size: int = 0
    """0: not said."""
    cards: int = 0
    """Of one replica."""
    resource: str = ""
    """By which it asks for them."""


def engine_of(spec: WorkloadSpec) -> Engine:
    """Read the container that asks for cards, else the one that names a model."""
    templates = tuple(_templates(spec))
    taken: dict[str, int] = {}
    for template, times in templates:
        for container in template.containers:
            for name, count in cards_of(container.resources).items():
                taken[name] = taken.get(name, 0) + count * times
    resource = max(taken, key=lambda name: (taken[name], name), default="")
    said = [said_by(c) for t, _ in templates[:1] for c in sorted(t.containers, key=_without_cards)]
    said += [said_by(c) for t, _ in templates[1:] for c in t.containers]
    models, batch = next((one for one in said if one[0]), said[0] if said else ((), 0))
    return Engine(models, batch, taken.get(resource, 0), resource)


def place_in(template: PodSpec) -> int | None:
    """Which container of a template is the engine's; None: it has none."""
    order = sorted(range(len(template.containers)), key=lambda i: _without_cards(template.containers[i]))
    return next((i for i in order if said_by(template.containers[i])[0]), order[0] if order else None)


def cards_of(resources: Resources) -> dict[str, int]:
    """Cards that a container asks for, by resource."""
    return counts({**resources.requests, **resources.limits})


def cards_in(pod: Pod) -> int:
    """Cards that a pod asks for, of all resources."""
    return sum(count for one in pod.spec.containers for count in cards_of(one.resources).values())


def counts(amounts: Mapping[str, str | int | float]) -> dict[str, int]:
    """The cards among some resources."""
    return {name: number for name in CARDS if name in amounts and (number := whole(amounts[name])) > 0}


def whole(quantity: str | int | float) -> int:
    """A quantity as Kubernetes writes it, as a whole number; 0 where it is none."""
    try:
        return int(quantity)
    except ValueError:
        scale = {"k": 10**3, "M": 10**6, "G": 10**9}.get(str(quantity)[-1:], 0)
        digits = str(quantity)[:-1]
        return int(digits) * scale if digits.isdigit() else 0


def _without_cards(container: Container) -> bool:
    return not cards_of(container.resources)


def _templates(spec: WorkloadSpec) -> Iterator[tuple[PodSpec, int]]:
    """Templates of the pods of one replica, and how many pods of each."""
    group = spec.leader_worker_template
    if group is not None:
        leader = group.leader_template or group.worker_template
        yield leader.spec, 1
        if group.size > 1:
            yield group.worker_template.spec, group.size - 1
    elif spec.template.roles:
        for role in spec.template.roles:
            yield role.entry_template.spec, role.replicas
            if role.worker_replicas:
                yield role.worker_template.spec, role.replicas * role.worker_replicas
    else:
        yield spec.template.spec, 1


def said_by(container: Container) -> tuple[tuple[str, ...], int]:
    """Names of the model, and the batch, as arguments and environment tell them."""
    variables = {one.name: one.value for one in container.env}
    words = list(_words((*container.command, *container.args), variables))
    models = [
        *_after(words, MODEL_FLAGS),
        *_served(words),
        *(variables[name] for name in MODEL_VARIABLES if variables.get(name)),
        *_after(words, SERVED_FLAGS),
    ]
    if "fp8" in _after(words, QUANTIZATION_FLAGS):
        models[:0] = [f"{name}-FP8" for name in models[:1] if "fp8" not in name.casefold()]
    batch = next((int(word) for word in _after(words, BATCH_FLAGS) if word.isdigit()), 0)
    return tuple(dict.fromkeys(models)), batch


def _words(arguments: Iterable[str], variables: Mapping[str, str]) -> Iterator[str]:
    """Arguments word by word: a shell's script is taken apart, variables are put in."""
    for argument in arguments:
        filled = _VARIABLE.sub(lambda m: variables.get(m[1] or m[2] or m[3], m[0]), argument)
        if not any(letter.isspace() for letter in filled):
            yield filled
            continue
        try:
            yield from shlex.split(filled)
        except ValueError:
            yield from filled.split()


def _after(words: list[str], flags: tuple[str, ...]) -> Iterator[str]:
    """What follows flags, as `--flag value` or `--flag=value`."""
    for place, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag not in flags:
            continue
        found = value if equals else next(iter(words[place + 1 : place + 2]), "")
        if found and not found.startswith("-"):
            yield found


def _served(words: list[str]) -> Iterator[str]:
    """What follows `vllm serve`."""
    for place, word in enumerate(words[:-1]):
        command = word.rpartition("/")[2]
        if command in SERVE and not words[place + 1].startswith("-"):
            yield words[place + 1]
