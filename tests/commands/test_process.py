"""`flyball` as a process: pipes, encodings, interrupts, terminals; what only a real process shows."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.commands.samples import sample, two_servers, written
from tests.commands.terminal import process
from tests.wire.inferno_samples import parts_of

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "flyball", "plan"]
FRAME = re.compile("[─│┌┐⢀-⣿]")


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    return written(tmp_path / "fleet.json", two_servers(cards=20))


def shell(line: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in which "$@" is the command."""
    words = [*COMMAND, *map(str, arguments)]
    return subprocess.run(["bash", "-c", line, "bash", *words], capture_output=True, text=True, timeout=60)


def test_a_process_plans_and_exits_as_documented(tmp_path: Path) -> None:
    enough = json.dumps(two_servers(cards=20)).encode()
    short = json.dumps(two_servers(cards=4)).encode()
    assert process("plan", "-", stdin=enough).code == 0
    assert process("plan", "-", stdin=short).code == 3
    wrong = process("plan", "-", stdin=b"{")
    assert (wrong.code, wrong.out) == (2, "")
    assert process("--version").out.strip()


def test_who_reads_only_the_head_gets_it_quietly(fleet: Path) -> None:
    done = shell('"$@" | head -1; echo "${PIPESTATUS[0]}"', fleet, "--format", "json")
    assert (done.stdout, done.stderr) == ("{\n0\n", "")
    done = shell('"$@" | true; echo "${PIPESTATUS[0]}"', "--sample", "--format", "yaml")
    assert (done.stdout, done.stderr) == ("0\n", "")


@pytest.mark.parametrize(
    ("redirection", "code", "message"),
    [
        (">&-", 4, "standard output"),
        (">/dev/full", 4, "No space left on device"),
        ("2>&-", 0, ""),
        ("2>/dev/full", 0, ""),
    ],
)
def test_closed_and_full_outputs(fleet: Path, redirection: str, code: int, message: str) -> None:
    done = shell(f'"$@" {redirection}', fleet)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_messages_do_not_stray_into_the_output(tmp_path: Path) -> None:
    assert shell('"$@" 2>&-', tmp_path / "no-such-file").stdout == ""


def test_a_closed_input_is_a_clear_error() -> None:
    done = shell('"$@" <&-', "-")
    assert done.returncode == 2
    assert "standard input: is closed" in done.stderr


def test_a_terminal_without_utf_8_has_plain_frames(tmp_path: Path) -> None:
    document = sample("flyball")
    document["servers"][0]["name"] = "名前-chat"
    ascii_only = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    file = written(tmp_path / "x.json", document)
    outcome = process("plan", file, "--explain", "名前-chat", "--plot", environment=ascii_only)
    assert outcome.code == 0
    assert outcome.out.isascii()
    assert "??-chat: 2 x L40S" in outcome.out
    machine = process("plan", file, "--format", "csv", environment=ascii_only)
    assert "名前-chat" in machine.out


def test_a_file_name_that_is_no_text() -> None:
    done = subprocess.run([*COMMAND, b"\xff\xfe.json"], capture_output=True, timeout=60)
    assert done.returncode == 2
    assert b"there is no such file" in done.stderr


# ---- terminals ---------------------------------------------------------------------------------


def on_terminal(columns: int, *arguments: object, **environment: str) -> str:
    """What a terminal of so many columns shows."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=theirs,
        stdin=theirs,
        stderr=subprocess.PIPE,
        env={**os.environ, "COLUMNS": str(columns), "TERM": "xterm-256color", **environment},
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # how a terminal says that the other side is gone
            break
        if not part:
            break
        shown += part
    os.close(ours)
    with child:
        assert child.stderr is not None
        assert child.stderr.read() == b""
    return shown.decode()


def test_a_wide_terminal_has_the_table_in_colour(fleet: Path) -> None:
    shown = on_terminal(170, fleet)
    assert "per month" in shown
    assert "\x1b[" in shown


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_a_narrow_terminal_cuts_nothing_off(fleet: Path, columns: int) -> None:
    shown = re.sub(r"\x1b\[[0-9;]*m", "", on_terminal(columns, fleet))
    assert all(len(line) <= columns for line in shown.splitlines()[:8])
    words = " ".join(shown.split())
    assert "1 chat: 3 x A100, batch 16 (least cost; stability)" in words
    assert "26.7 ms / 40 ms, 56% used, $1.20/h, $876/month" in words
    assert "…" not in shown


def test_no_color_means_none(fleet: Path) -> None:
    shown = on_terminal(170, fleet, "--plot", NO_COLOR="1")
    assert FRAME.search(shown)
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", shown)


# ---- the served page ---------------------------------------------------------------------------


@contextmanager
def served(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that serves its report, and the address; killed at the end if it has not ended."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments), "--serve"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        said = ""
        try:
            for line in process.stderr:
                said += line
                if found := re.search(r"http://127\.0\.0\.1:\d+/", line):
                    yield process, found[0]
                    break
            else:
                pytest.fail(said)
        finally:
            process.kill()  # nothing, if it has ended


@pytest.mark.parametrize(("cards", "code"), [(20, 0), (4, 3)])
def test_a_served_report_ends_with_control_c(tmp_path: Path, cards: int, code: int) -> None:
    fleet = written(tmp_path / "fleet.json", two_servers(cards=cards))
    with served(fleet, "--port", 0) as (process, address):
        with urllib.request.urlopen(address, timeout=10) as answer:
            assert b"chat" in answer.read()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == code
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_a_taken_port_is_no_obstacle(fleet: Path) -> None:
    with served(fleet, "--port", 0) as (_, first):
        port = first.rstrip("/").rpartition(":")[2]
        with served(fleet, "--port", port) as (_, second):
            assert first != second
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(second + "elsewhere", timeout=10)


def test_control_c_while_planning_is_exit_code_130(tmp_path: Path) -> None:
    # It waits for its input when the signal comes: a pipe that is opened, but not written to.
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    planning = subprocess.Popen([*COMMAND, str(pipe)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with planning, pipe.open("wb"):  # opens once the process reads
        planning.send_signal(signal.SIGINT)
        out, err = planning.communicate(timeout=10)
    assert (planning.returncode, out) == (130, b"")
    assert b"Traceback" not in err


# ---- shell completion --------------------------------------------------------------------------


def completion(home: Path, *arguments: str, shell: str = "/bin/bash") -> tuple[int, str]:
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("ZSH", "BASH", "FISH"))}
    done = subprocess.run(
        [sys.executable, "-m", "flyball", "--install-completion", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**keep, "HOME": str(home), "SHELL": shell},
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_leaves_the_start_up_file_alone(tmp_path: Path, shell: str) -> None:
    for name in (".bashrc", ".zshrc"):
        (tmp_path / name).write_text("# mine\n")
    code, said = completion(tmp_path, "--shell", shell)
    assert code == 0
    (script,) = [p for p in tmp_path.rglob("*flyball*") if p.is_file()]
    assert str(script) in said
    assert "plan" in script.read_text()
    assert {(tmp_path / name).read_text() for name in (".bashrc", ".zshrc")} == {"# mine\n"}


def test_completion_goes_into_the_start_up_file_where_asked_for(tmp_path: Path) -> None:
    (tmp_path / ".bashrc").write_text("# mine\n")
    assert completion(tmp_path, "--shell", "bash", "--startup")[0] == 0
    added = (tmp_path / ".bashrc").read_text()
    assert added.startswith("# mine\n")
    assert "flyball" in added


def test_completion_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / ".local").write_text("in the way")
    code, said = completion(tmp_path, "--shell", "bash")
    assert code == 4
    assert "cannot be written" in said


def test_bash_takes_the_completion_script(tmp_path: Path) -> None:
    completion(tmp_path, "--shell", "bash")
    (script,) = [p for p in tmp_path.rglob("*flyball*") if p.is_file()]
    check = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True)
    assert (check.returncode, check.stderr) == (0, "")


def test_a_fleet_of_thousands_is_planned(tmp_path: Path) -> None:
    document = two_servers(cards=0)
    parts = parts_of(document)
    parts["optimizer"]["unlimited"] = True
    template = parts["servers"][0]
    parts["servers"][:] = [{**template, "name": f"s{i:04d}"} for i in range(3000)]
    outcome = process("plan", written(tmp_path / "x.json", document), "--format", "csv")
    assert outcome.code == 0
    assert len(outcome.out.splitlines()) == 3001
