"""Plans and pages from little."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from flyball.decide.plan import plan
from flyball.report.page import page
from flyball.solve.candidates import candidates
from flyball.spec.fleet import Fleet
from flyball.spec.plan import Option, Plan, ServerPlan
from flyball.wire.read import fleet_from

H100 = Option("H100", 2, 64, 6.0, 6.0, 0.02, 0.3, 0.5, 4.0, 800.0, "itl")
L40S = Option("L40S", 5, 16, 5.0, 5.0, 0.05, 1.25, 0.75, 1.0, None, "ttft")
SERVED = ServerPlan("chat", 1, "served", "cheapest", H100)


def some_plan(*servers: ServerPlan, **changes: Any) -> Plan:
    """A plan of these servers, proved best."""
    cost = sum(s.allocation.cost for s in servers if s.allocation)
    made = Plan("flyball", "exact", servers, (), cost, cost, 0.0, True, cost, None)
    return msgspec.structs.replace(made, **changes)


def page_of(fleet: Fleet, before: Fleet | None = None) -> str:
    """The page of a fleet's own plan."""
    sized = candidates(fleet)
    return page("Plan", fleet, plan(fleet, sized), sized, plan(before) if before else None)


def page_of_document(document: object) -> str:
    return page_of(fleet_from({"fleet": document}))


def data_of(html: str) -> dict[str, Any]:
    """The data that a page draws."""
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', html, re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1], parse_constant=_refuse)
    return data


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def visible(html: str) -> str:
    """What a reader sees of a page before anything is drawn."""
    body = html.partition("<body>")[2].partition("<script>")[0]
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())
