"""The kernel as numba compiles it, or as it stands."""

from __future__ import annotations

import importlib.util
import sys
import zlib
from pathlib import Path
from types import ModuleType

from flyball.simulate import kernel, layout

# In order of who calls whom: a function finds those above it compiled.
FUNCTIONS = (
    "bucket",
    "passed",
    "count",
    "note",
    "heap_push",
    "heap_remove",
    "unlink",
    "write",
    "finish",
    "preempt",
    "schedule",
    "complete",
    "advance",
    "cut",
    "push",
    "choose",
    "simulate",
)
COPY = f"{kernel.__name__}_compiled"


def available() -> bool:
    """Whether numba is installed."""
    return importlib.util.find_spec("numba") is not None


def load(compiled: bool | None = None) -> ModuleType:
    """The kernel, compiled by numba (True), as it stands (False), or as can be (None)."""
    if compiled is None:
        compiled = available()
    if not compiled:
        return kernel
    if COPY not in sys.modules:
        import numba

        # A second instance of the module, in which the functions call each other compiled. Numba's cache on
        # disk looks the module up by its name. It sees changes of
        # the kernel's file alone, so the names of the functions hold the layout's state.
        state = f"{zlib.crc32(Path(layout.__file__).read_bytes()):08x}"
        spec = importlib.util.spec_from_file_location(COPY, kernel.__file__)
        if spec is None or spec.loader is None:
            raise ImportError(f"the file of {kernel.__name__} cannot be loaded a second time")
        copy = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(copy)
        for name in FUNCTIONS:
            function = getattr(copy, name)
            function.__qualname__ = f"{name}_{state}"
            setattr(copy, name, numba.njit(cache=True, error_model="numpy")(function))
        sys.modules[COPY] = copy
    return sys.modules[COPY]
