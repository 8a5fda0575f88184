"""Events on workloads, as `kubectl describe` shows them: by a thread of their own, never in the way.

The same words on the same object are one Event with a count. Each object has a small allowance that refills
slowly; what is over it is dropped and counted.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal, Protocol

import msgspec

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.errors import Conflict, NotFound
from flyball.adapters.kubernetes.governed import Kind
from flyball.adapters.kubernetes.objects import Metadata, Read
from flyball.units import Seconds

EVENT = Kind("", "v1", "events", "Event")
COMPONENT = "flyball"
AT_ONCE = 10
"""Events of one object."""
REFILL: Seconds = 60.0
"""Until an object may have one more."""
WAITING = 2000
CLUSTERWIDE = "default"
"""Where the API server wants Events on objects without a namespace."""
LONGEST = 1000
"""Characters of a message; the API server takes 1024."""


class _Event(Read, frozen=True):
    count: int = 0


class About(Protocol):
    """An object of which something is said."""

    @property
    def kind(self) -> Kind:
        """Of which kind it is."""
        ...

    @property
    def namespace(self) -> str:
        """Where it is."""
        ...

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def uid(self) -> str:
        """Its uid."""
        ...


class Object(msgspec.Struct, frozen=True):
    """An object of any kind."""

    kind: Kind
    namespace: str
    name: str
    uid: str


class _Said(msgspec.Struct, frozen=True):
    about: About
    reason: str
    message: str
    type: Literal["Normal", "Warning"]
    time: str


class Events:
    """What was done, on the objects to which it was done."""

    def __init__(self, api: Api, now: Callable[[], Seconds] = time.monotonic) -> None:
        self.dropped = 0
        """Over an object's allowance, or while the API server did not take them fast enough."""
        self.problem = ""
        """Why the last one could not be written; "": it could."""
        self._api, self._now = api, now
        self._lock = threading.Lock()
        self._allowance: dict[str, tuple[float, Seconds]] = {}
        self._queue: queue.Queue[_Said | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._run, name="flyball-events", daemon=True)
        self._thread.start()

    def say(
        self, about: About, reason: str, message: str, kind: Literal["Normal", "Warning"] = "Normal"
    ) -> None:
        """Say something of an object; returns at once. `reason`: one word in camel case."""
        if len(message) > LONGEST:
            message = message[: LONGEST - 1] + "…"
        with self._lock:
            left = self._left(about.uid)
            if left < 1.0 or self._queue.full():
                self.dropped += 1
                return
            self._queue.put_nowait(_Said(about, reason, message, kind, _time()))
            self._allowance[about.uid] = left - 1.0, self._now()
            if len(self._allowance) > WAITING:  # those with a whole allowance need not be known
                known = self._allowance.items()
                self._allowance = {uid: has for uid, has in known if self._left(uid) < AT_ONCE}

    def _left(self, uid: str) -> float:
        """Events that an object may have now."""
        left, since = self._allowance.get(uid, (float(AT_ONCE), self._now()))
        return min(float(AT_ONCE), left + (self._now() - since) / REFILL)

    def tell(self, kind: Kind, about: Metadata, reason: str, message: str, warning: bool) -> None:
        """The same of an object whose metadata are at hand; without words the reason speaks for itself."""
        one = Object(kind, about.namespace, about.name, about.uid)
        self.say(one, reason, message or reason, "Warning" if warning else "Normal")

    def flush(self) -> None:
        """Wait until all is written."""
        self._queue.join()

    def close(self, limit: Seconds = 5.0) -> None:
        """Write what is left, for so long at most."""
        try:
            self._queue.put(None, timeout=limit)
        except queue.Full:
            return
        self._thread.join(limit)

    def _run(self) -> None:
        while (said := self._queue.get()) is not None:
            try:
                self._write(said)
                self.problem = ""
            except Exception as error:  # whatever it is: the next one may succeed
                self.problem = str(error) or type(error).__name__
            finally:
                self._queue.task_done()
        self._queue.task_done()

    def _write(self, said: _Said) -> None:
        about = said.about
        marks = "\n".join((about.uid, said.reason, said.message)).encode()
        name = f"{about.name[:200]}.{hashlib.sha256(marks).hexdigest()[:16]}"
        space = about.namespace or CLUSTERWIDE
        involved = {
            "apiVersion": "/".join(filter(None, (about.kind.group, about.kind.version))),
            "kind": about.kind.name,
            "namespace": about.namespace,
            "name": about.name,
            "uid": about.uid,
        }
        body = {
            "apiVersion": "v1",
            "kind": EVENT.name,
            "metadata": {"name": name, "namespace": space},
            "involvedObject": involved,
            "reason": said.reason,
            "message": said.message,
            "type": said.type,
            "source": {"component": COMPONENT},
            "firstTimestamp": said.time,
            "lastTimestamp": said.time,
            "count": 1,
        }
        try:
            self._api.post(EVENT.path(space), body, _Event)
        except Conflict:
            self._again(EVENT.path(space, name), said)

    def _again(self, path: str, said: _Said) -> None:
        try:
            count = self._api.get(path, _Event).count + 1
            self._api.patch(path, {"count": count, "lastTimestamp": said.time}, _Event)
        except NotFound:
            return  # it was forgotten in this very moment: the API server keeps them for an hour


def _time() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
