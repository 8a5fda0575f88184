"""Algorithms in processes of their own: whatever they do, there is an answer, and all promises are kept."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flyball.adapters import algorithms
from flyball.adapters.algorithm_worker import MOST, taken
from flyball.adapters.algorithms import Isolated
from flyball.power.algorithms.built_in import oversubscription
from flyball.power.algorithms.find import BUILT_IN, GROUP
from flyball.power.filter import filtered
from flyball.power.view import View, floors
from flyball.spec.power import Answer
from tests.power.test_filter import server, view

SEEN = view(
    1500.0, server("gold", 8, priority=1), server("kept", 2, protected=True), server("bulk", 6), at_once=True
)
HOSTILE = """
import ctypes, os, signal, socket, sys, threading, time

def loops(view):
    while True: pass

def sleeps(view):
    time.sleep(1000)

def deaf(view):
    for s in range(1, 65):
        try: signal.signal(s, signal.SIG_IGN)
        except (OSError, ValueError): pass
    while True: pass

def bombs(view):
    while True:
        os.fork()

def starts(view):
    os.execv("/bin/true", ["true"])

def hoards(view):
    return [bytearray(1 << 20) for _ in range(1 << 20)]

def leaves(view):
    sys.exit(0)

def quits(view):
    os._exit(7)

def crashes(view):
    ctypes.string_at(0)

def interrupts(view):
    raise KeyboardInterrupt

def raises(view):
    return 1 / 0

def recurses(view):
    return recurses(view)

def lists(view):
    return [1, 2, 3]

def mute(view):
    return None

def shouts(view):
    print("{" * 100000, flush=True)
    sys.stderr.write("x" * 100000)
    sys.__stdout__.write("gold=0\\n")
    os.write(1, b"\\x00\\x00\\x00\\x02no")
    input_ = sys.stdin.read()
    return {"gold": 3, "said": len(input_)}

def forges(view):
    for pipe in range(3, 20):
        try: os.write(pipe, b"\\xff\\xff\\xff\\xff")
        except OSError: pass
    time.sleep(1000)

def garbles(view):
    for pipe in range(3, 20):
        try: os.write(pipe, b"\\x00\\x00\\x00\\x02no")
        except OSError: pass
    time.sleep(1000)

def ahead(view):
    for pipe in range(3, 20):
        try: os.write(pipe, b"\\x00\\x00\\x00\\x01\\x80" * 3)
        except OSError: pass
    return {}

def closes(view):
    os.closerange(3, 64)
    time.sleep(1000)

def odd(view):
    return {"gold": float("nan"), "kept": -5, "bulk": 10 ** 400, "stranger": 3, 7: 1}

def kinds(view):
    return {"gold": "8", "kept": True, "bulk": [1]}

def huge(view):
    return {"gold": 1e300, "kept": 2 ** 70, "bulk": 99}

def crowd(view):
    return {f"{i:0100d}": i for i in range(100000)}

class Endless(dict):
    def items(self):
        while True: yield ("gold", 1)

def endless(view):
    return Endless(a=1)

def environment(view):
    found = dict(os.environ)
    try: found["parent"] = open(f"/proc/{os.getppid()}/environ").read()
    except OSError: pass
    raise RuntimeError(sorted(k for k in found if "SECRET" in k or "SECRET" in found[k] or k == "HOME"))

def reads(view, *, path: str):
    return {"gold": len(open(path).read())}

def writes(view, *, path: str):
    done = []
    for what in (
        lambda: open(path, "w").write("mine"), lambda: os.mkdir(path), lambda: os.unlink(__file__),
        lambda: open("here", "w"), lambda: os.symlink("/", "there"), lambda: os.chmod(__file__, 0o777),
    ):
        try: what(); done.append("done")
        except OSError as error: done.append(type(error).__name__)
    raise RuntimeError(",".join(done) + ";" + ",".join(os.listdir(path.rpartition("/")[0])))

def connects(view, *, port: int):
    socket.create_connection(("127.0.0.1", port), 1)

def kills(view):
    os.kill(os.getppid(), signal.SIGTERM)

def slows(view):
    os.sched_setaffinity(os.getppid(), {0})

def widens(view):
    import resource
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == 0
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)

def threads(view):
    found = []
    one = threading.Thread(target=lambda: found.append(5))
    one.start(); one.join()
    return {"gold": found[0]}

def sums(view):
    import numpy as np
    return {"gold": np.ones((100, 100)).dot(np.ones(100))[0], "kept": np.int64(2)}

COUNT = 0

def patches(view):
    global COUNT
    import flyball.power.filter as f, flyball.power.view as v
    f.filtered = lambda *a: None
    v.floors = lambda view: {}
    v.ServerView.floor = 0
    COUNT += 1
    return {"gold": COUNT}
"""
AT_IMPORT = {
    "hangs": "import time\ntime.sleep(1000)\n",
    "exits": "raise SystemExit(3)\n",
    "broken": "import no_such_thing\n",
    "vanishes": "import os\nos._exit(0)\n",
}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with all that is hostile."""
    packages = tmp_path / "packages"
    info = packages / "hostile-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hostile\nVersion: 1.0\n", "utf-8")
    (packages / "hostile.py").write_text(HOSTILE, "utf-8")
    entries = {line.partition("(")[0][4:] for line in HOSTILE.splitlines() if line.startswith("def ")}
    lines = [f"{name} = hostile:{name}" for name in sorted(entries)]
    for name, text in AT_IMPORT.items():
        (packages / f"{name}_module.py").write_text(text + "\ndef f(view): return {}\n", "utf-8")
        lines.append(f"{name} = {name}_module:f")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n" + "\n".join(lines) + "\n", "utf-8")
    monkeypatch.syspath_prepend(str(packages))
    return tmp_path


@pytest.fixture
def asking() -> Iterator[Isolated]:
    one = Isolated(deadline=30.0)  # long, for a busy machine; what hangs is given less
    yield one
    one.close()


def impatient(ask: Callable[[Isolated], Answer], rest: float = 0.0) -> Answer:
    one = Isolated(deadline=0.3, rest=rest, memory=256 << 20)
    try:
        return ask(one)
    finally:
        one.close()


def kept(answer: Answer) -> None:
    """All promises hold with it, and without an answer what is done is the filter's own."""
    assert "\n" not in answer.problem
    assert len(answer.problem) <= 600
    alone = filtered(SEEN, {})
    found = filtered(SEEN, answer.replicas or {})
    assert found.replicas["kept"] == 2
    assert SEEN.drawn(found.replicas)["d"] <= max(1500.0, floors(SEEN)["d"])
    assert answer.replicas is not None or found == alone
    assert all(math.isfinite(n) for n in (answer.replicas or {}).values())
    assert set(answer.replicas or {}) <= {"gold", "kept", "bulk"}


@pytest.mark.slow
def test_those_that_come_along_answer_as_in_this_process(asking: Isolated) -> None:
    for name, algorithm in BUILT_IN.items():
        answer = asking.ask(name, {"margin": 0.1}, SEEN)
        assert answer == Answer(name, {k: float(n) for k, n in algorithm(SEEN, margin=0.1).items()})  # type: ignore[arg-type]
    unbounded = View((*SEEN.rooms, SEEN.rooms[0].__class__("e", math.inf, math.inf)), SEEN.servers)
    assert asking.ask("oversubscription", {}, unbounded).replicas == oversubscription(unbounded)


@pytest.mark.parametrize("name", ["loops", "sleeps", "deaf", "hangs", "endless"])
def test_what_hangs_is_ended(name: str, installed: Path) -> None:
    answer = impatient(lambda one: one.ask(name, {}, SEEN))
    assert answer.replicas is None
    assert answer.problem.startswith(f"algorithm '{name}' took longer than 0.3 s and was ended")
    kept(answer)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("bombs", "PermissionError"),
        ("starts", "PermissionError"),
        ("hoards", "needs more than 256 MB of memory"),
        ("leaves", "SystemExit"),
        ("quits", "exited with code 7 without an answer"),
        ("crashes", "was killed by SIGSEGV without an answer"),
        ("interrupts", "KeyboardInterrupt"),
        ("raises", r"ZeroDivisionError: division by zero (hostile.py, line "),
        ("recurses", "RecursionError"),
        ("lists", "returned a list, and no mapping from servers to replicas"),
        ("mute", "returned a NoneType, and no mapping"),
        ("forges", "answers with 4,294,967,295 bytes, at most 1,048,576 are read"),
        ("garbles", "wrote what is no answer"),
        ("closes", "closed its pipe without an answer"),
        ("kills", "PermissionError"),
        ("slows", "PermissionError"),
        ("widens", "ValueError"),
        ("exits", "SystemExit"),
        ("broken", "cannot be loaded: ModuleNotFoundError: No module named 'no_such_thing'"),
        ("vanishes", "exited with code 0 without an answer"),
        ("nobody", "there is no algorithm 'nobody'"),
    ],
)
def test_what_fails_is_said(name: str, said: str, installed: Path) -> None:
    one = Isolated(deadline=30.0, memory=256 << 20)
    answer = one.ask(name, {}, SEEN)
    one.close()
    assert answer.replicas is None
    assert said in answer.problem
    kept(answer)


def test_what_is_printed_is_no_answer(installed: Path, asking: Isolated) -> None:
    answer = asking.ask("shouts", {}, SEEN)
    assert answer.replicas == {"gold": 3.0}
    kept(answer)


@pytest.mark.parametrize(
    ("name", "replicas", "said"),
    [
        ("odd", {"kept": -5.0}, "gold is nan, which is no number of replicas, and 3 more such: passed over"),
        ("kinds", {}, "gold is '8', which is no number of replicas, and 2 more such: passed over"),
        ("huge", {"gold": 1e300, "kept": 2.0**70, "bulk": 99.0}, ""),
        ("crowd", {}, "and 99,999 more such: passed over"),
        ("threads", {"gold": 5.0}, ""),
        ("sums", {"gold": 100.0, "kept": 2.0}, ""),
    ],
)
def test_numbers_are_what_counts(
    name: str, replicas: dict[str, float], said: str, installed: Path, asking: Isolated
) -> None:
    answer = asking.ask(name, {}, SEEN)
    assert answer.replicas == replicas
    assert answer.problem.endswith(said)
    assert bool(answer.problem) == bool(said)
    kept(answer)


def test_no_secret_is_within_reach(
    installed: Path, asking: Isolated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "SECRET")
    token = installed / "token"
    token.write_text("SECRET", "utf-8")
    assert "RuntimeError: []" in asking.ask("environment", {}, SEEN).problem
    if any("files" in text for text in asking.lacks()):
        pytest.skip("this kernel has no Landlock")
    for path in (str(token), f"/proc/{os.getpid()}/environ", "/etc/passwd"):
        assert "PermissionError" in asking.ask("reads", {"path": path}, SEEN).problem


def test_nothing_is_written(installed: Path, asking: Isolated) -> None:
    if any("files" in text for text in asking.lacks()):
        pytest.skip("this kernel has no Landlock")
    place = installed / "empty"
    place.mkdir()
    answer = asking.ask("writes", {"path": str(place / "new")}, SEEN)
    assert "RuntimeError: " not in answer.problem  # it cannot even look
    assert "PermissionError" in answer.problem
    answer = asking.ask("writes", {"path": str(installed / "packages" / "new")}, SEEN)
    assert ",".join(["PermissionError"] * 6) + ";" in answer.problem
    assert list(place.iterdir()) == []


def test_the_network_is_out_of_reach(installed: Path, asking: Isolated) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as here:
        answer = asking.ask("connects", {"port": here.getsockname()[1]}, SEEN)
    assert "PermissionError" in answer.problem


def test_what_it_changes_is_its_own(installed: Path, asking: Isolated) -> None:
    before = filtered(SEEN, {"gold": 0})
    assert asking.ask("patches", {}, SEEN).replicas == {"gold": 1.0}
    assert asking.ask("patches", {}, SEEN).replicas == {"gold": 2.0}  # the same process as before
    assert filtered(SEEN, {"gold": 0}) == before
    assert asking.ask("oversubscription", {}, SEEN).replicas == oversubscription(SEEN)


def test_words_ahead_of_a_question_are_not_taken_for_its_answer(installed: Path, asking: Isolated) -> None:
    first, second = (asking.ask("ahead", {}, SEEN) for _ in range(2))
    assert first == second
    kept(first)


def test_after_a_failure_there_is_another_process(installed: Path, asking: Isolated) -> None:
    assert asking.ask("patches", {}, SEEN).replicas == {"gold": 1.0}
    (worker,) = asking._workers.values()
    os.killpg(worker._process.pid, signal.SIGKILL)
    worker._process.wait(30)
    assert asking.ask("patches", {}, SEEN).replicas == {"gold": 1.0}


def test_what_was_too_slow_rests(installed: Path) -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 0.001
        return now[0] + time.monotonic()

    one = Isolated(deadline=0.3, rest=60.0, clock=clock)
    assert one.ask("sleeps", {}, SEEN).problem.startswith("algorithm 'sleeps' took longer than 0.3 s")
    again = one.ask("sleeps", {}, SEEN).problem
    assert "took longer than 0.3 s" in again
    assert "it is asked again in" in again
    assert one._workers == {}
    now[0] += 61.0
    assert "asked again" not in one.ask("sleeps", {}, SEEN).problem
    one.close()


def test_a_process_that_has_done_its_share_goes(
    installed: Path, asking: Isolated, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = "import flyball.adapters.algorithm_worker as w; w.LIFE = 0.001; w.main(memory, sys.argv[2:])"
    start = algorithms.WORKER.partition("from ")[0]
    monkeypatch.setattr(algorithms, "WORKER", start + short)
    for _ in range(2):
        assert asking.ask("patches", {}, SEEN) == Answer("patches", {"gold": 1.0})


def test_without_a_filter_of_system_calls_only_our_own_are_asked(
    installed: Path, asking: Isolated, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacks = "processes and network are not shut off (no seccomp filter here)"
    start, _, end = algorithms.WORKER.partition("from ")
    none = (
        f"import flyball.adapters.algorithm_worker as w; w.confine = lambda paths: ({lacks!r},); from {end}"
    )
    monkeypatch.setattr(algorithms, "WORKER", start + none)
    assert asking.lacks() == (lacks,)
    refused = asking.ask("patches", {}, SEEN)
    assert refused.replicas is None
    assert f"algorithm 'patches' is not asked: {lacks}: run Flyball on" in refused.problem
    assert asking.ask("oversubscription", {}, SEEN).replicas == oversubscription(SEEN)
    assert "is not asked" in next(o.says for o in asking.offered() if o.name == "sums")


@pytest.mark.slow
def test_nothing_is_left_running(installed: Path) -> None:
    one = Isolated(deadline=30.0)
    for name in (*BUILT_IN, "patches", "threads", "odd", "kinds"):
        one.ask(name, {}, SEEN)
    workers = list(one._workers.values())
    assert len(workers) == 8  # the ninth sent the first away
    folders = [Path(worker._folder.name) for worker in workers]
    assert all(folder.is_dir() for folder in folders)
    one.close()
    for worker, folder in zip(workers, folders, strict=True):
        assert worker._process.poll() is not None
        assert not folder.exists()


@pytest.mark.slow
def test_what_there_is_is_told_without_importing_it_here(installed: Path) -> None:
    lines = ("reads = hostile:reads", "broken = broken_module:f", "exits = exits_module:f")
    entries = installed / "packages" / "hostile-1.0.dist-info" / "entry_points.txt"
    entries.write_text(f"[{GROUP}]\n" + "\n".join(lines) + "\n", "utf-8")
    one = Isolated(deadline=30.0)
    found = {o.name: o for o in one.offered()}
    one.close()
    assert set(found) == {"reads", "broken", "exits", *BUILT_IN}
    assert "hostile" not in sys.modules
    assert found["reads"].parameters == {"path": "str"}
    assert found["reads"].origin == "hostile"
    assert found["oversubscription"].origin == "flyball"
    assert "cannot be loaded" in found["broken"].says
    assert "SystemExit" in found["exits"].says
    entries.write_text(f"[{GROUP}]\nhangs = hangs_module:f\n", "utf-8")
    one = Isolated(deadline=0.3)
    assert "took longer than 0.3 s" in {o.name: o for o in one.offered()}["hangs"].says
    one.close()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"margin": object()}, "cannot be asked: TypeError"),
        ({"margin": "x"}, "margin is 'x'"),
        ({"far": 1}, "has no parameter 'far'; it has margin"),
    ],
)
def test_wrong_parameters_are_said(given: dict[str, Any], said: str, asking: Isolated) -> None:
    answer = asking.ask("static-cap", given, SEEN)
    assert said in answer.problem
    kept(answer)
    kept(asking.ask("static-cap", {"margin": math.nan}, SEEN))


def test_numbers_of_other_libraries_are_numbers() -> None:
    import numpy as np

    given = {"gold": np.int64(3), "kept": np.float32(2.0), "bulk": np.bool_(True)}
    said = taken(SEEN, given)
    assert said.replicas == {"gold": 3.0, "kept": 2.0}
    assert "bulk is " in said.problem
    assert MOST == 1 << 20
