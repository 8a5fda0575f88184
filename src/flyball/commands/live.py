"""`flyball live`: a simulated fleet under load, governed by the loop, with a page to watch it."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from flyball.commands.output import say, waiting
from flyball.wire.errors import WireError

if TYPE_CHECKING:
    from flyball.adapters.ledger import Ledger
    from flyball.decide.memory import Memory
    from flyball.server.page.live import Live
    from flyball.server.page.stage import SimulatedStage
    from flyball.spec.fleet import Fleet
    from flyball.spec.scenario import Scenario

DONE, WRONG = 0, 2
HOST = "127.0.0.1"
FIRST = 1800.0
"""Simulated seconds that are over before the page is served, so that it begins with some history."""
DEFAULT = "day"
KEEP = 600.0
"""Finished requests are kept for so long only: the page needs no more."""


class Request(msgspec.Struct, frozen=True):
    """What the command line asks for."""

    scenario: str = DEFAULT
    speed: float = 60.0
    seed: int = 1
    port: int = 8090
    ledger: Path | None = None
    first: float = FIRST
    anew: bool = False
    """Learn from nothing, whatever the ledger holds."""


def run(request: Request) -> int:
    """Serve until interrupted; returns the exit code."""
    from flyball.adapters.ledger import Ledger, LedgerError
    from flyball.adapters.scenarios import scenario_of
    from flyball.commands.campaign import begun

    try:
        _check(request)
        scenario = begun(scenario_of(request.scenario))
        with ledger_file(request.ledger) as path, closing(Ledger(path, version_of("flyball"))) as ledger:
            live, stage = live_of(scenario, request.seed, request.speed, ledger)
            if not request.anew:
                live.runner.memory = resumed(ledger, scenario.believed, stage.world.now())
            with waiting(f"{scenario.name}: the first {request.first / 60:.0f} minutes"):
                begin(live, stage, request.first)
            _serve(live, stage, request, path)
    except (WireError, LedgerError, ValueError) as error:
        say(f"flyball: {error}")
        return WRONG
    return DONE


def _check(request: Request) -> None:
    if not 0 <= request.port <= 65535:
        raise ValueError(f"--port is {request.port}: a port is a number from 0 (any free one) to 65535")
    if not 0 <= request.speed <= 3600:
        raise ValueError(
            f"--speed is {request.speed:g}: it is simulated seconds in a second, from 0 (paused) to 3600"
        )
    if request.seed < 0:
        raise ValueError(f"--seed is {request.seed}: a seed is 0 or more")


@contextmanager
def ledger_file(path: Path | None) -> Iterator[Path]:
    """The file of the ledger; without a path, one that is gone at the end."""
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(
                f"--ledger {path}: its folder cannot be made ({error.strerror}). Name another file"
            ) from None
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="flyball-") as folder:
        yield Path(folder) / "ledger.sqlite"


def live_of(
    scenario: Scenario, seed: int, speed: float, ledger: Ledger | None
) -> tuple[Live, SimulatedStage]:
    """The scenario's plant, the loop around it, and what the page needs of both."""
    from flyball.decide.law import Flyball
    from flyball.loop.ports import Configured
    from flyball.loop.runner import Runner
    from flyball.server.page.board import Board
    from flyball.server.page.live import Live, Scenery
    from flyball.server.page.stage import SimulatedStage
    from flyball.simulate.plant import Plant
    from flyball.spec.steering import Steering

    plant = Plant(scenario.world, seed, keep=KEEP)
    cards: dict[str, int] = {}
    for machine in plant.cluster.machines.values():
        cards[machine.node.type] = cards.get(machine.node.type, 0) + machine.node.cards

    def scenery() -> Scenery:
        machines = plant.cluster.machines.values()
        return Scenery(
            title=scenario.name,
            about=scenario.about,
            nodes=tuple((m.node.name, m.node.type, m.alive) for m in machines),
            servers=tuple(s.name for s in scenario.believed.servers),
            cards=cards,
        )

    law = Flyball(msgspec.convert(dict(scenario.loop), Steering))
    runner = Runner(law, Configured(scenario.believed), plant, plant, plant, ledger, limit=None)
    stage = SimulatedStage(plant, scenery, law.period or 15.0, speed)
    return Live(runner, Board(), stage, scenario.name), stage


def resumed(ledger: Ledger, fleet: Fleet, now: float) -> Memory | None:
    """What the last run in a ledger had learned of the models of the same servers; None: nothing.

    The world begins anew, and with it all else that was remembered of it.
    """
    from flyball.adapters.ledger import LedgerError
    from flyball.commands.replay import law_of
    from flyball.decide.cycle import LAW
    from flyball.decide.memory import Memory, models_of
    from flyball.loop.replay import remembered

    try:
        newest = ledger.newest(1)
        if not newest or newest[0][1].law != LAW:
            return None
        number, last = newest[0]
        if _models(last.snapshot.fleet) != _models(fleet):
            say("the ledger is of other servers: nothing that was learned of them is taken over")
            return None
        first, before, _ = ledger.start_of(number)
        cycles = (ledger.cycle(n) for n in ledger.numbers(first, number))
        memory = remembered(law_of(last.law, last.settings), before, cycles)
    except (LedgerError, msgspec.MsgspecError) as error:
        say(f"what the ledger holds cannot be gone on with ({error}): models are learned anew")
        return None
    if not isinstance(memory, Memory) or not memory.learned:
        return None
    readings = sum(one.readings for one in memory.learned.values())
    say(
        f"it goes on with {readings:,} readings of {len(memory.learned)} models on accelerators; "
        "--anew begins without"
    )
    return models_of(memory, last.snapshot.seen.time, now)


def _models(fleet: Fleet) -> set[tuple[str, str]]:
    return {(s.name, s.model) for s in fleet.servers}


def begin(live: Live, stage: SimulatedStage, seconds: float) -> None:
    """Run the first so many simulated seconds at once."""
    live.cycle()
    while stage.world.now() < seconds:
        stage.step(live.cycle)


def _serve(live: Live, stage: SimulatedStage, request: Request, ledger: Path) -> None:
    import uvicorn

    from flyball.server.page.routes import app_of

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: object) -> None:
            live.close()  # or those who listen to events would keep it from ending
            self.should_exit = True  # and the signal is dealt with: not raised again at the end

    sock = listening(request.port)
    config = uvicorn.Config(
        app_of(live, str(ledger)),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
        timeout_keep_alive=30,
    )
    stop = threading.Event()

    def play() -> None:
        try:
            stage.play(live.cycle, stop)
        except Exception as error:
            text = f"the simulation has stopped: {type(error).__name__}: {error}"
            live.fail(text)
            say(f"flyball: {text}")

    player = threading.Thread(target=play, name="flyball-play", daemon=True)
    player.start()
    print(f"The fleet is at http://{HOST}:{sock.getsockname()[1]}/ (Ctrl-C ends it)", flush=True)
    say(f"its ledger is {ledger}")
    try:
        Server(config).run([sock])
    finally:
        live.close()
        stop.set()
        stage.wake()
        player.join(5.0)
        sock.close()


def listening(port: int) -> socket.socket:
    """A socket on loopback that listens; where the port is taken, on a free one."""
    # Named, so that answers are not held back for more to come (Nagle).
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((HOST, port))
    except OSError as error:
        say(f"port {port} cannot be had ({error.strerror}); another one will do")
        sock.bind((HOST, 0))
    sock.listen(128)
    return sock
