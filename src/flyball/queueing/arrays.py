"""Array types of the queueing room, and lanes: taking a subset of every array of a record."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
Record = TypeVar("Record", bound=Any)


def take(record: Record, lanes: IntArray | BoolArray | slice) -> Record:
    """The same record over some of its lanes; fields that are not arrays stay."""
    fields = {
        f.name: value[lanes] if isinstance(value := getattr(record, f.name), np.ndarray) else value
        for f in dataclasses.fields(record)
    }
    made: Record = type(record)(**fields)
    return made
