"""Tells a Slack channel: by an incoming webhook, or by a bot, which keeps one message for each domain.

A bot updates its message and says turns in the thread below it; a webhook can do neither, and posts each
change.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from flyball.adapters.notify.blocks import Message, message, reply
from flyball.adapters.notify.http import TIMEOUT, WAIT, Http, NotifyError
from flyball.adapters.secrets import Secret, SecretError, Secrets
from flyball.power.tell import QUIET, Change, News, Told, after, changes
from flyball.units import Seconds

WEBHOOK, TOKEN, CHANNEL = "SLACK_WEBHOOK_URL", "SLACK_BOT_TOKEN", "SLACK_CHANNEL"
API = "https://slack.com/api"
AT_ONCE = 5
"""Changes told of one news; the rest comes with the next."""
_GONE = frozenset({"message_not_found", "cant_update_message", "edit_window_closed", "thread_not_found"})
"""Somebody deleted the message: another one is begun."""
_MENDS = {
    "channel_not_found": "Give the channel's ID, and invite the bot",
    "not_in_channel": "Invite the bot to the channel",
    "missing_scope": "Give the bot the scope chat:write",
    "invalid_auth": f"Give a token of the bot in {TOKEN}",
    "token_revoked": f"Give a new token in {TOKEN}",
}


class SlackMemory(msgspec.Struct, frozen=True):
    """What was told; kept over a restart, nothing is told twice."""

    told: dict[str, Told] = {}
    threads: dict[str, tuple[str, str]] = {}
    """By domain: channel and time stamp of its message."""


class _Answer(msgspec.Struct, frozen=True):
    ok: bool
    error: str = ""
    channel: str = ""
    ts: str = ""


class Slack:
    """One channel. ValueError, SecretError where an option makes no sense."""

    def __init__(
        self,
        *,
        webhook: Secret | None = None,
        token: Secret | None = None,
        channel: str = "",
        page: str = "",
        quiet: Seconds = QUIET,
        timeout: Seconds = TIMEOUT,
        memory: SlackMemory = SlackMemory(),  # noqa: B008 - frozen
        api: str = API,
        now: Callable[[], Seconds] = time.monotonic,
    ) -> None:
        """Of `webhook` and `token` the token is used, as it can do more; `channel`: of the token, an ID."""
        if token is not None and not channel:
            raise SecretError(CHANNEL, "is not set", "Set it to the ID of the channel for the bot")
        if token is None and webhook is None:
            raise SecretError(WEBHOOK, "is not set", f"Set it, or {TOKEN} and {CHANNEL}")
        self._token, self._channel, self._page, self._quiet, self._now = token, channel, page, quiet, now
        url = api if token is not None else webhook.reveal() if webhook is not None else ""
        self._http = Http("Slack", url, timeout=timeout)
        self.memory = memory
        """What was told so far."""
        self._not_before = -float("inf")
        self._waiting: tuple[str, ...] = ()

    @classmethod
    def of(cls, secrets: Secrets, **options: Any) -> Slack:
        """With the names of the document: SLACK_WEBHOOK_URL, or SLACK_BOT_TOKEN and SLACK_CHANNEL."""
        channel = secrets.find(CHANNEL)
        return cls(
            webhook=secrets.find(WEBHOOK),
            token=secrets.find(TOKEN) if channel is not None else None,
            channel=channel.reveal() if channel else "",
            **options,
        )

    def close(self) -> None:
        """End its connections."""
        self._http.close()

    def tell(self, news: News) -> tuple[str, ...]:
        """One message for each change of a domain, the worst first."""
        due = changes(self.memory.told, news, self._quiet)
        if due and self._now() < self._not_before:
            return self._waiting
        for change in due[:AT_ONCE]:
            try:
                threads = self._say(news, change)
            except NotifyError as error:
                if error.wait:
                    self._not_before, self._waiting = self._now() + error.wait, (str(error),)
                return (str(error),)
            self.memory = SlackMemory(after(self.memory.told, (change,), news.now), threads)
        return ()

    def _say(self, news: News, change: Change) -> dict[str, tuple[str, str]]:
        """Tell a change; the threads after it."""
        said, threads = message(news, change, self._page), dict(self.memory.threads)
        if self._token is None:
            self._http.send("POST", "", said)
            return threads
        place = threads.pop(change.domain, None)
        if place is not None:
            channel, ts = place
            try:
                self._call("chat.update", {"channel": channel, "ts": ts, **said})
            except _Gone:
                place = None
        if place is None:
            answer = self._call("chat.postMessage", {"channel": self._channel, **_PLAIN, **said})
            place = (answer.channel or self._channel, answer.ts)
        elif change.turn != "changed":
            in_thread = {"channel": place[0], "thread_ts": place[1], **_PLAIN, **reply(news, change)}
            self._call("chat.postMessage", in_thread)
        return threads if change.topic is None else {**threads, change.domain: place}

    def _call(self, method: str, body: Message) -> _Answer:
        answer: _Answer = self._http.ask(_Answer, "POST", f"/{method}", body=body, token=self._token)
        if answer.ok:
            return answer
        if answer.error in _GONE:
            raise _Gone("Slack", answer.error, "Another message is begun")
        wait = WAIT if answer.error in ("ratelimited", "rate_limited") else 0.0
        mend = _MENDS.get(answer.error, f"See Slack's page of {method}")
        raise NotifyError("Slack", f"{method} failed: {answer.error}", mend, wait=wait)


class _Gone(NotifyError):
    pass


_PLAIN: Message = {"unfurl_links": False, "unfurl_media": False}
