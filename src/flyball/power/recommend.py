"""From what the filter gives to what a person reads: actions with the watts and tokens that they cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flyball.power.filter import Filtered
from flyball.power.view import ServerView, View
from flyball.spec.power import Lever
from flyball.spec.power_plan import DomainState, PowerAction, Recommendation, Relief
from flyball.units import Seconds, TokensPerSecond, Watts


def recommendation(
    view: View,
    given: Filtered,
    state: DomainState,
    now: Seconds,
    policy: str = "",
    expires_after: Seconds = 600.0,
    peak: Watts | None = None,
    levers: Mapping[str, Lever] | None = None,
    reliefs: Iterable[Relief] = (),
) -> Recommendation | None:
    """What would be done for a domain; None: nothing. `peak` is foretold where it is not done.

    `levers`: by server, where it is not its replicas; `reliefs`: all that there are.
    """
    beyond = [one for one in reliefs if (one.policy, one.domain) == (policy, state.domain)]
    actions = (*_actions(view, given, state.domain, levers or {}), *(_relief(view, one) for one in beyond))
    if not actions:
        return None
    what = f"saves {sum(a.watts for a in actions):,.0f} W"
    budget = "" if state.budget is None else f" of {state.budget:,.0f} W"
    reason = f"{state.domain} draws {state.watts:,.0f}{budget}, level {state.level}: {what}"
    if short := given.short.get(state.domain):
        reason += f", {short:,.0f} W stay above"
    return Recommendation(state.domain, policy, state.level, actions, reason, now + expires_after, peak)


def lost_tokens(server: ServerView, replicas: int) -> TokensPerSecond:
    """Tokens per second that so many replicas cannot serve of the present load: those beyond full draw."""
    if server.load <= 0:
        return 0.0
    room = replicas * max(server.full - server.idle, 0.0)
    return server.tokens * max(1.0 - room / server.load, 0.0)


def _actions(view: View, given: Filtered, room: str, levers: Mapping[str, Lever]) -> Iterable[PowerAction]:
    """For those that may not have what they want; saved is what they would draw with it."""
    for server in sorted(view.servers, key=lambda s: (-s.priority, s.name)):
        after, share = given.replicas[server.name], server.places.get(room, 0.0)
        if after >= server.ceiling or share <= 0:
            continue
        watts = share * (server.watts(server.ceiling) - server.watts(after))
        lost = lost_tokens(server, after) - lost_tokens(server, server.ceiling)
        lever = levers.get(server.name, "replicas")
        yield PowerAction(lever, server.name, server.replicas, after, watts, lost)


def _relief(view: View, one: Relief) -> PowerAction:
    """Half of a batch loses less than half of the tokens: what is said is the most."""
    if one.lever == "resources":
        return PowerAction("resources", one.workload, 100, round(100 * one.trim.cpu))
    server = next(server for server in view.servers if server.name == one.workload)
    lost = server.tokens * one.watts / server.load if server.load > 0 else 0.0
    return PowerAction("concurrency", one.workload, one.own, one.batch, one.watts, lost)
