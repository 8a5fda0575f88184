"""Tokens and TLS against a service that asks for them; and what the client needs to start."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flyball.client import CallError, QueueClient
from flyball.server.queue import EXAMPLE, service
from tests.server.service.conftest import running
from tests.server.service.test_tls import made

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")


def test_a_token_is_asked_for(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("right\n")
    with running(service(), token_file=tokens) as url:
        with QueueClient(url, token_file=tokens) as client:
            assert client.solve(EXAMPLE).throughput > 0
        for options, words in (({}, "Give a token"), ({"token": "wrong"}, "none of the service's")):
            with QueueClient(url, **options) as client:
                with pytest.raises(CallError, match=words) as caught:
                    client.solve(EXAMPLE)
                assert caught.value.status == 401
                assert client.healthy()  # to everybody


def test_a_large_body_is_refused_in_words() -> None:
    with running(service()) as url, QueueClient(url) as client:
        with pytest.raises(CallError, match="Send less at once") as caught:
            client.solve(b" " * (2 * 2**20) + b"{}")
        assert caught.value.status == 413


@needs_openssl
def test_tls_with_an_authority_of_ones_own(tmp_path: Path) -> None:
    (one, key), (other, _) = made(tmp_path, "one"), made(tmp_path, "other")
    with running(service(), certificate=one, key=key) as url:
        with QueueClient(url, ca=one) as client:
            assert client.solve(EXAMPLE).throughput > 0
        with QueueClient(url, verify=False) as client:
            assert client.healthy()
        for ca in (None, other):
            with QueueClient(url, ca=ca) as client:
                with pytest.raises(CallError, match=r"certificate is not trusted .* authority") as caught:
                    client.solve(EXAMPLE)
                assert caught.value.status is None
                assert not client.healthy()
        with QueueClient(url.replace("https", "http")) as client, pytest.raises(CallError, match="https://"):
            client.solve(EXAMPLE)
    with (
        running(service()) as url,
        QueueClient(url.replace("http", "https")) as client,
        pytest.raises(CallError, match="Is it an http:// address"),
    ):
        client.solve(EXAMPLE)
    with pytest.raises(ValueError, match="Give a PEM file"):
        QueueClient("https://host", ca=key)


def test_the_client_needs_little() -> None:
    heavy = (
        "numpy",
        "litestar",
        "highspy",
        "uvicorn",
        "flyball.server",
        "flyball.decide",
        "flyball.profiles",
    )
    code = f"import sys; import flyball.client; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert found.stdout.strip() == "[]"
