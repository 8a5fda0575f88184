"""The one error of the sandbox."""

from __future__ import annotations


class SandboxError(RuntimeError):
    """What the sandbox cannot do; the message says why, and how to mend it."""
