"""Power in a loop on a cluster: when it is on, what it waits for, and what the hands do with it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from flyball.adapters.kubernetes.errors import ClusterError
from flyball.adapters.kubernetes.power import RACK
from flyball.adapters.prometheus.errors import PrometheusError
from flyball.adapters.prometheus.power_figures import Places
from flyball.commands import loop_power
from flyball.commands.loop_options import Power
from flyball.commands.loop_parts import Remembering, Request
from flyball.commands.loop_power import (
    Asked,
    PowerHands,
    Powering,
    PowerRequest,
    _measure,
    check_power,
    power_of,
)
from flyball.commands.operator import OperatorRequest
from flyball.commands.operator import run as operate
from flyball.commands.power_outputs_options import Outputs
from flyball.operator.power_kinds import PowerObjects
from flyball.spec.decision import Decision
from flyball.spec.power import Domain, PowerSeen, PowerWorkload
from flyball.spec.power_plan import PowerPlan, Relief, WorkloadCap
from flyball.wire.errors import WireError
from flyball.wire.kinds.inferno_objects import Ref


def test_it_is_off_unless_asked_for() -> None:
    assert Power().request(Outputs()) is None
    assert Request().power is None
    assert power_of(Request(), cast(Any, None), ExitStack()) is None
    asked = Power(power=True).request(Outputs())
    assert asked == PowerRequest(rack_label=RACK)


@pytest.mark.parametrize(
    ("part", "variable"),
    [("collector", "COLLECTOR_HOST"), ("optimizer", "INFERNO_HOST"), ("actuator", "ACTUATOR_HOST")],
)
def test_parts_elsewhere_know_nothing_of_watts(part: str, variable: str) -> None:
    elsewhere: dict[str, Any] = {part: "http://there"}
    with pytest.raises(ValueError, match=f"leave {variable} out"):
        check_power(Request(power=PowerRequest(), **elsewhere))
    check_power(Request(**elsewhere))


def test_an_operator_without_a_loop_has_no_power(capsys: pytest.CaptureFixture[str]) -> None:
    assert operate(OperatorRequest(asked=Request(power=PowerRequest()), loop=False)) == 2
    assert "--power is a part of the loop" in capsys.readouterr().err


def test_exporters_are_read_where_there_is_a_prometheus(tmp_path: Path) -> None:
    with ExitStack() as stack:
        assert _measure(Request(power=PowerRequest()), stack) is None
        measure = _measure(Request(power=PowerRequest(), prometheus="http://127.0.0.1:1"), stack)
        assert measure is not None
        with pytest.raises(PrometheusError):
            measure(Places())
        names = tmp_path / "power.yaml"
        names.write_text("{apiVersion: flyball/v1, kind: PowerMetrics, sensors: []}")
        with pytest.raises(WireError, match="Describe at least one sensor"):
            _measure(Request(power=PowerRequest(metrics=names)), stack)


# ---- objects -------------------------------------------------------------------------------------


class Kinds:
    """Kinds of power as they are watched; nothing of it is listed, and all are installed, at first."""

    def __init__(self) -> None:
        self.listed, self.absent, self.problem = False, False, ""
        self.found = PowerObjects(domains=(Domain("hall"),))
        self.waited: list[float] = []

    @property
    def watches(self) -> dict[str, Any]:
        return {"a": SimpleNamespace(absent=self.absent)}

    def wait(self, limit: float) -> bool:
        self.waited.append(limit)
        return self.listed

    def objects(self) -> PowerObjects:
        return self.found


def test_nothing_is_decided_before_the_objects_are_listed() -> None:
    """Else all that is held would be let go at each start."""
    kinds = Kinds()
    kinds.problem = "forbidden"
    asked = Asked(cast(Any, kinds))
    with pytest.raises(ClusterError, match="not listed yet: forbidden"):
        asked()
    kinds.listed = True
    found = asked()
    assert found is not None
    assert found.domains == (Domain("hall"),)
    assert found.notes == ("objects of power may be old: forbidden",)


def test_without_the_kinds_it_is_off_and_that_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    kinds = Kinds()
    kinds.listed = kinds.absent = True
    asked = Asked(cast(Any, kinds))
    assert asked() is None
    assert asked() is None
    assert capsys.readouterr().err.count("power is off: its kinds are not installed") == 1
    kinds.absent = False  # they are installed
    assert asked() is not None


def test_objects_that_cannot_be_read_are_told() -> None:
    kinds = Kinds()
    kinds.listed = True
    kinds.found = PowerObjects(problems={Ref("PowerPolicy", "llm", "odd"): "odd"})
    found = Asked(cast(Any, kinds))()
    assert found is not None
    assert found.notes == ("PowerPolicy llm/odd: it is left out: odd",)


# ---- hands ---------------------------------------------------------------------------------------

CAP = WorkloadCap("chat", 2, 2, mode="Enforce")
RELIEF = Relief("chat", "llm/brake", "resources", "Enforce")
CHAT = PowerWorkload("chat")


class Both:
    """Levers and a publisher that say what they were given."""

    def __init__(self) -> None:
        self.given: list[Any] = []
        self.untold = {"slack": "it is away"}

    def apply(self, caps: Any, workloads: Any, hot: Any, reliefs: Any) -> tuple[str, ...]:
        self.given.append((caps, workloads, hot, reliefs))
        return ("a cap is not written",)

    def tell(self, seen: PowerSeen, plan: PowerPlan) -> tuple[str, ...]:
        return ("Slack is not told",)

    def publish(self, seen: PowerSeen, plan: PowerPlan, untold: Any) -> tuple[str, ...]:
        assert untold == self.untold
        self.given.append((seen, plan))
        return ("a status is not written",)

    def act(self, orders: Any) -> tuple[str, ...]:
        self.given.append("orders")
        return ("an order is not written",)


def hands(
    plan: PowerPlan | None, seen: PowerSeen | None, kinds: Kinds | None = None
) -> tuple[PowerHands, Both, list[Any]]:
    both, shown = Both(), list[Any]()
    placing = SimpleNamespace(show=shown.append)
    power = Powering(cast(Any, kinds or Kinds()), cast(Any, None), cast(Any, None), RACK, cast(Any, placing))
    law = SimpleNamespace(power=seen, decision=Decision("flyball", 0.0, power=plan))
    any_ = cast(Any, both)
    return PowerHands(any_, power, cast(Remembering, law), any_, any_, any_), both, shown


def test_caps_are_carried_out_and_all_is_told() -> None:
    seen, plan = (
        PowerSeen(0.0, 30.0, workloads=(CHAT,)),
        PowerPlan(caps=(CAP,), reliefs=(RELIEF,), hot=("n1",)),
    )
    made, both, shown = hands(plan, seen)
    said = made.act(())
    made.close()
    assert said == (
        *("an order is not written", "a cap is not written"),
        *("Slack is not told", "a status is not written"),
    )
    assert ((CAP,), (CHAT,), ("n1",), (RELIEF,)) in both.given
    assert both.given[-1] == (seen, plan)
    assert len(shown) == 1


def test_without_the_kinds_what_was_held_is_given_back_and_nothing_is_told() -> None:
    kinds = Kinds()
    kinds.absent = True
    made, both, _ = hands(PowerPlan(), PowerSeen(0.0, 30.0), kinds)
    assert made.act(()) == ("an order is not written", "a cap is not written")
    made.close()
    assert ((), (), (), ()) in both.given


@pytest.mark.parametrize(("plan", "seen"), [(None, PowerSeen(0.0, 30.0)), (PowerPlan(), None)])
def test_where_nothing_is_known_what_is_held_stays_held(
    plan: PowerPlan | None, seen: PowerSeen | None
) -> None:
    made, both, shown = hands(plan, seen)
    assert made.act(()) == ("an order is not written",)
    made.close()
    assert both.given == ["orders"]
    assert shown == []


def test_the_waits_are_within_the_time_of_a_look() -> None:
    from flyball.adapters.cluster_power import PATIENCE
    from flyball.loop.runner import LIMIT

    assert max(loop_power.LISTED, loop_power.MEASURED + PATIENCE) < LIMIT
