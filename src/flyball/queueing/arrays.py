"""Array types of the queueing room, and lanes: taking a subset of every array of a record."""

from __future__ import annotations

from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
Record = TypeVar("Record", bound=Any)


def take(record: Record, lanes: IntArray | BoolArray | slice) -> Record:
    """The same record over some of its lanes, and what it has cached; what is not an array stays."""
    made: Record = object.__new__(type(record))
    made.__dict__.update(
        {name: v[lanes] if isinstance(v, np.ndarray) else v for name, v in vars(record).items()}
    )
    return made
