"""Files that are written whole or not at all: a crash or a full disk leaves the old one."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def write_whole(path: Path, content: bytes | str, part: str = "") -> None:
    """Write a file, and have it on the disk. Or OSError, which names the path.

    `part` names what stands beside it meanwhile; only one writer may use a name.
    """
    data = content.encode("utf-8", "replace") if isinstance(content, str) else content
    try:
        target = Path(os.path.realpath(path))
        mode = _mode(target)
        if mode is not None and stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "is a directory")
        if mode is not None and not stat.S_ISREG(mode):
            with target.open("wb") as device:  # a pipe or a device cannot be replaced
                device.write(data)
        else:
            _replace(target, data, mode, part or f".flyball-{os.getpid()}.part")
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None
    except ValueError as error:  # a null character in the path
        raise OSError(errno.EINVAL, str(error), str(path)) from None


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


def _replace(target: Path, data: bytes, mode: int | None, name: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(name)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if mode is not None:
                os.fchmod(descriptor, stat.S_IMODE(mode))
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        part.replace(target)
        _sync(target.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _sync(folder: Path) -> None:
    """A new name is on the disk when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
