"""The command line: one module a noun, imported when it is used, and one place where errors become sentences.

Exit codes: 0 done; 1 failed, not found or in conflict; 2 bad input; 130 Ctrl-C.
"""

import gc
import logging
import os
import sys
from typing import Annotated, Any

import typer

from longwave import config
from longwave.cli import failures
from longwave.cli.lazy import Entry, LazyGroup

SEND, RUN, CARE = "Send", "Run", "Look after"
PASS_THROUGH: dict[str, Any] = {
    "ignore_unknown_options": True,
    "allow_extra_args": True,
    "help_option_names": [],  # `longwave manage migrate --help` is Django's to answer
}

COMMANDS = {
    "demo": Entry(
        "longwave.cli.demo:demo", "See it work: a broadcast to a fake Telegram, judged.", RUN, "nothing"
    ),
    "up": Entry("longwave.cli.up:up", "Run everything here: broker, workers, beat and web.", RUN, "nothing"),
    "sender": Entry("longwave.cli.sender:app", "Bot tokens and their limits.", SEND),
    "contacts": Entry(
        "longwave.cli.contacts:app", "Import and look up recipients, lists and segments.", SEND
    ),
    "campaign": Entry(
        "longwave.cli.campaign:app", "Create, start, watch, pause and report broadcasts.", SEND
    ),
    "send": Entry("longwave.cli.sender:send", "Send one message now.", SEND),
    "worker": Entry("longwave.cli.worker:worker", "Run one worker (production).", RUN, "service"),
    "beat": Entry(
        "longwave.cli.worker:beat", "Run the clock that sweeps and rings (production).", RUN, "service"
    ),
    "autoscale": Entry(
        "longwave.cli.autoscale:autoscale", "Keep as many workers as the work needs.", RUN, "service"
    ),
    "web": Entry("longwave.cli.system:web", "Run the web process (production).", RUN, "service"),
    "flower": Entry(
        "longwave.cli.flower:flower", "Run Flower, Celery's dashboard (an extra).", RUN, "django"
    ),
    "status": Entry("longwave.cli.status:status", "Queues, workers, senders and campaigns, live.", CARE),
    "queue": Entry(
        "longwave.cli.queue:app", "Queues: what waits, what failed, and why something does not run.", CARE
    ),
    "schedule": Entry("longwave.cli.schedule:app", "What is submitted by itself, and when.", CARE),
    "migrate": Entry(
        "longwave.cli.system:migrate", "Create or update the database's tables.", CARE, "django"
    ),
    "doctor": Entry(
        "longwave.cli.system:doctor", "Check the installation; each finding has a remedy.", CARE, "django"
    ),
    "manage": Entry("longwave.cli.system:manage", "Django's own commands.", CARE, "nothing", PASS_THROUGH),
    "fake-telegram": Entry(
        "longwave.cli.system:fake_telegram", "Run a strict fake Bot API server.", CARE, "nothing"
    ),
    "return-work": Entry(
        "longwave.cli.system:return_work", "Free what dead processes held.", CARE, hidden=True
    ),
    "check-modules": Entry(
        "longwave.cli.system:check_modules",
        "Import the modules of LONGWAVE_MODULES.",
        CARE,
        "django",
        hidden=True,
    ),
    "version": Entry("longwave.cli.system:version", "Print the version.", CARE, "nothing"),
}


def ready(*, quiet: bool = True) -> None:
    """Load Django, set up logging, and see that the database has its tables.

    A SQLite database is migrated on the spot, so that any command may be somebody's first. A production
    database is never touched: Conflict says to run `longwave migrate`. A worker that began anew waits for it.
    """
    load_django(quiet=quiet)
    from longwave.jobs import stop
    from longwave.ops import schema

    if stop.CAME_BACK in os.environ:
        schema.ensure_when_back()
    else:
        schema.ensure()


def load_django(*, quiet: bool = True) -> None:
    """Settings, models and logging; the database is not looked at. `quiet`: only warnings are logged."""
    import longwave
    from longwave import logs

    current = config.current()
    logs.configure(logs.quieter(current.log_level) if quiet else current.log_level, current.log_format)
    longwave.setup()
    if quiet and current.log_level != "DEBUG":
        # Before the first `longwave up` there is no broker, and nothing is wrong: the command itself says what to do.
        logging.getLogger("longwave.jobs").setLevel(logging.ERROR)


class Root(LazyGroup):
    """`longwave`."""

    entries = COMMANDS

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The real command. What it imports stays: to search that for garbage took two fifths of a short command."""
        gc.disable()
        try:
            return super().resolve_command(ctx, args)
        finally:
            gc.freeze()
            gc.enable()

    def prepare(self, entry: Entry, args: list[str]) -> None:
        """A module is imported after its models can be, and run after its tables are there."""
        if entry.needs == "nothing":
            return
        quiet = entry.needs != "service"
        if entry.needs == "django" or "--help" in args:
            load_django(quiet=quiet)
        else:
            ready(quiet=quiet)


app = typer.Typer(cls=Root, name="longwave", no_args_is_help=True)


def _print_version(wanted: bool) -> None:
    if wanted:
        from longwave import __version__

        typer.echo(f"longwave {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
    parent: Annotated[int, typer.Option(hidden=True, help="End when this process is gone.")] = 0,
) -> None:
    """Longwave: the background half of a bot."""
    if parent:
        from longwave.ops import parent as watch

        watch.end_with(parent)


def main(args: list[str] | None = None) -> None:
    """Run the command line and exit. Never shows a traceback, unless LONGWAVE_LOG_LEVEL is DEBUG."""
    args = sys.argv[1:] if args is None else args
    as_json = "--json" in args
    try:
        # Not standalone: a wrong option is told as everything else that is wrong, not in a drawn box.
        code = typer.main.get_command(app).main(args, prog_name="longwave", standalone_mode=False)
    except Exception as error:
        if config.shows_tracebacks() and not failures.is_usage(error):
            raise
        code = failures.report(error, as_json=as_json)
    sys.exit(code if isinstance(code, int) else 0)
