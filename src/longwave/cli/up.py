"""`longwave up`: everything on this machine, in one terminal."""

import json
import logging
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer

from longwave import __version__, config, logs
from longwave.cli.children import COUNTED, command, modules_check, return_work
from longwave.config import Config
from longwave.core.errors import InvalidInput, Problem
from longwave.ops import broker, lock
from longwave.ops.metrics import measuring
from longwave.ops.output import Output
from longwave.ops.supervisor import Child, Supervisor

SENDING = ("campaigns", "broadcast", "email")
GENERAL = (
    "telegram-callbacks",
    "telegram-commands",
    "telegram",
    "notifications",
    "import",
    "workflow-processing",
    "file_processing",
    "data_validation",
    "llm_processing",
    "sheets_writing",
    "default",
)
"""Two kinds of workers, so that a big broadcast never keeps a bot's answer waiting."""

CONCURRENCY = 2
LANES_AT_ONCE = 32
"""A lane waits more than it works: one process drives many, in threads that share one event loop."""

GRACE = 4
"""Seconds that a worker's running jobs have to end. There is time to give back what is cut off before it is killed."""

ASK_WITHIN = 20
"""Seconds that listing the senders may take."""


def up(
    senders: Annotated[int, typer.Option(min=1, help="Worker processes that send campaigns.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes for everything else.")] = 1,
    web: Annotated[bool, typer.Option(help="Run the web process too.")] = True,
) -> None:
    """Run everything here: broker, workers, beat and web. Ctrl-C stops it in good order, twice at once."""
    current = config.current()
    with lock.held(lock_file(current)):
        measuring.forget(current)
        children = list(_children(current, senders=senders, workers=workers, web=web))
        output = Output(
            sys.stdout,
            names=[child.name for child in children],
            as_json=current.log_format == "json",
            journal=_journal(current),
        )
        code = Supervisor(
            children=children,
            run_folder=current.home / "run",
            output=output,
            setup=[Child("migrate", command("migrate")), *modules_check(current)],
            return_work=return_work,
            on_ready=partial(_tell, current, output, web=web),
        ).run()
        output.say("stopped" if code == 0 else "stopped at once")
    raise typer.Exit(code)


def _journal(current: Config) -> Callable[..., None] | None:
    """Where this process' own lines are kept, when a folder for logs is set. Its children keep theirs."""
    if current.log_dir is None:
        return None
    logs.configure(current.log_level, current.log_format)
    logging.getLogger().handlers.clear()  # the terminal has them already, with the children's
    logs.keep(current.log_dir, "up", current.log_format)
    return structlog.get_logger("longwave.up").info  # type: ignore[no-any-return]


def lock_file(current: Config) -> Path:
    """Held while `up` runs; has its pid in it."""
    return current.home / "run" / "up.lock"


def check_port(current: Config, *, instead: str = "") -> None:
    """Raise InvalidInput when the web process could not listen. instead: what else there is to do then."""
    family = socket.AF_INET6 if ":" in current.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((current.host, current.port))
        except OSError as error:
            raise InvalidInput(_port_problem(current, error, instead)) from error


def _port_problem(current: Config, error: OSError, instead: str) -> Problem:
    if isinstance(error, socket.gaierror) or error.strerror == "Cannot assign requested address":
        return Problem(
            "LONGWAVE_HOST", current.host, "is not an address of this machine; use 127.0.0.1 or 0.0.0.0"
        )
    if isinstance(error, PermissionError):
        return Problem("LONGWAVE_PORT", current.port, "needs privileges; choose one above 1023")
    remedy = f"is taken by another program; set LONGWAVE_PORT to a free one{instead}"
    return Problem("LONGWAVE_PORT", current.port, remedy)


def _children(current: Config, *, senders: int, workers: int, web: bool) -> Iterator[Child]:
    if current.is_embedded:
        path = config.broker_socket(current)
        yield Child(
            "broker",
            broker.command(path),
            rank=2,
            before=partial(broker.prepare, path),
            is_ready=partial(broker.ping, path),
        )
    if web:  # early: a taken port should be the first thing that is said
        yield Child("web", command("web"), before=partial(check_port, current, instead=", or use --no-web"))
    yield Child("beat", command("beat", *COUNTED))
    for number in range(1, senders + 1):
        yield _worker(f"send-{number}", SENDING, "threads", LANES_AT_ONCE, "--all-regions")
    for number in range(1, workers + 1):
        yield _worker(f"general-{number}", GENERAL, "prefork", CONCURRENCY)


def _worker(name: str, queues: tuple[str, ...], pool: str, concurrency: int, *more: str) -> Child:
    options = (
        "--queues",
        ",".join(queues),
        "--pool",
        pool,
        "--concurrency",
        str(concurrency),
        "--name",
        name,
        "--grace",
        str(GRACE),
        *COUNTED,
        *more,
    )
    return Child(name, command("worker", *options), rank=0, holds_work=True)


def _tell(current: Config, output: Output, *, web: bool) -> None:
    senders = _senders()
    regions = sorted({sender["region"] for sender in senders if sender["region"]})
    facts = {
        "data folder": str(current.home),
        "database": logs.scrub(current.database_url),
        "broker": "embedded" if current.is_embedded else logs.scrub(current.broker_url or ""),
        "web": f"http://{current.host}:{current.port}" if web else "not started (--no-web)",
        **(
            {"regions": f"{', '.join(regions)}; those of senders added later need a new start"}
            if regions
            else {}
        ),
        "next": "longwave campaign list" if senders else "longwave sender add telegram --name NAME",
        "stop": "Ctrl-C",
    }
    if output.as_json:
        output.say("ready", **{name.replace(" ", "_"): value for name, value in facts.items()})
        return
    output.say(f"Longwave {__version__} runs.")
    for name, value in facts.items():
        output.line("up", f"  {name:<12} {value}")


def _senders() -> list[dict[str, Any]]:
    """The senders there are, asked of a process of its own: this one knows no database. Empty when it cannot say."""
    question = command("sender", "list", "--json")
    try:
        asked = subprocess.run(question, capture_output=True, text=True, check=True, timeout=ASK_WITHIN)
    except (OSError, subprocess.SubprocessError):  # what is only told must not stop what runs
        return []
    found: list[dict[str, Any]] = json.loads(asked.stdout)
    return found
