"""Workloads that look like model servers and are not governed."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.engine import engine_of
from flyball.adapters.kubernetes.governed import DEPLOYMENT, STATEFUL_SET
from flyball.adapters.kubernetes.labels import CLASS, MANAGED, SELECTOR
from flyball.adapters.kubernetes.listing import Listed
from flyball.adapters.kubernetes.objects import Workload

ENGINES = re.compile(
    r"vllm|sglang|text-generation-inference|\btgi\b|tensorrt|trtllm|lmdeploy|llama\.cpp|llm-d"
)
"""In images and commands of servers of language models."""
ROUTING = re.compile(r"router|gateway|epp|endpoint-picker|dcgm|exporter|plugin")
"""In images of what stands beside them."""


class Candidate(msgspec.Struct, frozen=True):
    """A workload, and what makes it look like a model server."""

    kind: str
    namespace: str
    name: str
    signs: tuple[str, ...]

    @property
    def command(self) -> str:
        """What gives it to Flyball."""
        return (
            f"kubectl label {self.kind.lower()} {self.name} -n {self.namespace} {MANAGED}=true {CLASS}=Free"
        )


def candidates(api: Api, namespace: str = "") -> tuple[Candidate, ...]:
    """Those of a namespace, "": of all; by namespace and name. ClusterError."""
    listed = [
        Listed(kind, one)
        for kind in (DEPLOYMENT, STATEFUL_SET)
        for one in api.items(kind.path(namespace), Workload, selector=SELECTOR.replace("=", "!="))
    ]
    return candidates_of(listed)


def candidates_of(listed: Iterable[Listed]) -> tuple[Candidate, ...]:
    """Those among some workloads."""
    found = []
    for one in listed:
        signs = _signs(one.workload)
        if signs:
            metadata = one.workload.metadata
            found.append(Candidate(one.kind.name, metadata.namespace, metadata.name, signs))
    return tuple(sorted(found, key=lambda c: (c.namespace, c.name, c.kind)))


def _signs(workload: Workload) -> tuple[str, ...]:
    """What of it is a model server's: an engine, or cards together with a model's name."""
    engine = engine_of(workload.spec)
    containers = workload.spec.template.spec.containers
    images = [c.image for c in containers if ENGINES.search(c.image) and not ROUTING.search(c.image)]
    words = [w for c in containers for w in (*c.command, *c.args) if ENGINES.search(w)]
    signs = [f"image {image}" for image in images[:1]] or [f"runs {word}" for word in words[:1]]
    if engine.cards:
        signs.append(f"{engine.cards} x {engine.resource}")
    if engine.models:
        signs.append(f"model {engine.models[0]}")
    return tuple(signs) if images or words or (engine.cards and engine.models) else ()
