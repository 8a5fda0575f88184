"""The part of an operator that keeps ModelBoosters, put together."""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

from flyball.commands.loop_parts import ANSWER, Request
from flyball.commands.output import say

if TYPE_CHECKING:
    from flyball.adapters.kubernetes.api import Api
    from flyball.adapters.kubernetes.lease import Lease
    from flyball.operator.booster_kinds import Key
    from flyball.wire.admission import Asked, Verdict

THREADS = 8
PATH = "/validate-booster"


class Boosting:
    """Watches, looks and tells, while this process holds the lease."""

    def __init__(
        self, request: Request, api: Api, lease: Lease, namespace: str, events: Any, stack: ExitStack
    ) -> None:
        from flyball.adapters.kubernetes.api import Api as Connection
        from flyball.operator.booster import Boosters, Surroundings
        from flyball.operator.booster_kinds import BoosterKinds
        from flyball.operator.work import Work

        watched = stack.enter_context(closing(Connection(request.kubeconfig, request.context, ANSWER)))
        self.kinds = BoosterKinds(watched, lambda key: self.work.add(key), request.watch)
        around = Surroundings(api, self.kinds, namespace)
        self.boosters = Boosters(api, lease, self.kinds, around.images, around.settings, told=_teller(events))
        self.work: Work[Key] = Work(
            "flyball-boost",
            self.boosters.look,
            self._failed,
            threads=THREADS,
            may=lambda: lease.holds() and self.kinds.synced,
        )

    def start(self, stack: ExitStack) -> None:
        """Begin; all of it ends with the stack."""
        self.kinds.start()
        stack.callback(self.kinds.stop)
        self.work.start()
        stack.callback(self.work.stop)

    def again(self) -> None:
        """Look at every ModelBooster."""
        for one in self.kinds.boosters.all():
            self.work.add((one.metadata.namespace, one.metadata.name))

    def _failed(self, key: Key, error: Exception) -> None:
        from flyball.adapters.kubernetes.errors import ClusterError, Conflict, NotFound

        if isinstance(error, Conflict | NotFound):
            return  # somebody wrote in between, or took it away: it is looked at again
        kind = "" if isinstance(error, ClusterError) else f"{type(error).__name__}: "
        say(f"flyball: ModelBooster {'/'.join(key)}: {kind}{error}")


def rule(asked: Asked) -> Verdict:
    """Whether a ModelBooster may be stored."""
    from flyball.boosting.judge import judge
    from flyball.wire.admission import Verdict
    from flyball.wire.errors import WireError
    from flyball.wire.kthena_booster import read_booster

    new, old = asked.object, asked.old_object
    if new is None or (old is not None and old.get("spec") == new.get("spec")):
        return Verdict()
    try:
        return judge(read_booster(new, f"ModelBooster {asked.namespace}/{asked.name}"))
    except WireError as error:
        return Verdict(str(error))


def _teller(events: Any) -> Any:
    from flyball.adapters.kubernetes.events import Object
    from flyball.operator.booster_kinds import BOOSTER

    def told(stored: Any, reason: str, message: str, warning: bool) -> None:
        about = stored.metadata
        events.say(
            Object(BOOSTER, about.namespace, about.name, about.uid),
            reason,
            message or reason,
            "Warning" if warning else "Normal",
        )

    return told
