"""`flyball diff` and `flyball why` on what is only written down."""

from __future__ import annotations

from typing import Any

from flyball.adapters.kubernetes.assemble import Assembler, Rules
from flyball.adapters.kubernetes.governed import Mode
from flyball.adapters.kubernetes.known import Library
from flyball.adapters.kubernetes.recommend import Recommendation, Variant, _recommendations
from flyball.adapters.kubernetes.targets import targets_of
from flyball.commands.diff import differences, summary, table
from flyball.commands.look_parts import Looked
from flyball.commands.why import Told, of_looked, of_recommendation
from flyball.report.accounts import lines
from flyball.spec.decision import Decision, Hold, Order, Step
from flyball.spec.snapshot import Scrape, Snapshot
from flyball.testing.cluster import H100, listing, node, pod_of, scaler, workload


def looked(replicas: int, mode: Mode = "act", **more: Any) -> Looked:
    """chat has 2 replicas and is to have so many."""
    pinned = {"nodeSelector": {"nvidia.com/gpu.product": H100}}
    chat, idle = workload(replicas=2, spec=pinned), workload("idle", spec=pinned)
    found = listing([chat, idle], nodes=[node()], **more)
    cluster = Assembler(Library(), Rules(mode=mode)).cluster(found)
    was = (Order("chat", "H100", 2),)
    step = Step(
        "chat", (Order("chat", "H100", replicas),), was, "demand", 9.0, holds=(Hold("step", 9, replicas),)
    )
    decision = Decision("flyball", 10.0, (step,), notes=("a note",))
    return Looked(Snapshot(cluster.fleet, Scrape(10.0)), decision, cluster, True)


def test_what_changes_has_its_reason_and_what_it_costs_more() -> None:
    made = differences(looked(5))
    chat, idle = made.rows
    assert (chat.has, chat.gets, chat.changes) == ("2 x H100", "5 x H100", True)
    assert chat.why == "more is needed at 9 req/s"
    assert chat.held == ("9 wanted, 5 allowed: no more at once",)
    price = chat.more_per_hour / 3
    assert price > 0
    assert made.cost_per_hour == 3 * price  # idle has a replica, too
    assert made.more_per_hour == chat.more_per_hour
    assert (idle.changes, idle.why) == (False, "nothing is decided for it")
    assert made.notes == ("a note",)
    assert summary(made).startswith("1 of 2 workloads would change; $")
    assert table(made).row_count == 2


def test_nothing_to_change_is_said() -> None:
    made = differences(looked(2), "ConfigMap x says so")
    assert made.changes == 0
    assert summary(made).startswith("Nothing would change; ")
    assert "All is frozen: ConfigMap x says so" in summary(made)


def test_what_the_loop_would_not_carry_out_says_why() -> None:
    recommended = differences(looked(5, "recommend")).rows[0].held
    assert any("it is in mode recommend" in text for text in recommended)
    owned = differences(looked(5, autoscalers=[scaler("chat")])).rows[0].held
    assert any("HorizontalPodAutoscaler infer/scales-chat writes its replicas" in text for text in owned)


def test_without_memory_that_is_said() -> None:
    found = looked(5)
    found.remembered = False
    assert "without a memory of the past" in summary(differences(found))


def test_the_account_of_a_decision_made_now() -> None:
    told = of_looked(looked(5), "chat")
    assert isinstance(told, Told)
    assert told.account.gets == "5 x H100"
    assert "with the loop's memory" in told.told_by
    assert of_looked(looked(5), "nobody") == (
        "there is no server 'nobody' with the label inferno.server.managed=true; there are: chat, idle"
    )


def test_the_account_of_a_recommendation_says_that_it_is_one() -> None:
    variants = (Variant("chat", "infer", "H100", 3), Variant("chat-a", "infer", "A100", 0))
    kept = Recommendation("chat", "recommend", variants, "more is needed", 8.97, "2026-01-01T00:00:00Z")
    made = of_recommendation(kept)
    assert (made.gets, made.why, made.cost_per_hour) == ("3 x H100", "more is needed", 8.97)
    text = "\n".join(lines(made))
    assert "its mode is recommend: this is recommended, since 2026-01-01T00:00:00Z" in text


def test_a_label_that_is_all_that_changes_is_a_change() -> None:
    loose = listing([workload(replicas=2)], nodes=[node()])
    found = looked(2)
    found.cluster = Assembler(Library(), Rules(mode="act")).cluster(loose)
    (row,) = differences(found).rows
    assert row.changes
    assert row.gets == "2 x H100, label allocation.accelerator=H100"


def test_a_template_that_would_change_is_named_as_what_it_is() -> None:
    pinned = {"nodeSelector": {"nvidia.com/gpu.product": H100}}
    chat = workload(
        replicas=1,
        args=("serve", "Qwen/Qwen3-8B", "--max-num-seqs", "64"),
        annotations={"flyball.dev/batch": "apply"},
        spec=pinned,
    )
    found = looked(1)
    listed = listing([chat], [pod_of(chat)], [node()])
    found.cluster = Assembler(Library(), Rules(mode="recommend")).cluster(listed)
    step = Step("chat", (Order("chat", "H100", 1, 96),), (Order("chat", "H100", 1),))
    found.decision = Decision("flyball", 10.0, (step,))
    change = "args --max-num-seqs 64 to 96, which restarts its pods"
    (row,) = differences(found).rows
    assert row.gets == f"1 x H100, {change}"
    told = of_looked(found, "chat")
    assert isinstance(told, Told)
    assert f"chat: Deployment infer/chat would change: {change}" in told.account.notes
    (kept,) = _recommendations(found.cluster, targets_of(found.cluster, step.orders)[0])
    assert kept.variants[0].template == change
    assert f"its template would change: {change}" in of_recommendation(kept).notes
