"""Secrets come from the first place that has them, and never show themselves."""

from __future__ import annotations

import pickle
import traceback
from pathlib import Path

import pytest

from flyball.adapters.secrets import Secret, SecretError, Secrets, parse_env

DOCUMENT = """
# secrets
SLACK_WEBHOOK_URL=<your-slack-webhook-url>
GITHUB_USERNAME=me
export GITHUB_REPO="fleet"   # ours
GITHUB_PAT='ghp_a#b'
PROMETHEUS_HOST=http://localhost:9090
SLACK_BOT_TOKEN=
"""


def test_the_documents_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(DOCUMENT)
    secrets = Secrets(environment={}, file=tmp_path / ".env")
    found = {n: secrets.need(n, "tests").reveal() for n in ("GITHUB_USERNAME", "GITHUB_REPO", "GITHUB_PAT")}
    assert found == {"GITHUB_USERNAME": "me", "GITHUB_REPO": "fleet", "GITHUB_PAT": "ghp_a#b"}
    assert secrets.need("PROMETHEUS_HOST", "tests").reveal() == "http://localhost:9090"
    assert secrets.find("SLACK_BOT_TOKEN") is None, "empty is absent"
    with pytest.raises(SecretError, match=r"SLACK_WEBHOOK_URL: holds the example's placeholder"):
        secrets.find("SLACK_WEBHOOK_URL")


def test_the_first_place_wins_and_is_read_anew(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("A=file\nB=file\nC=file")
    folder = tmp_path / "mounted"
    folder.mkdir()
    (folder / "A").write_text("mounted\n")
    secrets = Secrets(folder, {"A": "environment", "B": "environment"}, tmp_path / "env")
    assert [s.reveal() for n in "ABC" if (s := secrets.find(n))] == ["mounted", "environment", "file"]
    (folder / "A").write_text("rotated")
    assert secrets.need("A", "tests").reveal() == "rotated"


def test_what_is_missing_says_where_to_set_it(tmp_path: Path) -> None:
    with pytest.raises(SecretError) as caught:
        Secrets(tmp_path, {}, tmp_path / ".env").need("GITHUB_PAT", "pull requests")
    said = str(caught.value)
    assert said.startswith("GITHUB_PAT: is not set, and is needed for pull requests. Set it in the file ")
    assert "the environment or a line GITHUB_PAT=... of" in said


@pytest.mark.parametrize("text", ["hunter2\nmore", "hun\x07ter2"])
def test_errors_do_not_hold_values(tmp_path: Path, text: str) -> None:
    (tmp_path / "TOKEN").write_text(text)
    with pytest.raises(SecretError) as caught:
        Secrets(tmp_path, {}).find("TOKEN")
    assert "TOKEN: holds control characters" in str(caught.value)
    assert "hun" not in "".join(traceback.format_exception(caught.value)).replace(str(tmp_path), "")


@pytest.mark.parametrize("line", ["hunter2", "2X=hunter2", "X='hunter2", "X='a'hunter2"])
def test_a_line_that_is_none_is_told_by_its_number(line: str) -> None:
    with pytest.raises(SecretError) as caught:
        parse_env(f"A=1\n{line}\n", ".env")
    assert ".env, line 2" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_secret_shows_itself_nowhere() -> None:
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {[secret]}"
    assert secret.hidden_in("a hunter2 b") == "a *** b"
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    assert "hunter2" not in repr(Secrets(environment={"A": "hunter2"}))
