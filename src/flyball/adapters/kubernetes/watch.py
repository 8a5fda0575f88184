"""The objects of one kind as they stand: from a list and the events after it, by a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import msgspec

from flyball.adapters.kubernetes.api import UNREADABLE, Api
from flyball.adapters.kubernetes.errors import ClusterError, Gone, NotFound
from flyball.adapters.kubernetes.governed import Kind
from flyball.adapters.kubernetes.objects import Metadata, Read
from flyball.units import Seconds

FIRST_PAUSE: Seconds = 0.5
LONGEST_PAUSE: Seconds = 5.0

Key = tuple[str, str]
"""Namespace and name."""


class Object(Protocol):
    """What has metadata."""

    @property
    def metadata(self) -> Metadata:
        """Name, namespace, version."""
        ...


T = TypeVar("T", bound=Object)


class _Any(Read, frozen=True):
    """An object of which only the metadata is read."""

    metadata: Metadata = Metadata()


_ABOUT = msgspec.json.Decoder(_Any)
"""Made here: two threads that meet a struct for the first time at once crash msgspec 0.22."""


class Watch(Generic[T]):
    """Keeps the objects of a kind between `start` and `stop`; any thread may ask for them.

    What was known stays known while the API server is away; `problem` says so. An object that cannot be read
    is left out, and does not hold up the others.
    """

    def __init__(
        self,
        api: Api,
        kind: Kind,
        decoded: type[T],
        changed: Callable[[Key], None],
        *,
        namespace: str = "",
        selector: str = "",
        pause: Seconds = FIRST_PAUSE,
    ) -> None:
        """`changed`: called for each object that came, changed or went, by the thread that saw it; `pause`:
        before the first of several tries."""
        self.kind = kind
        self.absent = False
        """Whether the cluster does not have the kind."""
        self._trouble = "it was not listed yet"
        self._unreadable: dict[Key, str] = {}
        self._api, self._decoder, self._changed = api, msgspec.json.Decoder(decoded), changed
        self._pause = pause
        self._path, self._selector = kind.path(namespace), selector
        self._lock = threading.Lock()
        self._objects: dict[Key, T] = {}
        self._synced, self._stop = threading.Event(), threading.Event()
        self._version = ""
        self._thread = threading.Thread(target=self._run, name=f"watch-{kind.plural}", daemon=True)

    def start(self) -> None:
        """Begin to list and to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing more; what is under way ends with the connection."""
        self._stop.set()

    @property
    def synced(self) -> bool:
        """Whether all were listed once."""
        return self._synced.is_set()

    def wait(self, limit: Seconds) -> bool:
        """Wait until all were listed; whether they were."""
        return self._synced.wait(limit)

    @property
    def problem(self) -> str:
        """Why the objects may be old, or not all that there are; "": they are not."""
        return self._trouble or next(iter(self._unreadable.copy().values()), "")

    def get(self, key: Key) -> T | None:
        """One object; None: there is none."""
        return self._objects.get(key)

    def all(self, namespace: str | None = None) -> tuple[T, ...]:
        """All objects, or those of a namespace, in order of namespace and name."""
        with self._lock:
            found = [one for (space, _), one in self._objects.items() if namespace in (None, space)]
        return tuple(sorted(found, key=_key))

    def seen(self, one: T) -> None:
        """Know an object as the answer to a write of our own has it, before its event comes.

        One that is not known is none: it went meanwhile, or was made anew.
        """
        self._put(one, known=True)

    # ---- kept --------------------------------------------------------------------------------------

    def _run(self) -> None:
        pause = self._pause
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                if not self._version:
                    self._list()
                self._follow()
            except Gone:
                self._version = ""
            except ClusterError as error:
                self._trouble = str(error)
                self.absent = isinstance(error, NotFound)
            except Exception as error:  # whatever it is: a thread that ends would see nothing more
                self._trouble, self._version = f"{type(error).__name__}: {error}", ""
            if time.monotonic() - began > pause:
                pause = self._pause  # it went well for a while
            self._stop.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _list(self) -> None:
        found, version = self._api.listed(self._path, msgspec.Raw, selector=self._selector)
        self._unreadable = {}
        now = {_key(one): one for one in map(self._read, found) if one is not None}
        with self._lock:
            before = self._objects
            for key, one in now.items():  # what a write of our own made meanwhile is newer than the list
                there = before.get(key)
                if there is not None and there.metadata.uid == one.metadata.uid and _newer(there, one):
                    now[key] = there
            self._objects = now
        self._version = version
        self.absent = False
        self._synced.set()
        for key in sorted(before.keys() | now.keys()):
            if _version(before.get(key)) != _version(now.get(key)):
                self._changed(key)

    def _follow(self) -> None:
        events = self._api.watch(
            self._path, msgspec.Raw, self._version, selector=self._selector, opened=self._opened
        )
        for event in events:
            if self._stop.is_set():
                return
            about = _ABOUT.decode(event.object)
            one = None if event.type == "BOOKMARK" else self._read(event.object)
            if event.type == "DELETED":
                self._unreadable.pop(_key(about), None)
            if event.type == "DELETED" or (one is None and event.type != "BOOKMARK"):
                self._drop(about)
            elif one is not None:
                self._put(one)
            self._version = about.metadata.resource_version

    def _opened(self) -> None:
        self._trouble = ""

    def _read(self, data: msgspec.Raw) -> T | None:
        """An object; None: it cannot be read, which is told until it can."""
        try:
            one = self._decoder.decode(data)
        except UNREADABLE as error:
            key = _key(_ABOUT.decode(data))
            self._unreadable[key] = f"{self.kind.name} {'/'.join(filter(None, key))}: {error}"
            return None
        self._unreadable.pop(_key(one), None)
        return one

    def _put(self, one: T, known: bool = False) -> None:
        key = _key(one)
        with self._lock:
            there = self._objects.get(key)
            if known and (there is None or there.metadata.uid != one.metadata.uid):
                return
            if there is not None and not _newer(one, there):
                return
            self._objects[key] = one
        self._changed(key)

    def _drop(self, one: Object) -> None:
        key = _key(one)
        with self._lock:
            there = self._objects.get(key)
            if there is None or there.metadata.uid != one.metadata.uid:
                return
            del self._objects[key]
        self._changed(key)


def _key(one: Object) -> Key:
    return one.metadata.namespace, one.metadata.name


def _version(one: Object | None) -> tuple[str, str]:
    return ("", "") if one is None else (one.metadata.uid, one.metadata.resource_version)


def _newer(one: Object, than: Object) -> bool:
    """Whether it is to replace another: the versions of an object grow."""
    now, before = one.metadata, than.metadata
    if now.uid == before.uid and now.resource_version.isdecimal() and before.resource_version.isdecimal():
        return int(now.resource_version) > int(before.resource_version)
    return now.resource_version != before.resource_version
