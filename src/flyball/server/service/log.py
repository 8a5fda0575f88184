"""Log lines as JSON or as text to read: one line for each event, whatever stands in it."""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from typing import Any, Literal, TextIO

import structlog

How = Literal["auto", "json", "text", "off"]
FIRST = ("time", "level", "event", "service", "request_id")
PLAIN = re.compile(r"[\w.,:;/@%+*()<>{}\[\]?!&$~^-]+", re.ASCII)


def logger_of(service: str, how: How, stream: TextIO | None = None) -> structlog.typing.FilteringBoundLogger:
    """A logger of its own, apart from structlog's global one; `auto` is text on a terminal, else JSON."""
    out = sys.stderr if stream is None else stream
    if how == "auto":
        how = "text" if out is not None and out.isatty() else "json"
    if out is None or how == "off":
        out, processors = None, [_drop]
    else:
        processors = [
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            _exception,
            _in_order,
            _as_json if how == "json" else _as_text,
        ]
    logger: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
        _Sink(out),
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        context_class=dict,
        cache_logger_on_first_use=False,
    ).bind(service=service)
    return logger


@contextmanager
def with_others(logger: structlog.typing.FilteringBoundLogger) -> Iterator[None]:
    """Take in what libraries say through `logging`, warnings and worse."""
    handler = _FromLogging(logger)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


class _FromLogging(logging.Handler):
    def __init__(self, logger: structlog.typing.FilteringBoundLogger) -> None:
        super().__init__(logging.WARNING)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(Exception):  # a log line that fails must not fail what it tells of
            self._logger.log(
                record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info
            )


class _Sink:
    """Writes whole lines; a log that nobody can read any more is no reason to fail a request."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        if self._stream is not None:
            with suppress(OSError, ValueError):
                self._stream.write(line + "\n")
                self._stream.flush()

    debug = info = warning = error = critical = msg


def _drop(*_: Any) -> Any:
    raise structlog.DropEvent


def _exception(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The traceback as text; exceptions' words may come from outside, so they are treated as all else is."""
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    elif isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        event["exception"] = "".join(traceback.format_exception(error)).rstrip()
    return event


def _in_order(_: Any, __: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
    return {key: event[key] for key in FIRST if key in event} | dict(event)


def _as_json(_: Any, __: str, event: MutableMapping[str, Any]) -> str:
    return json.dumps(event, default=str)  # ASCII only: no byte of it can end a line


def _as_text(_: Any, __: str, event: MutableMapping[str, Any]) -> str:
    fields = dict(event)
    head = f"{fields.pop('time')} {fields.pop('level'):<7} {_safe(fields.pop('event'))}"
    trace = str(fields.pop("exception", ""))
    line = " ".join([head, *(f"{key}={_safe(value)}" for key, value in fields.items())])
    return line + "".join(f"\n    | {_printable(each)}" for each in trace.splitlines())


def _safe(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text if PLAIN.fullmatch(text) else json.dumps(text)


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)
