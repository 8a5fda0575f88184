"""Prometheus and Alertmanager, of Debian's packages or wherever they lie."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

from flyball.sandbox.errors import SandboxError
from flyball.sandbox.network import HOST, answers, free_ports
from flyball.sandbox.part import Part, Scrape
from flyball.sandbox.plane import Plane
from flyball.sandbox.processes import Process
from flyball.wire.text import encode_yaml

TARGETS = "prometheus-targets.json"
"""In a sandbox's folder: a file of Prometheus' file_sd, read again when it changes."""
RULES = "rules/*.yaml"
"""There too: files of rules, read when Prometheus is reloaded."""
PROMETHEUS, ALERTMANAGER = "prometheus", "alertmanager"

_PROGRAMS = {PROMETHEUS: ("prometheus",), ALERTMANAGER: ("prometheus-alertmanager", "alertmanager")}
"""What they are called: Debian puts a word before the second."""


class Monitoring(Part):
    """One of the two, with the port that was free for it."""

    def __init__(self, name: str, plane: Plane, options: Sequence[str]) -> None:
        self.name = name
        (self.port,) = free_ports(1)
        self.url = f"http://{HOST}:{self.port}"
        command = (find_program(name), f"--web.listen-address={HOST}:{self.port}", *options)
        log = plane.folder / "logs" / f"{name}.log"
        self.processes = (Process(name, command, log, {}, lambda: answers(self.port, "/-/ready")),)


def alertmanager(plane: Plane, scrape: Scrape, more: Sequence[str] = ()) -> Monitoring:
    """Alertmanager alone, without peers."""
    told = [{"url": scrape.alerts_url, "send_resolved": True}] if scrape.alerts_url else []
    configuration = {
        "route": {
            "receiver": "sandbox",
            "group_wait": "1s",
            "group_interval": "5s",
            "repeat_interval": "1m",
        },
        "receivers": [{"name": "sandbox", **({"webhook_configs": told} if told else {})}],
    }
    path = plane.folder / "alertmanager.yml"
    path.write_text(encode_yaml(configuration))
    options = (
        f"--config.file={path}",
        f"--storage.path={plane.folder / 'alertmanager'}",
        "--cluster.listen-address=",
        *more,
    )
    return Monitoring(ALERTMANAGER, plane, options)


def prometheus(
    plane: Plane, scrape: Scrape, alerts: str = "", targets: Sequence[str] = (), more: Sequence[str] = ()
) -> Monitoring:
    """Prometheus; `alerts`: where Alertmanager listens, host:port; `targets`: service discoveries by HTTP."""
    every = f"{round(scrape.every * 1000)}ms"
    listed = plane.folder / TARGETS
    listed.write_text("[]\n")
    jobs: list[dict[str, object]] = [
        {"job_name": "sandbox", "file_sd_configs": [{"files": [str(listed)], "refresh_interval": "5s"}]}
    ]
    found = [
        {"url": url, "refresh_interval": every} for url in (*targets, *filter(None, [scrape.targets_url]))
    ]
    if found:
        jobs.append({"job_name": "engines", "http_sd_configs": found})
    configuration: dict[str, object] = {
        "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
        "rule_files": [str(plane.folder / RULES)],
        "scrape_configs": jobs,
    }
    if alerts:
        configuration["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [alerts]}]}]}
    path = plane.folder / "prometheus.yml"
    path.write_text(encode_yaml(configuration))
    options = (
        f"--config.file={path}",
        f"--storage.tsdb.path={plane.folder / 'prometheus'}",
        "--web.enable-lifecycle",
        *more,
    )
    return Monitoring(PROMETHEUS, plane, options)


def find_program(name: str) -> str:
    """Where prometheus or alertmanager lies: as its variable says, else on PATH; or SandboxError."""
    variable, programs = name.upper(), _PROGRAMS[name]
    given = os.environ.get(variable)
    for one in (given,) if given else programs:
        if path := shutil.which(one):
            return path
    problem = f"{variable} is {given}: there is no such program" if given else f"{programs[0]} is not on PATH"
    raise SandboxError(
        f"{problem}. apt-get install {programs[0]}, or name it in the environment variable {variable}"
    )
