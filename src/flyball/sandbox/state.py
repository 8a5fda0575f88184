"""The folder of a sandbox that runs: who holds it, what it says of itself, and what is left of a dead one."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import IO

import msgspec

from flyball.sandbox.errors import SandboxError
from flyball.sandbox.folders import state_folder

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")
LOCK, STATE = "lock", "state.json"


class Running(msgspec.Struct, frozen=True):
    """What one process of a sandbox is."""

    name: str
    pid: int
    log: str
    url: str = ""


class State(msgspec.Struct, frozen=True):
    """What a sandbox says of itself, once it is up."""

    name: str
    pid: int
    """Of the process that holds it: ended, it takes all others with it."""
    url: str
    kubeconfig: str
    started: float
    """Seconds since 1970."""
    nodes: int
    cards: int
    processes: tuple[Running, ...] = ()


class Place:
    """A folder that one sandbox holds by a lock, as long as the process lives."""

    def __init__(self, folder: Path, lock: IO[str]) -> None:
        self.folder, self._lock = folder, lock

    def write(self, state: State) -> None:
        """Say what is there; whole or not at all."""
        part = self.folder / f"{STATE}.part"
        part.write_bytes(msgspec.json.encode(state))
        part.replace(self.folder / STATE)

    def remove(self) -> None:
        """Leave nothing, and let the name go."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()


def check_name(name: str) -> str:
    """The name, if it can be one. Or ValueError."""
    if not _NAME.fullmatch(name):
        raise ValueError(f'--name is "{name}": allowed are up to 40 small letters, digits and dashes')
    return name


def take(name: str | None) -> Place:
    """The folder of this name, empty, or a nameless one; SandboxError where another holds it."""
    if name is None:
        folder = Path(tempfile.mkdtemp(prefix="flyball-sandbox-"))
    else:
        folder = state_folder() / check_name(name)
    lock = _hold(folder)
    if lock is None:
        raise SandboxError(
            f"the sandbox {name} is up already: `flyball sandbox down --name {name}` ends it, "
            "another --name starts one beside it"
        )
    for path in folder.iterdir():  # of one that died
        if path.name != LOCK:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for part in ("logs", "rules"):
        (folder / part).mkdir()
    return Place(folder, lock)


def _hold(folder: Path) -> IO[str] | None:
    """The lock of a folder; None where another has it. Whoever ends may remove the folder meanwhile."""
    while True:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            lock = (folder / LOCK).open("a")
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return None
        try:
            if os.fstat(lock.fileno()).st_ino == (folder / LOCK).stat().st_ino:
                lock.truncate(0)
                print(os.getpid(), file=lock, flush=True)
                return lock
        except FileNotFoundError:
            pass
        lock.close()


def held(name: str) -> bool:
    """Whether a sandbox of this name lives."""
    try:
        with (state_folder() / name / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def holder(name: str) -> int | None:
    """The process that holds the sandbox of this name; None where that is not known."""
    try:
        return int((state_folder() / name / LOCK).read_text())
    except (FileNotFoundError, ValueError):
        return None


def state_of(name: str) -> State | None:
    """What the sandbox of this name says; None while it is not up yet, or not there."""
    try:
        return msgspec.json.decode((state_folder() / name / STATE).read_bytes(), type=State)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def names() -> list[str]:
    """Of all sandboxes that live; what dead ones left is removed."""
    base = state_folder()
    found = sorted(path.name for path in base.iterdir() if path.is_dir()) if base.is_dir() else []
    return [name for name in found if held(name) or not clear(name)]


def clear(name: str) -> bool:
    """Remove what a dead sandbox left; whether there is nothing now."""
    folder = state_folder() / name
    if not folder.is_dir():
        return True
    lock = _hold(folder)
    if lock is None:
        return False
    Place(folder, lock).remove()
    return True
