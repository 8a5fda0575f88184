"""The one switch that stops all writing to what users own."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.errors import ClusterError, NotFound
from flyball.adapters.kubernetes.governed import Kind
from flyball.adapters.kubernetes.objects import Metadata, Read
from flyball.adapters.kubernetes.write import MANAGER

CONFIG_MAP = Kind("", "v1", "configmaps", "ConfigMap")
SETTINGS = "flyball"
VARIABLE = "FLYBALL_FREEZE"
YES = frozenset({"true", "1", "yes", "on"})


class ConfigMap(Read, frozen=True):
    """A ConfigMap."""

    metadata: Metadata = Metadata()
    data: dict[str, str] = msgspec.field(default_factory=dict)


def frozen(
    api: Api, namespace: str, file: Path | None = None, environment: Mapping[str, str] = os.environ
) -> str:
    """Why nothing may be written now; "": it may. What cannot be read might say so, and freezes."""
    if environment.get(VARIABLE, "").strip().lower() in YES:
        return f"{VARIABLE} is set"
    if file is not None and file.exists():
        return f"the file {file} is there"
    try:
        settings = api.get(CONFIG_MAP.path(namespace, SETTINGS), ConfigMap)
    except NotFound:
        return ""
    except ClusterError as error:
        return f"whether ConfigMap {namespace}/{SETTINGS} freezes it cannot be read: {error}"
    if settings.data.get("freeze", "").strip().lower() in YES:
        return f"ConfigMap {namespace}/{SETTINGS} has freeze: true"
    return ""


def set_freeze(api: Api, namespace: str, on: bool) -> None:
    """Say in the ConfigMap whether anything may be written. ClusterError, also without the namespace."""
    data = {"freeze": "true" if on else "false"}
    try:
        api.patch(CONFIG_MAP.path(namespace, SETTINGS), {"data": data}, ConfigMap, fieldManager=MANAGER)
    except NotFound:
        if not on:
            return
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": SETTINGS}, "data": data}
        api.post(CONFIG_MAP.path(namespace), body, ConfigMap, fieldManager=MANAGER)


Freeze = Callable[[], str]
