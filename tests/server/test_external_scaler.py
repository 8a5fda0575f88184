"""KEDA's external scaler, asked by a real gRPC client."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from msgspec.structs import replace

from flyball.adapters.kubernetes.targets import targets_of
from flyball.adapters.kubernetes.wanted import Wanted
from flyball.server.external_scaler import ExternalScaler, Options
from tests.adapters.kubernetes.governing import cluster, order, workload
from tests.clusters import eventually
from tests.server.service.test_tls import OPENSSL, made

CODE = grpc.StatusCode
NAMED = "0a10" + b"desired-replicas".hex()
ACTIVE, IDLE = b"\x08\x01", b""


class Clock:
    time = 100.0

    def __call__(self) -> float:
        return self.time


@contextmanager
def serving(wanted: Wanted, leads: Any = lambda: True, **listen: Any) -> Iterator[ExternalScaler]:
    scaler = ExternalScaler(wanted, Options(**{"port": 0, **listen}), leads)
    scaler.start()
    try:
        yield scaler
    finally:
        scaler.stop()


def part(field: int, data: bytes) -> bytes:
    return bytes([field << 3 | 2, len(data)]) + data


def ref(name: str = "x", namespace: str = "serving", **metadata: str) -> bytes:
    entries = b"".join(part(3, part(1, k.encode()) + part(2, v.encode())) for k, v in metadata.items())
    return part(1, name.encode()) + part(2, namespace.encode()) + entries


def ask(channel: grpc.Channel, method: str, request: bytes) -> bytes:
    answer: bytes = channel.unary_unary(f"/externalscaler.ExternalScaler/{method}")(request, timeout=20)
    return answer


def refused(channel: grpc.Channel, method: str, request: bytes) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as error:
        ask(channel, method, request)
    return error.value.code(), error.value.details()


def wanted(*replicas: tuple[str, int], good_for: float = 60.0, clock: Clock | None = None) -> Wanted:
    """Of servers in mode keda."""
    made = Wanted(good_for, now=clock or Clock())
    there = cluster(*(workload(server, mode="keda") for server, _ in replicas))
    made.show(there, targets_of(there, [order(server, n) for server, n in replicas])[0])
    return made


def test_keda_is_told_the_number_of_replicas_with_a_target_of_one() -> None:
    with (
        serving(wanted(("chat", 7), ("idle", 0))) as scaler,
        grpc.insecure_channel(scaler.address) as channel,
    ):
        spec = ask(channel, "GetMetricSpec", ref(server="chat"))
        assert spec.hex() == "0a1d" + NAMED + "100119000000000000f03f"
        request = part(1, ref(server="chat")) + part(2, b"desired-replicas")
        assert ask(channel, "GetMetrics", request).hex() == "0a1d" + NAMED + "1007190000000000001c40"
        assert ask(channel, "IsActive", ref(server="chat")) == ACTIVE
        assert ask(channel, "GetMetrics", part(1, ref(server="idle"))).hex() == "0a12" + NAMED
        assert ask(channel, "IsActive", ref(server="idle")) == IDLE
        status, _ = refused(channel, "StreamMetricSpec", ref())  # KEDA does without
        assert status == CODE.UNIMPLEMENTED


def test_a_scaled_object_with_a_workloads_name_needs_no_metadata() -> None:
    with serving(wanted(("chat", 3))) as scaler, grpc.insecure_channel(scaler.address) as channel:
        assert ask(channel, "IsActive", ref("chat-h100")) == ACTIVE
        assert ask(channel, "IsActive", ref("other", workload="chat-h100")) == ACTIVE


def test_who_is_unknown_is_told_who_is_known_in_its_namespace_only() -> None:
    with serving(wanted(("chat", 3))) as scaler, grpc.insecure_channel(scaler.address) as channel:
        status, said = refused(channel, "GetMetrics", part(1, ref(server="char")))
        assert status == CODE.NOT_FOUND
        assert "no server char is governed in this namespace. Servers here: chat" in said
        status, said = refused(channel, "IsActive", ref("chat-h100", "elsewhere", server="chat"))
        assert status == CODE.NOT_FOUND
        assert "Servers here: none" in said
        assert ask(channel, "GetMetricSpec", ref(server="char")) != b""  # so that KEDA can fall back


def test_several_workloads_of_a_server_are_told_apart() -> None:
    both = [workload("chat", accelerator, mode="keda") for accelerator in ("H100", "A100")]
    there = cluster(*both)
    many = Wanted(now=Clock())
    many.show(there, targets_of(there, [order("chat", 2), order("chat", 0, "A100")])[0])
    with serving(many) as scaler, grpc.insecure_channel(scaler.address) as channel:
        status, said = refused(channel, "IsActive", ref(server="chat"))
        assert status == CODE.NOT_FOUND
        assert "chat has several workloads, chat-a100, chat-h100" in said
        assert ask(channel, "IsActive", ref(server="chat", workload="chat-a100")) == IDLE
        assert ask(channel, "IsActive", ref("chat-h100", server="chat")) == ACTIVE


def test_a_server_in_another_mode_is_not_keda_s() -> None:
    there = cluster(workload("chat", mode="act"))
    other = Wanted(now=Clock())
    other.show(there, targets_of(there, [order("chat", 3)])[0])
    with serving(other) as scaler, grpc.insecure_channel(scaler.address) as channel:
        status, said = refused(channel, "IsActive", ref(server="chat"))
        assert status == CODE.FAILED_PRECONDITION
        assert "is in mode act: set the annotation flyball.dev/mode: keda" in said


def test_what_is_frozen_is_not_told() -> None:
    why = "FLYBALL_FREEZE is set"
    there = cluster(workload("chat", mode="keda"))
    made = Wanted(frozen=lambda: why, now=Clock())
    targets, _ = targets_of(there, [order("chat", 3)])
    made.show(there, targets)
    with serving(made) as scaler, grpc.insecure_channel(scaler.address) as channel:
        status, said = refused(channel, "IsActive", ref(server="chat"))
        assert (status, said) == (CODE.FAILED_PRECONDITION, "all is frozen, FLYBALL_FREEZE is set")
        why = ""
        made.show(there, targets)
        assert ask(channel, "IsActive", ref(server="chat")) == ACTIVE


def test_old_numbers_are_none() -> None:
    clock = Clock()
    numbers = wanted(("chat", 3), ("code", 2), good_for=60.0, clock=clock)
    with serving(numbers) as scaler, grpc.insecure_channel(scaler.address) as channel:
        clock.time += 50.0
        assert ask(channel, "IsActive", ref(server="chat")) == ACTIVE
        there = cluster(
            workload("chat", mode="keda"), workload("code", mode="keda"), workload("new", mode="keda")
        )
        numbers.show(there, targets_of(there, [order("chat", 4)])[0])  # of code nothing was decided
        clock.time += 20.0
        assert ask(channel, "IsActive", ref(server="chat")) == ACTIVE
        status, said = refused(channel, "GetMetrics", part(1, ref(server="code")))
        assert (status, said) == (
            CODE.UNAVAILABLE,
            "the last decision for serving/code-h100 was made 70 s ago",
        )
        status, said = refused(channel, "GetMetrics", part(1, ref(server="new")))
        assert (status, said) == (CODE.UNAVAILABLE, "nothing was decided for serving/new-h100 yet")
        numbers.show(cluster(workload("chat", mode="keda")), ())
        assert refused(channel, "IsActive", ref(server="code"))[0] == CODE.NOT_FOUND


def test_before_the_first_decision_there_is_no_number() -> None:
    with serving(Wanted()) as scaler, grpc.insecure_channel(scaler.address) as channel:
        assert refused(channel, "IsActive", ref()) == (CODE.UNAVAILABLE, "there was no decision yet")


def test_what_is_no_message_is_refused() -> None:
    with serving(wanted(("chat", 3))) as scaler, grpc.insecure_channel(scaler.address) as channel:
        status, said = refused(channel, "IsActive", b"\x0a\x05abc")
        assert status == CODE.INVALID_ARGUMENT
        assert said == "no such message: field 1 ends beyond the message"
        assert refused(channel, "IsActive", b"a" * 100_000)[0] == CODE.RESOURCE_EXHAUSTED
        assert ask(channel, "IsActive", ref(server="chat")) == ACTIVE


def test_a_stream_tells_changes_and_ends_with_the_number() -> None:
    clock = Clock()
    numbers = wanted(("chat", 0), clock=clock)
    there = cluster(workload("chat", mode="keda"))
    with serving(numbers) as scaler, grpc.insecure_channel(scaler.address) as channel:
        stream = channel.unary_stream("/externalscaler.ExternalScaler/StreamIsActive")
        told = stream(ref(server="chat"), timeout=30)
        assert next(told) == IDLE
        numbers.show(there, targets_of(there, [order("chat", 2)])[0])
        assert next(told) == ACTIVE
        numbers.show(there, targets_of(there, [order("chat", 0)])[0])
        assert next(told) == IDLE
        clock.time += 61.0
        with pytest.raises(grpc.RpcError) as error:
            next(told)
        assert error.value.code() == CODE.UNAVAILABLE


def test_only_who_leads_listens() -> None:
    leading = True
    with (
        serving(wanted(("chat", 3)), lambda: leading) as scaler,
        grpc.insecure_channel(scaler.address) as channel,
    ):
        assert ask(channel, "IsActive", ref(server="chat")) == ACTIVE
        leading = False
        eventually(lambda: not_there(channel))
        with serving(wanted(("chat", 0)), port=scaler.port):  # another process may take the port
            pass
        leading = True
        eventually(lambda: not not_there(channel))


def not_there(channel: grpc.Channel) -> bool:
    try:
        ask(channel, "IsActive", ref(server="chat"))
    except grpc.RpcError as error:
        return bool(error.code() == CODE.UNAVAILABLE)
    return False


def test_a_port_that_is_taken_is_an_error() -> None:
    with serving(Wanted()) as scaler:
        second = ExternalScaler(Wanted(), Options(port=scaler.port))
        with pytest.raises(ValueError, match=f"cannot listen on 127.0.0.1:{scaler.port}"):
            second.start()


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"port": 70_000}, "port is 70000: a port is a number from 0"),
        ({"certificate": Path("a")}, "a certificate and no key: TLS wants both"),
        ({"key": Path("a")}, "a key and no certificate: TLS wants both"),
    ],
)
def test_wrong_options(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Options(**given)
    with pytest.raises(ValueError, match=r"none\.pem: cannot be read"):
        ExternalScaler(Wanted(), Options(certificate=Path("none.pem"), key=Path("none.key")))


@pytest.mark.skipif(OPENSSL is None, reason="no openssl here to make certificates with")
def test_tls_with_a_certificate_that_is_changed_meanwhile(tmp_path: Path) -> None:
    (one, one_key), (other, other_key) = made(tmp_path, "one"), made(tmp_path, "other")
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    shutil.copy(one, certificate)
    shutil.copy(one_key, key)

    def answered(authority: Path) -> bool:
        trust = grpc.ssl_channel_credentials(authority.read_bytes())
        # Channels to one place share connections, unless their options differ.
        with grpc.secure_channel(scaler.address, trust, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            try:
                return ask(channel, "IsActive", ref(server="chat")) == ACTIVE
            except grpc.RpcError as error:
                return bool(error.code() != CODE.UNAVAILABLE)

    with serving(wanted(("chat", 3)), certificate=certificate, key=key) as scaler:
        assert answered(one)
        assert not answered(other)
        with grpc.insecure_channel(scaler.address) as channel:
            assert refused(channel, "IsActive", ref(server="chat"))[0] == CODE.UNAVAILABLE
        shutil.copy(other_key, key)  # a half is not taken
        assert answered(one)
        shutil.copy(other, certificate)
        assert answered(other)
        assert not answered(one)


def test_what_goes_up_is_within_the_bounds_of_the_workload() -> None:
    bounded = replace(workload("chat", mode="keda"), least=2, most=5)
    numbers = Wanted(now=Clock())
    for ordered, told in ((9, 5), (0, 2)):
        numbers.show(cluster(bounded), targets_of(cluster(bounded), [order("chat", ordered)])[0])
        assert numbers.replicas("serving", server="chat") == told
