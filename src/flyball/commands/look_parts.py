"""What the commands that look at a cluster share: the cluster, where its loop lives, one dry decision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from flyball.commands.loop_parts import Request, own_namespace, reader_of
from flyball.commands.output import console_of, put, say
from flyball.spec.decision import Decision
from flyball.spec.snapshot import Snapshot
from flyball.spec.steering import Steering
from flyball.wire.errors import WireError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from flyball.adapters.cluster import ClusterReader
    from flyball.adapters.kubernetes.api import Api
    from flyball.adapters.kubernetes.governed import Cluster

DONE, WRONG, UNWRITTEN, UNREACHABLE = 0, 2, 4, 5


class Looked(msgspec.Struct):
    """One observation, and what would be decided from it."""

    snapshot: Snapshot
    decision: Decision
    cluster: Cluster
    remembered: bool
    """Whether the loop's own memory was at hand."""
    said: tuple[str, ...] = ()


def with_api(request: Request, do: Callable[[Api], int]) -> int:
    """Do something with the cluster, and say what went wrong; returns the exit code."""
    from flyball.adapters.kubernetes.api import Api
    from flyball.adapters.kubernetes.errors import ClusterError

    try:
        with ExitStack() as stack:
            return do(stack.enter_context(closing(Api(request.kubeconfig, request.context))))
    except ClusterError as error:
        say(f"flyball: {error}")
        return UNREACHABLE
    except (WireError, ValueError) as error:
        say(f"flyball: {error}")
        return WRONG
    except OSError as error:
        say(f"flyball: {error.filename}: cannot be written ({error.strerror}). Name a place that can be.")
        return UNWRITTEN


def home_of(api: Api, request: Request) -> str:
    """The namespace of the loop's own objects: as asked for, else where the one loop that there is has its
    Lease, else as the loop would choose. ValueError: there are several.
    """
    from flyball.adapters.kubernetes.errors import ApiError
    from flyball.adapters.kubernetes.lease import held

    otherwise = own_namespace(api.namespace)
    if request.namespace:
        return request.namespace
    try:
        found = held(api)
    except ApiError:
        return otherwise
    if len(found) > 1 and otherwise not in found:
        raise ValueError(
            f"loops hold Leases in the namespaces {', '.join(sorted(found))}: name one, "
            f"--namespace {min(found)}"
        )
    return otherwise if otherwise in found or not found else next(iter(found))


def looked(request: Request, api: Api) -> Looked:
    """Observe once, and decide with the loop's memory if there is one; nothing is written.

    ClusterError, WireError, ValueError.
    """
    from flyball.adapters.kubernetes.checkpoint import Checkpoint
    from flyball.adapters.kubernetes.lease import Lease
    from flyball.decide.cycle import decide
    from flyball.decide.memory import Memory

    namespace = home_of(api, request)
    data, problem = Checkpoint(api, Lease(api, namespace), namespace).read()
    said = [problem] if problem else []
    memory = None
    if data is not None:
        try:
            memory = msgspec.msgpack.decode(data, type=Memory)
        except msgspec.MsgspecError as error:
            said.append(f"the loop's memory is of another version, so it is decided without it: {error}")
    with observing(request, api) as (reader, snapshot):
        cluster = reader.cluster
    assert cluster is not None
    steering = Steering(period=request.period, plan_period=min(60.0, request.period or 60.0))
    decision, _ = decide(snapshot, memory, steering)
    return Looked(snapshot, decision, cluster, memory is not None, tuple(said))


@contextmanager
def observing(request: Request, api: Api) -> Iterator[tuple[ClusterReader, Snapshot]]:
    """A reader of the cluster, and one observation. ClusterError, WireError, ValueError.

    Where there are metrics it is the second: the first shows which models the engines say that they serve.
    """
    with ExitStack() as stack:
        reader = reader_of(request, api, stack, scraped=0.0)  # nothing is written, and there is no later
        for _ in range(1 if request.prometheus is None else 2):
            fleet = reader.fleet()
            seen = reader.observe()
        yield reader, Snapshot(fleet, seen)


def show_json(document: Any) -> None:
    """A document on standard output. Or OSError."""
    text = msgspec.json.format(msgspec.json.encode(document), indent=4).decode()
    put(text + "\n", machine=True)


def show(*parts: RenderableType) -> None:
    """Lines and tables on standard output; lines are not broken. Or OSError."""
    import io

    console = console_of(to_file=False)
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, str))
    assert isinstance(console.file, io.StringIO)
    put(console.file.getvalue(), machine=False)
