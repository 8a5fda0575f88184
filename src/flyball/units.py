"""The one place where 60 and 1000 live.

Inside, everything is in seconds, requests per second, tokens, watts and dollars per hour.
Milliseconds, requests per minute and Inferno's cents per hour exist only at the border (`wire`).
"""

from __future__ import annotations

from typing import TypeAlias

Seconds: TypeAlias = float
RequestsPerSecond: TypeAlias = float
Tokens: TypeAlias = float
TokensPerSecond: TypeAlias = float
Watts: TypeAlias = float
DollarsPerHour: TypeAlias = float

MS_PER_SECOND = 1000.0
SECONDS_PER_MINUTE = 60.0
SECONDS_PER_HOUR = 3600.0
CENTS_PER_DOLLAR = 100.0
HOURS_PER_MONTH = 730.0  # 365 * 24 / 12, the convention of cloud price lists
TOKENS_PER_MILLION = 1e6
JOULES_PER_KWH = 3.6e6


def from_ms(value: float) -> Seconds:
    """Milliseconds to seconds."""
    return value / MS_PER_SECOND


def to_ms(value: Seconds) -> float:
    """Seconds to milliseconds."""
    return value * MS_PER_SECOND


def from_per_minute(value: float) -> RequestsPerSecond:
    """Requests per minute to requests per second."""
    return value / SECONDS_PER_MINUTE


def to_per_minute(value: RequestsPerSecond) -> float:
    """Requests per second to requests per minute."""
    return value * SECONDS_PER_MINUTE


def from_cents(value: float) -> DollarsPerHour:
    """Cents per hour to dollars per hour."""
    return value / CENTS_PER_DOLLAR


def to_cents(value: DollarsPerHour) -> float:
    """Dollars per hour to cents per hour."""
    return value * CENTS_PER_DOLLAR


def per_month(value: DollarsPerHour) -> float:
    """Dollars per hour to dollars per month of 730 hours."""
    return value * HOURS_PER_MONTH
