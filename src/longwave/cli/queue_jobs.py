"""The jobs in queues: which there are, why one does not run, cancelling, and what failed and runs again."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from itertools import islice
from typing import Annotated, Any

import typer
from django.utils import timezone
from rich.table import Table

from longwave import database
from longwave.cli import progress, tables, words
from longwave.cli.answers import AsJson, Yes, answer, ask, count_jobs
from longwave.core.errors import InvalidInput, NotFound, Problem
from longwave.jobs import cancelling, explaining, failed, ledger, listing, presence, queues, rooms, timeline
from longwave.jobs.failed import Wanted
from longwave.jobs.listing import Sought
from longwave.jobs.models import ACTIVE, Job, Status
from longwave.jobs.timeline import Moment

OfQueue = Annotated[str, typer.Option("--queue", help="Only this queue.")]
OfName = Annotated[str, typer.Option("--name", help="Only jobs of this name.")]
Since = Annotated[
    str, typer.Option("--since", help="Only what failed since then: 2h, 3d, or 2027-01-31T06:00.")
]
Grep = Annotated[str, typer.Option("--grep", help="Only errors with this in them.")]
Which = Annotated[list[str], typer.Argument(help="Job ids, or all.")]
REFUSALS = 10
"""Jobs that are named when they cannot be run again."""

_AGO = re.compile(r"(\d+)([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def cancel(
    which: Which,
    queue: OfQueue = "",
    name: OfName = "",
    reason: Annotated[str, typer.Option(help="Kept with the job.")] = "cancelled by hand",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Cancel jobs: one that waits at once, one that runs at its next checkpoint, or when it fails."""
    wanted = _wanted(which, queue=queue, name=name, since="", grep="")
    ended: dict[int, str] = {}
    if wanted.ids:
        if queue or name:
            raise InvalidInput(
                Problem("which", which[0], "must be the word all where --queue or --name is given")
            )
        taken, ended = _cancel_each(wanted.ids, reason)
    else:
        if not queue and not name:
            raise InvalidInput(Problem("which", "all", "needs --queue or --name"))
        if total := listing.count(Sought(queue=queue, name=name)):
            ask(yes, f"Cancel {count_jobs(total)}?")
        taken = cancelling.cancel_all(reason, queue=queue, name=name)
    lines = (
        [f"Cancelled {count_jobs(taken.cancelled)}."]
        if taken.cancelled or not (taken.running or ended)
        else []
    )
    if taken.running:
        end = "ends at its" if taken.running == 1 else "end at their"
        lines.append(f"{count_jobs(taken.running)} running: {end} next checkpoint, or progress.")
    lines += [f"Not job {job_id}: it is {status}." for job_id, status in ended.items()]
    answer(asdict(taken) | {"ended": ended}, as_json, "\n".join(lines))
    raise typer.Exit(1 if ended else 0)


def _cancel_each(ids: Sequence[int], reason: str) -> tuple[cancelling.Taken, dict[int, str]]:
    """What became of them, and how those stand that had ended."""
    wanted = list(dict.fromkeys(ids))
    for job_id in wanted:
        _look(job_id)
    ended = {job_id: _look(job_id).status for job_id in wanted if not cancelling.cancel(job_id, reason)}
    running = sum(_look(job_id).status == Status.RUNNING for job_id in wanted if job_id not in ended)
    return cancelling.Taken(len(wanted) - len(ended) - running, running), ended


def jobs(
    status: Annotated[
        list[str] | None,
        typer.Option(help="queued, running, retry, scheduled, or one of the ends; repeatable."),
    ] = None,
    queue: OfQueue = "",
    name: OfName = "",
    serial_key: Annotated[str, typer.Option(help="Only of this serial key.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="How many to show.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Jobs that have not ended, or in the states you name: those at work first, then in their order."""
    if queue:
        queues.check(queue)
    sought = Sought(_statuses(status) or ACTIVE, queue, name, serial_key)
    rows, total = listing.find(sought, limit), listing.count(sought)
    if as_json:
        found = {"total": total, "jobs": [_fields(row) for row in rows]}
        typer.echo(json.dumps(found, default=words.for_scripts))
        return
    if not rows:
        typer.echo("No such jobs.")
        return
    table, now = tables.table(">id", "job", "queue", "status", "", "", whole=">id"), database.now()
    for row in rows:
        table.add_row(str(row.pk), row.name, row.queue, row.status, _when(row, now), _remark(row))
    tables.show(table)
    typer.echo(f"{len(rows)} of {total:,}. One in full: longwave queue show ID")


def failed_(
    queue: OfQueue = "",
    name: OfName = "",
    since: Since = "",
    grep: Grep = "",
    limit: Annotated[int, typer.Option(min=1, help="How many to show, the latest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Failed jobs, the latest first."""
    wanted = _wanted(queue=queue, name=name, since=since, grep=grep)
    rows, total = failed.find(wanted, limit), failed.count(wanted)
    if as_json:
        typer.echo(
            json.dumps({"total": total, "jobs": [_fields(row) for row in rows]}, default=words.for_scripts)
        )
        return
    if not rows:
        typer.echo("No failed jobs." if wanted == Wanted() else "No failed jobs like that.")
        return
    table = tables.table(">id", "job", "queue", ">attempts", "failed", "error", whole=">id")
    for row in rows:
        error = row.error.splitlines()[0] if row.error else ""
        ended = words.moment(row.finished_at)
        table.add_row(str(row.pk), row.name, row.queue, str(row.attempt), ended, error)
    tables.show(table)
    typer.echo(f"{len(rows)} of {total}. One in full: longwave queue show ID. Again: longwave queue retry ID")


def show(job_id: Annotated[int, typer.Argument(help="The job's id.")], as_json: AsJson = False) -> None:
    """One job: its arguments, its life so far, its error; and why it does not run, if it does not."""
    row = _look(job_id)
    broken = _load()
    moments = timeline.timeline_of(job_id)
    with progress.spinner("Asking the workers…"):
        why = _why(row)
    why = [*broken, *why] if why else why
    if as_json:
        life = [asdict(moment) for moment in moments]
        values = _fields(row) | {"traceback": row.traceback, "timeline": life, "why": why}
        typer.echo(json.dumps(values, default=words.for_scripts))
        return
    known = ((name, value) for name, value in _fields(row).items() if value not in (None, "", 0, {}))
    tables.show(tables.facts((name.replace("_", " "), _readable(value)) for name, value in known))
    if any(moment.duration_ms is not None for moment in moments):
        typer.echo()
        tables.show(_spans(moments))
    if row.traceback:
        typer.echo(f"\n{row.traceback.rstrip()}")
    if why:
        typer.echo("\nWhy it does not run:\n" + "\n".join(f"- {sentence}" for sentence in why))


def retry(
    which: Which,
    queue: OfQueue = "",
    name: OfName = "",
    since: Since = "",
    grep: Grep = "",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Run failed jobs again."""
    wanted = _wanted(which, queue=queue, name=name, since=since, grep=grep)
    if not wanted.ids and (total := failed.count(wanted)):
        ask(yes, f"Run {count_jobs(total)} again?")
    done = failed.rerun(wanted)
    found = done.queued or done.refused
    text = f"Queued {count_jobs(done.queued)} again." if found else "No failed jobs like that."
    fields = {"queued": done.queued, "refused": done.refused}
    answer(fields, as_json, "\n".join([text, *_refusals(done.refused)]))
    raise typer.Exit(1 if done.refused else 0)


def _refusals(refused: Mapping[int, int]) -> Iterator[str]:
    for job_id, holder in islice(refused.items(), REFUSALS):
        yield f"Not job {job_id}: job {holder} has the same dedupe key, and has not ended."
    if len(refused) > REFUSALS:
        yield f"Nor {count_jobs(len(refused) - REFUSALS)} more, for the same reason."


def forget(
    which: Which,
    queue: OfQueue = "",
    name: OfName = "",
    since: Since = "",
    grep: Grep = "",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Delete failed jobs for good."""
    wanted = _wanted(which, queue=queue, name=name, since=since, grep=grep)
    if total := failed.count(wanted):
        ask(yes, f"Delete {count_jobs(total)} for good?")
    done = failed.forget(wanted)
    answer(
        {"deleted": done}, as_json, f"Deleted {count_jobs(done)}." if done else "No failed jobs like that."
    )


# --- what was typed ---------------------------------------------------------------------------------------------------


def _wanted(which: list[str] | None = None, **given: str) -> Wanted:
    since = _moment(given["since"]) if given["since"] else None
    if given["queue"]:
        queues.check(given["queue"])
    return Wanted(_ids(which), given["queue"], given["name"], since, given["grep"])


def _ids(which: list[str] | None) -> tuple[int, ...]:
    if which is None or which == ["all"]:
        return ()
    wrong = [word for word in which if not word.isdecimal()]
    if wrong:
        raise InvalidInput(Problem("which", wrong[0], "must be job ids, or the word all by itself"))
    return tuple(map(int, which))


def _statuses(given: list[str] | None) -> tuple[Status, ...]:
    wrong = [word for word in given or () if word not in Status.values]
    if wrong:
        raise InvalidInput(Problem("--status", wrong[0], f"must be one of {', '.join(Status.values)}"))
    return tuple(map(Status, given or ()))


def _moment(text: str) -> datetime:
    ago = _AGO.fullmatch(text)
    try:
        if ago:
            return database.now() - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        at = datetime.fromisoformat(text)
    except (ValueError, OverflowError):  # OverflowError: before the year 1
        raise InvalidInput(
            Problem("--since", text, "must be like 30m, 2h, 3d, or 2027-01-31T06:00")
        ) from None
    return at if at.tzinfo else timezone.make_aware(at)


# --- what is shown ----------------------------------------------------------------------------------------------------


def _why(row: Job) -> list[str]:
    """Why it does not run. The workers are asked only where it is they who are waited for."""
    if row.status != Status.QUEUED:
        return explaining.why(row, {row.queue: ["-"]})
    answers = presence.workers()
    lacking = [name for name, answer in (answers or {}).items() if answer.lacks(row.name)]
    return explaining.why(row, None if answers is None else presence.by_queue(answers), lacking)


def _load() -> list[str]:
    """Import what declares jobs; what is wrong with that, which must keep nobody from looking at one."""
    try:
        rooms.load()
    except InvalidInput as error:
        return [f"{error}."]
    return []


def _look(job_id: int) -> Job:
    row = ledger.look(job_id)
    if row is None:
        raise NotFound(f"There is no job {job_id}; those that ended are forgotten after a while.")
    return row


def _fields(row: Job) -> dict[str, Any]:
    return {
        "id": row.pk,
        "name": row.name,
        "queue": row.queue,
        "status": str(row.status),
        "args": row.args,
        "attempt": row.attempt,
        "failures": row.failures,
        "crashes": row.crashes,
        "created_at": row.created_at,
        "run_at": row.run_at,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "serial_key": row.serial_key,
        "parent_id": row.parent_id,
        "progress": row.progress,
        "owner": row.owner,
        "result": row.result,
        "reason": row.cancel_reason,
        "error": row.error,
    }


def _when(row: Job, now: datetime) -> str:
    """How long it has been there, how long it will, or when it ended."""
    if row.finished_at is not None:
        return words.moment(row.finished_at)
    if row.is_waiting:
        return "after others"
    at = {Status.RUNNING: row.started_at, Status.QUEUED: row.ready_at}.get(Status(row.status), row.run_at)
    if at is None:
        return ""
    seconds = (at - now).total_seconds()
    return f"in {words.duration(seconds)}" if seconds > 0 else f"for {words.duration(-seconds)}"


def _remark(row: Job) -> str:
    """What there is to say of a job beside its state, in a line."""
    if row.status == Status.RUNNING and row.progress:
        done, total, note = (row.progress.get(name) for name in ("done", "total", "note"))
        return " ".join(filter(None, (f"{done:g}", f"of {total:g}" if total else "", note)))
    said = row.cancel_reason or row.error or row.wait_reason
    key = f"key {row.serial_key}" if row.serial_key else ""
    return said.splitlines()[0] if said and row.status != Status.QUEUED else key


def _spans(moments: Sequence[Moment]) -> Table:
    """What its last run spent its time on."""
    table = tables.table("at", "what", "component", ">took", "error")
    for moment in moments:
        if moment.duration_ms is not None:
            took = f"{moment.duration_ms:,.0f} ms"
            table.add_row(words.moment(moment.at), moment.what, moment.component, took, moment.detail)
    return table


def _readable(value: object) -> str:
    if isinstance(value, datetime):
        return words.moment(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
