"""The webhooks' keys: in a Secret that all replicas share, in files, and trusted."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flyball.adapters.kubernetes.errors import Conflict, NotFound
from flyball.adapters.kubernetes.webhook import SecretFiles
from flyball.operator.certificates import CERTIFICATE
from flyball.operator.trust import Trust
from tests.clusters import eventually


class Store:
    """An API server with one Secret; `meanwhile` is called ahead of each write."""

    def __init__(self) -> None:
        self.secret: dict[str, Any] | None = None
        self.version = 0
        self.writes = 0
        self.meanwhile = lambda: None
        self.namespace = True

    def api(self) -> Any:
        return self

    def get(self, path: str, kind: type[Any]) -> Any:
        if self.secret is None:
            raise NotFound("GET", path, 404, "NotFound", "")
        return msgspec.convert(self.secret, kind)

    def post(self, path: str, body: dict[str, Any], kind: type[Any], **params: str) -> Any:
        self.meanwhile()
        if not self.namespace:
            raise NotFound("POST", path, 404, "NotFound", "there is no such namespace")
        if self.secret is not None:
            raise Conflict("POST", path, 409, "AlreadyExists", "")
        return self._keep(path, body, kind)

    def put(self, path: str, body: dict[str, Any], kind: type[Any], **params: str) -> Any:
        self.meanwhile()
        if self.secret is None:
            raise NotFound("PUT", path, 404, "NotFound", "")
        if body["metadata"]["resourceVersion"] != self.secret["metadata"]["resourceVersion"]:
            raise Conflict("PUT", path, 409, "Conflict", "")
        return self._keep(path, body, kind)

    def _keep(self, path: str, body: dict[str, Any], kind: type[Any]) -> Any:
        self.version += 1
        self.writes += 1
        metadata = body["metadata"] | {"resourceVersion": str(self.version)}
        self.secret = {"metadata": metadata, "data": body["data"]}
        return self.get(path, kind)


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def trust(store: Store, folder: Path, clock: Clock) -> Trust:
    folder.mkdir(exist_ok=True)
    return Trust(store.api(), "here", ["flyball-webhook.here.svc"], folder, [], lambda text: None, now=clock)


def test_two_replicas_have_the_same(tmp_path: Path) -> None:
    store, clock = Store(), Clock()
    first, second = trust(store, tmp_path / "1", clock), trust(store, tmp_path / "2", clock)
    first.step()
    second.step()
    assert store.writes == 1
    assert first.certificate.read_bytes() == second.certificate.read_bytes()
    assert first.authorities == second.authorities
    assert first.key.stat().st_mode & 0o077 == 0


def test_two_at_once_end_with_the_same(tmp_path: Path) -> None:
    store, clock = Store(), Clock()
    first, second = trust(store, tmp_path / "1", clock), trust(store, tmp_path / "2", clock)

    def meanwhile() -> None:
        store.meanwhile = lambda: None
        second.step()

    store.meanwhile = meanwhile
    first.step()
    assert store.writes == 1
    assert first.key.read_bytes() == second.key.read_bytes()


def test_it_is_renewed_in_time_and_not_before(tmp_path: Path) -> None:
    store, clock = Store(), Clock()
    made = trust(store, tmp_path / "1", clock)
    made.step()
    before = made.certificate.read_bytes()
    clock.now += CERTIFICATE / 2
    made.step()
    assert (store.writes, made.certificate.read_bytes()) == (1, before)
    clock.now += CERTIFICATE / 4
    made.step()
    assert store.writes == 2
    assert made.certificate.read_bytes() != before


@pytest.mark.parametrize("data", [{}, {"tls.crt": "!!"}, {"tls.crt": "eA=="}])
def test_what_cannot_be_used_is_made_anew(tmp_path: Path, data: dict[str, str]) -> None:
    store, clock = Store(), Clock()
    store.secret = {"metadata": {"resourceVersion": "5"}, "data": data}
    made = trust(store, tmp_path / "1", clock)
    made.step()
    assert b"BEGIN CERTIFICATE" in made.certificate.read_bytes()


def test_without_the_namespace_that_is_said(tmp_path: Path) -> None:
    store = Store()
    store.namespace = False
    with pytest.raises(NotFound, match="no such namespace"):
        trust(store, tmp_path / "1", Clock()).step()


def test_a_secret_that_went_since_it_was_read_is_made_anew() -> None:
    store = Store()
    api: Any = store
    files = SecretFiles(api, "here", "keys")
    assert files.read() == {}
    assert files.write({"a": b"1"})
    assert files.write({"a": b"2"})
    store.secret = None
    assert not files.write({"a": b"3"})
    assert files.read() == {}
    assert files.write({"a": b"3"})
    assert files.read() == {"a": b"3"}
    other = SecretFiles(api, "here", "keys")
    other.read()
    assert other.write({"a": b"4"})
    assert not files.write({"a": b"5"})


def test_a_fault_ends_no_thread(tmp_path: Path) -> None:
    store, told = Store(), []
    made = Trust(store.api(), "here", ["a"], tmp_path, [], told.append, every=0.001, now=Clock())
    made.start()

    def fails(path: str, kind: type[Any]) -> Any:
        raise ValueError("a part that nobody thought of")

    store.get = fails  # type: ignore[method-assign]
    eventually(lambda: told)
    assert made._thread.is_alive()
    assert told == ["the webhooks' certificate is not looked after: a part that nobody thought of"]
    made.stop()
    assert not made._thread.is_alive()
