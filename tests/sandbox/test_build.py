"""Builds: made once, whole or not at all, one at a time; with a `go` that only notes what it is asked."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from flyball.sandbox.build import KWOK, Progress, built, folder_of, is_built
from flyball.sandbox.errors import SandboxError
from flyball.sandbox.folders import cache_folder

GO = """#!/bin/sh
echo "$1 $GOTOOLCHAIN $CGO_ENABLED" >> "$ASKED"
case "$1" in
env) echo "go$GO_VERSION" ;;
list) printf 'one\\ntwo\\n' ;;
build)
  echo one >&2; echo two >&2
  [ -n "$BROKEN" ] && { echo 'x.go:1: undefined: y' >&2; exit 1; }
  while [ "$1" != -o ]; do shift; done
  echo program > "$2" ;;
esac
"""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which the calls of go end up."""
    go = tmp_path / "bin" / "go"
    go.parent.mkdir()
    go.write_text(GO)
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{go.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("ASKED", str(tmp_path / "asked"))
    monkeypatch.setenv("GO_VERSION", "1.26.8")
    return tmp_path / "asked"


def test_a_build_is_kept_and_not_made_again(asked: Path) -> None:
    heard: list[Progress] = []
    folder = built(KWOK, heard.append)
    assert folder == folder_of(KWOK)
    assert is_built(KWOK)
    assert (folder / "kwok").read_text() == "program\n"
    assert [(one.done, one.total) for one in heard] == [(0, 0), (1, 2), (2, 2)]
    assert asked.read_text().splitlines() == ["env local 0", "list local 0", "build local 0"]
    assert built(KWOK) == folder
    assert len(asked.read_text().splitlines()) == 3


def test_a_build_that_fails_leaves_nothing_and_says_why(asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKEN", "yes")
    with pytest.raises(SandboxError, match=r"(?s)go build of kwok has failed:.*undefined: y"):
        built(KWOK)
    assert [path.name for path in cache_folder().iterdir()] == ["build.lock"]


def test_what_a_killed_build_left_is_removed(asked: Path) -> None:
    left = folder_of(KWOK).with_name(f"{folder_of(KWOK).name}.part-x")
    left.mkdir(parents=True)
    built(KWOK)
    assert not left.exists()


def test_a_second_builder_waits_for_the_first_and_takes_what_it_made(asked: Path) -> None:
    cache_folder().mkdir(parents=True)
    waits = threading.Event()
    made: list[Path] = []

    def second() -> None:
        made.append(built(KWOK, lambda progress: waits.set()))

    with (cache_folder() / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(30)
        folder_of(KWOK).mkdir()
    thread.join(30)
    assert made == [folder_of(KWOK)]
    assert not asked.exists()


def test_a_go_that_is_too_old_is_passed_over(asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GO_VERSION", "1.25.9")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "/none")
    with pytest.raises(SandboxError, match="could not be installed"):
        built(KWOK)
    assert asked.read_text().splitlines() == ["env local 0"]
