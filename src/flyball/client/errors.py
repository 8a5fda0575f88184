"""The one error of a call: what the service said or why it said nothing, where, and what to do about it."""

from __future__ import annotations

import re
import socket
import ssl

import httpx2
import msgspec

from flyball.client.operations import Operation
from flyball.units import Seconds

LONGEST = 2000
"""Characters of an answer that a message repeats."""
ABSENT = "404 page not found"
"""What the services answer where there is no such route; Go's words."""
NO_ROUTE = "there is no such route"
"""What is said then."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_ELSEWHERE = {
    "optimizer": "Give the address of an optimizer",
    "stateful": "Only a stateful optimizer has it (`flyball serve --stateful`, or -F of the original)",
    "flyball": "Only Flyball's optimizer has it; the originals have optimizeOne",
    "queue": "Give the address of a queue analysis (`flyball serve queue`)",
    "tuner": "Give the address of a model tuner (`flyball serve tuner`)",
    "loop": "Give the address of that part of the control loop",
    "controller": "Only Flyball's controller has it (`flyball loop`), not the original",
    "health": "Only Flyball's services have it, not the originals",
}


class CallError(Exception):
    """A call that was not answered as asked; `status` is None where there was no answer at all."""

    def __init__(
        self, status: int | None, message: str, request_id: str = "", *, url: str = "", mend: str = ""
    ) -> None:
        self.status, self.message, self.request_id, self.url = status, message, request_id, url
        place = url if status is None else f"{url} answered {status}"
        more = f"Request id: {request_id}" if request_id else ""
        super().__init__(" ".join([f"{place}:", *(_ended(each) for each in (message, mend, more) if each)]))


def refused(answer: httpx2.Response, url: str, operation: Operation, *, token: bool, tries: int) -> CallError:
    """The error of an answer that is none of success."""
    status, said = answer.status_code, said_in(answer)
    if status == 404 and said == ABSENT:
        message, mend = NO_ROUTE, _ELSEWHERE[operation.offered]
    else:
        message, mend = said, _mend(answer, token=token, tries=tries)
        if not message:
            message = "the service does not say why"
    identity = shown_text(answer.headers.get("x-request-id", ""), 128)
    return CallError(status, message, identity, url=url, mend=mend)


def said_in(answer: httpx2.Response) -> str:
    """What an answer says in words: its message, Go's bare string, or its text; "" where it has none."""
    said: object = None
    try:
        said = msgspec.json.decode(answer.content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if "html" not in answer.headers.get("content-type", ""):
            said = answer.text
    if isinstance(said, dict):
        reasons = said.get("unserved")
        said = said.get("message", said.get("error"))
        if isinstance(said, str) and isinstance(reasons, dict):
            said = ". ".join(
                [said, *(str(r.get("message")) for r in reasons.values() if isinstance(r, dict))]
            )
    return shown_text(said, LONGEST) if isinstance(said, str) else ""


def _ended(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def shown_text(text: str, longest: int) -> str:
    """Text of others as a message repeats it: without control characters, and short."""
    text = _CONTROL.sub(" ", text).strip()
    return text if len(text) <= longest else f"{text[:longest]}..."


def _mend(answer: httpx2.Response, *, token: bool, tries: int) -> str:
    status = answer.status_code
    if 300 <= status < 400:
        there = shown_text(answer.headers.get("location", ""), 200)
        return f"It is elsewhere{': ask ' + there if there else ''}; redirections are not followed"
    if status == 400 and not answer.content:
        return (
            "Inferno's own services do not tell; `flyball plan` on the same document says where it is wrong"
        )
    if status == 401:
        return "The token is none of the service's" if token else "Give a token, or a file with one"
    if status == 403:
        return "Ask for the service by its own name, with a token that may do this"
    if status == 413:
        return "Send less at once, or let the service take more"
    if status in (429, 502, 503, 504):
        wait = shown_text(answer.headers.get("retry-after", ""), 40)
        after = f" (it says: after {wait}{' s' if wait.isdigit() else ''})" if wait else ""
        return f"Tried {tries} times; try later{after}" if tries > 1 else f"Try later{after}"
    if status >= 500:
        return "Its log says more"
    return ""


def unanswered(error: httpx2.HTTPError, url: str, timeout: Seconds) -> CallError:
    """The error of a call without an answer."""
    message, mend = _why(error, url, timeout)
    return CallError(None, message, url=url, mend=mend)


def _why(error: httpx2.HTTPError, url: str, timeout: Seconds) -> tuple[str, str]:
    if isinstance(error, httpx2.ConnectTimeout):
        return "it cannot be reached in time", "Correct host and port, or see what is between"
    if isinstance(error, httpx2.PoolTimeout):
        return "too many calls are under way in this client", "Make fewer at once"
    if isinstance(error, httpx2.TimeoutException):
        return f"no answer within {timeout:g} s", "Allow more time, or ask for less"
    below = list(_causes(error))
    for each in below:
        if isinstance(each, ssl.SSLCertVerificationError):
            return (
                f"its certificate is not trusted ({each.verify_message or each})",
                "Name the service as its certificate does, and trust the authority that signed it",
            )
        if isinstance(each, ssl.SSLError):
            return f"TLS fails ({each.reason or each})", "Is it an http:// address?"
        if isinstance(each, ConnectionRefusedError):
            return "the connection is refused", "Start the service, or correct host and port"
        if isinstance(each, socket.gaierror):
            return f"the host is not known ({each.strerror})", "Correct the address"
    if isinstance(error, httpx2.ProxyError):
        return f"the proxy fails ({shown_text(str(error), 200)})", "See HTTP_PROXY and NO_PROXY"
    if isinstance(error, httpx2.ConnectError):
        return f"it cannot be reached ({shown_text(str(error), 200)})", "Correct host and port"
    if isinstance(error, httpx2.NetworkError | httpx2.RemoteProtocolError):
        other = "http" if url.startswith("https") else "https"
        mend = f"Is it an HTTP service that still runs, or is it an {other}:// address?"
        return f"the connection ended before the answer did ({shown_text(str(error), 200)})", mend
    return f"the call fails ({shown_text(str(error) or type(error).__name__, 200)})", "See the address"


def _causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found
