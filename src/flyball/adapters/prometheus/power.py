"""Readings of power from Prometheus: which exporters are there is asked seldom, their figures every time."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import msgspec

from flyball.adapters.prometheus.asking import Asking, Samples
from flyball.adapters.prometheus.client import Prometheus
from flyball.adapters.prometheus.errors import PrometheusError
from flyball.adapters.prometheus.power_figures import Places, figures_of
from flyball.adapters.prometheus.power_readings import readings_of
from flyball.adapters.prometheus.queries import duration, selector
from flyball.spec.power import PowerReading
from flyball.units import Seconds
from flyball.wire.power_metrics import PowerMetrics, Sensor

TIMEOUT: Seconds = 10.0
WINDOW: Seconds = 60.0
"""Two scrapes and more: over it the watts of counters are means."""
EVERY: Seconds = 300.0
AGAIN: Seconds = 30.0
"""After nothing was there, or it could not be asked."""
NOTHING = (
    "Prometheus has no metric of power: watts are bounds of the model. Install Kepler or the DCGM exporter, "
    "or give a file with the names of others"
)


class PowerScrape(msgspec.Struct, frozen=True):
    """One look at all exporters of power."""

    time: float
    """Of Prometheus' own clock, Unix seconds."""
    readings: tuple[PowerReading, ...] = ()
    sensors: tuple[str, ...] = ()
    """Those that were found, by name."""
    notes: tuple[str, ...] = ()
    """What is odd or could not be read, and why."""


class PowerSensors:
    """Asks one Prometheus: at most three queries for each sensor that is there, for any size of fleet."""

    def __init__(
        self,
        prometheus: Prometheus,
        metrics: PowerMetrics,
        window: Seconds = WINDOW,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if not window > 0:
            raise ValueError(f"the window is {window:g}: it is seconds above 0")
        self._prometheus, self._metrics, self._window = prometheus, metrics, window
        self._monotonic = monotonic
        self._next: Seconds = float("-inf")
        self._there: frozenset[str] = frozenset()

    def read(
        self, places: Places | None = None, timeout: Seconds = TIMEOUT, at: float | None = None
    ) -> PowerScrape:
        """All readings, in at most about `timeout`. PrometheusError where nothing could be read.

        Ages are of the newest sample, also of means over the window. `at`: as it was then, Unix seconds.
        """
        asking = Asking(self._prometheus, time.monotonic() + timeout)
        now = asking.now(at)
        self._find(at, timeout)
        sensors = [s for s in self._metrics.sensors if metric_of(s, self._there)]
        if not sensors:
            return PowerScrape(now, notes=(NOTHING,))
        for sensor in sensors:
            for name, expr in sensor_queries(sensor, self._there, self._metrics, self._window).items():
                asking.ask(f"{sensor.name} {name}", expr, dict[str, str], list)
        asking.finish()
        notes = asking.notes()
        read = []
        for sensor in sensors:
            values: Samples | None = asking.found.get(f"{sensor.name} watts")
            if values is not None:
                times: Samples | None = asking.found.get(f"{sensor.name} times")
                resets: Samples = asking.found.get(f"{sensor.name} resets", ())
                figures, odd = figures_of(sensor, values, times, now, places or Places(), resets)
                read.append((sensor, figures))
                notes += odd
        readings, odd = readings_of(read, places or Places())
        return PowerScrape(now, readings, tuple(s.name for s, _ in read), tuple((*notes, *odd)))

    def _find(self, at: float | None, timeout: Seconds) -> None:
        """Which metrics there are; what was known stays so for now where that cannot be asked."""
        asked = self._monotonic()
        if asked < self._next:
            return
        expr = names_query(self._metrics)
        self._next = asked + AGAIN
        try:
            found = self._prometheus.query(expr, at, dict[str, str], timeout)
        except PrometheusError:
            if not self._there:
                raise
            return
        self._there = frozenset(s.labels.get("__name__", "") for s in found.samples)
        if self._there:
            self._next = asked + EVERY


def names_query(metrics: PowerMetrics) -> str:
    """Those of the metrics that are there; a vector by name."""
    names = sorted({_base(metric) for s in metrics.sensors for metric in (*s.watts, *s.joules)})
    chosen = selector(f'{{__name__=~"{"|".join(names)}"}}', metrics.select)
    return f"count by (__name__) ({chosen})"


def metric_of(sensor: Sensor, there: frozenset[str]) -> str:
    """The first of a sensor's metrics that is there; "": none is."""
    return next((metric for metric in (*sensor.watts, *sensor.joules) if _base(metric) in there), "")


def sensor_queries(
    sensor: Sensor, there: frozenset[str], metrics: PowerMetrics, window: Seconds
) -> dict[str, str]:
    """Watts, when each of them was seen last, and which counters began anew; all by the same labels."""
    metric = metric_of(sensor, there)
    chosen = selector(metric, metrics.select)
    counts = metric in sensor.joules
    watts = f"rate({chosen}[{duration(window)}])" if counts else chosen
    times, resets = f"timestamp({chosen})", f"resets({chosen}[{duration(window)}])"
    if sensor.over:
        over = ", ".join(sensor.over)
        # The youngest: a container that ended may leave its series behind for a while.
        watts, times = f"sum without ({over}) ({watts})", f"max without ({over}) ({times})"
        resets = f"sum without ({over}) ({resets})"
    return {"watts": watts, "times": times, **({"resets": f"{resets} > 0"} if counts else {})}


def _base(metric: str) -> str:
    return re.sub(r"\{.*", "", metric)
