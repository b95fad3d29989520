"""One log format for our own lines and every library's: for people, or JSON. Bot tokens never get through.

Every line has `event`, stable words that can be searched for; what varies is in the other keys.
"""

import logging
import os
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO

import structlog

TOKEN = re.compile(r"(\d{3,}):[\w-]{30,}")
"""A bot token: the bot's number, which may be shown, and the secret, which may not."""

URL_PASSWORD = re.compile(r"(?<=://)([^\s/:@]*):[^\s/@]+@")

Event = MutableMapping[str, Any]


_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]


def scrub(text: str) -> str:
    """`text` with the secret half of every bot token, and every URL's password, masked."""
    return URL_PASSWORD.sub(r"\1:…@", TOKEN.sub(r"\1:…", text))


def quieter(level: str) -> str:
    """The level for a command that people run by hand: no news, unless they asked to see everything."""
    return level if level in ("DEBUG", "ERROR") else "WARNING"


def configure(level: str, style: Literal["console", "json"], stream: TextIO | None = None) -> None:
    """Send structlog's and stdlib's records to `stream` (stderr) in one format. A second call replaces it."""
    stream = sys.stderr if stream is None else stream
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # loggers made at import time must follow a later configure()
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter(style, colors=stream.isatty()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Their DEBUG drowns ours, and aiohttp and asyncio know nothing that we do not.
    for chatty in ("asyncio", "aiohttp", "amqp", "kombu", "django.db.backends", "celery.bootsteps"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def hand_on() -> None:
    """Give structlog's records to the standard library's loggers, each as one masked line.

    For a process whose logging is somebody else's, a bot's: its handlers and levels decide what is shown where.
    """
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            *_renderers("console", colors=False),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def say_at_once(name: str, text: str) -> None:
    """A line of logger `name` in the log's format, written round every buffer and lock.

    For signal handlers, which may interrupt the very handler that a log record would go through.
    """
    root = logging.getLogger()
    if not root.handlers or not root.isEnabledFor(logging.INFO):
        return
    record = logging.LogRecord(name, logging.INFO, "", 0, text, (), None)
    os.write(
        sys.__stderr__.fileno() if sys.__stderr__ else 2, f"{root.handlers[0].format(record)}\n".encode()
    )


def formatter(style: str, *, colors: bool = False) -> logging.Formatter:
    """The format itself, for servers that set up their own logging (granian names it in a dictConfig)."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_SHARED,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *_renderers(style, colors=colors),
        ],
    )


def _renderers(style: str, *, colors: bool) -> list[Any]:
    # Tracebacks without local variables: those may hold what must never be logged.
    if style == "json":
        frames = structlog.processors.ExceptionRenderer(
            structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        )
        return [frames, _Scrubbed(structlog.processors.JSONRenderer())]
    plain = structlog.dev.plain_traceback
    return [
        _one_line,
        _Scrubbed(structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)),
    ]


def _one_line(logger: Any, name: str, event: Event) -> Event:
    """What libraries say over several lines comes on one: each line of a log stands for itself."""
    if "\n" in (said := str(event.get("event", ""))):
        event["event"] = " ".join(said.split())
    return event


class _Scrubbed:
    """A renderer whose finished line is masked: no field, exception or library can go round it."""

    def __init__(self, render: Any) -> None:
        self.render = render

    def __call__(self, logger: Any, name: str, event: Event) -> str:
        return scrub(self.render(logger, name, event))
