"""An optimizer elsewhere that keeps the system: it is told of each object as it comes, changes and goes.

It is compared with what it has at the start and now and then, so that one that was restarted, or objects that
went while nobody looked, are made right without finalizers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from flyball.client.errors import CallError
from flyball.client.operations import OPTIMIZER, Operation
from flyball.client.optimizer import OptimizerClient
from flyball.operator.planning import Outcome, Unanswered, outcome_of, unserved
from flyball.spec.fleet import Fleet
from flyball.units import Seconds
from flyball.wire.inferno_out import system_document
from flyball.wire.kinds.documents import Namespace

Document = dict[str, Any]
Item = tuple[str, str]
"""Kind and name."""
COMPARED: Seconds = 30.0
"""Between two looks at what it has."""
REFUSED = 400
SINGULAR = Operation(
    "addServiceClassModelTarget", "add targets to a class", "stateful", body="a service class"
)
"""As it was called before the third release."""


class Stateful:
    """Tells the optimizer what all namespaces have together, and lets it plan that."""

    def __init__(
        self,
        client: OptimizerClient,
        namespaces: Callable[[], tuple[str, ...]],
        now: Callable[[], Seconds] = time.monotonic,
    ) -> None:
        """`namespaces`: in which there are objects; until all were seen nothing is taken out there."""
        self._client, self._namespaces, self._now = client, namespaces, now
        self._wanted: dict[str, dict[Item, Document]] = {}
        self._told: dict[Item, Document] = {}
        self._compared: Seconds | None = None
        self._refused: dict[str, dict[Item, Document]] = {}
        """What was wanted when it was last told all from the beginning."""

    def push(self, namespace: str, read: Namespace) -> str:
        """Tell it what a namespace has; why it could not be told, or ""."""
        self._wanted = {**self._wanted, namespace: items(read.fleet)}
        try:
            self._sync()
        except (CallError, ValueError) as error:  # ValueError: a name that no address can have
            return str(error)
        return ""

    def __call__(self, fleet: Fleet) -> Outcome:
        """Plan what it has, for the servers of a fleet. Or Unanswered."""
        settings = system_document(fleet)["system"]["optimizerData"]["optimizer"]  # type: ignore[index]
        self._compared = None  # one that was just restarted would answer, and know nothing
        try:
            self._sync()
        except (CallError, ValueError) as error:
            raise Unanswered(str(error)) from error
        try:
            solution = self._client.optimize(settings)
        except CallError as error:
            return unserved(fleet, error)
        return outcome_of(fleet, solution)

    # ---- told ------------------------------------------------------------------------------------

    def _sync(self) -> None:
        """Have it know what is wanted, and no more. CallError."""
        there = set(self._namespaces())
        self._wanted = {name: items for name, items in self._wanted.items() if name in there}
        all_seen = there <= self._wanted.keys()
        try:
            self._compare()
            self._tell(all_seen)
        except CallError as error:
            self._compared = None
            # Told one by one, what is new may not go with what is old: models of another generation, say.
            if error.status != REFUSED or not all_seen or self._wanted == self._refused:
                raise
            self._refused = self._wanted
            self._start_over()

    def _start_over(self) -> None:
        for item in list(self._told):
            self._take_out(item)
            del self._told[item]
        self._tell(all_seen=True)
        self._refused = {}

    def _compare(self) -> None:
        """Forget what it no longer has, and learn what it has that we did not tell."""
        if self._compared is not None and self._now() - self._compared < COMPARED:
            return
        has = self._has()
        self._told = {item: self._told.get(item, {}) for item in has}
        self._compared = self._now()

    def _has(self) -> set[Item]:
        client = self._client
        found = {("accelerator", one.name) for one in client.get_accelerators()}
        found |= {("model", name) for name in client.get_models()}
        found |= {("class", one.name) for one in client.get_service_classes()}
        found |= {("server", one.name) for one in client.get_servers()}
        return found | {("capacity", one.type) for one in client.get_capacities()}

    def _tell(self, all_seen: bool) -> None:
        wanted: dict[Item, Document] = {}
        for name in sorted(self._wanted):
            wanted = self._wanted[name] | wanted
        if all_seen:
            for item in sorted(self._told.keys() - wanted.keys()):
                self._take_out(item)
                del self._told[item]
        for item, document in wanted.items():
            if self._told.get(item) != document:
                self._told.pop(item, None)  # half told is not told
                self._put(item, document)
                self._told[item] = document

    def _put(self, item: Item, document: Document) -> None:
        kind, name = item
        if kind == "accelerator":
            self._call("addAccelerator", body=document)
        elif kind == "model":
            self._call("addModel", name)
            for entry in document["entries"]:
                self._call("addModelAcceleratorPerf", body=entry)
        elif kind == "class":
            self._call("addServiceClass", name, str(document["priority"]))
            self._targets(document)
        elif kind == "server":
            self._call("addServer", body=document)
        else:
            self._call("setCapacity", body=document)

    def _targets(self, document: Document) -> None:
        try:
            self._call("addServiceClassModelTargets", body=document)
        except CallError as error:
            if error.status != 404:
                raise
            self._client.call(SINGULAR, body=document)

    def _take_out(self, item: Item) -> None:
        word = {
            "accelerator": "removeAccelerator",
            "model": "removeModel",
            "class": "removeServiceClass",
            "server": "removeServer",
            "capacity": "removeCapacity",
        }[item[0]]
        try:
            self._call(word, item[1])
        except CallError as error:
            if error.status != 404:  # gone already
                raise

    def _call(self, operation: str, *names: str, body: Mapping[str, Any] | None = None) -> None:
        self._client.call(OPTIMIZER[operation], *names, body=body)


def items(fleet: Fleet) -> dict[Item, Document]:
    """What there is to tell, in the order in which it goes: by kind and name."""
    system: Any = msgspec.to_builtins(system_document(fleet)["system"])
    models: dict[str, list[Document]] = {}
    for entry in system["modelData"]["models"]:
        models.setdefault(entry["name"], []).append(entry)
    found: dict[Item, Document] = {
        ("accelerator", one["name"]): one for one in system["acceleratorData"]["accelerators"]
    }
    found |= {("model", name): {"entries": entries} for name, entries in models.items()}
    found |= {("class", one["name"]): one for one in system["serviceClassData"]["serviceClasses"]}
    found |= {("capacity", one["type"]): one for one in system["capacityData"]["count"]}
    return found | {("server", one["name"]): one for one in system["serverData"]["servers"]}
