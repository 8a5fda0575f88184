"""What the tests of the reconciler and of power share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.operator.power_world import POLICY, SITE
from tests.operator.power_world import World as PowerWorld
from tests.operator.world import World


@pytest.fixture
def world() -> Iterator[World]:
    with World() as made:
        yield made


@pytest.fixture
def powered() -> Iterator[PowerWorld]:
    """With a domain and a policy."""
    made = PowerWorld()
    made.put("PowerDomain", "site", SITE)
    made.put("PowerPolicy", "chat", POLICY, "llm")
    yield made
    made.publisher.close()
