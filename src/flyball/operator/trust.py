"""Certificates for the webhooks, kept in a Secret that all replicas share, and trusted by the API server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.errors import Conflict
from flyball.adapters.kubernetes.governed import Kind
from flyball.adapters.kubernetes.webhook import SecretFiles, trust
from flyball.operator.certificates import Keys, renewed
from flyball.units import Seconds

SECRET = "flyball-webhook"
FILES = {"authorities": "ca.crt", "authority_key": "ca.key", "certificate": "tls.crt", "key": "tls.key"}
TRIES = 5
EVERY: Seconds = 60.0
"""Between looks; one request each, while nothing ends."""


class Trust:
    """Keeps a certificate in two files, for `Serving`, and what signed it in the webhooks' configurations."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        names: Sequence[str],
        folder: Path,
        configurations: Sequence[tuple[Kind, str]],
        said: Callable[[str], None],
        *,
        every: Seconds = EVERY,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`names`: under which the API server reaches us; `folder`: for the two files, ours alone."""
        self.certificate, self.key = folder / "tls.crt", folder / "tls.key"
        self.authorities = b""
        self._api, self._secret = api, SecretFiles(api, namespace, SECRET)
        self._names, self._configurations, self._said = names, configurations, said
        self._every, self._now = every, now
        self._told = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flyball-trust", daemon=True)

    def start(self) -> None:
        """Have the files, and look after them from now on. ClusterError."""
        self.step()
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def step(self) -> None:
        """Have keys that are good, in the Secret, the files and the configurations. ClusterError."""
        keys = self._shared()
        self.authorities = keys.authorities
        # Whom to trust goes first: a certificate that nobody trusts yet would be refused.
        for kind, name in self._configurations:
            trust(self._api, kind, name, keys.authorities)
        for path, data in ((self.certificate, keys.certificate), (self.key, keys.key)):
            if not path.exists() or path.read_bytes() != data:
                path.touch(mode=0o600)
                path.write_bytes(data)

    def _shared(self) -> Keys:
        for _ in range(TRIES):
            files = self._secret.read()
            there = None
            if all(name in files for name in FILES.values()):
                there = Keys(**{field: files[name] for field, name in FILES.items()})
            keys = renewed(there, self._names, self._now())
            if keys is there or self._secret.write(
                {FILES[name]: data for name, data in msgspec.structs.asdict(keys).items()}
            ):
                return keys
        raise Conflict("PUT", SECRET, 409, "Conflict", "others write the Secret all the time")

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            try:
                self.step()
                problem = ""
            except Exception as error:  # whatever it is: a thread that ends would renew nothing more
                problem = str(error) or type(error).__name__
            if problem and problem != self._told:
                self._said(f"the webhooks' certificate is not looked after: {problem}")
            self._told = problem
