"""A real Prometheus for tests, with a history made up beforehand or one that it scrapes."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from flyball.sandbox.network import HOST, answers, free_ports
from flyball.sandbox.processes import Process

LIMIT = 60.0
SILENT = "global: {scrape_interval: 1h}\n"

Line = tuple[str, dict[str, str], float]
"""Metric, labels and value of one sample."""


def there() -> bool:
    """Whether Debian's package prometheus is installed."""
    return all(shutil.which(program) for program in ("prometheus", "promtool", "setpriv"))


@contextmanager
def prometheus(folder: Path, configuration: str = SILENT, options: Sequence[str] = ()) -> Iterator[str]:
    """A Prometheus over the data in a folder, as long as this lasts; its address."""
    (port,) = free_ports(1)
    (folder / "prometheus.yml").write_text(configuration)
    command = (
        str(shutil.which("prometheus")),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={HOST}:{port}",
        *options,
    )
    process = Process("prometheus", command, folder / "log", {}, lambda: answers(port, "/-/ready"))
    with ThreadPoolExecutor(1) as spawner:  # its thread must outlive the process
        process.start(spawner)
        try:
            process.wait(LIMIT)
            yield f"http://{HOST}:{port}"
        finally:
            process.stop()


def backfill(folder: Path, samples: Iterable[tuple[float, Line]]) -> None:
    """Write samples, each with its Unix seconds, into the folder of a Prometheus that was not started yet."""
    families: dict[str, list[str]] = {}
    for at, (metric, labels, value) in samples:
        families.setdefault(metric, []).append(f"{series(metric, labels)} {value!r} {at:.3f}")
    text = folder / "history.txt"
    with text.open("w") as file:
        for metric, lines in families.items():
            file.write(f"# TYPE {metric} unknown\n" + "\n".join(lines) + "\n")
        file.write("# EOF\n")
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(text), str(folder / "data")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10 * LIMIT)
    assert done.returncode == 0, done.stderr
    text.unlink()


def series(metric: str, labels: dict[str, str]) -> str:
    """A series as the text format writes it."""
    said = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return f"{metric}{{{said}}}"


def histogram(
    metric: str, labels: dict[str, str], bounds: Sequence[float], values: dict[float, float]
) -> list[Line]:
    """The lines of a histogram that has seen values so many times each."""
    lines: list[Line] = [
        (f"{metric}_bucket", {**labels, "le": f"{bound:g}"}, sum(n for v, n in values.items() if v <= bound))
        for bound in bounds
    ]
    count = sum(values.values())
    lines.append((f"{metric}_bucket", {**labels, "le": "+Inf"}, count))
    lines.append((f"{metric}_count", labels, count))
    lines.append((f"{metric}_sum", labels, sum(v * n for v, n in values.items())))
    return lines
