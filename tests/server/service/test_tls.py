"""TLS with real certificates, changed while it serves."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
from pathlib import Path

import httpx2
import pytest

from flyball.server.service.run import Options, Serving
from flyball.server.service.tls import Certificate
from tests.server.service.conftest import running
from tests.server.service.sample import sample
from tests.server.service.test_limits import until

OPENSSL = shutil.which("openssl")
pytestmark = pytest.mark.skipif(OPENSSL is None, reason="no openssl here to make certificates with")


def made(folder: Path, name: str, *more: str) -> tuple[Path, Path]:
    """A certificate of its own authority, and its key."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    command = f"{OPENSSL} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 2 -subj /CN={name}"
    command += " -addext subjectAltName=IP:127.0.0.1"
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *files, *(more or ["-nodes"])], check=True, capture_output=True)
    return certificate, key


def shown(url: str) -> str:
    """The certificate that a new connection gets."""
    host, port = url.removeprefix("https://").split(":")
    return ssl.get_server_certificate((host, int(port)))


def test_a_rotated_certificate_is_shown_and_a_bad_one_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (one, one_key), (other, other_key) = made(tmp_path, "one"), made(tmp_path, "other")
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    shutil.copy(one, certificate)
    shutil.copy(one_key, key)
    told = ""

    def complaints() -> int:
        nonlocal told
        told += capsys.readouterr().err
        return told.count("stays in use")

    with running(sample(), certificate=certificate, key=key, log="json") as url:
        assert url.startswith("https://")
        trust = ssl.create_default_context(cafile=str(one))
        kept = httpx2.Client(verify=trust)
        assert kept.get(f"{url}/things/a").json() == {"name": "a"}
        with pytest.raises(httpx2.ConnectError, match="certificate verify failed"):
            httpx2.get(f"{url}/things/a", verify=ssl.create_default_context(cafile=str(other)))

        shutil.copy(other_key, key)  # the key of another one
        until(lambda: complaints() == 1)
        assert shown(url) == one.read_text()

        shutil.copy(other, certificate)
        until(lambda: shown(url) == other.read_text())
        assert kept.get(f"{url}/things/a").status_code == 200  # a connection that stands goes on
        kept.close()

        key.unlink()
        until(lambda: complaints() == 2)
        trust = ssl.create_default_context(cafile=str(other))
        assert httpx2.get(f"{url}/things/a", verify=trust).status_code == 200

        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_ciphers("DEFAULT:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        host, port = url.removeprefix("https://").split(":")
        with socket.create_connection((host, int(port))) as sock, pytest.raises((ssl.SSLError, OSError)):
            old.wrap_socket(sock)


def handshake(context: ssl.SSLContext) -> str:
    """The certificate that a client gets, without any network."""
    asking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    asking.check_hostname, asking.verify_mode = False, ssl.CERT_NONE
    one, other = ssl.MemoryBIO(), ssl.MemoryBIO()
    client, server = asking.wrap_bio(one, other), context.wrap_bio(other, one, server_side=True)
    for side in (client, server, client, server):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    shown = client.getpeercert(binary_form=True)
    assert shown
    return ssl.DER_cert_to_PEM_cert(shown)


def test_files_that_change_while_they_are_read_spoil_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one, one_key), (other, other_key) = made(tmp_path, "one"), made(tmp_path, "other")
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    shutil.copy(one, certificate)
    shutil.copy(one_key, key)
    kept = Certificate(certificate, key)
    load = ssl.SSLContext.load_cert_chain

    def swapped(context: ssl.SSLContext, *args: object, **more: object) -> None:
        load(context, *args, **more)  # type: ignore[arg-type]
        shutil.copy(one_key, key)  # of another pair, just now

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", swapped)
    shutil.copy(other, certificate)
    shutil.copy(other_key, key)
    assert kept.renew() is None
    assert handshake(kept.context) == other.read_text()
    assert "mismatch" in str(kept.renew()).lower()
    assert handshake(kept.context) == other.read_text()


def test_what_is_no_pair_is_refused_at_the_start(tmp_path: Path) -> None:
    (one, one_key), (_, other_key) = made(tmp_path, "one"), made(tmp_path, "other")
    locked, locked_key = made(tmp_path, "locked", "-passout", "pass:secret")
    with pytest.raises(ValueError, match=r"(?i)mismatch"):
        Certificate(one, other_key)
    with pytest.raises(ValueError, match="the key is encrypted"):
        Certificate(locked, locked_key)
    with pytest.raises(ValueError, match=r"none\.pem: cannot be read"):
        Certificate(tmp_path / "none.pem", one_key)
    with pytest.raises(ValueError, match="not a certificate and its key"):
        Serving(sample(), Options(port=0, certificate=one_key, key=one))
