"""What was decided and why, as JSON: for `flyball why`, and for programs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
from litestar import Request, Response, Router, get
from litestar.params import FromPath

from flyball.report.accounts import Account, Change, accounts
from flyball.server.guard import LOOPBACK, Guard, with_headers
from flyball.server.page.live import Live
from flyball.server.service.answers import Refusal, answer
from flyball.server.service.describe import describe
from flyball.server.service.work import worked


def told_of(live: Live, hosts: Collection[str] | None = LOOPBACK) -> Router:
    """GET /v1/servers and /v1/servers/NAME: accounts of the last cycle. `hosts`: as of the page."""

    @get(
        "/v1/servers",
        summary="What was decided last for each server, and why",
        tags=["Loop"],
        operation_id="servers",
        operation_class=describe(answer=list[Account], refusals={404: "No cycle has run yet."}),
    )
    async def every(request: Request[Any, Any, Any]) -> Response[bytes]:
        return await worked(request, lambda: answer(told(live)))

    @get(
        "/v1/servers/{name:path}",
        summary="What was decided last for one server, and why",
        tags=["Loop"],
        operation_id="server",
        operation_class=describe(answer=Account, refusals={404: "There is no such server, or no cycle yet."}),
    )
    async def one(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[bytes]:
        wanted = name.removeprefix("/")

        def found() -> Response[bytes]:
            all_of = {account.server: account for account in told(live)}
            if wanted not in all_of:
                there = ", ".join(all_of) or "none"
                raise Refusal(404, f"there is no server '{wanted}'; there are: {there}")
            return answer(all_of[wanted])

        return await worked(request, found)

    return Router("/", route_handlers=[every, one], guards=[Guard(hosts)], after_request=with_headers)


def told(live: Live) -> tuple[Account, ...]:
    """Accounts of the last cycle, each with the last change. Refusal: there is none yet."""
    last = live.runner.last
    if last is None or last[1].decision is None:
        raise Refusal(404, "nothing was decided yet; the first cycle comes soon")
    shown, cycle = live.board.last, last[1]
    assert cycle.decision is not None
    number = last[0] or (shown.number if shown else 0)
    found = accounts(cycle.snapshot, cycle.decision, (*cycle.refused, *cycle.errors), number)
    made = []
    for account in found:
        moved = live.board.moves(1, account.server)
        change = Change(moved[0].time, moved[0].what, moved[0].why) if moved else None
        made.append(msgspec.structs.replace(account, last_change=change))
    return tuple(made)
