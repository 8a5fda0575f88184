"""The engines without a cluster: what their counters say, and what becomes of requests."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from flyball.sandbox.engines.engines import Name
from flyball.spec.scenario import Days, Lengths, Stage, Stages, Stream, Trace
from flyball.spec.service_class import Target
from tests.sandbox_engines.builders import advance, engines, figures, pod, workload

CHAT = Name("ns", "chat")


def test_a_page_is_read_by_prometheus_own_parser_and_adds_up() -> None:
    e = engines()
    e.sync([pod()], [workload()])
    advance(e, 200.0)
    page = e.metrics("ns", "chat-1")
    families = {f.name: f for f in text_string_to_metric_families(page)}
    assert families["vllm:time_to_first_token_seconds"].type == "histogram"
    assert families["vllm:request_success"].type == "counter"
    assert {s.labels["model_name"] for f in families.values() for s in f.samples} == {"m"}
    found = figures(page)
    pool = e.pools[CHAT]
    assert found["vllm:request_success_total"] == pool.record.served > 700
    assert found["vllm:generation_tokens_total"] / found["vllm:request_success_total"] == pytest.approx(
        100, rel=0.1
    )
    assert found["vllm:prompt_tokens_total"] / found["vllm:request_success_total"] == pytest.approx(
        500, rel=0.1
    )
    present = found["vllm:num_requests_running"] + found["vllm:num_requests_waiting"]
    assert pool.offered == found["vllm:request_success_total"] + present


def test_littles_law_on_the_counters_of_a_page() -> None:
    e = engines()
    e.sync([pod()], [workload(6.0)])
    advance(e, 50.0)
    before, held, seconds = figures(e.metrics("ns", "chat-1")), 0.0, 0.0
    while e.time < 1050.0:
        e.advance(e.time + 0.25)
        seconds += 0.25
        now = e.pools[CHAT].shown(e.pools[CHAT].hosts["chat-1"], e.time)[0]
        held += 0.25 * (now.running + now.waiting)
    after = figures(e.metrics("ns", "chat-1"))
    grown = {key: after[key] - before[key] for key in after}
    n = grown["vllm:request_success_total"]
    # Time in the system of a request: to its first token, and from there to its last.
    ttft = grown["vllm:time_to_first_token_seconds_sum"] / grown["vllm:time_to_first_token_seconds_count"]
    decode = grown["vllm:inter_token_latency_seconds_sum"] / n
    assert held / seconds == pytest.approx(n / seconds * (ttft + decode), rel=0.02)


def test_no_more_run_than_the_batch_allows_and_the_rest_waits() -> None:
    e = engines()
    e.sync([pod(max_batch_size=4)], [workload(20.0)])
    advance(e, 60.0)
    first = figures(e.metrics("ns", "chat-1"))
    assert first["vllm:num_requests_running"] == 4
    assert first["vllm:num_requests_waiting"] > 300
    advance(e, 120.0)
    second = figures(e.metrics("ns", "chat-1"))
    # As fast as it can: a batch of 4 gives four tokens in each iteration, which lasts this long at least.
    rate = (second["vllm:generation_tokens_total"] - first["vllm:generation_tokens_total"]) / 60.0
    assert 0.5 * 4 / 0.0128 < rate < 4 / 0.0128


def test_without_pods_requests_wait_at_the_router_and_are_served_when_one_is_ready() -> None:
    e = engines()
    e.sync([pod(ready_since=None)], [workload()])
    advance(e, 30.0)
    pool = e.pools[CHAT]
    assert pool.replicas.queued == pool.offered > 80
    with pytest.raises(KeyError):
        e.metrics("ns", "chat-1")
    e.sync([pod(ready_since=30.0)], [workload()])
    advance(e, 31.0)
    assert pool.replicas.queued == 0
    advance(e, 90.0)
    (report,) = e.report(until=25.0)
    assert report.finished > 80
    assert report.ttft["mean"] > 10.0, "the time at the router counts"
    # Not before the time at which it is ready, though it is told before.
    e.sync([pod("chat-2", ready_since=95.0)], [workload()])
    assert e.pods == []
    advance(e, 95.0)
    assert pool.replicas.queued > 0
    e.sync([pod("chat-2", ready_since=95.0)], [workload()])
    advance(e, 96.0)
    assert pool.replicas.queued == 0


def test_a_pod_that_ends_finishes_what_it_has() -> None:
    e = engines()
    two = [pod("chat-1"), pod("chat-2")]
    e.sync(two, [workload(8.0)])
    advance(e, 60.0)
    ending = msgspec.structs.replace(two[0], terminating=True)
    e.sync([ending, two[1]], [workload(8.0)])
    had = figures(e.metrics("ns", "chat-1"))
    assert had["vllm:num_requests_running"] > 0
    advance(e, 75.0)
    page = figures(e.metrics("ns", "chat-1"))
    assert page["vllm:num_requests_running"] == 0
    assert (
        page["vllm:request_success_total"]
        == had["vllm:request_success_total"] + had["vllm:num_requests_running"]
    )
    e.sync([two[1]], [workload(8.0)])
    with pytest.raises(KeyError):
        e.metrics("ns", "chat-1")
    assert e.pools[CHAT].record.lost == 0


def test_a_pod_that_is_gone_between_two_looks_finishes_too_but_only_within_its_grace() -> None:
    e = engines()
    e.sync([pod(grace=30.0)], [workload(8.0)])
    advance(e, 60.0)
    pool, before = e.pools[CHAT], e.pools[CHAT].record.served
    e.sync([], [workload(0.0)])
    while pool.replicas.active:
        advance(e, e.time + 1.0)
    emptied = e.time
    assert pool.record.lost == 0
    assert pool.record.served > before
    assert pool.replicas.active == []
    assert emptied < 90.0, "its grace ends then, but it had finished before"

    short = engines()
    short.sync([pod(grace=0.5)], [workload(8.0)])
    advance(short, 60.0)
    pool = short.pools[CHAT]
    present = pool.replicas.present
    short.sync([], [workload(0.0)])
    advance(short, 62.0)
    done = pool.record.served + pool.record.lost
    assert done == pool.offered
    assert 0 < pool.record.lost < present


@pytest.mark.parametrize("how", ["failed", "node", "node and object", "object"])
def test_a_pod_that_is_killed_loses_what_it_has(how: str) -> None:
    e = engines()
    e.sync([pod()], [workload(8.0)], {"n0"})
    advance(e, 60.0)
    pool = e.pools[CHAT]
    present, served = pool.replicas.present, pool.record.served
    assert present > 0
    dead = pod(failed=True) if how == "failed" else pod()
    pods, nodes = [] if "object" in how else [dead], {"n1"} if "node" in how else {"n0"}
    e.sync(pods, [workload(8.0)], nodes, {"chat-1"} if how == "object" else set())
    assert pool.record.lost == present
    with pytest.raises(KeyError):
        e.metrics("ns", "chat-1")
    advance(e, 61.0)
    assert pool.record.served == served
    (report,) = e.report()
    assert report.failed == present
    assert report.share == pytest.approx(served / (served + present))
    lost = pool.record.lost_arrivals
    (later,) = e.report(since=float(lost[1]), until=float(lost[-1]))
    assert later.failed == present - 2


def test_a_terminating_pod_whose_node_dies_loses_what_is_left() -> None:
    e = engines()
    e.sync([pod()], [workload(8.0)], {"n0"})
    advance(e, 60.0)
    e.sync([pod(terminating=True)], [workload(8.0)], {"n0"})
    present = e.pools[CHAT].replicas.present
    e.sync([pod(terminating=True)], [workload(8.0)], set())
    assert e.pools[CHAT].record.lost == present > 0
    assert e.pools[CHAT].replicas.active == []


def test_a_changed_rate_takes_effect_at_once() -> None:
    e = engines()
    e.sync([pod()], [workload(2.0)])
    advance(e, 300.0)
    first = e.pools[CHAT].offered
    e.sync([pod()], [workload(10.0)])
    advance(e, 600.0)
    second = e.pools[CHAT].offered - first
    e.sync([pod()], [workload(0.0)])
    third = e.pools[CHAT].offered
    advance(e, 700.0)
    assert first == pytest.approx(600, abs=4 * 600**0.5)
    assert second == pytest.approx(3000, abs=4 * 3000**0.5)
    assert e.pools[CHAT].offered == third


def test_changed_tokens_take_effect() -> None:
    e = engines()
    e.sync([pod()], [workload(4.0, 500, 100)])
    advance(e, 200.0)
    e.sync([pod()], [workload(4.0, 1500, 30)])
    advance(e, 400.0)
    done = e.pools[CHAT].record.finished
    late = done.arrival >= 200.0
    assert done.in_tokens[late].mean() == pytest.approx(1500, rel=0.1)
    assert done.out_tokens[late].mean() == pytest.approx(30, rel=0.1)
    assert done.in_tokens[~late].mean() == pytest.approx(500, rel=0.1)


def test_arrivals_are_poisson() -> None:
    e = engines()
    e.sync([pod()], [workload(5.0)])
    advance(e, 2000.0, 5.0)
    arrivals = np.sort(e.pools[CHAT].record.finished.arrival)
    counts = np.bincount(arrivals.astype(int), minlength=1990)[:1990]
    assert counts.mean() == pytest.approx(5.0, rel=0.05)
    assert counts.var() / counts.mean() == pytest.approx(1.0, abs=0.15)


def test_a_trace_begins_when_it_is_asked_for_and_a_day_goes_by_the_clock() -> None:
    trace = Stream("chat", Trace((0.0, 1.0, 3.0), (10, 20, 30), (5, 5, 5)))
    e = engines()
    e.sync([pod()], [workload()])
    e.sync([pod()], [workload(0.0)])
    advance(e, 100.0)
    begun = e.pools[CHAT].offered
    e.sync([pod()], [workload(stream=trace)])
    advance(e, 110.0)
    done = e.pools[CHAT].record.finished
    assert done.arrival[-3:].tolist() == pytest.approx([100.0, 101.0, 103.0])
    assert done.in_tokens[-3:].tolist() == [10, 20, 30]
    assert e.pools[CHAT].offered == begun + 3

    day = Days(2.0, swing=0.9, peak=12 * 3600.0, noise=0.0, bursts=0.0)
    lengths = Lengths(50), Lengths(5)
    e = engines()
    e.sync([], [workload(0.0)])
    e.advance(11.9 * 3600.0)
    e.sync([], [workload(stream=Stream("chat", day, *lengths))])
    assert e.pools[CHAT].offered == 0
    e.advance(12.1 * 3600.0)
    assert e.pools[CHAT].offered == pytest.approx(2.0 * 1.9 * 720, rel=0.1), "noon, and not midnight"
    louder = msgspec.structs.replace(day, rate=4.0)
    e.sync([], [workload(stream=Stream("chat", louder, *lengths))])
    before = e.pools[CHAT].offered
    e.advance(12.3 * 3600.0)
    assert e.pools[CHAT].offered - before == pytest.approx(4.0 * 1.9 * 720, rel=0.1)


def test_stages_begin_when_they_are_asked_for() -> None:
    ramp = Stream("chat", Stages((Stage(10.0, 20.0), Stage(0.0, 1.0))), Lengths(50), Lengths(5))
    e = engines()
    e.advance(50.0)
    e.sync([pod()], [workload(stream=ramp)])
    advance(e, 150.0)
    arrivals = e.pools[CHAT].record.finished.arrival
    assert 120 < arrivals.size < 290
    assert arrivals.min() >= 50.0
    assert arrivals.max() <= 70.0


def test_the_same_seed_gives_the_same_pages_however_time_is_cut() -> None:
    pages = []
    for step in (0.3, 2.0):
        e = engines(5)
        e.sync([pod("chat-1"), pod("chat-2")], [workload(6.0)])
        advance(e, 60.0, step)
        e.sync([pod("chat-2"), pod("chat-1")], [workload(9.0)])
        advance(e, 120.0, step)
        pages.append(e.metrics("ns", "chat-2"))
    assert figures(pages[0]) == pytest.approx(figures(pages[1]), rel=1e-9)
    other = engines(6)
    other.sync([pod("chat-1"), pod("chat-2")], [workload(6.0)])
    advance(other, 120.0)
    assert figures(other.metrics("ns", "chat-2")) != pytest.approx(figures(pages[0]), rel=1e-3)


def test_servers_and_namespaces_do_not_share_requests() -> None:
    e = engines()
    e.sync(
        [pod("a", server="one"), pod("a", namespace="other", server="one"), pod("b", server="two")],
        [workload(4.0, server="one"), workload(2.0, server="two", name="w2")],
    )
    advance(e, 100.0)
    assert figures(e.metrics("ns", "a"))["vllm:request_success_total"] > 300
    assert figures(e.metrics("other", "a"))["vllm:request_success_total"] == 0
    assert 120 < figures(e.metrics("ns", "b"))["vllm:request_success_total"] < 280
    first, second = (e.pools[Name("ns", name)].record.finished.in_tokens[:20] for name in ("one", "two"))
    assert first.tolist() != second.tolist()


def test_two_workloads_of_one_server_share_the_requests_of_both() -> None:
    e = engines()
    fast, slow = pod("f"), pod("s", workload="chat-on-slow", accelerator="slow")
    e.sync([fast, slow], [workload(3.0), workload(3.0, name="chat-on-slow")])
    advance(e, 200.0)
    pool = e.pools[CHAT]
    assert pool.offered == pytest.approx(1200, abs=4 * 1200**0.5)
    itl = {}
    for name in ("f", "s"):
        page = figures(e.metrics("ns", name))
        itl[name] = (
            page["vllm:inter_token_latency_seconds_sum"] / page["vllm:inter_token_latency_seconds_count"]
        )
        assert page["vllm:request_success_total"] > 200
    assert itl["s"] > 3 * itl["f"]


def test_another_batch_or_accelerator_takes_over_and_the_counters_go_on() -> None:
    e = engines()
    e.sync([pod(max_batch_size=64)], [workload(8.0)])
    advance(e, 60.0)
    before = figures(e.metrics("ns", "chat-1"))
    e.sync([pod(max_batch_size=8, accelerator="slow")], [workload(8.0)])
    at_once = figures(e.metrics("ns", "chat-1"))
    assert at_once == before
    advance(e, 180.0)
    after = figures(e.metrics("ns", "chat-1"))
    assert after["vllm:num_requests_running"] == 8
    for key in before:
        if key.endswith(("_total", "_count", "_sum")):
            assert after[key] >= before[key]
    assert after["vllm:request_success_total"] == e.pools[CHAT].record.served
    assert len(e.pools[CHAT].replicas.active) == 1
    assert e.pools[CHAT].record.lost == 0


def test_a_pod_made_anew_under_the_same_name_begins_at_zero() -> None:
    e = engines()
    e.sync([pod()], [workload()])
    advance(e, 60.0)
    e.sync([pod(uid="another")], [workload()])
    assert figures(e.metrics("ns", "chat-1"))["vllm:request_success_total"] == 0
    advance(e, 100.0)
    assert e.pools[CHAT].record.lost == 0
    assert figures(e.metrics("ns", "chat-1"))["vllm:request_success_total"] < e.pools[CHAT].record.served


def test_a_pod_that_turns_unready_takes_no_requests_until_it_is_ready_again() -> None:
    e = engines()
    two = [pod("chat-1"), pod("chat-2")]
    e.sync(two, [workload()])
    advance(e, 60.0)
    e.sync([pod("chat-1", ready_since=None), two[1]], [workload()])
    advance(e, 90.0)
    page = figures(e.metrics("ns", "chat-1"))
    assert page["vllm:num_requests_running"] == 0
    advance(e, 100.0)
    assert figures(e.metrics("ns", "chat-1")) == page
    e.sync(two, [workload()])
    advance(e, 110.0)
    assert (
        figures(e.metrics("ns", "chat-1"))["vllm:generation_tokens_total"]
        > page["vllm:generation_tokens_total"]
    )


def test_what_cannot_run_is_noted_and_has_no_page() -> None:
    e = engines()
    e.sync([pod(accelerator="nothing"), pod("chat-2")], [workload()])
    assert e.notes == {Name("ns", "chat-1"): "there is no such card"}
    with pytest.raises(KeyError):
        e.metrics("ns", "chat-1")
    assert [p.name for p in e.pods] == ["chat-2"]
    e.sync([pod(), pod("chat-2")], [workload()])
    assert e.notes == {}
    assert len(e.pods) == 2


def test_a_server_that_is_gone_is_forgotten() -> None:
    e = engines()
    e.sync([pod()], [workload()])
    advance(e, 10.0)
    e.sync([], [])
    assert CHAT in e.pools, "it still finishes"
    advance(e, 45.0)
    e.sync([], [])
    assert e.pools == {}


def test_a_request_that_no_pod_can_hold_fails() -> None:
    e = engines()
    e.sync([pod()], [workload(1.0, 120_000, 10)])
    advance(e, 60.0)
    (report,) = e.report()
    assert report.failed > 10
    assert e.pools[CHAT].record.lost == report.failed


def test_so_many_requests_and_no_more_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flyball.sandbox.engines.pool.MOST_REQUESTS", 50)
    e = engines()
    e.sync([], [workload(10.0)])
    advance(e, 60.0)
    pool = e.pools[CHAT]
    assert pool.replicas.queued == 50
    assert pool.turned_away == pool.record.lost == pool.offered - 50 > 400


def test_the_report_counts_what_kept_to_the_targets() -> None:
    e = engines()
    targets = (Target("ttft", 0.06, 0.95), Target("itl", 0.014))
    e.sync([pod()], [workload(targets=targets)])
    advance(e, 300.0)
    (report,) = e.report()
    done = e.pools[CHAT].record.finished
    kept = ((done.ttft <= 0.06) & (done.tpot <= 0.014)).sum()
    assert report.limits == {"ttft": 0.06, "itl": 0.014}
    assert (report.finished, report.attained) == (done.arrival.size, kept)
    assert 0 < report.attained < report.finished
    assert report.share == pytest.approx(kept / done.arrival.size)
    assert report.ttft["p95"] == pytest.approx(np.quantile(done.ttft, 0.95))
    (later,) = e.report(since=200.0, until=250.0)
    inside = (done.arrival >= 200.0) & (done.arrival < 250.0)
    assert later.finished == inside.sum()
    (loose,) = e.report(targets=[Target("ttft", 100.0)])
    assert loose.share == 1.0
    (none,) = e.report(since=1e6)
    assert none.share is None


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(0, 7), st.floats(0.0, 12.0), st.booleans()), min_size=1, max_size=12))
def test_no_request_is_lost_from_the_books(looks: list[tuple[int, float, bool]]) -> None:
    """Whatever comes and goes: each request offered is served, failed, or still there."""
    e = engines(compiled=False)
    for number, (which, rate, node) in enumerate(looks):
        pods = [
            pod(f"p{i}", max_batch_size=4 + 4 * (number % 2), grace=3.0) for i in range(3) if which & 1 << i
        ]
        e.sync(pods, [workload(rate, 200, 20)], {"n0"} if node else set())
        advance(e, e.time + 2.0)
        pool = e.pools[CHAT]
        over = pool.record.served + pool.record.lost
        assert over + pool.replicas.present == pool.offered
        assert len(pool.replicas.route) == (bin(which & 7).count("1") if node else 0)
        assert all(figures(e.metrics("ns", p.name)) for p in e.pods)
