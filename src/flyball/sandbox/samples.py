"""Sample workloads, shipped with the package."""

from __future__ import annotations

from importlib import resources

from lightkube import Client
from lightkube.codecs import load_all_yaml

DEMO = "demo.yaml"


def create_samples(client: Client) -> None:
    """Create the model servers of the demo."""
    text = (resources.files("flyball.sandbox") / DEMO).read_text()
    for one in load_all_yaml(text):
        client.create(one)
