"""Pods that ask for it are told, as they are made, which racks are cool; nothing else is touched."""

from __future__ import annotations

import threading

from flyball.adapters.kubernetes.placement import Racks, placement
from flyball.wire.admission import Asked, Verdict

PATH = "/place-pods"


class Placing:
    """The racks as they were last seen, for whoever makes pods between cycles; from any thread."""

    def __init__(self) -> None:
        self._racks = Racks()
        self._lock = threading.Lock()

    def show(self, racks: Racks) -> None:
        """The racks as they are now."""
        with self._lock:
            self._racks = racks

    def rule(self, asked: Asked) -> Verdict:
        """Every pod is admitted, with what is preferred for it."""
        with self._lock:
            racks = self._racks
        if asked.object is None or asked.kind.kind != "Pod" or asked.operation != "CREATE":
            return Verdict()
        return Verdict(patch=placement(asked.object, racks.cool, racks.hot, racks.label))
