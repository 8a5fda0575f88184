"""Where the model lies in a pod: cache volume, model directory, and the init containers that fill them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from flyball.boosting.errors import BoosterError
from flyball.wire.kthena_booster import Backend, ModelBooster
from flyball.wire.kthena_meta import Plain

EMPTY_CACHE = "/models"
"""Where the volume is mounted without a cacheURI; Kthena mounts it nowhere, which no cluster takes."""
_PVC, _HOST_PATH = "pvc://", "hostpath://"
_DOWNLOADER_ENV = ("ENDPOINT", "HF_ENDPOINT", "MS_TOKEN", "MS_REVISION")


@dataclass(frozen=True)
class Storage:
    """The cache volume of a pod, where it is mounted, and what downloads into it."""

    volume: Plain
    path: str
    model: str
    adapters: tuple[tuple[str, str], ...]
    """Names and directories of LoRA adapters."""
    downloaders: list[Plain]

    @property
    def mount(self) -> Plain:
        return {"name": self.volume["name"], "mountPath": self.path}


def storage_of(booster: ModelBooster, image: str) -> Storage:
    """Volume, paths and downloaders of a booster. Or BoosterError."""
    backend = booster.spec.backend
    volume = _volume(backend)
    path = cache_path(backend.cache_uri or "") or EMPTY_CACHE
    mount = {"name": volume["name"], "mountPath": path}
    name = booster.metadata.name
    adapters = [(one.name, one.artifact_url) for one in backend.lora_adapters or ()]
    sources = [
        (f"{name}-model-downloader", backend.model_uri),
        *((f"{name}-lora-downloader-{index}", source) for index, (_, source) in enumerate(adapters)),
    ]
    return Storage(
        volume,
        path,
        _directory(path, backend.model_uri),
        tuple((adapter, _directory(path, source)) for adapter, source in adapters),
        [
            _downloader(title, source, _directory(path, source), mount, backend, image)
            for title, source in sources
        ],
    )


def cache_path(uri: str) -> str:
    """Where the cache is mounted: `/` and what follows the scheme; empty where nothing does."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return ""
    path = f"{parts.netloc}{unquote(parts.path)}".strip("/")
    return f"/{path}" if parts.scheme and path else ""


def claim_name(uri: str) -> str:
    """The claim that a pvc:// URI names."""
    return uri.removeprefix(_PVC).strip("/")


def _directory(path: str, source: str) -> str:
    return f"{path}/{hashlib.md5(source.encode(), usedforsecurity=False).hexdigest()}"


def _volume(backend: Backend) -> Plain:
    uri = backend.cache_uri or ""
    name = f"{backend.name}-weights"
    if not uri:
        return {"name": name, "emptyDir": {}}
    if uri.startswith(_PVC):
        if not (claim := claim_name(uri)):
            raise BoosterError(f'invalid cacheURI "{uri}": must include a PVC claim name')
        return {"name": name, "persistentVolumeClaim": {"claimName": claim}}
    if uri.startswith(_HOST_PATH):
        if not (path := cache_path(uri)):
            raise BoosterError(f'invalid cacheURI "{uri}": must include a host path')
        return {"name": name, "hostPath": {"path": path, "type": "DirectoryOrCreate"}}
    raise BoosterError(f"not support prefix in CacheURI: {uri}")


def _downloader(title: str, source: str, directory: str, mount: Plain, backend: Backend, image: str) -> Plain:
    container: Plain = {
        "name": title,
        "image": image,
        "args": ["--source", source, "--output-dir", directory],
        "volumeMounts": [mount],
    }
    first = {one.get("name"): one for one in reversed(backend.env or [])}
    if env := [first[name] for name in _DOWNLOADER_ENV if first.get(name, {}).get("value")]:
        container["env"] = env
    if backend.env_from:
        container["envFrom"] = backend.env_from
    return container
