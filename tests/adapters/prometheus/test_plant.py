"""The plant's own sensor beside this one, over its engines' pages in a real Prometheus: the same is seen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from flyball.adapters.prometheus.client import Prometheus
from flyball.adapters.prometheus.mapping import shipped_names
from flyball.adapters.prometheus.observe import observation
from flyball.adapters.prometheus.read import read
from flyball.simulate.metrics_text import metrics_text
from flyball.simulate.plant import Plant
from flyball.simulate.sensor import PERIOD
from flyball.spec.snapshot import Reading
from tests.prometheus import Line, backfill, prometheus, there
from tests.simulate.worlds import world

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not there(), reason="there is no prometheus on PATH")]

START, END, WINDOW = 1.7e9, 240.0, 60.0
_SAMPLE = re.compile(r"^(\S+?)\{(.*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def pages(plant: Plant) -> Iterator[tuple[float, Line]]:
    """What every replica's page shows, each time the plant's own sensor looks."""
    for step in range(int(END / PERIOD) + 1):
        plant.run(step * PERIOD)
        for server in plant.observe().servers:
            for replica in plant.standing(server.server):
                if replica.gauges is not None:
                    pod = {"namespace": "n", "pod": f"{server.server}-{replica.number}"}
                    for metric, labels, value in _SAMPLE.findall(
                        metrics_text(plant, server.server, replica.number)
                    ):
                        yield (
                            START + plant.now(),
                            (metric, {**pod, **dict(_LABEL.findall(labels))}, float(value)),
                        )


def near(mine: Reading | None, theirs: Reading | None, rel: float, least: float = 0.0) -> bool:
    if mine is None or theirs is None:
        return mine is theirs
    return mine.value == pytest.approx(theirs.value, rel=rel, abs=least)


@pytest.mark.parametrize(("rate", "replicas"), [(8.0, 3), (60.0, 2)])
def test_the_same_is_seen(tmp_path: Path, rate: float, replicas: int) -> None:
    """At ease, and with a queue that grows."""
    plant = Plant(world(rate=rate, replicas=replicas), seed=3, compiled=False)
    backfill(tmp_path, pages(plant))
    scrape = plant.observe()
    with (
        prometheus(tmp_path, options=("--storage.tsdb.retention.time=100y",)) as url,
        Prometheus(url) as client,
    ):
        metrics = read(client, shipped_names(), WINDOW, at=START + END)
    busy = 0
    for theirs in scrape.servers:
        ready = [f"{theirs.server}-{r.number}" for r in plant.standing(theirs.server) if r.gauges is not None]
        figures = metrics.of(("n", pod) for pod in ready)
        mine, notes = observation(theirs.server, theirs.variants, figures, window=WINDOW)
        assert notes == ()
        assert mine.waiting is not None
        assert (mine.waiting.value > 100.0) == (rate > 50.0)
        assert near(mine.running, theirs.running, 0.0)
        assert near(mine.waiting, theirs.waiting, 0.0)
        assert near(mine.kv_usage, theirs.kv_usage, 1e-6)
        # A few requests that arrived between two looks more or less.
        assert near(mine.arrival_rate, theirs.arrival_rate, 0.02, 3.0 / WINDOW)
        assert near(mine.in_tokens, theirs.in_tokens, 0.01)
        assert near(mine.out_tokens, theirs.out_tokens, 0.01)
        assert near(mine.cached_share, theirs.cached_share, 0.02, 1e-9)
        for metric in ("ttft", "itl"):
            readings = getattr(theirs, metric)
            assert list(getattr(mine, metric)) == list(readings)
            for name, reading in readings.items():
                found = getattr(mine, metric)[name]
                assert near(found, reading, 0.02), (theirs.server, metric, name)
                assert found.least == reading.least
                busy += 1
    assert busy == 10
