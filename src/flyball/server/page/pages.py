"""The pages and their fragments, as HTML; curves as JSON."""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import quote

import msgspec

from flyball.decide.calibration import key
from flyball.decide.explain import options_of
from flyball.decide.what_if import WhatIfError
from flyball.report.curves import server_curves
from flyball.report.known import itl_chart
from flyball.report.sentences import explanation
from flyball.server.page.board import Move
from flyball.server.page.imagined import METRICS, difference, text_of
from flyball.server.page.live import Live, Nothing
from flyball.server.page.power import PowerView, power_view
from flyball.server.page.stage import SPEEDS
from flyball.server.page.view import FleetView, ServerView
from flyball.server.page.words import environment
from flyball.spec.known import Known
from flyball.spec.learned import Learned

SHOWN_MOVES = 40


class Pages:
    """What is shown, as HTML."""

    def __init__(self, live: Live, ledger: str) -> None:
        self.live = live
        replay = f"flyball replay {{}} --ledger {ledger}" if ledger else "cycle {}"
        self._templates = environment(replay.format)

    def fleet(
        self,
    ) -> str:
        """The fleet at a glance."""
        stage = self.live.stage
        return self._page(
            "fleet.html",
            "/fragments/fleet",
            scenery=stage.describe() if stage else None,
            said="",
            chosen="",
            moves=self.live.board.moves(SHOWN_MOVES),
            accelerators=self._accelerators(),
            metrics=self._metrics(),
            text="",
            server=None,
            known=self._of_model(),
            power=self._power(),
        )

    def server(self, name: str) -> str:
        """One server. Nothing: there is none of that name."""
        found = self._found(name)
        return self._page(
            "server.html",
            f"/fragments/server?name={quote(name)}",
            server=found,
            moves=self._moves(name),
            known=self._of_model(found.model),
        )

    def fleet_cells(self) -> str:
        """What changes on the fleet's page from cycle to cycle."""
        return self._render(
            "fleet_cells.html",
            view=self._view(),
            moves=self.live.board.moves(SHOWN_MOVES),
            known=self._of_model(),
            power=self._power(),
        )

    def server_cells(self, name: str) -> str:
        """What changes on a server's page from cycle to cycle."""
        found = self._found(name)
        return self._render(
            "server_cells.html",
            view=self._view(),
            server=found,
            moves=self._moves(name),
            known=self._of_model(found.model),
        )

    def options(self, name: str) -> str:
        """A server's candidates in a plan that is made now, and why not the others."""
        self._found(name)
        try:
            planned = self.live.planned()
        except Nothing as error:
            return self._render("options.html", error=str(error))
        told = next((s for s in planned.plan.servers if s.server == name), None)
        if told is None:
            return self._render("options.html", error=f"{name} is not in the plan: it cannot be seen.")
        first = "wait" if planned.fleet.generation == "G1" else "ttft"
        options = options_of(planned.fleet, planned.sized, told)
        why = explanation(told, first)
        return self._render("options.html", error="", why=why, options=options, first=first, name=name)

    def curves(self, name: str) -> bytes:
        """The curves of a server where it has most replicas, as JSON; null: there are none."""
        found = self._found(name)
        try:
            planned = self.live.planned()
        except Nothing:
            return b"null"
        load = next((s.load for s in planned.fleet.servers if s.name == name), None)
        held = sorted(found.variants, key=lambda v: -(v.ready + v.pending))
        told = next((s.allocation for s in planned.plan.servers if s.server == name), None)
        wanted = [(v.accelerator, v.ready + v.pending) for v in held if v.ready + v.pending]
        wanted += [(told.accelerator, told.replicas)] if told and told.replicas else []
        if load is None or load.arrival_rate <= 0 or load.out_tokens <= 0:
            return b"null"
        for accelerator, replicas in wanted:
            try:
                return msgspec.json.encode(
                    server_curves(planned.fleet, planned.sized, name, accelerator, replicas)
                )
            except StopIteration:  # it is no candidate there
                continue
        return b"null"

    def known(self, name: str) -> bytes:
        """What is known of a server's model over the batch, a chart for each accelerator, as JSON."""
        found, view = self._found(name), self._view()
        snapshot, learned = self.live.learned()
        charts = [
            itl_chart(
                snapshot.fleet,
                one,
                learned.get(key(one.model, one.accelerator), Learned()),
                snapshot.seen.time,
            )
            for one in view.known
            if one.model == found.model
        ]
        return msgspec.json.encode([chart for chart in charts if chart is not None])

    def what_if(self, form: dict[str, str], whole: bool) -> str:
        """What a change would do; errors in words."""
        text = text_of(form)
        result, error = None, ""
        try:
            if not text:
                raise WhatIfError("Say what would be different: fill in a field, or write load*2.")
            result = difference(self.live.imagine(text))
        except (WhatIfError, Nothing) as problem:
            error = str(problem)
        made = self._render("imagined.html", text=text, result=result, error=error)
        if not whole:
            return made
        return self._page("message.html", "", heading="What if", body=made)

    def speed(self) -> str:
        """The buttons of the speed."""
        return self._render("speed.html", speed=self._speed(), speeds=SPEEDS)

    def world(self, said: str, chosen: str) -> str:
        """The panel of what can be made to happen."""
        assert self.live.stage is not None
        return self._render("world.html", scenery=self.live.stage.describe(), said=said, chosen=chosen)

    # ---- parts -----------------------------------------------------------------------------------

    def _page(self, template: str, fragment: str, **values: Any) -> str:
        view = self.live.board.last
        return self._render(
            template,
            view=view,
            title=self.live.title,
            fragment=fragment,
            names=names_of(view),
            speed=self._speed(),
            speeds=SPEEDS,
            period=self.live.runner.law.period,
            **values,
        )

    def _render(self, template: str, **values: Any) -> str:
        return self._templates.get_template(template).render(**values)

    def _view(self) -> FleetView:
        view = self.live.board.last
        if view is None:
            raise Nothing("no cycle has run yet; try again in a moment")
        return view

    def _found(self, name: str) -> ServerView:
        found = self._view().named(name)
        if found is None:
            raise Nothing(f"there is no server '{name}' in this fleet; the page / lists all")
        return found

    def _of_model(self, model: str = "") -> list[tuple[Known, str]]:
        """What is known of a model's profiles, or of all, with a server that shows more of each."""
        view = self.live.board.last
        shown = {s.model: s.name for s in reversed(view.servers)} if view else {}
        known = view.known if view else ()
        return [(k, shown.get(k.model, "")) for k in known if not model or k.model == model]

    def _power(self) -> PowerView | None:
        """Power in the last cycle; None: nobody looks at it."""
        last = self.live.runner.last
        if last is None or last[1].decision is None:
            return None
        seen, plan = last[1].snapshot.power, last[1].decision.power
        if seen is None or plan is None:
            return None
        return power_view(seen, plan, [(v.time, v.drawn) for v in self.live.board.views() if v.drawn])

    def _moves(self, name: str) -> list[Move]:
        return self.live.board.moves(SHOWN_MOVES, name)

    def _speed(self) -> float | None:
        return self.live.stage.speed if self.live.stage else None

    def _metrics(self) -> list[str]:
        last = self.live.runner.last
        classes = last[1].snapshot.fleet.service_classes if last else ()
        promised = {t.metric for c in classes for m in c.models for t in m.targets}
        return [m for m in METRICS if m in promised] or list(METRICS)

    def _accelerators(self) -> list[str]:
        last = self.live.runner.last
        return [a.name for a in last[1].snapshot.fleet.accelerators] if last else []


def names_of(view: FleetView | None) -> str:
    """A mark of which servers there are, in which order: when it changes, a page is out of date."""
    names = "\n".join(s.name for s in view.servers) if view else ""
    if view and view.drawn:
        names += "\n\npower"  # a part of the page that was not there before
    return hashlib.sha256(names.encode()).hexdigest()[:12]
