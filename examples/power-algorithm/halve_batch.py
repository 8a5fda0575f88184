"""A power algorithm: where watts are short, batch servers go to half of what they want before others lose."""

from __future__ import annotations

import math

from flyball.power.view import View


def halve_batch(view: View, *, batch_from: int = 50, share: float = 0.5) -> dict[str, int]:
    """Batch servers get a share of what they want where watts are short; all others get everything."""
    drawn = view.drawn({server.name: server.ceiling for server in view.servers})
    short = {room.name for room in view.rooms if drawn[room.name] > room.watts}
    return {
        server.name: math.ceil(share * server.ceiling)
        for server in view.servers
        if server.priority >= batch_from and any(server.places.get(room, 0.0) > 0 for room in short)
    }
