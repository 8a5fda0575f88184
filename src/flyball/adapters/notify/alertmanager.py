"""Tells Alertmanagers. Not a way to act: they group for half a minute and more."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from flyball.adapters.notify.alerts import Alert, Firing, Key, alert, firing
from flyball.adapters.notify.http import TIMEOUT, Http, NotifyError, bare, token_of
from flyball.power.tell import News
from flyball.units import Seconds

RESEND: Seconds = 60.0
LIVES = 4
"""Resends that may be missed before an alert ends by itself, as with Prometheus."""
BATCH = 500
"""Alerts of one request."""
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class _Manager:
    """One Alertmanager, and what it was told."""

    def __init__(self, url: str, token_file: Path | None, ca_file: Path | None, timeout: Seconds) -> None:
        self.http = Http(f"Alertmanager at {bare(url)}", url, ca_file=ca_file, timeout=timeout)
        self.token_file = token_file
        self.told: dict[Key, tuple[Firing, str]] = {}
        self.at: Seconds | None = None


class Alertmanager:
    """All Alertmanagers of a cluster, told each as Prometheus does. ValueError where an option is wrong."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        labels: Mapping[str, str] | None = None,
        token_file: Path | None = None,
        ca_file: Path | None = None,
        timeout: Seconds = TIMEOUT,
        resend: Seconds = RESEND,
        page: str = "",
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`urls`: before /api/v2; `labels`: put onto each alert, as the cluster's name; `token_file`: read
        for each request; `resend`: seconds, below their resolve_timeout; `page`: where an alert leads to."""
        if not urls:
            raise ValueError("there is no address of an Alertmanager: give one, as http://alertmanager:9093")
        if not resend > 0:
            raise ValueError(f"alerts are sent again after {resend:g} s: write seconds above 0")
        for name in labels or {}:
            if not _LABEL.fullmatch(name) or name in ("alertname", "severity"):
                raise ValueError(f"the label '{name}' cannot be put onto alerts: write letters, digits and _")
        self._labels, self._resend, self._page, self._wall = dict(labels or {}), resend, page, wall
        self._managers = [_Manager(url, token_file, ca_file, timeout) for url in urls]
        self._since: dict[Key, Seconds] = {}

    def close(self) -> None:
        """End its connections."""
        for one in self._managers:
            one.http.close()

    def tell(self, news: News) -> tuple[str, ...]:
        """Post what fires or ended, to all at once; what failed is posted again with the next news."""
        now, found = self._wall(), {f.key: f for f in firing(news, self._labels)}
        self._since = {key: self._since.get(key, now) for key in found}
        with ThreadPoolExecutor(len(self._managers), "alertmanager") as pool:
            problems = list(pool.map(lambda m: self._tell(m, found, now), self._managers))
        return tuple(p for p in problems if p)

    def _tell(self, manager: _Manager, found: Mapping[Key, Firing], now: Seconds) -> str:
        over = [(f, since) for key, (f, since) in manager.told.items() if key not in found]
        changed = {k: f.gist for k, f in found.items()} != {k: f.gist for k, (f, _) in manager.told.items()}
        due = manager.at is None or now - manager.at >= self._resend
        if not changed and not (due and found):
            return ""
        ends = now + LIVES * self._resend
        current = [alert(f, self._since[key], ends, self._page) for key, f in found.items()]
        resolved = [msgspec.structs.replace(alert(f, 0, now, self._page), startsAt=s) for f, s in over]
        try:
            self._post(manager, [*resolved, *current])
        except NotifyError as error:
            return str(error)
        manager.told = {a.key: (found[a.key], a.startsAt) for a in current}
        manager.at = now
        return ""

    def _post(self, manager: _Manager, alerts: Sequence[Alert]) -> None:
        token = token_of(manager.token_file, manager.http.place)
        for start in range(0, len(alerts), BATCH):
            manager.http.send("POST", "/api/v2/alerts", list(alerts[start : start + BATCH]), token)
