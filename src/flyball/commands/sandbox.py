"""`flyball sandbox`: a local Kubernetes, started, shown and ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from flyball.commands.output import put, say
from flyball.commands.profiles_asked import printed
from flyball.sandbox.build import KUBERNETES, KWOK, MODULES, Progress, Watch, built
from flyball.sandbox.errors import SandboxError
from flyball.sandbox.folders import state_folder
from flyball.sandbox.state import State, check_name, clear, held, holder, names, state_of
from flyball.units import Seconds

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from flyball.sandbox.cluster import Options, Sandbox

DONE, WRONG, FAILED = 0, 2, 5
TEND: Seconds = 1.0
"""Between looks at what has ended by itself."""
MOST_RESTARTS, IN = 5, 60.0
"""Of one sandbox's processes, in so many seconds; then it gives up."""
POLITE: Seconds = 20.0
"""For a sandbox to end when asked."""
POLL: Seconds = 0.1


class Up(msgspec.Struct, frozen=True):
    """The options of `up`, as text."""

    name: str = "default"
    fleet: Path | None = None
    cold_start: str = "30s"
    parts: tuple[str, ...] = ()
    scrape: str = "2s"
    targets: str = ""
    alerts: str = ""
    engines: bool = True
    speed: float = 1.0
    seed: int = 0
    error: float | None = None

    def arguments(self) -> list[str]:
        """The same for a process of its own."""
        given = [f"--name={self.name}", f"--cold-start={self.cold_start}", f"--scrape={self.scrape}"]
        given += [f"--fleet={self.fleet.resolve()}"] if self.fleet else []
        given += [f"--with={part}" for part in self.parts]
        given += [f"--targets={self.targets}"] if self.targets else []
        given += [f"--alerts={self.alerts}"] if self.alerts else []
        if not self.engines:
            return [*given, "--no-engines"]
        given += [f"--speed={self.speed!r}", f"--seed={self.seed}"]
        return given + ([f"--error={self.error!r}"] if self.error is not None else [])


def answered(work: Callable[[], int]) -> int:
    """What it gives, or the exit code of what went wrong, which is said."""
    try:
        return work()
    except ValueError as error:  # WireError too
        say(f"flyball: {error}")
        return WRONG
    except SandboxError as error:
        say(f"flyball: {error}")
        return FAILED


# ---- up ----------------------------------------------------------------------------------------


def bring_up(asked: Up, detach: bool) -> int:
    """Start a sandbox and stay with it until it is ended, or `detach` and leave it; the exit code."""
    return answered(lambda: _detached(asked) if detach else _attended(asked))


def _attended(asked: Up) -> int:
    from flyball.sandbox.cluster import Sandbox

    options = _options(asked)
    with interrupting(asked.name):
        with building() as watch:
            sandbox = Sandbox.start(options, watch)
        with sandbox:
            present(sandbox.state(), "Ctrl-C")
            tend(sandbox, threading.Event())
    return DONE


@contextmanager
def interrupting(name: str) -> Iterator[None]:
    """SIGTERM ends this as Ctrl-C does; the sandbox's end is said."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except KeyboardInterrupt:
        say(f"the sandbox {name} has ended")
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _options(asked: Up) -> Options:
    """What the text means. Or ValueError."""
    from flyball.sandbox.cluster import Options
    from flyball.sandbox.engines.part import ENGINES
    from flyball.sandbox.fleet import read_fleet, shipped_fleet
    from flyball.sandbox.part import Pretence, Scrape
    from flyball.wire.quantities import parse_duration

    every = parse_duration(asked.scrape, "--scrape", positive=True)
    parts = [part.strip() for given in asked.parts for part in given.split(",") if part.strip()]
    if asked.engines and ENGINES not in parts:
        parts.insert(0, ENGINES)
    return Options(
        name=check_name(asked.name),
        fleet=read_fleet(asked.fleet) if asked.fleet else shipped_fleet(),
        cold_start=parse_duration(asked.cold_start, "--cold-start"),
        parts=tuple(parts),
        scrape=Scrape(every, asked.targets, asked.alerts),
        pretence=Pretence(asked.speed, asked.seed, asked.error),
    )


def present(state: State, end: str) -> None:
    """Print what is up, and where; `end`: what ends it."""
    print(f"The sandbox {state.name} is up: {_size(state)} at {state.url} ({end} ends it)")
    print(f"export KUBECONFIG={state.kubeconfig}")
    for one in state.processes:
        if one.url and one.url != state.url:
            print(f"{one.name}: {one.url}")
    sys.stdout.flush()


def tend(sandbox: Sandbox, over: threading.Event) -> None:
    """Start again what ends by itself, until it is over; SandboxError where that does not help."""
    times: deque[float] = deque(maxlen=MOST_RESTARTS)
    while not over.wait(TEND):
        for name in sandbox.tend():
            say(f"{name} had ended by itself and was started again")
            times.append(time.monotonic())
            if len(times) == MOST_RESTARTS and times[-1] - times[0] < IN:
                raise SandboxError(
                    f"processes keep ending, the last was {name}: {sandbox.process(name).last_words()}"
                )


def _detached(asked: Up) -> int:
    """Leave it to a process of its own, once all is built here, where somebody watches."""
    from flyball.sandbox.parts import KEDA

    options = _options(asked)
    with building() as watch:
        for module in (KUBERNETES, KWOK, *([MODULES[KEDA]] if KEDA in options.parts else [])):
            built(module, watch)
        names()  # removes what a dead one left
        state_folder().mkdir(parents=True, exist_ok=True)
        log = state_folder() / f"{asked.name}.log"
        with log.open("w") as out:
            command = [sys.executable, "-m", "flyball", "sandbox", "up", *asked.arguments()]
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        try:
            while (state := state_of(asked.name)) is None or state.pid != process.pid:
                if process.poll() is not None:
                    say(log.read_text(errors="replace").strip())
                    return process.returncode or FAILED
                time.sleep(POLL)
            log.replace(Path(state.kubeconfig).parent / "logs" / "sandbox.log")
        except BaseException:
            process.terminate()
            process.wait()
            raise
        finally:
            log.unlink(missing_ok=True)
    present(state, f"flyball sandbox down --name {state.name}")
    return DONE


@contextmanager
def building() -> Iterator[Watch]:
    """How far it is, on standard error: a bar where somebody watches, else a line for each step."""
    said = ""
    if sys.stderr is None or not sys.stderr.isatty():

        def tell(progress: Progress) -> None:
            nonlocal said
            if progress.text != said:
                said = progress.text
                say(said)

        yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting the sandbox", total=None)

        def draw(progress: Progress) -> None:
            nonlocal task, said
            if progress.text != said:
                said = progress.text
                bar.remove_task(task)
                task = bar.add_task(said, total=None)
            bar.update(task, completed=progress.done, total=progress.total or None)

        yield draw


# ---- the others --------------------------------------------------------------------------------


def take_down(name: str, everything: bool) -> int:
    """End one sandbox or all; the exit code."""
    return answered(lambda: _down(names() if everything else [check_name(name)]))


def _down(those: Sequence[str]) -> int:
    for name in those:
        if not held(name):
            if not clear(name) or name not in names():
                raise ValueError(f"there is no sandbox {name}. {_known()}")
            continue
        pid = holder(name)
        for number, limit in ((signal.SIGTERM, POLITE), (signal.SIGKILL, POLITE)):
            if pid is not None:
                _send(pid, number)
            until = time.monotonic() + limit
            while held(name) and time.monotonic() < until:
                time.sleep(POLL)
        if held(name):
            raise SandboxError(f"the sandbox {name} does not end: its process is {pid}")
        clear(name)
        say(f"the sandbox {name} has ended")
    return DONE


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def show(as_json: bool) -> int:
    """All sandboxes and their processes, as tables or JSON; the exit code."""

    def work() -> int:
        states = [state for name in names() if (state := state_of(name)) is not None]
        if as_json:
            put(msgspec.json.format(msgspec.json.encode(states)).decode() + "\n", machine=True)
            return DONE
        if not states:
            say("no sandbox is up: flyball sandbox up starts one")
        for state in states:
            put(printed(None, partial(_draw, state)), machine=False)
        return DONE

    return answered(work)


def _draw(state: State, console: Console) -> None:
    console.print(f"{state.name}: {_size(state)} at {state.url}, up for {_age(state)}")
    console.print(f"kubeconfig: {state.kubeconfig}")
    console.print(f"logs: {Path(state.kubeconfig).parent / 'logs'}")
    console.print(_table(state))


def kubeconfig_of(name: str, whole: bool) -> int:
    """The path of a kubeconfig, or the file itself; the exit code."""

    def work() -> int:
        state = state_of(check_name(name)) if held(name) else None
        if state is None:
            raise ValueError(f"there is no sandbox {name}. {_known()}")
        put(Path(state.kubeconfig).read_text() if whole else f"{state.kubeconfig}\n", machine=True)
        return DONE

    return answered(work)


def build_all(modules: Sequence[str]) -> int:
    """Build modules by name; the exit code."""

    def work() -> int:
        for name in modules or (KUBERNETES.name, KWOK.name):
            module = MODULES[name]
            with building() as watch:
                folder = built(module, watch)
            print(f"{name}: {folder}", flush=True)
        return DONE

    return answered(work)


def _known() -> str:
    up = names()
    return f"Up are: {', '.join(up)}" if up else "None is up: flyball sandbox up starts one"


def _size(state: State) -> str:
    return f"{state.nodes} {'node' if state.nodes == 1 else 'nodes'} with {state.cards} cards"


def _age(state: State) -> str:
    minutes = max(0, round((time.time() - state.started) / 60))
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def _table(state: State) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for title in ("process", "pid", "memory", "url"):
        table.add_column(title, justify="right" if title in ("pid", "memory") else "left", no_wrap=True)
    for one in state.processes:
        resident = _resident(one.pid)
        memory = "ended" if resident is None else f"{resident / 2**20:.0f} MiB"
        table.add_row(one.name, str(one.pid), memory, one.url)
    return table


def _resident(pid: int) -> int | None:
    """Bytes of memory that a process holds; None where it is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return None
    return 0
