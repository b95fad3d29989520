"""Queues: what waits in each, holding one, emptying it, and what does not agree about it."""

import getpass
import json
import os
import socket
from dataclasses import asdict
from typing import Annotated, Any

import typer

from longwave.cli import progress, queue_jobs, tables, words
from longwave.cli.answers import AsJson, Yes, answer, ask, count_jobs
from longwave.core.errors import InvalidInput, NotFound, Problem
from longwave.jobs import cancelling, explaining, pausing, queues, rooms, stats
from longwave.jobs.models import Job, Status
from longwave.ops import drift as differences

app = typer.Typer(no_args_is_help=True, help="Queues and the jobs in them.")

Queue = Annotated[str, typer.Argument(help="The queue's name.")]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Every queue: what is ready, what runs, how long the oldest waits."""
    paused = pausing.paused()
    rows = [asdict(status) | _pause(paused.get(name)) for name, status in stats.queue_status().items()]
    if as_json:
        typer.echo(json.dumps(rows, default=words.for_scripts))
        return
    table = tables.table(
        "queue",
        ">priority",
        ">ready",
        ">running",
        ">scheduled",
        ">retrying",
        ">oldest wait",
        "",
        whole="queue",
    )
    for row in rows:
        waited = words.duration(row["oldest_wait"]) if row["ready"] else "–"
        numbers = (str(row[name]) for name in ("priority", "ready", "running", "scheduled", "retrying"))
        table.add_row(row["queue"], *numbers, waited, str(paused.get(row["queue"], "")))
    tables.show(table)


@app.command()
def pause(
    queue: Queue,
    reason: Annotated[str, typer.Option(help="Shown wherever the pause is.")] = "",
    as_json: AsJson = False,
) -> None:
    """Begin nothing of it any more, on any worker; what runs goes on."""
    is_new = pausing.pause(queue, by=_who(), reason=reason)
    known = pausing.paused().get(queue)
    text = f"{queue} is paused." if is_new else f"{queue} was paused already: {known}."
    answer({"queue": queue, **_pause(known)}, as_json, text)


@app.command()
def resume(queue: Queue, as_json: AsJson = False) -> None:
    """Let a paused queue go on."""
    waited = pausing.resume(queue)
    text = (
        f"{queue} was not paused."
        if waited is None
        else f"{queue} goes on; {count_jobs(waited)} waited for it."
    )
    answer({"queue": queue, **_pause(None), "rung": waited or 0}, as_json, text)


@app.command()
def purge(queue: Queue, yes: Yes = False, as_json: AsJson = False) -> None:
    """Cancel what waits in it. The jobs stay in the ledger, as cancelled; what runs goes on."""
    waiting = _waiting(queue)
    if waiting:
        ask(yes, f"Cancel {count_jobs(waiting)} that {'waits' if waiting == 1 else 'wait'} in {queue}?")
    dropped = cancelling.purge(queue, "purged by hand")
    answer({"queue": queue, "cancelled": dropped}, as_json, f"Cancelled {count_jobs(dropped)} of {queue}.")


app.command()(queue_jobs.jobs)
app.command()(queue_jobs.show)
app.command()(queue_jobs.cancel)
app.command("failed")(queue_jobs.failed_)
app.command()(queue_jobs.retry)
app.command()(queue_jobs.forget)


@app.command()
def work(
    queue: Queue,
    once: Annotated[bool, typer.Option("--once", help="One job, here and now.")] = False,
) -> None:
    """Run the job that waits longest in a queue, in this process: to look at it with a debugger, or by print."""
    if not once:
        raise InvalidInput(
            Problem("--once", False, f"is needed; a worker for good is `longwave worker -Q {queue}`")
        )
    queues.check(queue)
    rooms.load()
    from longwave.jobs import runner  # brings Celery

    row = Job.objects.filter(queue=queue, status=Status.QUEUED).order_by("ready_at").first()
    if row is None:
        raise NotFound(f"Nothing waits in {queue}.")
    typer.echo(f"Job {row.pk}: {row.name}")
    if not runner.execute(row.pk, row.seq):
        reasons = explaining.why(row, {queue: ["this process"]}) or ["another worker was faster"]
        typer.echo(f"It was not begun. {' '.join(reasons)}", err=True)
        raise typer.Exit(1)
    ended = Job.objects.get(pk=row.pk)
    typer.echo(f"It is {ended.status}{': ' + ended.error if ended.error else ''}.")
    raise typer.Exit(1 if ended.status in (Status.FAILURE, Status.RETRY) else 0)


@app.command()
def drift(as_json: AsJson = False) -> None:
    """What the ledger, the broker and the workers do not agree about. Exit code 1 when something is wrong."""
    rooms.load()
    with progress.spinner("Asking the workers…"):
        found = differences.find()
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found]))
    elif not found:
        typer.echo("Ledger, broker and workers agree.")
    else:
        table = tables.table("what", "queue", ">jobs", "then")
        for one in found:
            table.add_row(one.what, one.queue, str(one.count or ""), one.remedy)
        tables.show(table)
    raise typer.Exit(any(not one.is_harmless for one in found))


def _who() -> str:
    """Who types this, and where."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container whose user has a number only
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _pause(known: pausing.Pause | None) -> dict[str, Any]:
    return {"is_paused": known is not None, "pause": asdict(known) if known else None}


def _waiting(queue: str) -> int:
    queues.check(queue)
    status = stats.queue_status().get(queue)
    return status.ready + status.scheduled + status.retrying if status else 0
