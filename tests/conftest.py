"""What all tests share: the recorded data where it is present, and the count of what was compared."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "flyball",
    deadline=None,
    max_examples=60,
    derandomize=True,  # the same cases in every run; `make soak` looks for new ones
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.register_profile("soak", settings.get_profile("flyball"), derandomize=False)
settings.load_profile("flyball")

COMPARED: Counter[str] = Counter()


def shared_dir() -> Path | None:
    """The folder of recorded data beside the checkout, or FLYBALL_SHARED; None where there is none."""
    given = os.environ.get("FLYBALL_SHARED")
    path = Path(given) if given else Path(__file__).resolve().parents[2] / "shared"
    return path if (path / "vectors").is_dir() else None


@pytest.fixture(scope="session")
def shared() -> Path:
    path = shared_dir()
    assert path is not None, "collected only where the data is"
    return path


@pytest.fixture(scope="session")
def compared() -> Counter[str]:
    """Counts of recorded values that were compared, printed at the end."""
    return COMPARED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if COMPARED:
        terminalreporter.section("compared with recorded data")
        for name, count in sorted(COMPARED.items()):
            terminalreporter.line(f"{name}: {count}")
        terminalreporter.line(f"in all: {sum(COMPARED.values())}")
    elif shared_dir() is None:
        terminalreporter.line("compared with recorded data: nothing, there is none beside this checkout")
