"""A typed client of REST services: Flyball's, the originals of Inferno, and engines with OpenAI's API.

Belongs here: asking over HTTP, and reading what was answered. Does not belong here: what a document means
(`wire`) and what serves it (`server`).
"""

from flyball.client.connection import Client
from flyball.client.engine import EngineClient
from flyball.client.errors import CallError
from flyball.client.optimizer import OptimizerClient
from flyball.client.queue import QueueClient
from flyball.client.tuner import TunerClient

__all__ = ["CallError", "Client", "EngineClient", "OptimizerClient", "QueueClient", "TunerClient"]
