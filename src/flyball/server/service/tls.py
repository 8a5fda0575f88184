"""The certificate of a service, taken in again when its files change."""

from __future__ import annotations

import ssl
from pathlib import Path


class Certificate:
    """A TLS context (1.2 and newer) from PEM files; ValueError where they do not make one at the start."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self.certificate, self.key = certificate, key
        self._seen: tuple[bytes, bytes] | str = ""
        self.context = _context()
        # It is never loaded anew: a handshake that came in between would have half a pair.
        self.context.sni_callback = self._hand_out  # for every handshake, whether it names a server or not
        problem = self.renew()
        if problem:
            raise ValueError(problem)

    def renew(self) -> str | None:
        """Take in changed files for connections to come; None if so, "" if nothing is new, or what is bad.

        A pair that does not fit is refused as a whole, and the old one stays.
        """
        seen: tuple[bytes, bytes] | str
        try:
            seen = (self.certificate.read_bytes(), self.key.read_bytes())
        except OSError as error:
            seen = f"{error.filename}: cannot be read ({error.strerror})"
        if seen == self._seen:
            return ""
        self._seen = seen
        if isinstance(seen, str):
            return seen
        try:
            fresh = _context()
            fresh.load_cert_chain(self.certificate, self.key, password=_no_password)
        except (ssl.SSLError, OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            return f"{self.certificate} and {self.key} are not a certificate and its key ({reason})"
        self._newest = fresh
        return None

    def _hand_out(self, connection: ssl.SSLObject, *_: object) -> None:
        connection.context = self._newest


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _no_password() -> str:
    """Else OpenSSL would ask for it on the terminal."""
    raise ValueError("the key is encrypted: give one without a password")
