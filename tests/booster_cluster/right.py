"""What must hold of ModelBoosters and their children on a real API server when it is quiet.

What children should be is what `boosting` renders for the spec that stands there, as the API server itself
fills it in: each is sent to it for a dry run, under another name.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec

from flyball.boosting.errors import BoosterError
from flyball.boosting.expand import expand
from flyball.boosting.settings import Images, Settings
from flyball.operator.booster_kinds import BOOSTER
from flyball.wire.errors import WireError
from flyball.wire.kthena import ANNOTATIONS, REVISION
from flyball.wire.kthena_booster import read_booster
from tests.booster_cluster.booth import KINDS, Booth
from tests.operator_cluster.desk import Object, condition

POLICY = "AutoscalingPolicy"
Title = tuple[str, str]
"""Kind and name."""


class Right:
    """What is wrong in a namespace, by what others did there."""

    def __init__(self, booth: Booth) -> None:
        self.booth = booth
        self.theirs: dict[Title, Object] = {}
        """Objects of somebody else, as they were made."""
        self.marks: dict[str, set[str]] = {}
        """Labels and annotations of somebody else, by the child's uid."""
        self.scaled: dict[str, int] = {}
        """Numbers of autoscalers, by the ModelServing's uid."""
        self.loose: set[str] = set()
        """Uids of ModelServings whose number is not known here."""
        self._rendered: dict[bytes, Object] = {}

    def wrong(self) -> list[str]:
        """What is not as it must be; of others' objects nothing may be touched at any time."""
        boosters = self.booth.api.items(BOOSTER.path(self.booth.space), dict)
        children = {(kind, one["metadata"]["name"]): one for kind, one in self.booth.all()}
        for title, one in self.theirs.items():
            assert children.get(title) == one, f"{title} is of somebody else, and was touched"
        alive = {one["metadata"]["uid"]: one for one in boosters}
        found = [
            f"{title} is of nobody"
            for title, one in children.items()
            if title not in self.theirs and not any(each["uid"] in alive for each in owners(one))
        ]
        for booster in boosters:
            name = booster["metadata"]["name"]
            if "deletionTimestamp" in booster["metadata"]:
                found.append(f"{name} is still going")
                continue
            found += [f"{name}: {text}" for text in self._wrong_of(booster, children)]
        return found

    def _wrong_of(self, booster: Object, children: dict[Title, Object]) -> list[str]:
        about, status = booster["metadata"], booster.get("status", {})
        uid, where = about["uid"], f"ModelBooster {self.booth.space}/{about['name']}"
        failed = condition(booster, "Failed")
        told = failed.get("status") == "True" and failed.get("observedGeneration") == about["generation"]
        try:
            read = read_booster({**booster, "kind": "ModelBooster"}, where)
            wanted = expand(read, Images(), Settings("v1")).documents()
        except (BoosterError, WireError) as error:
            if not told or failed["message"] != str(error):
                return [f"it does not say: {error}"]
            # An annotation that makes it wrong is no new generation.
            by_spec = not any(key in ANNOTATIONS for key in about.get("annotations", {}))
            lies = by_spec and status.get("observedGeneration") == about["generation"]
            return ["it tells of a spec that nothing can be made of"] if lies else []
        titles = {(one["kind"], one["metadata"]["name"]): one for one in wanted}
        owned = {
            title: one for title, one in children.items() if uid in [each["uid"] for each in owners(one)]
        }
        taken = [" ".join(title) for title in titles if title in children and title not in owned]
        if taken:
            said = told and any(title in failed["message"] for title in taken)
            return [] if said else [f"it does not say that {taken} are others'"]
        problems = [f"there is no {title}" for title in titles if title not in owned]
        problems += [f"{title} is not wanted" for title in owned if title not in titles]
        if problems:
            return problems
        for title, one in owned.items():
            problems += [
                f"{title}: {text}"
                for text in self._differs(one, titles[title], any(kind == POLICY for kind, _ in titles))
            ]
        serving = next(one for (kind, _), one in owned.items() if kind == "ModelServing")
        is_there = condition(serving, "Available").get("status", "False")
        if status.get("observedGeneration") != about["generation"]:
            problems.append("it does not tell of itself")
        if failed.get("status", "False") != "False":
            problems.append(f"it has failed: {failed.get('message')}")
        if condition(booster, "Initialized").get("status") != "True":
            problems.append("it is not initialized")
        if condition(booster, "Active").get("status") != is_there:
            problems.append(f"Active is not {is_there}")
        return problems

    def _differs(self, one: Object, wanted: Object, scaled: bool) -> list[str]:
        """Of a child: its spec but what is kept on purpose, its metadata, replicas, others' labels."""
        about, want = one["metadata"], wanted["metadata"]
        problems = [
            f"{key} {name} is gone"
            for key in ("labels", "annotations")
            for name, value in (want.get(key) or {}).items()
            if name != REVISION and (about.get(key) or {}).get(name) != value
        ]
        problems += [
            f"the mark {name} is gone"
            for name in self.marks.get(about["uid"], ())
            if name not in about.get("labels", {}) or name not in about.get("annotations", {})
        ]
        if _plain(one["spec"]) != self._as_stored(wanted):
            problems.append(f"its spec is {_plain(one['spec'])}, wanted {self._as_stored(wanted)}")
        if one["kind"] == "ModelServing":
            number, uid = one["spec"]["replicas"], about["uid"]
            if uid in self.scaled and number != self.scaled[uid]:
                problems.append(f"it had {self.scaled[uid]} replicas of an autoscaler, and has {number}")
            free = scaled or uid in self.scaled or uid in self.loose
            if not free and number != wanted["spec"]["replicas"]:
                problems.append(f"it has {number} replicas")
        return problems

    def _as_stored(self, wanted: Object) -> Object:
        """A spec as the API server has it."""
        body = {**wanted, "metadata": {"name": f"{wanted['metadata']['name']}-dry"}}
        key = msgspec.json.encode(body)
        if key not in self._rendered:
            path = KINDS[wanted["kind"]].path(self.booth.space)
            made = self.booth.api.post(path, body, dict, dryRun="All")
            self._rendered[key] = _plain(made["spec"])
        return self._rendered[key]


def owners(one: Object) -> list[Object]:
    """References to them."""
    return one["metadata"].get("ownerReferences") or []


def _plain(spec: Object) -> Object:
    """Without what is kept on purpose: revision labels, which restart pods, the gang policy, the replicas."""
    found: Object = _without(spec)
    found.pop("replicas", None)
    with suppress(KeyError):
        found["template"].pop("gangPolicy", None)
    return found


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without(one) for key, one in value.items() if key != REVISION}
    return [_without(one) for one in value] if isinstance(value, list) else value
