"""Third parties' algorithms, each in a process of its own that can reach nothing: the port `Algorithms`.

A process is kept between questions, for as long as it answers. Whatever it does, there is an answer in time.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from flyball.adapters.algorithm_worker import MOST, Ask, Describe, Question, Ready, Said, frame, taken
from flyball.power.algorithms.find import Offered, built_ins, outside
from flyball.power.view import View
from flyball.spec.power import Answer
from flyball.units import Seconds

DEADLINE: Seconds = 2.0
START: Seconds = 10.0
"""Until a process is there, before anything of others runs in it."""
REST: Seconds = 30.0
"""An algorithm that was too slow is not asked again for so long, so that it does not delay every cycle."""
MEMORY = 1 << 30
KEPT = 8
"""Processes; the one that was not asked for the longest time goes first."""
WORKER = (
    "import sys; memory = int(sys.argv[1]); sys.path[:] = sys.argv[2:]; "
    "from flyball.adapters.algorithm_worker import main; main(memory, sys.argv[2:])"
)
Reply = TypeVar("Reply", Ready, Said)


class _Failed(Exception):
    """There is no answer, and the process is of no use any more."""

    def __init__(self, problem: str, slow: bool = False) -> None:
        super().__init__(problem)
        self.slow = slow


class Isolated:
    """Asks algorithms, third parties' and those that come along. Safe to use from several threads."""

    def __init__(
        self,
        deadline: Seconds = DEADLINE,
        *,
        memory: int = MEMORY,
        rest: Seconds = REST,
        clock: Callable[[], Seconds] = time.monotonic,
    ) -> None:
        """`deadline`: of an answer, the import of its package included; `memory`: bytes of address space."""
        self.deadline, self.memory, self.rest = deadline, memory, rest
        self._clock = clock
        self._lock = threading.Lock()
        self._workers: dict[str, _Worker] = {}
        self._resting: dict[str, tuple[Seconds, str]] = {}
        self._end = weakref.finalize(self, _end_all, self._workers)

    def ask(self, algorithm: str, parameters: Mapping[str, object], view: View) -> Answer:
        """Its answer; one that fails, hangs or asks for too much is an answer too. No exception."""
        try:
            with self._lock:
                said = self._asked(algorithm, Ask(algorithm, dict(parameters), view))
            if said.replicas is None:
                return _nothing(algorithm, said.problem or "said nothing: correct it")
            # It may have written by itself what it likes, so it is looked at here again.
            again = taken(view, said.replicas)
            problem = said.problem or again.problem
            told = f"algorithm '{algorithm}': {problem}" if problem else ""
            return Answer(algorithm, again.replicas, _short(told))
        except _Failed as failed:
            return _nothing(algorithm, str(failed))
        except Exception as error:
            return _nothing(algorithm, f"cannot be asked: {type(error).__name__}: {error}")

    def offered(self) -> tuple[Offered, ...]:
        """All that can be asked for, by name; third parties' are imported in their own processes only."""
        found = list(built_ins())
        for one in outside():
            try:
                with self._lock:
                    said = self._asked(one.name, Describe(one.name))
                problem = said.problem and f"'{one.name}' {said.problem}"
                mine = [o for o in said.offered if o.origin == one.origin]
                found += mine or [Offered(one.name, one.origin, problem)]
            except Exception as error:
                found.append(Offered(one.name, one.origin, f"cannot be used: it {error}"))
        return tuple(sorted(found, key=lambda o: (o.name, o.origin)))

    def lacks(self) -> tuple[str, ...]:
        """What algorithms cannot be kept from on this machine, in a few words each."""
        try:
            with contextlib.closing(_Worker(self.memory, self._clock)) as worker:
                return worker.lacks
        except (OSError, _Failed) as error:
            return (f"there is no process for them ({error})",)

    def close(self) -> None:
        """End all processes."""
        with self._lock:
            _end_all(self._workers)

    def _asked(self, algorithm: str, question: Question) -> Said:
        until, problem = self._resting.get(algorithm, (-1.0, ""))
        if self._clock() < until:
            raise _Failed(f"{problem}; it is asked again in {until - self._clock():,.0f} s")
        self._resting.pop(algorithm, None)
        worker = self._workers.pop(algorithm, None)
        if worker is not None and not worker.idle:
            worker.close()
            worker = None
        try:
            worker = worker or _Worker(self.memory, self._clock)
            if worker.open_to_processes and any(o.name == algorithm for o in outside()):
                raise _Failed(f"is not asked: {', '.join(worker.lacks)}: run Flyball on a usual Linux kernel")
            said = worker.exchange(question, Said, self.deadline)
        except BaseException as error:
            if worker is not None:
                worker.close()
            if isinstance(error, _Failed) and error.slow:
                self._resting[algorithm] = self._clock() + self.rest, str(error)
            raise
        if said.last:
            worker.close()
            return said
        self._workers[algorithm] = worker  # the last in order, too
        while len(self._workers) > KEPT:
            self._workers.pop(next(iter(self._workers))).close()
        return said


class _Worker:
    """One process, from its start to its end. Every method but `close` may raise _Failed or OSError."""

    def __init__(self, memory: int, clock: Callable[[], Seconds]) -> None:
        self._clock = clock
        self._folder = tempfile.TemporaryDirectory(prefix="algorithm-", ignore_cleanup_errors=True)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-B", "-c", WORKER, str(memory), *_paths()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=self._folder.name,
                env=_environment(),
                close_fds=True,
                start_new_session=True,
                bufsize=0,
            )
        except BaseException:
            self._folder.cleanup()
            raise
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)
        try:
            self.lacks = self._receive(Ready, clock() + START, START).lacks
        except BaseException:
            self.close()
            raise

    @property
    def open_to_processes(self) -> bool:
        """Whether what runs in it could start others and reach the network."""
        return any("processes" in text for text in self.lacks)

    @property
    def idle(self) -> bool:
        """Whether it waits for a question, and has said nothing that nobody asked for."""
        waiting = select.poll()
        waiting.register(self._out, select.POLLIN)
        return not waiting.poll(0)

    def exchange(self, question: Question, kind: type[Reply], deadline: Seconds) -> Reply:
        """Ask, and wait for the answer."""
        until = self._clock() + deadline
        self._send(frame(question), until, deadline)
        return self._receive(kind, until, deadline)

    def close(self) -> None:
        """End it and all that it started, at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(START)
        self._folder.cleanup()

    def _send(self, data: bytes, until: Seconds, deadline: Seconds) -> None:
        left = memoryview(data)
        while left:
            self._wait(self._in, select.POLLOUT, until, deadline)
            try:
                left = left[os.write(self._in, left) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise self._ended() from None

    def _receive(self, kind: type[Reply], until: Seconds, deadline: Seconds) -> Reply:
        length = int.from_bytes(self._bytes(4, until, deadline), "big")
        if length > MOST:
            raise _Failed(f"answers with {length:,} bytes, at most {MOST:,} are read: let it say less")
        data = self._bytes(length, until, deadline)
        try:
            return msgspec.msgpack.decode(data, type=kind)
        except msgspec.MsgspecError as error:
            raise _Failed(f"wrote what is no answer ({error}): let it only return one") from None

    def _bytes(self, count: int, until: Seconds, deadline: Seconds) -> bytes:
        found = bytearray()
        while len(found) < count:
            self._wait(self._out, select.POLLIN, until, deadline)
            try:
                part = os.read(self._out, count - len(found))
            except BlockingIOError:
                continue
            if not part:
                raise self._ended()
            found += part
        return bytes(found)

    def _wait(self, pipe: int, event: int, until: Seconds, deadline: Seconds) -> None:
        waiting = select.poll()
        waiting.register(pipe, event)
        left = until - self._clock()
        if left <= 0 or not waiting.poll(1000 * left):
            mend = "make it faster, or raise the deadline"
            raise _Failed(f"took longer than {deadline:g} s and was ended: {mend}", slow=True)

    def _ended(self) -> _Failed:
        """It is gone, or has closed its pipe."""
        code = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(1.0)
        how = "closed its pipe" if code is None else f"exited with code {code}"
        if code is not None and code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
        return _Failed(f"{how} without an answer: let it return one, within its memory and time")


def _end_all(workers: dict[str, _Worker]) -> None:
    while workers:
        workers.popitem()[1].close()


def _nothing(algorithm: str, problem: str) -> Answer:
    named = problem if f"'{algorithm}'" in problem else f"algorithm '{algorithm}' {problem}"
    return Answer(algorithm, None, _short(named))


def _short(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:600])


def _paths() -> list[str]:
    """Where Python finds packages; not a folder in which somebody's home is, for it can be read there."""
    home = Path(os.path.expanduser("~"))
    found = dict.fromkeys(p for p in sys.path if p and os.path.isabs(p) and os.path.exists(p))
    return [path for path in found if not home.is_relative_to(path)]


def _environment() -> dict[str, str]:
    """Nothing of ours but where libraries are. Threads would make sums depend on their number."""
    one = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    libraries = {k: v for k, v in os.environ.items() if k == "LD_LIBRARY_PATH"}
    return {"PATH": "", "LANG": "C.UTF-8", **one, **libraries}
