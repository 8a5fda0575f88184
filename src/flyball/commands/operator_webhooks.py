"""The webhooks of an operator: their certificate, their service, and how the API server finds them."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flyball.commands.output import say

if TYPE_CHECKING:
    from flyball.adapters.kubernetes.api import Api
    from flyball.commands.operator import OperatorRequest
    from flyball.operator.kinds import Kinds
    from flyball.operator.placing import Placing
    from flyball.server.admission import Rule
    from flyball.wire.admission import Asked, Verdict

    Reviewed = Callable[[str, str], None]

NAME = "flyball"
"""Of the webhooks' configuration."""
SERVICE = "flyball-webhook"
PATH = "/validate-inferno"


def start_webhooks(
    request: OperatorRequest,
    api: Api,
    namespace: str,
    kinds: Kinds,
    reviewed: Reviewed,
    stack: ExitStack,
    placing: Placing | None = None,
) -> None:
    """Serve them until the stack ends; `placing`: pods may ask where to go. ClusterError, ValueError."""
    from flyball.adapters.kubernetes.webhook import MUTATING, VALIDATING
    from flyball.commands.operator_boosters import PATH as BOOSTERS
    from flyball.commands.operator_boosters import rule
    from flyball.operator.admission import review
    from flyball.operator.placing import PATH as PODS
    from flyball.operator.trust import Trust
    from flyball.server.admission import admission
    from flyball.server.service.run import Options, Serving

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flyball-webhook-")))
    names = [f"{SERVICE}.{namespace}.svc", f"{SERVICE}.{namespace}.svc.cluster.local"]
    outside = request.local or request.webhook_url is not None
    if outside:
        names += ["localhost", "127.0.0.1", request.webhook_host]
        if request.webhook_url:
            names.append(urlsplit(request.webhook_url).hostname or "")
    names = [name for name in dict.fromkeys(names) if name not in ("", "0.0.0.0", "::")]
    configurations = [(VALIDATING, NAME), *([(MUTATING, NAME)] if placing is not None else [])]
    trust = Trust(api, namespace, names, folder, configurations, lambda text: say(f"flyball: {text}"))
    trust.step()
    options = Options(
        host=request.webhook_host,
        port=request.webhook_port or 0,
        certificate=trust.certificate,
        key=trust.key,
    )
    rules = {
        PATH: _counted(PATH, lambda asked: review(asked, kinds.objects), reviewed),
        BOOSTERS: _counted(BOOSTERS, rule, reviewed),
    }
    if placing is not None:
        rules[PODS] = _counted(PODS, placing.rule, reviewed)
    service = admission(rules)
    serving = Serving(service, options)
    if outside:
        address = request.webhook_url or serving.url
        _registered(api, address, trust.authorities, request.boost, stack)
        if placing is not None:
            _registered_for_pods(api, address, trust.authorities, stack)
    trust.start()
    stack.callback(trust.stop)
    thread = threading.Thread(target=serving.run, name="flyball-webhooks", daemon=True)
    thread.start()
    stack.callback(thread.join, 5.0)
    stack.callback(serving.stop)
    print(f"Its webhooks are at {serving.url}", flush=True)


def _counted(path: str, rule: Rule, reviewed: Reviewed) -> Rule:
    def judged(asked: Asked) -> Verdict:
        verdict = rule(asked)
        reviewed(path, "refused" if verdict.refusal else "warned" if verdict.warnings else "admitted")
        return verdict

    return judged


def _registered(api: Api, address: str, authorities: bytes, boost: bool, stack: ExitStack) -> None:
    """Let the API server ask this process, until it ends."""
    from flyball.adapters.kubernetes.errors import ClusterError
    from flyball.adapters.kubernetes.webhook import VALIDATING, Checked, by_address
    from flyball.commands.operator_boosters import PATH as BOOSTERS
    from flyball.operator.booster_kinds import BOOSTER
    from flyball.operator.kinds import KINDS
    from flyball.wire.kinds.inferno import GROUP

    checked = [Checked(GROUP, tuple(kind.plural for kind in KINDS.values()), PATH)]
    if boost:
        checked.append(Checked(BOOSTER.group, (BOOSTER.plural,), BOOSTERS))
    body = by_address(NAME, checked, address, authorities)
    api.apply(VALIDATING.path(name=NAME), body, dict, "flyball")

    def forget() -> None:
        with suppress(ClusterError):  # what nobody answers is passed over: it fails open
            api.delete(VALIDATING.path(name=NAME))

    stack.callback(forget)


def _registered_for_pods(api: Api, address: str, authorities: bytes, stack: ExitStack) -> None:
    """Let the API server ask this process about pods, until it ends."""
    from flyball.adapters.kubernetes.errors import ClusterError
    from flyball.adapters.kubernetes.placement import PLACEMENT
    from flyball.adapters.kubernetes.webhook import MUTATING, placing_by_address
    from flyball.operator.placing import PATH as PODS

    body = placing_by_address(NAME, PLACEMENT, PODS, address, authorities)
    api.apply(MUTATING.path(name=NAME), body, dict, "flyball")

    def forget() -> None:
        with suppress(ClusterError):  # what nobody answers is passed over: it fails open
            api.delete(MUTATING.path(name=NAME))

    stack.callback(forget)
