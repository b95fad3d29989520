"""`python -m longwave.testing.fake_telegram --port 8081`"""

import argparse
from dataclasses import fields
from functools import partial
from typing import Any

from longwave.testing.fake_telegram.options import Options
from longwave.testing.fake_telegram.server import main

_HELP = {
    "host": "address to listen on",
    "port": "port to listen on, 0 for a free one",
    "rate": "messages a bot may send in any second, or none",
    "paid_rate": "the same with allow_paid_broadcast and Stars",
    "chat_burst": "messages to one private chat in any window, or none",
    "chat_seconds": "that window in seconds",
    "group_burst": "messages to one group in any window, or none",
    "group_seconds": "that window in seconds",
    "stars": "Stars on every bot's balance",
    "latency": "milliseconds by which every answer is delayed",
    "jitter": "up to this many milliseconds more",
    "seed": "seed of everything random",
    "keep_messages": "messages of a bot that can still be edited, copied, deleted",
}


def _number_or_none(value: str) -> int | None:
    return None if value.lower() == "none" else int(value)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m longwave.testing.fake_telegram", description=__doc__)
    parser.add_argument(
        "--token", action="append", default=[], dest="tokens", help="a bot that exists (else all do)"
    )
    parser.add_argument("--keep-text", action="store_true", help="keep every message's text in the log")
    parser.add_argument("--follow-parent", action="store_true", help=argparse.SUPPRESS)
    for field in fields(Options):
        if field.name in _HELP:
            kind = _number_or_none if field.type == int | None else field.type
            read: Any = kind if callable(kind) else str
            flag = f"--{field.name.replace('_', '-')}"
            parser.add_argument(
                flag, type=read, default=field.default, help=f"{_HELP[field.name]} (%(default)s)"
            )
    return parser


def _run() -> None:
    parser = _parser()
    given = vars(parser.parse_args())
    follow_parent = given.pop("follow_parent")
    options = Options(**{**given, "tokens": tuple(given["tokens"])})
    try:
        options.limits()
    except ValueError as error:
        parser.error(str(error))
    if follow_parent:
        main(options, on_ready=partial(print, flush=True), follow_parent=True)
    else:
        main(options)


if __name__ == "__main__":
    _run()
