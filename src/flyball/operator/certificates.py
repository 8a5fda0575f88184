"""The webhooks' own authority and certificate: made, and made anew long before they end."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY = timedelta(days=730)
CERTIFICATE = timedelta(days=90)
EARLIER = timedelta(hours=1)
"""Before now they begin, for clocks that differ."""
RENEWED_AT = 2 / 3
"""Of its life a certificate is replaced."""


class Keys(msgspec.Struct, frozen=True):
    """PEM texts. `authorities`: the newest first, then those that still sign what is in use somewhere."""

    authorities: bytes
    authority_key: bytes
    certificate: bytes
    key: bytes


def renewed(keys: Keys | None, names: Sequence[str], now: datetime) -> Keys:
    """Keys that are good for names (DNS names and addresses): the same object where they are still.

    `now`: aware. What cannot be read is made anew.
    """
    try:
        return _made(names, now) if keys is None else _kept(keys, names, now)
    except (ValueError, InvalidSignature):
        return _made(names, now)


def ends(keys: Keys) -> datetime:
    """When the certificate ends."""
    return x509.load_pem_x509_certificate(keys.certificate).not_valid_after_utc


def _kept(keys: Keys, names: Sequence[str], now: datetime) -> Keys:
    authorities = x509.load_pem_x509_certificates(keys.authorities)
    newest = authorities[0]
    if not _is_young(newest, now):
        fresh = _made(names, now)
        still = [each for each in authorities if each.not_valid_after_utc > now]
        # Whoever trusts the old bundle only, or still has the old certificate, goes on.
        return msgspec.structs.replace(fresh, authorities=fresh.authorities + b"".join(map(_pem, still[:1])))
    certificate = x509.load_pem_x509_certificate(keys.certificate)
    certificate.verify_directly_issued_by(newest)
    own = serialization.load_pem_private_key(keys.key, None)
    fits = own.public_key() == certificate.public_key()
    if fits and _is_young(certificate, now) and set(names) <= _names(certificate):
        return keys
    key = serialization.load_pem_private_key(keys.authority_key, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != newest.public_key():
        raise ValueError("the authority's key is another one's")
    signed, secret = _signed(newest, key, names, now)
    return msgspec.structs.replace(keys, certificate=signed, key=secret)


def _made(names: Sequence[str], now: datetime) -> Keys:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"flyball-{now:%Y%m%d%H%M%S}")])
    built = _dated(x509.CertificateBuilder(), now, AUTHORITY).subject_name(name).issuer_name(name)
    usage = {"digital_signature": True, "key_cert_sign": True, "crl_sign": True}
    authority = (
        built.public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate, secret = _signed(authority, key, names, now)
    return Keys(_pem(authority), _secret(key), certificate, secret)


def _signed(
    authority: x509.Certificate, key: ec.EllipticCurvePrivateKey, names: Sequence[str], now: datetime
) -> tuple[bytes, bytes]:
    own = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    built = _dated(x509.CertificateBuilder(), now, CERTIFICATE).subject_name(subject)
    certificate = (
        built.issuer_name(authority.subject)
        .public_key(own.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()),  # type: ignore[arg-type]
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    return _pem(certificate), _secret(own)


def _dated(builder: x509.CertificateBuilder, now: datetime, life: timedelta) -> x509.CertificateBuilder:
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - EARLIER).not_valid_after(now + life)


def _is_young(certificate: x509.Certificate, now: datetime) -> bool:
    begins, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return begins <= now < begins + (end - begins) * RENEWED_AT


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _names(certificate: x509.Certificate) -> set[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    addresses = found.get_values_for_type(x509.IPAddress)
    return {*found.get_values_for_type(x509.DNSName), *map(str, addresses)}


def _usage(**on: bool) -> x509.KeyUsage:
    off = dict.fromkeys(
        (
            *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
            *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
        ),
        False,
    )
    return x509.KeyUsage(**(off | on))


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _secret(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
