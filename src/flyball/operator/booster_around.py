"""What the children of a ModelBooster depend on beside it: images from a ConfigMap, and the kinds served."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import msgspec

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.errors import ClusterError, NotFound
from flyball.adapters.kubernetes.freeze import CONFIG_MAP
from flyball.boosting.settings import Images, Settings
from flyball.operator.booster_kinds import BoosterKinds
from flyball.units import Seconds

CONFIG = "model-booster-controller-config"
"""Kthena's ConfigMap."""
IMAGES = {
    "model_serving_downloader_image": "downloader",
    "model_serving_runtime_image": "runtime",
}
"""Its keys, and what of `Images` they are."""
EVERY: Seconds = 30.0


class _Data(msgspec.Struct, frozen=True):
    data: dict[str, str] | None = None


class Around(msgspec.Struct, frozen=True):
    """All of it, as it was last seen."""

    images: Images
    settings: Settings
    missing: tuple[str, ...]
    """Kinds that are needed and that the cluster does not serve."""


class Surroundings:
    """Reads the ConfigMap at most once in `every` seconds; what cannot be read stays as it was."""

    def __init__(
        self,
        api: Api,
        kinds: BoosterKinds,
        namespace: str,
        *,
        every: Seconds = EVERY,
        now: Callable[[], Seconds] = time.monotonic,
    ) -> None:
        self._path = CONFIG_MAP.path(namespace, CONFIG)
        self._api, self._kinds, self._every, self._now = api, kinds, every, now
        self._read: Seconds | None = None
        self._known = Images()
        self._lock = threading.Lock()

    def __call__(self) -> Around:
        """As it is now."""
        return Around(self._images(), self._settings(), self._kinds.missing)

    def _images(self) -> Images:
        with self._lock:
            if self._read is None or self._now() - self._read >= self._every:
                self._known = self._fresh()
                self._read = self._now()
            return self._known

    def _fresh(self) -> Images:
        try:
            said = self._api.get(self._path, _Data).data or {}
        except NotFound:
            return Images()
        except ClusterError:
            return self._known
        given = {field: said[key].strip() for key, field in IMAGES.items() if said.get(key, "").strip()}
        return Images(**given)

    def _settings(self) -> Settings:
        if self._kinds.children["AutoscalingPolicy"].absent:
            return Settings(None)
        bound = not self._kinds.children["AutoscalingPolicyBinding"].absent
        return Settings("v0.4" if bound else "v1")
