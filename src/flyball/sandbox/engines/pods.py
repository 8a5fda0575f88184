"""What the engines are told of the cluster: pods, and the workloads that they belong to."""

from __future__ import annotations

import msgspec

from flyball.spec.scenario import Lengths, Steady, Stream
from flyball.spec.server import Load
from flyball.spec.service_class import Target
from flyball.units import Seconds, Tokens

IN_TOKENS: Tokens = 512.0
OUT_TOKENS: Tokens = 128.0
"""Of a request where only its rate is said."""
LENGTH_COV = 0.5
"""Spread of the tokens of a load of which only the means are said."""
MAX_BATCH = 256
GRACE: Seconds = 30.0


class Pod(msgspec.Struct, frozen=True, kw_only=True):
    """One pod of a server: what runs in it, and how it stands."""

    namespace: str
    name: str
    server: str
    """The server that it belongs to; those of one server share its requests."""
    workload: str
    """The Deployment or StatefulSet that it belongs to."""
    model: str
    """As its metrics name it."""
    weights: str = ""
    """The model that the engine runs; "": what its metrics name."""
    accelerator: str
    cards: int = 0
    """Cards that it asks for; 0: as many as its model needs."""
    max_batch_size: int = MAX_BATCH
    ready_since: Seconds | None = None
    """On the engines' clock; None: it is not ready."""
    terminating: bool = False
    failed: bool = False
    grace: Seconds = GRACE
    """How long it may go on with its requests once it has to end."""
    node: str = ""
    uid: str = ""


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """A Deployment or StatefulSet: the load that is sent to its server for it, and what is promised."""

    namespace: str
    name: str
    server: str
    model: str = ""
    load: Load = Load()
    """Rate 0: none."""
    stream: Stream | None = None
    """Stated in full. It stands above `load`."""
    targets: tuple[Target, ...] = ()

    def offered(self) -> Stream | None:
        """The requests: as stated, or Poisson arrivals with spread lengths; None: there are none."""
        if self.stream is not None or self.load.arrival_rate <= 0:
            return self.stream
        return Stream(
            self.server,
            Steady(self.load.arrival_rate),
            Lengths(self.load.in_tokens or IN_TOKENS, LENGTH_COV),
            Lengths(self.load.out_tokens or OUT_TOKENS, LENGTH_COV),
        )
