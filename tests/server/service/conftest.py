"""A service on a real socket of this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flyball.server.service.run import Options, Serving
from flyball.server.service.service import Service

LONG = 60.0


@contextmanager
def serving(service: Service, **options: Any) -> Iterator[Serving]:
    """The service, answering in a thread, and all there is to know of it; `options` as in `Options`."""
    made = Serving(service, Options(**{"port": 0, "log": "off", **options}))
    thread = threading.Thread(target=made.run, name="service", daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.stop()
        thread.join(LONG)
        assert not thread.is_alive()


@contextmanager
def running(service: Service, **options: Any) -> Iterator[str]:
    """The service, answering in a thread; its address, without a slash at the end."""
    with serving(service, **options) as made:
        yield made.url.rstrip("/")
