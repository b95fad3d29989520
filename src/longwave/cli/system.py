"""Commands that look after an installation: web, migrate, doctor, manage, the fake, version."""

import json
import os
import sys
from functools import partial
from typing import Annotated, Any

import structlog
import typer

from longwave import config, logs
from longwave.cli.answers import AsJson
from longwave.cli.metrics import Metrics, measure
from longwave.core.errors import InvalidInput, Problem

log = structlog.get_logger("longwave.cli")


def web() -> None:
    """Run the web process on LONGWAVE_HOST and LONGWAVE_PORT."""
    from granian import Granian
    from granian.constants import Interfaces

    from longwave.cli.up import check_port
    from longwave.ops import parent

    current = config.current()
    check_port(current)
    # Without the main process its worker would serve on, and keep the port from the next one.
    os.register_at_fork(after_in_child=partial(parent.end_with, os.getpid()))
    logs.keep(current.log_dir, "web", current.log_format)  # refuses here a folder that granian could not use
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "longwave.settings")  # granian's worker is a new process
    Granian(
        "longwave.asgi:application",
        address=current.host,
        port=current.port,
        interface=Interfaces.ASGINL,
        workers=1,
        respawn_failed_workers=True,
        workers_kill_timeout=2,
        log_dictconfig=_granian_logging(current),
    ).serve()


def migrate(as_json: AsJson = False) -> None:
    """Create or update the database's tables."""
    from longwave.cli import progress
    from longwave.ops import schema

    with progress.spinner("Updating the database's tables…"):
        applied = schema.migrate()
    if as_json:
        typer.echo(json.dumps({"applied": applied}))
    else:
        typer.echo(f"Applied {', '.join(applied)}." if applied else "The database is up to date.")


def manage(ctx: typer.Context) -> None:
    """Django's own commands."""
    from django.core.management import execute_from_command_line

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "longwave.settings")
    execute_from_command_line(["longwave manage", *ctx.args])


def doctor(as_json: AsJson = False) -> None:
    """Check the installation; each finding has a remedy. Exit code 1 when something fails."""
    from longwave.cli import progress
    from longwave.cli.up import lock_file
    from longwave.ops.doctor import examine

    current = config.current()
    with progress.spinner("Looking…"):
        findings = examine(current, up_lock=lock_file(current))
    if as_json:
        typer.echo(json.dumps([finding.as_dict() for finding in findings], ensure_ascii=False))
    else:
        _print_findings(findings)
    raise typer.Exit(1 if any(finding.verdict == "fail" for finding in findings) else 0)


def fake_telegram(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 8081,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    rate: Annotated[
        int, typer.Option(min=0, help="Messages a bot may send in any second; 0: no limit.")
    ] = 30,
    latency: Annotated[float, typer.Option(min=0, help="Milliseconds before every answer.")] = 0.0,
    jitter: Annotated[float, typer.Option(min=0, help="Up to this many milliseconds more.")] = 0.0,
    token: Annotated[list[str] | None, typer.Option(help="The only bot tokens that exist.")] = None,
    stars: Annotated[float, typer.Option(min=0, help="Stars on every bot's balance.")] = 0.0,
) -> None:
    """Run a strict fake Bot API server: point a sender at it with --base-url."""
    from longwave.testing.fake_telegram import Options, main

    options = Options(
        host=host,
        port=port,
        rate=rate or None,
        latency=latency,
        jitter=jitter,
        tokens=tuple(token or ()),
        stars=stars,
    )
    try:
        main(options)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        remedy = f"cannot be listened on ({reason}); choose another with --port or --host"
        raise InvalidInput(Problem("--port", f"{host}:{port}", remedy)) from error


def return_work(
    pids: Annotated[list[int] | None, typer.Argument(help="Main processes of workers that are dead.")] = None,
    left_by: Annotated[
        str, typer.Option(help="How the owners begin of what a stopped worker has left.")
    ] = "",
    exit_code: Annotated[int, typer.Option(help="How the worker has ended that becomes this command.")] = 0,
    metrics: Metrics = "",
) -> None:
    """Free what workers of this machine held that are dead or stopped, so that others go on with it at once."""
    measure(metrics)
    from longwave.ops import returning

    if left_by and (handed_over := returning.hand_over(left_by)):
        log.info("work_given_back", jobs_and_batches=handed_over, of="a worker that was stopped")
    if pids and (returned := returning.return_work(pids)):
        log.info("work_given_back", jobs_and_batches=returned, of="dead workers")
    raise typer.Exit(exit_code)


def check_modules() -> None:
    """Import the modules of LONGWAVE_MODULES, and say what is wrong with the first that cannot be."""
    from longwave.jobs import rooms

    rooms.load()


def version() -> None:
    """Print the version."""
    from longwave import __version__

    typer.echo(f"longwave {__version__}")


def _granian_logging(current: config.Config) -> dict[str, Any]:
    format_ = {"()": "longwave.logs.formatter", "style": current.log_format, "colors": sys.stderr.isatty()}
    handlers = {
        "stderr": {"class": "logging.StreamHandler", "formatter": "longwave", "stream": "ext://sys.stderr"}
    }
    if current.log_dir is not None:
        handlers["file"] = {
            "()": "longwave.logs.file_handler",
            "folder": str(current.log_dir),
            "component": "web",
            "style": current.log_format,
        }
    quiet = {"handlers": [*handlers], "propagate": False}
    return {
        "formatters": {"longwave": format_},
        "handlers": handlers,
        "loggers": {"_granian": {**quiet, "level": "INFO"}, "granian.access": {**quiet, "level": "INFO"}},
        "root": {"handlers": [*handlers], "level": current.log_level},
    }


def _print_findings(findings: list[Any]) -> None:
    from rich.console import Console
    from rich.markup import escape

    marks = {"ok": "[green]ok  [/]", "warn": "[yellow]warn[/]", "fail": "[red]fail[/]"}
    console = Console(highlight=False, soft_wrap=True)
    for finding in findings:
        console.print(f"{marks[finding.verdict]} {finding.check:<16} {escape(finding.found)}")
        if finding.remedy:
            console.print(f"{'':<22}→ {escape(finding.remedy)}")
