"""The lease against a real API server: who holds it, who may think so, and when another one takes over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.lease import DURATION, RENEW_DEADLINE, RETRY, Lease
from flyball.sandbox.cluster import Sandbox
from tests.adapters.kubernetes.governing import Time
from tests.clusters import eventually

pytestmark = pytest.mark.slow


@pytest.fixture
def api(sandbox: Sandbox) -> Iterator[Api]:
    api = Api(sandbox.kubeconfig)
    yield api
    api.close()


def test_the_first_gets_it_and_the_second_waits(api: Api, namespace: str) -> None:
    first, second = (Lease(api, namespace, name, now=Time()) for name in ("first", "second"))
    assert 0 < first.step() <= RETRY
    assert first.holds()
    assert first.confirm()
    assert 0 < second.step() <= RETRY
    assert not second.holds()
    assert not second.confirm()
    assert second.holder == "first"


def test_it_is_ours_only_until_the_renew_deadline(api: Api, namespace: str) -> None:
    clock = Time()
    lease = Lease(api, namespace, "first", now=clock)
    lease.step()
    clock.seconds += RENEW_DEADLINE - 0.1
    assert lease.holds()
    clock.seconds += 0.1
    assert not lease.holds()
    lease.step()
    assert lease.holds()
    assert lease.term == 0  # nobody else had it


def test_another_takes_over_no_sooner_than_it_expires_and_within_a_retry(api: Api, namespace: str) -> None:
    clock = Time()
    first, second = (Lease(api, namespace, name, now=clock) for name in ("first", "second"))
    first.step()
    renewed = clock.seconds
    while True:
        wait = second.step()
        assert not (first.holds() and second.holds())
        if second.holds():
            break
        clock.seconds += wait
    assert clock.seconds <= renewed + DURATION + RETRY
    assert clock.seconds >= renewed + DURATION
    assert second.term == 1
    first.step()
    assert not first.holds()
    assert first.holder == "second"


def test_renewals_are_seen_and_wall_clocks_are_not(api: Api, namespace: str) -> None:
    clock = Time()
    first, second = (Lease(api, namespace, name, now=clock) for name in ("first", "second"))
    for _ in range(10):
        first.step()
        second.step()
        clock.seconds += RENEW_DEADLINE - 1.0
        assert first.holds()
    assert not second.holds()
    # The written time is from long ago by any wall clock that is wrong; the record has only just changed.
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/flyball"
    api.patch(path, {"spec": {"renewTime": "2001-01-01T00:00:00.000000Z"}}, dict)
    second.step()
    clock.seconds += DURATION - 0.1
    second.step()
    assert not second.holds()


def test_what_was_given_back_is_taken_at_once(api: Api, namespace: str) -> None:
    clock = Time()
    first, second = (Lease(api, namespace, name, now=clock) for name in ("first", "second"))
    first.step()
    second.step()
    first.stop()
    assert not first.holds()
    second.step()
    assert second.holds()
    first.stop()  # again: it does not give back what is another's
    assert second.confirm()


def test_a_new_term_begins_after_somebody_else_had_it(api: Api, namespace: str) -> None:
    first, second = (Lease(api, namespace, name, now=Time()) for name in ("first", "second"))
    first.step()
    term = first.term
    first.stop()
    second.step()
    second.stop()
    first.step()
    assert first.holds()
    assert first.term != term


def test_a_lease_that_was_deleted_is_made_again(api: Api, namespace: str) -> None:
    lease = Lease(api, namespace, "first", now=Time())
    lease.step()
    api.delete(f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/flyball")
    lease.step()
    lease.step()
    assert lease.confirm()


def test_times_that_leave_no_margin_are_refused(api: Api) -> None:
    with pytest.raises(ValueError, match="must be in this order"):
        Lease(api, "default", duration=10.0, renew_deadline=10.0)


PROCESS = """
import sys, time
from pathlib import Path
from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.lease import Lease

kubeconfig, namespace = sys.argv[1:]
with Lease(Api(Path(kubeconfig)), namespace, "stopped", duration=3.0, renew_deadline=2.0, retry=0.4) as lease:
    while not lease.holds():
        time.sleep(0.02)
    print("holds", flush=True)
    while lease.holds():  # as whoever writes would ask, before each write
        time.sleep(0.001)
    print("lost", flush=True)
    time.sleep(60)
"""


def test_a_process_that_was_stopped_past_its_lease_finds_that_it_is_lost(
    sandbox: Sandbox, api: Api, namespace: str
) -> None:
    command = [sys.executable, "-c", PROCESS, str(sandbox.kubeconfig), namespace]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "holds\n"
            os.kill(process.pid, signal.SIGSTOP)
            with Lease(api, namespace, "other", duration=3.0, renew_deadline=2.0, retry=0.4) as other:
                eventually(other.holds)
                os.kill(process.pid, signal.SIGCONT)
                assert process.stdout.readline() == "lost\n"
                time.sleep(1.0)  # the resumed one tries again meanwhile
                assert other.confirm()
                assert other.holder == "other"
        finally:
            process.kill()
