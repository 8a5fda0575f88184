"""Random edits of ModelBoosters and their children on a real API server: by users, autoscalers and others."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import yaml

from flyball.adapters.kubernetes.errors import ApiError
from flyball.boosting.expand import expand
from flyball.boosting.settings import Images, Settings
from flyball.operator.booster_kinds import BOOSTER, CHILDREN
from flyball.units import Seconds
from flyball.wire.kthena import ANNOTATIONS
from flyball.wire.kthena_booster import read_booster
from tests.booster_cluster.booth import Booth
from tests.booster_cluster.right import Right, Title, owners
from tests.boosting import samples
from tests.operator_boosters.choices import BACKENDS, CHILD_NAMES, DRIFT, NAMES, SPECS
from tests.operator_cluster.desk import Running, holds

LIMIT: Seconds = 90.0
"""Within which all must be right: a lease of a process that was killed lasts 15 s, and the garbage collector
looks for what is nobody's in its own time."""
STILL: Seconds = 1.0
"""So long nothing may be written, when all is right."""
PAUSE: Seconds = 0.15
"""Between edits, at most."""
MORE: dict[str, tuple[Any, ...]] = {
    "ModelServing": ({"template": {"restartGracePeriodSeconds": 7}},),
    "ModelServer": ({"workloadPort": {"port": 1}},),
    "ModelRoute": ({"rateLimit": {"unit": "second", "inputTokensPerUnit": 1}},),
}
"""Drift that a definition of Kthena's allows."""


class Row(msgspec.Struct, frozen=True):
    """A round of edits."""

    edits: int
    refused: int
    """By the API server, or as there was nothing to edit."""
    killed: bool
    took: Seconds
    """From the last edit, or the start of the operator, until all was right."""
    last: str
    """What was wrong last."""


class Edits:
    """What users, autoscalers and others do in one namespace; an operator that keeps it, and is killed."""

    def __init__(self, booth: Booth, operator: Running, seed: int) -> None:
        self.booth, self.operator = booth, operator
        self._chance = np.random.default_rng(seed)
        self.right = Right(booth)
        self._numbers = 0
        for name in NAMES:
            booth.make(name, samples.document(name="b"))
        self.settle()

    def round(self, count: int, kill: bool = False) -> Row:
        """So many edits; the operator is killed in the midst of them, and started again."""
        dies, lives = sorted(self._chance.integers(0, count + 1, 2)) if kill else (-1, -1)
        refused = 0
        for number in range(count + 1):
            if number == dies:
                self.operator.process.kill()
            if number == lives:
                self.operator.start()
            if number == count:
                break
            what = self._settled if number == 0 else self._edit
            try:
                what()
            except ApiError:
                refused += 1
            time.sleep(float(self._chance.uniform(0.0, PAUSE)))
        return Row(count, refused, kill, *self.settle())

    def settle(self) -> tuple[Seconds, str]:
        """Wait until all is right and stays so; after how many seconds, and what was last. AssertionError."""
        began, last = time.monotonic(), ""
        while wrong := self.right.wrong():
            assert time.monotonic() - began < LIMIT, f"after {LIMIT:g} s: {wrong}"
            last = wrong[0]
            time.sleep(0.1)
        took = time.monotonic() - began
        before = self.booth.versions()
        time.sleep(STILL)
        after = self.booth.versions()
        written = {title for title in {**before, **after} if before.get(title) != after.get(title)}
        assert not written, f"all was right, and there was written: {written}"
        return round(took, 1), last

    # ---- what is done ------------------------------------------------------------------------------

    def _one(self, of: Any) -> Any:
        return of[self._chance.integers(len(of))]

    def _edit(self) -> None:
        edits: list[tuple[int, Callable[[], None]]] = [
            (4, self._make),
            (5, self._change),
            (3, self._annotate),
            (1, self._remove),
            (1, self._remove_foreground),
            (2, self._remove_child),
            (5, self._drift),
            (2, self._mark),
            (1, self._strip),
            (2, self._foreign),
            (2, self._become),
            (1, self._scale_any),
        ]
        self._one([edit for weight, edit in edits for _ in range(weight)])()

    def _settled(self) -> None:
        """Autoscalers' numbers, where what is asked for was written: from then on they are their own."""
        boosters = self.booth.api.items(BOOSTER.path(self.booth.space), dict)
        failed = {one["metadata"]["name"] for one in boosters if holds(one, "Failed").startswith("True")}
        for kind, one in self.booth.all():
            title = kind, one["metadata"]["name"]
            if kind != "ModelServing" or title in self.right.theirs:
                continue
            if failed & {each["name"] for each in owners(one)}:
                continue  # what it asks for may not be written yet
            number = int(self._chance.integers(0, 10))
            self.booth.scale(number, one["metadata"]["name"])
            self.right.scaled[one["metadata"]["uid"]] = number
            self.right.loose.discard(one["metadata"]["uid"])

    def _make(self) -> None:
        self.booth.make(
            self._one(NAMES), samples.document(**{"name": "b", **copy.deepcopy(self._one(BACKENDS))})
        )

    def _change(self) -> None:
        name, backend = self._one(NAMES), copy.deepcopy(self._one(BACKENDS))
        if "replicas" in backend:
            self._loosen(name)
        self.booth.ask({"backend": backend}, name)

    def _annotate(self) -> None:
        """What a stock definition has no field for; and the name, for which it has one."""
        name, spec = self._one(NAMES), self._one(SPECS)
        there = bool(self._chance.integers(2))
        if "name" in spec:
            self.booth.ask(spec if there else {"name": None}, name)
            return
        self._loosen(name)
        said = {path[-1]: key for key, path in ANNOTATIONS.items()}
        values = {**spec, "minReplicas": 1, "maxReplicas": 4} if "autoscalingPolicy" in spec else spec
        changes = {said[field]: yaml.safe_dump(value) if there else None for field, value in values.items()}
        self.booth.edit("ModelBooster", name, {"metadata": {"annotations": changes}})

    def _loosen(self, name: str) -> None:
        """From here on the number of its replicas may be anybody's."""
        for kind, one in self.booth.all():
            if kind == "ModelServing" and name in [each["name"] for each in owners(one)]:
                self.right.scaled.pop(one["metadata"]["uid"], None)
                self.right.loose.add(one["metadata"]["uid"])

    def _remove(self) -> None:
        self.booth.delete("ModelBooster", self._one(NAMES))

    def _remove_foreground(self) -> None:
        """It goes after its children."""
        words = ("delete", "modelbooster", self._one(NAMES), "-n", self.booth.space)
        self.booth.desk.kubectl(*words, "--cascade=foreground", "--wait=false", "--ignore-not-found")

    def _child(self) -> Title:
        """One of those that are there, or of those that could be."""
        titles = [(kind, one["metadata"]["name"]) for kind, one in self.booth.all()]
        return self._one(titles) if titles else ("ModelServing", "a-b")

    def _remove_child(self) -> None:
        title = self._child()
        self.booth.delete(*title)
        self.right.theirs.pop(title, None)

    def _drift(self) -> None:
        kind, name = title = self._child()
        if title not in self.right.theirs:
            change = self._one((*DRIFT[kind], *MORE.get(kind, ()) * 2))
            self.booth.edit(kind, name, {"spec": copy.deepcopy(change)})

    def _mark(self) -> None:
        """A label and an annotation of somebody else's, which stay."""
        kind, name = title = self._child()
        if title not in self.right.theirs:
            self._numbers += 1
            mark = {f"team{self._numbers}": "x"}
            made = self.booth.edit(kind, name, {"metadata": {"labels": mark, "annotations": mark}})
            self.right.marks.setdefault(made["metadata"]["uid"], set()).update(mark)

    def _strip(self) -> None:
        """Our labels, annotations or owner go, which come again; theirs among them go for good."""
        kind, name = title = self._child()
        if title not in self.right.theirs:
            key = self._one(("labels", "annotations"))
            about = self.booth.get(kind, name)["metadata"]
            self.right.loose.add(about["uid"])  # it is an annotation that says for whom the number is
            self.right.scaled.pop(about["uid"], None)
            self.right.marks.pop(about["uid"], None)
            nothing = dict.fromkeys(about.get(key) or {})
            self.booth.edit(kind, name, {"metadata": {key: nothing}})

    def _foreign(self) -> None:
        """An object of somebody else, by a name that may be wanted."""
        kind, name = self._one([kind for kind in CHILDREN if self._served(kind)]), self._one(CHILD_NAMES)
        policy = {"metrics": [{"metricName": "m", "targetValue": "10"}]}
        document = samples.document(spec={"autoscalingPolicy": policy}, minReplicas=1, maxReplicas=3)
        rendered = expand(read_booster(document, "theirs"), Images(), Settings("v1")).documents()
        body = next(one for one in rendered if one["kind"] == kind)
        body["metadata"] = {"name": name, "labels": {"whose": "theirs"}}
        self.right.theirs[kind, name] = self.booth.post(kind, body, "them")

    def _served(self, kind: str) -> bool:
        return kind != "AutoscalingPolicyBinding"

    def _become(self) -> None:
        """What the controller of ModelServings says, by hand."""
        kind, name = title = self._child()
        if kind == "ModelServing" and title not in self.right.theirs:
            self.booth.available(name, self._one(("True", "False")))

    def _scale_any(self) -> None:
        """An autoscaler, whatever is under way."""
        kind, name = title = self._child()
        if kind == "ModelServing" and title not in self.right.theirs:
            uid = self.booth.get(kind, name)["metadata"]["uid"]
            self.right.scaled.pop(uid, None)
            self.right.loose.add(uid)
            self.booth.scale(int(self._chance.integers(0, 10)), name)


def table(rows: list[Row]) -> str:
    """What was done, and how long it took to be right."""
    lines = []
    for killed in (False, True):
        mine = [row for row in rows if row.killed is killed]
        if mine:
            took, worst = np.array([row.took for row in mine]), max(mine, key=lambda row: row.took)
            what = "with a kill" if killed else "without"
            edits, refused = sum(row.edits for row in mine), sum(row.refused for row in mine)
            lines.append(
                f"{what:12} {len(mine):3} rounds, {edits:4} edits ({refused} refused); "
                f"right after {took.mean():.1f} s, at most {worst.took:.1f} s: {worst.last}"
            )
    return "\n".join(lines)
