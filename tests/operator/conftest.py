"""What the tests of the reconciler share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.operator.world import World


@pytest.fixture
def world() -> Iterator[World]:
    with World() as made:
        yield made
