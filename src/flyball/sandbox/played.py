"""kwok: it plays the nodes, and the pods on them with their cold starts and drains."""

from __future__ import annotations

from importlib import resources

from flyball.sandbox.build import KWOK, Watch, built, nobody
from flyball.sandbox.fleet import PLAYED
from flyball.sandbox.network import answers, free_ports
from flyball.sandbox.plane import Plane
from flyball.sandbox.processes import Process
from flyball.units import MS_PER_SECOND, Seconds

KWOK_NAME = "kwok"
STAGES = "stages.yaml"


def kwok(
    plane: Plane, cold_start: Seconds, jitter: float, more: tuple[str, ...] = (), watch: Watch = nobody
) -> Process:
    """The process that plays; cold starts last from `cold_start` to (1 + jitter) times as long."""
    text = (resources.files("flyball.sandbox") / STAGES).read_text()
    longest = cold_start * (1 + jitter)
    for word, seconds in (("COLD_START_MOST_MS", longest), ("COLD_START_MS", cold_start)):
        text = text.replace(f": {word}", f": {round(seconds * MS_PER_SECOND)}")
    stages = plane.folder / STAGES
    stages.write_text(text)
    (port,) = free_ports(1)
    command = (
        str(built(KWOK, watch) / "kwok"),
        f"--kubeconfig={plane.kubeconfig(KWOK_NAME)}",
        f"--config={stages}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={PLAYED}=fake",
        "--node-lease-duration-seconds=40",
        "--cidr=10.244.0.1/16",  # of pods; services have 10.0.0.0/16
        f"--server-address=127.0.0.1:{port}",
        *more,
    )
    log = plane.folder / "logs" / f"{KWOK_NAME}.log"
    return Process(KWOK_NAME, command, log, {}, lambda: answers(port, "/healthz"))
