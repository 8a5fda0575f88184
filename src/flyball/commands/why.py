"""`flyball why`: the last decision for a server: the running loop's, a recommendation, or made now."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

import msgspec

from flyball.commands.look_parts import (
    DONE,
    WRONG,
    Looked,
    home_of,
    looked,
    show,
    show_json,
    with_api,
)
from flyball.commands.loop_parts import Request
from flyball.commands.output import say
from flyball.report.accounts import Account, accounts, lines

if TYPE_CHECKING:
    from flyball.adapters.kubernetes.api import Api
    from flyball.adapters.kubernetes.recommend import Recommendation
    from flyball.client.errors import CallError

PATIENCE = 5.0
"""Seconds that the loop may take to answer."""


class Told(msgspec.Struct, frozen=True):
    """What was found out, and where."""

    source: str
    """`loop`, `recommendations` or `now`."""
    told_by: str
    account: Account


def run(request: Request, server: str, controller: str, *, as_json: bool, given: bool) -> int:
    """Tell why a server has what it has; returns the exit code. `given`: the address was asked for."""
    from flyball.client.errors import CallError

    try:
        told = _of_loop(controller, server, request.speed)
    except ValueError as error:
        say(f"flyball: {error}")
        return WRONG
    except CallError as error:
        if (code := _refused(error, given)) is not None:
            return code
    else:
        return _show(told, request.speed, as_json)
    return with_api(request, lambda api: _from_cluster(request, server, api, as_json))


def _of_loop(controller: str, server: str, speed: float) -> Told:
    from flyball.client.control import ControllerClient
    from flyball.client.errors import CallError

    with closing(ControllerClient(controller, timeout=PATIENCE, tries=1)) as client:
        data = client.server(server)
        try:
            account = msgspec.json.decode(data, type=Account)
        except msgspec.MsgspecError as error:
            mend = "Is it the controller of a loop?"
            raise CallError(200, f"its answer is no account ({error})", url=client.url, mend=mend) from None
    return Told("loop", f"the loop at {client.url}", account)


def _refused(error: CallError, given: bool) -> int | None:
    """The exit code of a loop that has no answer; None: ask the cluster instead."""
    if error.status is None:
        if given:
            say(f"flyball: {error} What the cluster itself says:")
        return None
    if error.status == 404 and "there is no server" in error.message:
        say(f"flyball: {error.message}")
        return WRONG
    say(f"flyball: {error} What the cluster itself says:")
    return None


def _from_cluster(request: Request, server: str, api: Api, as_json: bool) -> int:
    from flyball.adapters.kubernetes.recommend import recommended

    namespace = home_of(api, request)
    kept = recommended(api, namespace, server)
    if kept is not None:
        by = f"ConfigMap {namespace}/flyball-recommendations"
        return _show(Told("recommendations", by, of_recommendation(kept)), request.speed, as_json)
    found = looked(request, api)
    for text in found.said:
        say(f"flyball: {text}")
    told = of_looked(found, server)
    if isinstance(told, str):
        say(f"flyball: {told}")
        return WRONG
    return _show(told, request.speed, as_json)


def of_looked(found: Looked, server: str) -> Told | str:
    """The account of a decision that was made just now; or why there is none."""
    said = (*found.cluster.notes, *_rollouts(found))
    all_of = {one.server: one for one in accounts(found.snapshot, found.decision, said)}
    if server not in all_of:
        there = ", ".join(all_of) or "none; flyball doctor says how to have some"
        return f"there is no server '{server}' with the label inferno.server.managed=true; there are: {there}"
    memory = "with the loop's memory" if found.remembered else "without a memory of the past"
    return Told("now", f"no loop answers: decided just now, {memory}; nothing is written", all_of[server])


def _rollouts(found: Looked) -> list[str]:
    """What of templates would change, or why it does not, in sentences that name the server."""
    from flyball.adapters.kubernetes.targets import targets_of

    orders = [order for step in found.decision.steps for order in step.orders]
    targets, said = targets_of(found.cluster, orders)
    rolled = [
        f"{one.workload.server}: {one.name} would change: {one.rollout.said}"
        for one in targets
        if one.rollout
    ]
    return [*rolled, *said]


def of_recommendation(kept: Recommendation) -> Account:
    """The account of what is recommended, which knows less."""
    wanted = " + ".join(f"{v.replicas} x {v.accelerator}" for v in kept.variants if v.replicas) or "nothing"
    when = f", since {kept.changed}" if kept.changed else ""
    rolled = tuple(f"its template would change: {v.template}" for v in kept.variants if v.template)
    return Account(
        kept.server,
        gets=wanted,
        why=kept.reason or "it was not said",
        cost_per_hour=kept.cost_per_hour,
        notes=(f"its mode is {kept.mode}: this is recommended{when}, and not carried out", *rolled),
    )


def _show(told: Told, speed: float, as_json: bool) -> int:
    if as_json:
        show_json(told)
        return DONE
    now = time.time() * speed
    account = told.account
    # A loop over a simulated world counts from 0.
    known = account.time is not None and account.time > now / 2
    show("\n".join(lines(account, now if known else None)), f"  {'told by':<10} {told.told_by}")
    return DONE
