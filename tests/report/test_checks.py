"""Checklists: counts, lines, and what comes first."""

from __future__ import annotations

from flyball.report.checks import Check, checklist, lines, summary

CHECKS = [
    Check("cluster", "ok", "it answers"),
    Check("nodes", "warning", "one has no label", "kubectl label node n"),
    Check("nodes", "missing", "none is ready", "first\nsecond"),
]


def test_states_are_counted_and_the_first_that_is_missing_is_named() -> None:
    made = checklist(CHECKS)
    assert (made.ok, made.warnings, made.missing) == (1, 1, 1)
    assert summary(made) == "1 ok, 1 warning, 1 missing. First: nodes: none is ready"
    assert "see the warnings" in summary(checklist(CHECKS[:2]))
    assert summary(checklist(CHECKS[:1])).endswith("Flyball can govern this cluster.")


def test_mends_stand_below_what_they_mend() -> None:
    assert [text for text, _ in lines(checklist(CHECKS))] == [
        "ok       cluster  it answers",
        "warning  nodes    one has no label",
        "                    kubectl label node n",
        "missing           none is ready",
        "                    first",
        "                    second",
    ]
