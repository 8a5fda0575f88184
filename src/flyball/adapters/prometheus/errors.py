"""The one error of asking Prometheus: what was asked, what came of it, and what to do about it."""

from __future__ import annotations

import re

LONGEST = 300
"""Characters of a query, or of an answer, that a message repeats."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")


class PrometheusError(Exception):
    """A query without a usable answer; `status` is None where there was no answer at all."""

    def __init__(
        self, url: str, problem: str, mend: str, *, asked: str = "", status: int | None = None
    ) -> None:
        self.url, self.problem, self.mend, self.asked, self.status = url, problem, mend, asked, status
        about = f" (asked: {shown(asked)})" if asked else ""
        place = url if status is None else f"{url} answered {status}"
        super().__init__(f"{place}: {problem}{about}. {mend}.")


def shown(text: str) -> str:
    """Text of others as a message repeats it: without control characters, and short."""
    text = _CONTROL.sub(" ", text).strip()
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def mend_of(status: int, *, token: bool) -> str:
    """What to do about a status."""
    match status:
        case 401:
            return "Its token is another one" if token else "Give a file with its token"
        case 403:
            return "Give a token that may query it"
        case 404:
            return "Give the address before /api/v1, with the path before it if there is one"
        case 400 | 422:
            return "See the names in the file of metrics"
        case 503 | 502 | 504:
            return "Wait until it is up, allow more time, or shorten the window"
    return "See the address, and its log"
