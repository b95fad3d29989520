"""What bot code imports: hand work over, and ask what became of it.

    from longwave import background

    task_id = background.submit("reports.build", user_id=5)
    background.get_task_result(task_id).status

Every function waits for the database, some milliseconds. In a coroutine write
`await asyncio.to_thread(background.submit, …)`.
"""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import longwave

longwave.setup()  # importing this is asking for it: the order of a bot's imports must not matter

from django.core.exceptions import SynchronousOnlyOperation  # noqa: E402
from django.db import DatabaseError, connection  # noqa: E402

from longwave.core.errors import Conflict, InvalidInput, LongwaveError, NotFound, Problem  # noqa: E402
from longwave.jobs import cancelling, declare, results, rooms, stats, submission, timeline  # noqa: E402
from longwave.jobs.declare import OPTION_PREFIX, AnyJob, Options  # noqa: E402
from longwave.jobs.models import Job  # noqa: E402
from longwave.jobs.results import TaskResult, TaskStatus  # noqa: E402
from longwave.jobs.spans import trace_operation  # noqa: E402
from longwave.jobs.stats import QueueStatus, WorkerStats  # noqa: E402
from longwave.jobs.timeline import Moment  # noqa: E402
from longwave.senders import notify, senders  # noqa: E402

__all__ = [
    "FILE_JOB",
    "LLM_JOB",
    "Moment",
    "QueueStatus",
    "TaskResult",
    "TaskStatus",
    "WorkerStats",
    "cancel",
    "get_queue_status",
    "get_task_result",
    "get_task_timeline",
    "get_worker_stats",
    "purge_queue",
    "submit",
    "submit_file_async",
    "submit_file_processing",
    "submit_llm_processing",
    "submit_telegram_notification",
    "trace_operation",
]

P = ParamSpec("P")
R = TypeVar("R")

_CHAT = re.compile(r"-?[0-9]{1,16}|@[A-Za-z][A-Za-z0-9_]{3,31}")
"""What Telegram takes for a chat: its number, or the name of a public one."""

FILE_JOB = "files.process"
LLM_JOB = "llm.process"

_QUEUES = {FILE_JOB: "file_processing", LLM_JOB: "llm_processing"}
"""Jobs that have a name and a queue already, and whoever declares them gets the work."""


class InsideLoop(LongwaveError):
    """Called from a coroutine, whose event loop would stand still meanwhile."""


def _verb(function: Callable[P, R]) -> Callable[P, R]:
    """A function of the facade: it mends a connection that broke since the last call, and says how to be awaited."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            if not connection.in_atomic_block:
                connection.close_if_unusable_or_obsolete()
            return function(*args, **kwargs)
        except SynchronousOnlyOperation:
            name = f"background.{function.__name__}"
            raise InsideLoop(
                f"{name} waits for the database; in a coroutine, write `await asyncio.to_thread({name}, …)`."
            ) from None
        except DatabaseError:
            if connection.in_atomic_block or _has_tables():
                raise
            raise Conflict(
                "The database has no tables yet; run `longwave migrate`, or `longwave up`."
            ) from None

    return call


def _has_tables() -> bool:
    try:
        return Job._meta.db_table in connection.introspection.table_names()
    except DatabaseError:
        return True  # it cannot be asked, so that is not what was wrong


@_verb
def submit(
    name: str,
    args: Mapping[str, Any] | None = None,
    /,
    *,
    queue: str | None = None,
    run_at: datetime | None = None,
    serial_key: str | None = None,
    dedupe_key: str | None = None,
    after: Sequence[int] = (),
    **more: Any,
) -> int:
    """Have the job called `name` run in the background; its task id. Once this returns, the work is durable.

    Arguments are given by name, or as a mapping where one is called like an option of this function. In a
    transaction of yours the job begins after the commit, and not at all after a rollback. Options:
    queue: another than the job's own (`email.eu`). run_at: not before this moment (with a time zone).
    serial_key: jobs with the same key run one after another, in order. dedupe_key: while a job of this name with
    this key is unfinished, its id is the answer, and nothing new is made. after: ids of tasks that must have succeeded
    first; when one of them fails or is cancelled, this one is cancelled with the reason.

    Raises NotFound for a name nobody declared, InvalidInput for arguments or options that are wrong.
    """
    options = Options(serial_key, dedupe_key, run_at, queue, after)
    return _submit(_find(name), {**(args or {}), **more}, options)


@_verb
def submit_file_processing(
    file_path: str | Path, user_id: int, options: Mapping[str, Any] | None = None
) -> int:
    """Have a user's file processed; the task id. Raises Conflict while no job `files.process` is declared."""
    values = {"file_path": str(file_path), "user_id": user_id, "options": dict(options or {})}
    return _submit(_promised(FILE_JOB), values, Options())


submit_file_async = submit_file_processing


@_verb
def submit_llm_processing(rows: Sequence[Mapping[str, Any]], options: Mapping[str, Any] | None = None) -> int:
    """Have rows processed by a language model; the task id. Raises Conflict while no job `llm.process` is declared."""
    values = {"rows": [dict(row) for row in rows], "options": dict(options or {})}
    return _submit(_promised(LLM_JOB), values, Options())


@_verb
def submit_telegram_notification(
    chat_id: int | str, text: str, *, sender: str | None = None, **content: Any
) -> int:
    """Have one message sent now, ahead of campaigns, within the sender's and the chat's limits; the task id.

    sender: its name; not needed while there is only one for Telegram. content: what else a text message may have
    (`parse_mode="HTML"`, `silent=True`, `keyboard=[[{"text": "Open", "url": "https://…"}]]`). The text is sent as it
    is; nothing in it is a template. Raises InvalidInput for what Telegram would refuse, NotFound and Conflict for a
    sender that is not there or may not send.
    """
    if not _CHAT.fullmatch(str(chat_id)):
        raise InvalidInput(
            Problem("chat_id", chat_id, "must be a chat's number, or the @name of a public one")
        )
    by = senders.by_name(sender) if sender is not None else senders.only("telegram")
    return notify.notify_text(by, str(chat_id), text, content).id


@_verb
def get_task_result(task_id: int) -> TaskResult:
    """The task as it is now. Raises NotFound: there was none, or it ended long ago and is forgotten."""
    return results.result_of(_id(task_id))


@_verb
def get_task_timeline(task_id: int) -> list[Moment]:
    """What is known of the task's life, the earliest first, with the spans it recorded. Raises NotFound."""
    return timeline.timeline_of(_id(task_id))


@_verb
def cancel(task_id: int, reason: str = "cancelled by the bot") -> bool:
    """Cancel a task that waits, at once, or have a running one stop at its next checkpoint. False: it had ended.

    Raises NotFound for a task that there is not.
    """
    return cancelling.cancel(_id(task_id), reason)


@_verb
def purge_queue(name: str) -> int:
    """Cancel all tasks that wait in this queue; how many. Those that run go on. Raises InvalidInput for no queue."""
    return cancelling.purge(name, f"the queue {name} was purged")


@_verb
def get_queue_status() -> dict[str, QueueStatus]:
    """Every queue by name: what is ready, running, scheduled and retrying, and how long the oldest waits."""
    return stats.queue_status()


@_verb
def get_worker_stats() -> WorkerStats:
    """Totals over all queues, and how many workers there are. It takes a second: workers are asked."""
    return stats.worker_stats()


def _id(task_id: object) -> int:
    if not isinstance(task_id, int):
        raise InvalidInput(Problem("task_id", task_id, "must be a whole number, as submit returned it"))
    return task_id


def _submit(job_type: AnyJob, args: Mapping[str, Any], options: Options) -> int:
    try:
        return submission.submit(job_type, args, options).id
    except InvalidInput as error:
        raise InvalidInput(
            *(replace(problem, field=problem.field.removeprefix(OPTION_PREFIX)) for problem in error.problems)
        ) from None


def _find(name: str) -> AnyJob:
    if name in _QUEUES:
        return _promised(name)
    if declare.get(name) is None:
        rooms.load()
    try:
        return declare.find(name)
    except NotFound as error:
        raise NotFound(
            f"{error} Jobs of your own are found in the modules that LONGWAVE_MODULES names."
        ) from None


def _promised(name: str) -> AnyJob:
    if declare.get(name) is None:
        rooms.load()
    declared = declare.get(name)
    if declared is None:
        raise Conflict(
            f"Nothing handles {name} yet. Declare it in a module that LONGWAVE_MODULES names: "
            f'@job("{name}", queue="{_QUEUES[name]}").'
        )
    return declared
