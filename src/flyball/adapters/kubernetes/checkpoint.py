"""The loop's memory in ConfigMaps, so that a new leader goes on where the last one ended.

The first ConfigMap names the others by what is in them: it is written last, and so changes everything at
once; a process that dies in between leaves what was kept before.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable

import msgspec

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.errors import ClusterError, Conflict, NotFound
from flyball.adapters.kubernetes.freeze import CONFIG_MAP
from flyball.adapters.kubernetes.lease import Lease, uptime
from flyball.adapters.kubernetes.objects import Metadata, Read
from flyball.adapters.kubernetes.write import MANAGER
from flyball.units import Seconds

NAME = "flyball-memory"
LABEL = "flyball.dev/memory"
"""Of all parts: so that those of another time are found and removed."""
PART = 900_000
"""Bytes in one ConfigMap, which may hold 1 MiB."""
EVERY: Seconds = 300.0
LARGEST = 256 * 1024 * 1024
"""Bytes to which what is kept may unfold."""


class _Kept(Read, frozen=True):
    metadata: Metadata = Metadata()
    data: dict[str, str] = msgspec.field(default_factory=dict)
    binary_data: dict[str, str] = msgspec.field(default_factory=dict)


class Damaged(ValueError):
    """What is kept cannot be read; the message says why."""


class Checkpoint:
    """Keeps bytes, seldom, and only while the lease is held."""

    def __init__(
        self,
        api: Api,
        lease: Lease,
        namespace: str,
        *,
        every: Seconds = EVERY,
        part: int = PART,
        now: Callable[[], Seconds] = uptime,
    ) -> None:
        """`namespace`: our own; `every`: seconds between two writes; `part`: bytes in a ConfigMap."""
        self._api, self._lease, self._namespace = api, lease, namespace
        self._every, self._part, self._now = every, part, now
        self._version: str | None = None  # "": nothing is there; None: not known
        self._digest = ""
        self._written: Seconds | None = None

    def read(self) -> tuple[bytes | None, str]:
        """What was kept last, and "" or why it cannot be used; None: begin afresh.

        ClusterError where it may be had soon: to begin afresh would write over it.
        """
        try:
            head = self._head()
            if head is None:
                return None, ""
            memory = _joined(head, self._part_of)
        except ClusterError as error:
            if error.passing:
                raise
            return None, f"the memory kept in the cluster cannot be read, so it begins afresh: {error}"
        except Damaged as error:
            place = f"ConfigMap {self._namespace}/{NAME}"
            return None, f"{place} is damaged, so memory begins afresh and replaces it: {error}"
        self._digest = _digest(memory)
        return memory, ""

    def keep(self, memory: bytes | Callable[[], bytes], *, now: bool = False) -> str:
        """Keep it if it changed and the last time is long ago; in a sentence why it could not be kept.

        `memory`: or what makes it, called only when it is time; `now`: however long ago, as on a clean exit.
        """
        if not self._lease.holds():
            self._version = None  # whoever leads meanwhile writes
            return ""
        time = self._now()
        if not now and self._written is not None and time - self._written < self._every:
            return ""
        memory = memory if isinstance(memory, bytes) else memory()
        digest = _digest(memory)
        if digest == self._digest and self._version:
            return ""
        self._written = time  # a failure, too, is not repeated at once
        try:
            self._write(memory, digest)
        except Conflict:
            self._version = None
            return f"the memory is not kept: somebody else wrote ConfigMap {self._namespace}/{NAME}"
        except ClusterError as error:
            self._version = None
            return f"the memory is not kept: {error}"
        return ""

    # ---- parts ---------------------------------------------------------------------------------

    def _head(self) -> _Kept | None:
        try:
            head = self._api.get(CONFIG_MAP.path(self._namespace, NAME), _Kept)
        except NotFound:
            self._version = ""
            return None
        self._version = head.metadata.resource_version
        return head

    def _part_of(self, name: str) -> _Kept:
        return self._api.get(CONFIG_MAP.path(self._namespace, name), _Kept)

    def _write(self, memory: bytes, digest: str) -> None:
        packed = zlib.compress(memory)
        chunks = [packed[i : i + self._part] for i in range(0, len(packed), self._part)]
        names = [f"{NAME}-{digest[:12]}-{number}" for number in range(1, len(chunks))]
        if self._version is None:
            self._head()
        collection = CONFIG_MAP.path(self._namespace)
        for name, chunk in zip(names, chunks[1:], strict=True):
            try:
                self._api.post(collection, _body(name, chunk, {}), _Kept, fieldManager=MANAGER)
            except Conflict:  # what has the same name has the same in it, unless somebody touched it
                path = CONFIG_MAP.path(self._namespace, name)
                self._api.put(path, _body(name, chunk, {}), _Kept, fieldManager=MANAGER)
        head = _body(NAME, chunks[0], {"digest": digest, "parts": " ".join(names)})
        if self._version:
            head["metadata"] |= {"resourceVersion": self._version}
            path = CONFIG_MAP.path(self._namespace, NAME)
            there = self._api.put(path, head, _Kept, fieldManager=MANAGER)
        else:
            there = self._api.post(collection, head, _Kept, fieldManager=MANAGER)
        self._version, self._digest = there.metadata.resource_version, digest
        for old in self._api.items(collection, _Kept, selector=LABEL):
            if old.metadata.name not in (NAME, *names):
                self._api.delete(CONFIG_MAP.path(self._namespace, old.metadata.name))


def _body(name: str, chunk: bytes, data: dict[str, str]) -> dict[str, dict[str, object]]:
    return {
        "metadata": {"name": name, "labels": {LABEL: "part"}},
        "data": {**data},
        "binaryData": {"memory": base64.b64encode(chunk).decode()},
    }


def _joined(head: _Kept, part_of: Callable[[str], _Kept]) -> bytes:
    chunks = [_chunk(head)]
    for name in head.data.get("parts", "").split():
        try:
            chunks.append(_chunk(part_of(name)))
        except NotFound:
            raise Damaged(f"its part {name} is not there") from None
    unpack = zlib.decompressobj()
    try:
        memory = unpack.decompress(b"".join(chunks), LARGEST)
    except zlib.error as error:
        raise Damaged(f"it cannot be unpacked ({error})") from None
    if not unpack.eof:
        raise Damaged("it is not whole")
    if _digest(memory) != head.data.get("digest"):
        raise Damaged("its digest is another one")
    return memory


def _chunk(kept: _Kept) -> bytes:
    try:
        return base64.b64decode(kept.binary_data["memory"], validate=True)
    except (KeyError, binascii.Error):
        raise Damaged(f"{kept.metadata.name} has no memory in it") from None


def _digest(memory: bytes) -> str:
    return hashlib.sha256(memory).hexdigest()
