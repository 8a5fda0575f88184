"""Threads that meet the same labels for the first time at once: a crash ends the process, so in its own."""

from __future__ import annotations

import subprocess
import sys

from flyball.adapters.prometheus.read import _labels

PROCESS = """
import sys, threading
import msgspec
from flyball.adapters.prometheus.client import Prometheus, Sample

sys.setswitchinterval(1e-6)
prometheus = Prometheus("http://127.0.0.1:9")
answer = (
    b'{"status": "success", "data": {"resultType": "vector", "result": '
    b'[{"metric": {"namespace": "a", "pod": "b"}, "value": [1, "2"]}]}}'
)

def meet(item, barrier):
    barrier.wait()
    prometheus._read(bytearray(answer), "up", "vector", item)

for _ in range(300):
    fields = [("namespace", str, ""), ("pod", str, ""), ("more", dict[str, int], {})]
    item = Sample[msgspec.defstruct("Labels", fields, frozen=True, gc=False)]
    barrier = threading.Barrier(8)
    threads = [threading.Thread(target=meet, args=(item, barrier)) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
print("alive")
"""


def test_labels_that_are_new_to_several_threads_are_decoded() -> None:
    done = subprocess.run([sys.executable, "-c", PROCESS], capture_output=True, text=True)
    assert done.stdout == "alive\n", (done.returncode, done.stderr)


def test_a_scrape_makes_no_kinds_anew() -> None:
    assert _labels(namespace="namespace", pod="pod") is _labels(namespace="namespace", pod="pod")
