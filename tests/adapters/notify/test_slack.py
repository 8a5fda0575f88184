"""Messages within Slack's limits; one for each change; no secret anywhere."""

from __future__ import annotations

import logging
import traceback
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.adapters.notify.blocks import escaped, message
from flyball.adapters.notify.slack import Slack
from flyball.adapters.secrets import Secret, SecretError, Secrets
from flyball.power.tell import changes
from flyball.spec.power_plan import PowerAction
from tests.adapters.notify.builders import Answer, Fake, Request, advice, fake, news, state

LIMITS = {"header": ("plain_text", 150), "section": ("mrkdwn", 3000)}
HOOK = "/services/T000/B000/veryhidden"


def check(said: dict[str, Any]) -> None:
    """The limits that Slack publishes for blocks and messages."""
    assert 1 <= len(said["text"]) <= 4000
    assert 1 <= len(said["blocks"]) <= 50
    for block in said["blocks"]:
        if block["type"] == "context":
            assert 1 <= len(block["elements"]) <= 10
            continue
        kind, longest = LIMITS[block["type"]]
        assert set(block) == {"type", "text"}
        assert set(block["text"]) == {"type", "text"}
        assert block["text"]["type"] == kind
        assert 1 <= len(block["text"]["text"]) <= longest


@given(
    st.text(min_size=1, max_size=4000),
    st.text(max_size=4000),
    st.integers(1, 300),
    st.integers(1, 60),
)
def test_any_message_is_within_the_limits(domain: str, reason: str, actions: int, policies: int) -> None:
    many = tuple(PowerAction("replicas", f"<!channel>&{n}", 5, 3, 1.0) for n in range(actions))
    advised = tuple(advice(domain=domain, reason=reason, actions=many, policy="") for _ in range(policies))
    given_news = news(0, (state(domain=domain, feasible=False),), advised)
    (change,) = changes({}, given_news)
    said = message(given_news, change, "https://flyball.example/")
    check(said)
    bodies = [b["text"]["text"] for b in said["blocks"] if b["type"] == "section"]
    assert not any("<" in text or ">" in text for text in [*bodies, said["text"]]), "nothing calls anyone"


def test_text_is_escaped_and_never_cut_within_a_sign() -> None:
    assert escaped("a<b>&c", 100) == "a&lt;b&gt;&amp;c"
    assert [escaped("&&&", n) for n in (13, 12)] == ["&amp;&amp;...", "&amp;..."]


def hook(told: Fake, **options: Any) -> Slack:
    return Slack(webhook=Secret(told.url + HOOK), **options)


def test_a_webhook_gets_one_message_for_each_change() -> None:
    with fake() as told:
        slack = hook(told)
        for now in range(3):
            assert slack.tell(news(now, (state("warn"),))) == ()
        assert slack.tell(news(3, (state("shed"),), (advice(),))) == ()
        assert slack.tell(news(4, (state("shed"),), (advice(),))) == ()
        assert slack.tell(news(100)) == ()
        slack.close()
    assert [r.path for r in told.requests] == [HOOK] * 3
    for body in told.bodies():
        check(body)
    heads = [body["blocks"][0]["text"]["text"] for body in told.bodies()]
    assert heads == ["rack-7: warn", "rack-7: shed (worse)", "rack-7: resolved, was shed"]
    sections = [b["text"]["text"] for b in told.bodies()[1]["blocks"][1:]]
    assert sections == [
        "rack-7: shed, draws 9,500 W of 10,000 W",
        "Recommended (prod/chat): over its budget",
        "• replicas: prod/ScaledObject/llama 5 to 3, saves 1,400 W, loses 90 tokens/s",
    ]


def test_it_waits_as_long_as_slack_asks_and_tells_it_then() -> None:
    clock, busy = [0.0], [True]

    def answer(request: Request) -> Answer:
        return (429, "rate_limited", {"Retry-After": "7"}) if busy[0] else (200, "ok", {})

    with fake(answer) as told:
        slack = hook(told, now=lambda: clock[0])
        (problem,) = slack.tell(news(0, (state("warn"),)))
        assert problem == "Slack answered 429: rate_limited. It is tried again later."
        busy[0], clock[0] = False, 6.0
        assert slack.tell(news(6, (state("warn"),))) == (problem,)
        assert len(told.requests) == 1, "not asked again within 7 s"
        clock[0] = 7.0
        assert slack.tell(news(7, (state("warn"),))) == ()
        assert len(told.requests) == 2
        slack.close()


def test_a_flood_comes_in_parts_the_worst_first() -> None:
    with fake() as told:
        slack = hook(told)
        many = tuple(state("warn", domain=f"r{n:02}") for n in range(7))
        slack.tell(news(0, (*many, state("emergency"))))
        assert len(told.requests) == 5
        assert told.bodies()[0]["text"].startswith("rack-7: emergency")
        slack.tell(news(1, (*many, state("emergency"))))
        assert len(told.requests) == 8
        slack.close()


def bot(told: Fake, **options: Any) -> Slack:
    return Slack(token=Secret("xoxb-veryhidden"), channel="C1", api=f"{told.url}/api", **options)


def test_a_bot_updates_its_message_and_tells_turns_in_its_thread() -> None:
    def answer(request: Request) -> Answer:
        return 200, {"ok": True, "channel": "C123", "ts": "17.5"}, {}

    with fake(answer) as told:
        slack = bot(told)
        slack.tell(news(0, (state("warn"),)))
        again = bot(told, memory=slack.memory)  # a restart
        again.tell(news(1, (state("warn"),)))
        again.tell(news(2, (state("shed"),)))
        again.tell(news(90, (state("shed"),), (advice(),)))
        again.tell(news(200))
        assert again.memory.threads == {}
        again.tell(news(300, (state("warn"),)))
        slack.close()
        again.close()
    steps = [
        (r.path.rpartition("/")[2], r.body.get("thread_ts", r.body.get("ts", ""))) for r in told.requests
    ]
    assert steps == [
        ("chat.postMessage", ""),
        ("chat.update", "17.5"),
        ("chat.postMessage", "17.5"),
        ("chat.update", "17.5"),
        ("chat.update", "17.5"),
        ("chat.postMessage", "17.5"),
        ("chat.postMessage", ""),
    ]
    assert {r.headers["authorization"] for r in told.requests} == {"Bearer xoxb-veryhidden"}
    assert [r.body["channel"] for r in told.requests] == ["C1", *["C123"] * 5, "C1"]
    assert all("blocks" in r.body for r in told.requests if "thread_ts" not in r.body)


def test_a_deleted_message_is_begun_again_and_an_error_says_what_to_do() -> None:
    errors = {"chat.update": "message_not_found"}

    def answer(request: Request) -> Answer:
        error = errors.get(request.path.rpartition("/")[2], "")
        return 200, {"ok": not error, "error": error, "channel": "C123", "ts": "1"}, {}

    with fake(answer) as told:
        slack = bot(told)
        slack.tell(news(0, (state("warn"),)))
        assert slack.tell(news(1, (state("shed"),))) == ()
        assert [r.path.rpartition(".")[2] for r in told.requests] == ["postMessage", "update", "postMessage"]
        assert "thread_ts" not in told.requests[-1].body
        errors |= {"chat.update": "", "chat.postMessage": "not_in_channel"}
        other = bot(told)
        (problem,) = other.tell(news(1, (state("warn"),)))
        assert problem == "Slack: chat.postMessage failed: not_in_channel. Invite the bot to the channel."
        slack.close()
        other.close()


def refused(request: Request) -> Answer:
    return 403, f"no such hook: {request.path} {request.headers.get('authorization', '')}", {}


def test_the_secret_is_in_no_log_and_no_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with fake(refused) as told:
        ways = (hook(told), bot(told), Slack(webhook=Secret("http://127.0.0.1:1" + HOOK)))
        problems = [p for slack in ways for p in slack.tell(news(0, (state(),)))]
        for slack in ways:
            slack.close()
    assert len(problems) == 3
    assert "HTTP Request" in caplog.text, "the library's log is what is looked at"
    assert "veryhidden" not in caplog.text + "".join(problems)
    with pytest.raises(ValueError, match="address of Slack") as caught:
        Slack(webhook=Secret(HOOK))  # without its host
    assert "veryhidden" not in "".join(traceback.format_exception(caught.value))


def test_secrets_by_the_documents_names() -> None:
    with pytest.raises(SecretError, match="SLACK_WEBHOOK_URL: is not set"):
        Slack.of(Secrets(environment={}))
    Slack.of(Secrets(environment={"SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/a"})).close()
    Slack.of(Secrets(environment={"SLACK_BOT_TOKEN": "xoxb-1", "SLACK_CHANNEL": "C1"})).close()
    with pytest.raises(SecretError, match="SLACK_CHANNEL"):
        Slack.of(Secrets(environment={"SLACK_BOT_TOKEN": "xoxb-1"}))
