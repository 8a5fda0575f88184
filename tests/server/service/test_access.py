"""Who is let in: tokens and their rotation; without tokens, no foreign page."""

from __future__ import annotations

import json
from pathlib import Path

import httpx2
import pytest

from flyball.server.service.access import Tokens, foreign
from flyball.server.service.run import Options, Serving
from tests.server.service.conftest import running
from tests.server.service.sample import sample


def get(url: str, **headers: str) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.get(url, headers=named)


def bearer(token: str) -> str:
    return f"Bearer {token}"


def test_only_a_token_opens_anything_but_health(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("# of the team\nfirst-token\n\n  second-token  \n")
    with running(sample(), token_file=file) as url:
        for path in ("/things/a", "/metrics", "/docsx", "/nothing"):
            refused = get(url + path)
            assert refused.status_code == 401, path
            assert refused.headers["www-authenticate"] == "Bearer"
            assert "Authorization: Bearer" in refused.json()["message"]
        assert get(f"{url}/healthz").text == "ok\n"
        for path in ("/docs", "/docs/docs.js", "/openapi.json"):  # what is offered is no secret
            assert get(f"{url}{path}").status_code == 200, path
        assert get(f"{url}/readyz").status_code == 200
        for good in ("Bearer first-token", "bearer second-token"):
            assert get(f"{url}/things/a", authorization=good).json() == {"name": "a"}
        for bad in ("Bearer", "Bearer first-toke", "Basic first-token", "first-token", "Bearer #"):
            assert get(f"{url}/things/a", authorization=bad).status_code == 401, bad
        # Whoever shows a token is no foreign page, whatever name it asks for.
        assert get(f"{url}/things/a", authorization=bearer("first-token"), host="fleet").status_code == 200
        described = get(f"{url}/openapi.json", authorization=bearer("first-token")).json()
        assert described["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
        assert described["security"] == [{"token": []}]


def test_tokens_rotate_and_a_bad_file_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tokens"
    file.write_text("old-secret\n")

    def codes(*tokens: str) -> list[int]:
        return [get(f"{url}/things/a", authorization=bearer(token)).status_code for token in tokens]

    with running(sample(), token_file=file, log="json") as url:
        assert codes("old-secret", "new-secret") == [200, 401]
        file.write_text("old-secret\nnew-secret\n")
        assert codes("old-secret", "new-secret") == [200, 200]
        file.write_text("new-secret\n")
        assert codes("old-secret", "new-secret") == [401, 200]
        for bad in (b"", b"# none\n", b"two words\n", b"\xff\xfe\n", b"x\n" * 40_000):
            file.write_bytes(bad)
            assert codes("new-secret", "old-secret", "two words", "x") == [200, 401, 401, 401], bad[:10]
        file.unlink()
        assert codes("new-secret", "x") == [200, 401]
    err = capsys.readouterr().err
    assert "secret" not in err
    assert "two words" not in err
    lines = [json.loads(line) for line in err.splitlines()]
    told = [line for line in lines if line["event"] == "tokens"]
    assert [line["level"] for line in told] == ["info"] * 2 + ["error"] * 6  # each state once
    assert all(str(file) in line["problem"] for line in told[2:])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        (b"# nothing\n", "holds no token"),
        (b"good\nnot good\n", "line 2: a token is printable ASCII"),
    ],
)
def test_a_bad_file_at_the_start_is_an_error(tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "tokens"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ValueError, match=said) as error:
        Tokens(file)
    assert "not good" not in str(error.value)
    with pytest.raises(ValueError, match=said):
        Serving(sample(), Options(port=0, log="off", token_file=file))


def test_without_tokens_no_foreign_page_gets_in() -> None:
    with running(sample()) as url:
        port = url.rpartition(":")[2]
        let_in = (
            {},
            {"sec_fetch_site": "none"},
            {"sec_fetch_site": "same-origin", "origin": url},
            {"host": f"localhost:{port}"},
            {"host": f"[::1]:{port}"},
            {"host": f"LOCALHOST:{port}", "origin": f"http://localhost:{port}"},
        )
        kept_out = (
            {"sec_fetch_site": "cross-site"},
            {"sec_fetch_site": "same-site"},
            {"origin": "http://evil.example"},
            {"origin": "null"},
            {"origin": "http://127.0.0.1:1"},
            {"host": "evil.example"},  # a name that has been bound anew to this machine
            {"host": "evil.example", "origin": "http://evil.example"},
            {"host": ""},
        )
        for headers in let_in:
            assert get(f"{url}/things/a", **headers).status_code == 200, headers
        for headers in kept_out:
            refused = get(f"{url}/things/a", **headers)
            assert refused.status_code == 403, headers
            assert refused.json()["message"]
        assert get(f"{url}/healthz", host="10.0.0.7").status_code == 200  # a kubelet's probe


def test_on_other_addresses_any_name_will_do() -> None:
    asked = {"host": "fleet.example:8080", "origin": "http://fleet.example:8080"}
    assert foreign(asked.get, None) == ""
    assert "not served as" in foreign(asked.get, frozenset({"localhost"}))
    assert "other pages" in foreign({**asked, "origin": "http://[bad"}.get, None)
    assert "not served as" in foreign({"host": "[bad"}.get, frozenset({"localhost"}))
    with running(sample(), host="0.0.0.0") as url:
        here = url.replace("0.0.0.0", "127.0.0.1")
        assert get(f"{here}/things/a", host="fleet.example").status_code == 200
        assert get(f"{here}/things/a", sec_fetch_site="cross-site").status_code == 403
