"""The ports: all that the loop asks of the world. Adapters and the simulated plant implement them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from flyball.power.view import View
from flyball.spec.decision import Order
from flyball.spec.fleet import Fleet
from flyball.spec.power import Answer, PowerSeen
from flyball.spec.snapshot import Scrape
from flyball.units import Seconds


class Clock(Protocol):
    """Time that only goes forward."""

    def now(self) -> Seconds:
        """Seconds since some fixed instant."""
        ...


class FleetSource(Protocol):
    """Where the fleet's configuration comes from."""

    def fleet(self) -> Fleet:
        """The fleet as it is configured now. Any exception: it cannot be read now."""
        ...


class Configured:
    """A fleet that stays as it is configured."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def fleet(self) -> Fleet:
        """The fleet."""
        return self._fleet


class Sensor(Protocol):
    """What can be seen of the running fleet."""

    def observe(self) -> Scrape:
        """One scrape. What cannot be read is absent in it. Any exception: nothing can be seen now."""
        ...


class PowerSensor(Protocol):
    """What can be seen of watts, and what is asked for them."""

    def look(self, seen: Scrape) -> PowerSeen:
        """Domains, policies, readings and pods, as of a scrape. Any exception: nothing is known."""
        ...


class Algorithms(Protocol):
    """Third parties' functions that say how many replicas each server may have."""

    def ask(self, algorithm: str, parameters: Mapping[str, object], view: View) -> Answer:
        """Its answer; one that fails, hangs or asks for too much is an answer too. No exception."""
        ...


class Advisor(Protocol):
    """An optimizer elsewhere, which a law may follow."""

    def advise(self, fleet: Fleet, seen: Scrape) -> Sequence[Order]:
        """What it would have each server get; a server that is absent: nothing. Any exception: no answer."""
        ...


class Actuator(Protocol):
    """What carries orders out."""

    def act(self, orders: Sequence[Order]) -> tuple[str, ...]:
        """Ask for these replicas; returns at once. Says in a sentence each what could not be asked for."""
        ...
