"""Threads that meet the same kinds for the first time at once: a crash ends the process, so in its own."""

from __future__ import annotations

import subprocess
import sys

PROCESS = """
import sys, threading
import msgspec
from flyball.adapters.kubernetes.api import _decoder

sys.setswitchinterval(1e-6)

def meet(kind, barrier):
    barrier.wait()
    _decoder(kind, False).decode(b'{"inner": {"values": {"a": 1}}, "more": [{}]}')

for _ in range(100):
    inner = msgspec.defstruct("Inner", [("values", dict[str, int], {})], frozen=True)
    kind = msgspec.defstruct("Outer", [("inner", inner, inner()), ("more", list[inner], [])], frozen=True)
    barrier = threading.Barrier(8)
    threads = [threading.Thread(target=meet, args=(kind, barrier)) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
print("alive")
"""


def test_kinds_that_are_new_to_several_threads_are_decoded() -> None:
    done = subprocess.run([sys.executable, "-c", PROCESS], capture_output=True, text=True)
    assert done.stdout == "alive\n", done.stderr
