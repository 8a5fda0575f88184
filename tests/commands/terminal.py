"""`flyball` as it is typed: in this process for speed, or as a process of its own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple
from unittest import mock

from flyball.cli import main


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


def flyball(*arguments: object, stdin: bytes = b"") -> Outcome:
    """Run the command line in this process. Only SystemExit is caught: an escaped error fails the test."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    given = io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")
    # Where FLYBALL_TRACEBACK is set, the last net of `main` lets faults through.
    environment = mock.patch.dict(os.environ, {"FLYBALL_TRACEBACK": "1"})
    with environment, redirect_stdout(out), redirect_stderr(err), mock.patch("sys.stdin", given):
        try:
            main([str(a) for a in arguments])
        except SystemExit as end:
            code = end.code
    assert isinstance(code, int)
    return Outcome(code, _text(out), _text(err))


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    written = stream.buffer
    assert isinstance(written, io.BytesIO)
    return written.getvalue().decode("utf-8")


def process(*arguments: object, stdin: bytes = b"", environment: Mapping[str, str] | None = None) -> Outcome:
    """Run the command line as a process."""
    done = subprocess.run(
        [sys.executable, "-m", "flyball", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        timeout=60,
        env={**os.environ, **(environment or {})},
    )
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())
