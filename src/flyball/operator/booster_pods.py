"""Why the pods of a ModelServing do not run."""

from __future__ import annotations

from flyball.adapters.kubernetes.objects import Condition, Metadata, Read


class Ended(Read, frozen=True):
    """Why a container waits or ended."""

    reason: str = ""


class State(Read, frozen=True):
    """Why a container does not run."""

    waiting: Ended | None = None
    terminated: Ended | None = None


class Container(Read, frozen=True):
    """A container's status."""

    state: State = State()
    last_state: State = State()
    restart_count: int = 0


class PodStatus(Read, frozen=True):
    """A pod's status."""

    phase: str = ""
    conditions: tuple[Condition, ...] = ()
    container_statuses: tuple[Container, ...] = ()
    init_container_statuses: tuple[Container, ...] = ()


class BoostedPod(Read, frozen=True):
    """A pod of a ModelServing."""

    metadata: Metadata = Metadata()
    status: PodStatus = PodStatus()


WAITS = frozenset({"", "ContainerCreating", "PodInitializing"})
CRASHES = "CrashLoopBackOff"
SAME = {"ErrImagePull": "ImagePullBackOff"}
"""Between which the cluster goes to and fro, as it tries again."""
OOM = "OOMKilled"
UNSCHEDULABLE = "Unschedulable"


def failure(pod: BoostedPod) -> str:
    """Why a pod does not run; "": it does, or it is on its way. Between two tries it says the same."""
    status = pod.status
    if any(one.type == "Ready" and one.status == "True" for one in status.conditions):
        return ""
    for container in (*status.init_container_statuses, *status.container_statuses):
        if reason := _of_container(container):
            return reason
    scheduled = next((one for one in status.conditions if one.type == "PodScheduled"), None)
    if scheduled is not None and scheduled.status == "False" and scheduled.reason == UNSCHEDULABLE:
        return f"{UNSCHEDULABLE}: {scheduled.message.partition(' preemption:')[0]}"
    return ""


def _of_container(container: Container) -> str:
    state, ended = container.state, container.state.terminated or container.last_state.terminated
    waits = state.waiting.reason if state.waiting is not None else ""
    crashed = ended is not None and ended.reason not in ("", "Completed")
    if crashed and ended is not None and (waits in (*WAITS, CRASHES)):
        if ended.reason == OOM:
            return OOM
        # Between two tries it runs for a moment, which is no cure.
        return CRASHES if container.restart_count or waits == CRASHES else ""
    return "" if waits in WAITS else SAME.get(waits, waits)
