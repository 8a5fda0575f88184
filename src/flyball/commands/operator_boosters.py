"""The part of an operator that keeps ModelBoosters, put together."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

from flyball.commands.loop_parts import ANSWER, Request
from flyball.commands.output import say
from flyball.units import Seconds

if TYPE_CHECKING:
    from flyball.adapters.kubernetes.api import Api
    from flyball.adapters.kubernetes.events import Events
    from flyball.adapters.kubernetes.lease import Lease
    from flyball.operator.booster import Told
    from flyball.operator.booster_around import Around
    from flyball.operator.booster_kinds import Key, StoredBooster
    from flyball.wire.admission import Asked, Verdict

THREADS = 8
PATH = "/validate-booster"
LOOK: Seconds = 1.0
"""Between looks at what all ModelBoosters depend on."""
AWAY: Seconds = 30.0
"""That the API server does not answer is told so often, not once for each ModelBooster."""


class Boosting:
    """Watches, looks and tells, while this process holds the lease."""

    def __init__(
        self, request: Request, api: Api, lease: Lease, namespace: str, events: Events, stack: ExitStack
    ) -> None:
        from flyball.adapters.kubernetes.api import Api as Connection
        from flyball.adapters.kubernetes.free_cards import free_cards
        from flyball.operator.booster import Boosters
        from flyball.operator.booster_around import Surroundings
        from flyball.operator.booster_kinds import BoosterKinds
        from flyball.operator.booster_sizing import Sizing
        from flyball.operator.work import Work

        watched = stack.enter_context(closing(Connection(request.kubeconfig, request.context, ANSWER)))
        self.kinds = BoosterKinds(watched, lambda key: self.work.add(key), request.watch)
        self._around = Surroundings(api, self.kinds, namespace)
        sizing = Sizing(lambda: free_cards(api))
        self.boosters = Boosters(api, lease, self.kinds, self._around, sizing=sizing, told=_teller(events))
        self.work: Work[Key] = Work(
            "flyball-boost",
            self.boosters.look,
            self._failed,
            threads=THREADS,
            may=lambda: lease.holds() and self.kinds.synced,
        )
        self._stop = threading.Event()
        self._away: Seconds | None = None

    def start(self, stack: ExitStack) -> None:
        """Begin; all of it ends with the stack."""
        self.kinds.start()
        stack.callback(self.kinds.stop)
        self.work.start()
        stack.callback(self.work.stop)
        threading.Thread(target=self._follow, name="flyball-boost-around", daemon=True).start()
        stack.callback(self._stop.set)

    def again(self) -> None:
        """Look at every ModelBooster."""
        for one in self.kinds.boosters.all():
            self.work.add((one.metadata.namespace, one.metadata.name))

    def _follow(self) -> None:
        """Look at every ModelBooster when images or the kinds served change."""
        known: Around | None = None
        while not self._stop.wait(LOOK):
            if not self.kinds.synced:
                continue
            now = self._around()
            if known is not None and now != known:
                self.again()
            known = now

    def _failed(self, key: Key, error: Exception) -> None:
        from flyball.adapters.kubernetes.errors import ClusterError, Conflict, NotFound, Unreachable
        from flyball.operator.writes import NotLeading

        if isinstance(error, Conflict | NotFound | NotLeading):
            return  # somebody wrote in between, took it away, or leads: it is looked at again
        if isinstance(error, Unreachable):
            now = time.monotonic()
            if self._away is not None and now - self._away < AWAY:
                return
            self._away = now
        kind = "" if isinstance(error, ClusterError) else f"{type(error).__name__}: "
        say(f"flyball: ModelBooster {'/'.join(key)}: {kind}{error}")


def rule(asked: Asked) -> Verdict:
    """Whether a ModelBooster may be stored."""
    from flyball.boosting.judge import judge
    from flyball.decide.boost_known import device_memory_of, weights_of
    from flyball.wire.admission import Verdict
    from flyball.wire.errors import WireError
    from flyball.wire.kthena_booster import read_booster

    new, old = asked.object, asked.old_object
    if new is None or (old is not None and _says(old) == _says(new)):
        return Verdict()
    try:
        booster = read_booster(new, f"ModelBooster {asked.namespace}/{asked.name}")
        return judge(booster, weights_of, device_memory_of)
    except WireError as error:
        return Verdict(str(error))


def _says(booster: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """What counts: the spec, and annotations that stand for fields of it or ask of Flyball."""
    annotations = (booster.get("metadata") or {}).get("annotations") or {}
    return booster.get("spec"), {k: v for k, v in annotations.items() if k.startswith("flyball.dev/")}


def _teller(events: Events) -> Told:
    from flyball.operator.booster_kinds import BOOSTER

    def told(stored: StoredBooster, reason: str, message: str, warning: bool) -> None:
        events.tell(BOOSTER, stored.metadata, reason, message, warning)

    return told
