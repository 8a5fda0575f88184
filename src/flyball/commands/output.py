"""Where output goes: standard output, standard error, and files."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from flyball.report.sentences import printable

if TYPE_CHECKING:
    from rich.console import Console

STANDARD_OUTPUT = Path("-")
WIDTH = 160
"""Of tables that do not go to a terminal."""


def say(text: str) -> None:
    """A message on standard error; where there is none, none."""
    if sys.stderr is None:  # print would take standard output then
        return
    with contextlib.suppress(OSError):
        print(printable(text), file=sys.stderr, flush=True)


@contextlib.contextmanager
def waiting(text: str) -> Iterator[None]:
    """A sign of life on standard error while something long runs, where somebody watches."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


def put(text: str, *, machine: bool) -> None:
    """Text on standard output: in UTF-8 for a `machine`, else as the terminal can show it. Or OSError.

    A reader that has seen enough (`| head`) is no error.
    """
    out = sys.stdout
    if out is None:
        raise OSError(errno.EBADF, "it is closed", "standard output")
    encoding = "utf-8" if machine else out.encoding or "utf-8"
    try:
        out.flush()
        out.buffer.write(text.encode(encoding, "replace"))
        out.flush()
    except BrokenPipeError:
        _forget(out.fileno())
    except OSError as error:
        _forget(out.fileno())
        raise OSError(error.errno, error.strerror, "standard output") from None


def _forget(descriptor: int) -> None:
    """Let what is still buffered go nowhere, or Python complains about it on its way out."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


class _Out(io.StringIO):
    """Collects text for an output of a certain encoding, which tells Rich which frames it may draw."""

    encoding = "utf-8"


def console_of(to_file: bool) -> Console:
    """A console for tables, which collects them for standard output or for a file."""
    from rich.console import Console
    from rich.text import Text

    class Literally(Console):
        """Shows names as they are: no markup in them, no emoji codes, no control characters."""

        def render_str(self, text: str, **options: object) -> Text:
            style = options.get("style")
            return Text(printable(text), style=style if isinstance(style, str) else "")

    out = sys.stdout
    terminal = not to_file and out is not None and out.isatty()
    file = _Out()
    if not to_file and out is not None:
        file.encoding = out.encoding or "utf-8"
    return Literally(
        file=file, force_terminal=terminal, width=None if terminal else WIDTH, markup=False, highlight=False
    )
