"""`flyball doctor`: what a cluster lacks for Flyball, in order, with the command that mends it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import msgspec

from flyball.commands.look_parts import DONE, UNREACHABLE, WRONG, home_of, observing, show, show_json
from flyball.commands.loop_parts import Request
from flyball.commands.output import say, waiting
from flyball.report.checks import Check, Checklist, checklist, lines, summary
from flyball.wire.errors import WireError

if TYPE_CHECKING:
    from flyball.adapters.cluster import ClusterReader
    from flyball.adapters.kubernetes.api import Api
    from flyball.adapters.kubernetes.governed import Cluster
    from flyball.adapters.kubernetes.lease import Holder

MISSING = 3
RENEWED = 3.0
"""Seconds within which a loop that lives renews its Lease."""


def run(request: Request, account: str, *, as_json: bool) -> int:
    """Check, and show the list; returns the exit code."""
    if account and account.count("/") != 1:
        say(f"flyball: --account is {account}: write NAMESPACE/NAME of a service account")
        return WRONG
    reached = True
    try:
        with waiting("looking at the cluster"):
            found, reached = _checked(request, account)
    except (WireError, ValueError) as error:
        say(f"flyball: {error}")
        return WRONG
    made = checklist(found)
    if as_json:
        show_json(made)
    else:
        _show(made)
    return (MISSING if made.missing else DONE) if reached else UNREACHABLE


def _checked(request: Request, account: str) -> tuple[list[Check], bool]:
    """All checks, and whether the cluster answered to the end."""
    from flyball.adapters.kubernetes.api import Api
    from flyball.adapters.kubernetes.errors import ApiError, ClusterError

    found: list[Check] = []
    try:
        with ExitStack() as stack:
            api = stack.enter_context(closing(Api(request.kubeconfig, request.context)))
            for check in _checks(request, api, account):
                found.append(check)
    except ClusterError as error:
        mend = "kubectl cluster-info   (KUBECONFIG, --kubeconfig and --context name the cluster)"
        if isinstance(error, ApiError):  # it answers, and refuses
            mend = "Ask with more rights: what comes after this was not looked at"
        found.append(Check("cluster", "missing", str(error), mend))
        return found, False
    return found, True


def _checks(request: Request, api: Api, account: str) -> Iterator[Check]:
    from flyball.adapters.kubernetes.candidates import candidates
    from flyball.adapters.kubernetes.freeze import frozen
    from flyball.adapters.kubernetes.lease import holder_of
    from flyball.adapters.kubernetes.listing import list_cluster
    from flyball.adapters.kubernetes.nodes import Pool
    from flyball.commands import doctor_checks as check
    from flyball.commands.loop_parts import known_of, scope_of

    version = api.get("/version", dict[str, Any]).get("gitVersion", "of an unknown version")
    yield Check("cluster", "ok", f"{api.address} answers, Kubernetes {version}")
    home = home_of(api, request)
    began, leader = time.monotonic(), holder_of(api, home)
    yield from _rights(request, api, home, account)
    listing = list_cluster(api, time.time(), scope_of(request))
    pool = Pool(listing.nodes or (), known_of(request).card_type)
    yield from check.nodes(listing, pool)
    with observing(request, api) as (reader, _):
        cluster = reader.cluster
    assert cluster is not None
    yield from check.governed(cluster, candidates(api, request.watch))
    yield from check.workloads(cluster, listing)
    yield from _metrics(request, api, cluster, reader)
    yield from check.capacity(cluster, listing, pool)
    yield _leading(api, home, leader, began)
    yield check.freezing(frozen(api, home, environment={}))


def _rights(request: Request, api: Api, home: str, account: str) -> Iterator[Check]:
    from flyball.adapters.kubernetes import rights
    from flyball.commands import doctor_checks as check

    every = (*rights.READ, *rights.OPTIONAL, *rights.ACT)
    there = rights.placed(every, request.watch)
    # Nodes belong to no namespace, and cards that others' pods take are in all of them.
    there = tuple(msgspec.structs.replace(r, namespace="") if r.resource == "nodes" else r for r in there)
    asked = (*there, *rights.placed(rights.OWN, home))
    who = f"the account {account}" if account else "you"
    yield from check.rights(rights.lacking(api, asked, account), len(asked), who)


def _metrics(request: Request, api: Api, cluster: Cluster, reader: ClusterReader) -> Iterator[Check]:
    from flyball.adapters.prometheus.errors import PrometheusError
    from flyball.commands import doctor_metrics as check
    from flyball.commands.loop_parts import names_of, prometheus_of

    prometheus = prometheus_of(request)
    if prometheus is None:
        yield check.without(cluster, _services(api))
        return
    with prometheus:
        try:
            prometheus.query("vector(time())")
        except PrometheusError as error:
            yield Check("prometheus", "missing", str(error), error.mend)
            return
        yield Check("prometheus", "ok", f"{prometheus.url} answers")
        if reader.metrics is None:
            yield Check("prometheus", "missing", "; ".join(reader.seen.notes) or "it gave no metrics")
            return
        names = names_of(request)
        if not cluster.governed:
            return
        try:
            yield from check.mapping(prometheus, reader.metrics, names)
        except PrometheusError as error:
            yield Check("metric names", "warning", str(error), error.mend)
    if reader.metrics.pods:
        yield from check.workloads(cluster, reader.metrics, names)
    for note in reader.metrics.notes:
        yield Check("metrics", "warning", note)


def _services(api: Api) -> tuple[str, ...]:
    """Addresses within the cluster of services that are called like a Prometheus."""
    from flyball.adapters.kubernetes.errors import ClusterError
    from flyball.adapters.kubernetes.listing import services

    try:
        return services(api, "prometheus", 9090)
    except ClusterError:
        return ()


def _leading(api: Api, home: str, before: Holder | None, began: float) -> Check:
    """A holder that lives renews its Lease between two looks."""
    from flyball.adapters.kubernetes.lease import holder_of
    from flyball.commands import doctor_checks as check

    after = holder_of(api, home)
    while before is not None and before.name and after == before and time.monotonic() - began < RENEWED:
        time.sleep(0.2)
        after = holder_of(api, home)
    return check.lease(home, before, after, time.monotonic() - began)


def _show(made: Checklist) -> None:
    from rich.text import Text

    shown: list[Text | str] = []
    for text, style in lines(made):
        line = Text(text, no_wrap=True, overflow="ignore")
        if style:
            line.stylize(style, 0, 8)
        shown.append(line)
    show(*shown, "", summary(made))
