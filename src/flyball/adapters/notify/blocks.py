"""A change as a message of Slack's: blocks, and the text that stands for them in notifications.

Slack's limits: 50 blocks, 150 characters in a header, 3000 in a section; names of others are escaped.
"""

from __future__ import annotations

from typing import Any

from flyball.adapters.notify import words
from flyball.power.tell import Change, News
from flyball.spec.power_plan import Recommendation

HEADER, SECTION, TEXT = 150, 3000, 3000
LINES = 40
"""Actions listed in one message."""
RECOMMENDATIONS = 10
Message = dict[str, Any]


def message(news: News, change: Change, link: str = "") -> Message:
    """`text` and `blocks` of a change; `link`: the address of the page."""
    topic = change.topic
    head = f"{change.domain}: {change.gist.level}" + ("" if change.turn == "new" else f" ({change.turn})")
    if topic is None:
        said = f"{change.domain}: resolved, was {change.before.level}"
        return {"text": escaped(said, TEXT), "blocks": [_header(said)]}
    blocks = [_header(head), _section(words.headline(topic))]
    if problem := words.impossible(topic):
        blocks.append(_section(problem))
    left = LINES
    for one in topic.recommendations[:RECOMMENDATIONS]:
        blocks += _recommended(news, one, left)
        left = max(left - len(one.actions), 0)
    if (more := len(topic.recommendations) - RECOMMENDATIONS) > 0:
        blocks.append(_section(f"and {more} more policies"))
    if link:
        blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": f"<{link}|Live page>"}]})
    return {"text": escaped(f"{head}. {words.headline(topic)}", TEXT), "blocks": blocks}


def reply(news: News, change: Change) -> Message:
    """The same in a line, for the thread of the message that is updated."""
    topic = change.topic
    said = f"{change.domain} is calm again" if topic is None else words.headline(topic)
    return {"text": escaped(f"{change.turn.capitalize()}: {said}", TEXT)}


def escaped(text: str, longest: int) -> str:
    """Text as Slack takes it, so that none of it is a link or calls anyone; cut where it is too long."""
    found: list[str] = []
    size = 0
    for sign in text:
        sign = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}.get(sign, sign)
        if size + len(sign) > longest - 3:
            return "".join(found) + ("..." if size else "")
        found.append(sign)
        size += len(sign)
    return "".join(found)


def _recommended(news: News, one: Recommendation, left: int) -> list[Message]:
    by = f" ({one.policy})" if one.policy else ""
    blocks = [_section(f"Recommended{by}: {one.reason}")]
    lines = [words.action_line(news, a) for a in one.actions[:left]]
    if more := len(one.actions) - len(lines):
        lines.append(f"and {more} more")
    if one.peak is not None:
        lines.append(f"not taken: a peak of {one.peak:,.0f} W")
    return [*blocks, _section("\n".join(f"• {line}" for line in lines))]


def _header(text: str) -> Message:
    short = text if len(text) <= HEADER else f"{text[: HEADER - 3]}..."
    return {"type": "header", "text": {"type": "plain_text", "text": short}}


def _section(text: str) -> Message:
    return {"type": "section", "text": {"type": "mrkdwn", "text": escaped(text, SECTION)}}
