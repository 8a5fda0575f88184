"""The parts that can stand beside the control plane, by name."""

from __future__ import annotations

from flyball.sandbox.build import Watch, nobody
from flyball.sandbox.engines.part import ENGINES, EnginesPart
from flyball.sandbox.keda import Keda
from flyball.sandbox.monitoring import ALERTMANAGER, PROMETHEUS, Monitoring, alertmanager, prometheus
from flyball.sandbox.part import Part, Pretence, Scrape
from flyball.sandbox.plane import Arguments, Plane

KEDA = "keda"
PARTS = (ENGINES, ALERTMANAGER, PROMETHEUS, KEDA)
"""In the order in which they start: Prometheus wants to know where engines and Alertmanager are."""


def parts_of(
    names: tuple[str, ...],
    plane: Plane,
    scrape: Scrape,
    pretence: Pretence,
    more: Arguments,
    watch: Watch = nobody,
) -> list[Part]:
    """The parts of these names, in the order of their start; or SandboxError."""
    made: list[Part] = []
    alerts = ""
    targets: tuple[str, ...] = ()
    for name in PARTS:
        if name not in names:
            continue
        if name == ENGINES:
            engines = EnginesPart(plane, pretence, more.get(name, ()))
            targets = (engines.targets,)
            made.append(engines)
        elif name == ALERTMANAGER:
            manager: Monitoring = alertmanager(plane, scrape, more.get(name, ()))
            alerts = manager.url.removeprefix("http://")
            made.append(manager)
        elif name == PROMETHEUS:
            made.append(prometheus(plane, scrape, alerts, targets, more.get(name, ())))
        else:
            made.append(Keda(plane, more, watch))
    return made
