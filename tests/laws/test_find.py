"""Laws by name and parameters, third parties' among them; and what is wrong, in words."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from flyball.laws.find import LawError, find_law, law_names
from flyball.laws.hpa import Hpa
from flyball.laws.keda import Keda
from flyball.laws.slo_aware import SloAware
from flyball.laws.static import Static
from tests.laws.builders import asked, seen

MODULE = """
from flyball.laws.static import Static
from flyball.spec.steering import Steering

class Mine:
    name = "mine"
    period = 30.0

    def __init__(self, gain=1.0):
        self.gain = gain

    def __call__(self, snapshot, memory):
        return Static(9)(snapshot, memory)

def decided(snapshot, memory, settings):
    decision, _ = Static(round(settings.period))(snapshot, None)
    return decision, (memory or 0) + 1

def plain(snapshot, memory):
    return decided(snapshot, memory, Steering())

broken = 3
"""


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed distribution with laws of its own."""
    (tmp_path / "their_laws.py").write_text(MODULE, "utf-8")
    info = tmp_path / "their_laws-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-laws\nVersion: 1.0\n", "utf-8")
    entries = (
        "mine = their_laws:Mine\nhpa = their_laws:Mine\ngone = no_such_module:X\nodd = their_laws:broken\n"
        "decided = their_laws:decided\nplain = their_laws:plain\n"
    )
    (info / "entry_points.txt").write_text(f"[flyball.laws]\n{entries}", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "their_laws", raising=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hpa", Hpa()),
        ("hpa:8", Hpa(8.0, name="hpa:8")),
        ("hpa:target=8, max=3", Hpa(8.0, max=3, name="hpa:target=8, max=3")),
        ("keda", Keda()),
        ("keda-tuned", Keda(45.0, name="keda-tuned")),
        ("keda:running=20,queue=2", Keda(20.0, 2.0, name="keda:running=20,queue=2")),
        ("slo-aware:up=0.7,period=5", SloAware(0.7, period=5.0, name="slo-aware:up=0.7,period=5")),
        ("static", Static()),
        ("static:8", Static(8, name="static:8")),
        ("static:chat=3,code=5", Static(None, {"chat": 3, "code": 5}, name="static:chat=3,code=5")),
    ],
)
def test_laws_and_their_parameters(text: str, expected: object) -> None:
    assert find_law(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hpq", "there is no law 'hpq'; did you mean hpa?"),
        ("zzz", "there are hpa, keda, keda-tuned, slo-aware, static"),
        ("", "there is no law ''"),
        ("hpa:targte=8", "law 'hpa' has no parameter 'targte'; did you mean target?"),
        ("hpa:name=x", "law 'hpa' has no parameter 'name'"),
        ("hpa:target=many", "law 'hpa': target is \"many\": expected `float`"),
        ("hpa:target=0", "law 'hpa:target=0': target is 0: it must be over 0"),
        ("hpa:target=1,2", "'2' cannot be read; write KEY=VALUE,KEY=VALUE"),
        ("hpa:target=1,target=2", "parameter 'target' is given twice"),
        ("hpa:min=4,max=3", "max is 3: it must be at least 4"),
        ("keda:running=-1", "running is -1"),
        ("slo-aware:up=0.3", "down is 0.4 and up is 0.3"),
        ("static:-1", "n is -1: replicas are 0 or more"),
        ("static:chat=2.5", 'chat is "2.5"'),
    ],
)
def test_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(LawError) as caught:
        find_law(text)
    assert words in str(caught.value)


def test_more_laws_can_be_given() -> None:
    assert find_law("own", {"own": Static}) == Static()
    assert "own" in law_names({"own": Static})


@pytest.mark.usefixtures("third_party")
def test_laws_of_third_parties() -> None:
    assert "mine" in law_names()
    law = find_law("mine:gain=2")
    assert law.period == 30.0
    assert vars(law) == {"gain": 2}
    assert asked(law(seen(0.0, 1), None)[0]) == 9


@pytest.mark.usefixtures("third_party")
@pytest.mark.parametrize("name", ["decided", "plain"])
def test_a_function_with_the_signature_of_decide_is_a_law(name: str) -> None:
    law = find_law(name)
    assert (law.name, law.period) == (name, 15.0)
    decision, memory = law(seen(0.0, 1), 4)
    assert asked(decision) == 15
    assert memory == 5


@pytest.mark.usefixtures("third_party")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("decided:x=1", "is a function that decides: it has no parameters"),
        ("hpa", "two laws are called 'hpa': one of them comes from their-laws; remove one"),
        ("gone", "law 'gone' of their-laws cannot be loaded: ModuleNotFoundError"),
        ("odd", "law 'odd' of their-laws is no class or function: their_laws:broken"),
        ("mien", "did you mean mine?"),
    ],
)
def test_what_is_wrong_with_them(text: str, words: str) -> None:
    with pytest.raises(LawError) as caught:
        find_law(text)
    assert words in str(caught.value)
