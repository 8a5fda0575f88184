"""Certificates of webhooks: valid for their names, renewed in time, never a moment without trust."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from msgspec.structs import replace

from flyball.operator.certificates import AUTHORITY, CERTIFICATE, Keys, ends, renewed

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
NAMES = ("flyball-webhook.flyball.svc", "127.0.0.1")


def trusted(keys: Keys, by: bytes, name: str, at: datetime) -> bool:
    """Whether somebody who trusts a bundle takes the certificate as a name's."""
    store = Store(x509.load_pem_x509_certificates(by))
    verifier = PolicyBuilder().store(store).time(at).build_server_verifier(x509.DNSName(name))
    try:
        verifier.verify(x509.load_pem_x509_certificate(keys.certificate), [])
    except VerificationError:
        return False
    return True


def fits(keys: Keys) -> bool:
    key = serialization.load_pem_private_key(keys.key, None)
    return key.public_key() == x509.load_pem_x509_certificate(keys.certificate).public_key()


def test_made_where_there_are_none() -> None:
    keys = renewed(None, NAMES, NOW)
    assert trusted(keys, keys.authorities, NAMES[0], NOW)
    assert not trusted(keys, keys.authorities, "another.svc", NOW)
    assert ends(keys) == NOW + CERTIFICATE


@pytest.mark.parametrize("after", [timedelta(0), CERTIFICATE / 2])
def test_kept_while_they_are_young(after: timedelta) -> None:
    keys = renewed(None, NAMES, NOW)
    assert renewed(keys, NAMES, NOW + after) is keys


def test_the_certificate_is_renewed_by_the_same_authority() -> None:
    keys = renewed(None, NAMES, NOW)
    later = NOW + CERTIFICATE * 0.7
    fresh = renewed(keys, NAMES, later)
    assert fresh.authorities == keys.authorities
    assert ends(fresh) == later + CERTIFICATE
    assert trusted(fresh, keys.authorities, NAMES[0], later)


def test_a_new_name_makes_a_new_certificate() -> None:
    keys = renewed(None, NAMES, NOW)
    fresh = renewed(keys, (*NAMES, "other.svc"), NOW)
    assert trusted(fresh, keys.authorities, "other.svc", NOW)


def test_while_the_authority_changes_old_and_new_certificates_are_trusted() -> None:
    keys = renewed(None, NAMES, NOW)
    later = NOW + AUTHORITY * 0.6
    keys = renewed(keys, NAMES, later)
    while renewed(keys, NAMES, later).authorities == keys.authorities:  # day after day
        keys = renewed(keys, NAMES, later)
        later += timedelta(days=1)
    fresh = renewed(keys, NAMES, later)
    assert trusted(fresh, fresh.authorities, NAMES[0], later)
    assert trusted(keys, fresh.authorities, NAMES[0], later)
    assert later < NOW + AUTHORITY


@pytest.mark.parametrize("field", ["authorities", "authority_key", "certificate", "key"])
@pytest.mark.parametrize("value", [b"", b"damaged", "other"])
def test_what_cannot_be_used_is_made_anew(field: str, value: bytes | str) -> None:
    keys = renewed(None, NAMES, NOW)
    other = renewed(None, NAMES, NOW)
    damaged = replace(keys, **{field: getattr(other, field) if value == "other" else value})
    for later in (NOW, NOW + CERTIFICATE * 0.7):
        fresh = renewed(damaged, NAMES, later)
        assert trusted(fresh, fresh.authorities, NAMES[0], later)
        assert fits(fresh)
