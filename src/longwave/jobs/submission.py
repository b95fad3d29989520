"""Putting jobs into the ledger: in the caller's transaction, rung for after it committed."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from django.db import transaction

from longwave import database
from longwave.core.errors import InvalidInput, Problem
from longwave.jobs import job_context, ledger, queues, ringer, waiting
from longwave.jobs.declare import AnyJob, JobHandle, Options
from longwave.jobs.models import Job, Status

CHUNK = 1000

MAX_SERIAL_KEY = 190

# What the collations of all databases compare exactly; any other key is stored as its hash.
_PLAIN = re.compile(r"[a-z0-9:._/-]{1,64}")


def submit(job_type: AnyJob, args: Mapping[str, Any], options: Options) -> JobHandle:
    """Insert one job, unless an unfinished one has its dedupe key."""
    if options.after:
        return database.untangled(lambda: _submit_waiting(job_type, args, options))
    (row,) = _rows(job_type, [(args, options)])
    # No transaction around one statement: outside of a caller's it would cost two more round trips. Whoever has the key
    # may be inserted, or end, at the same moment: MySQL and MariaDB take some of those who meet there for a deadlock.
    job_id, created = database.untangled(lambda: _insert(row)) if row.dedupe_slot else _insert(row)
    if created and row.status == Status.QUEUED:
        _ring_after_commit(job_type, row.queue, [job_id], is_alone=row.serial_key is not None)
    return JobHandle(job_id, created)


def submit_many(job_type: AnyJob, jobs: Sequence[tuple[Mapping[str, Any], Options]]) -> list[int]:
    """Insert all of them or none. Those with a dedupe key cost a statement each."""
    return database.untangled(lambda: _submit_many(job_type, jobs))


def _insert(row: Job) -> tuple[int, bool]:
    return ledger.insert_unique(row) if row.dedupe_slot else (ledger.insert(row), True)


def _submit_waiting(job_type: AnyJob, args: Mapping[str, Any], options: Options) -> JobHandle:
    (row,) = _rows(job_type, [(args, options)])
    with transaction.atomic():
        (waits_for,) = waiting.hold([(row, options.after)])
        job_id, created = _insert(row)
        if created:
            waiting.note([(job_id, waits_for)])
            if row.status == Status.QUEUED:
                _ring_after_commit(job_type, row.queue, [job_id], is_alone=row.serial_key is not None)
    return JobHandle(job_id, created)


def _submit_many(job_type: AnyJob, jobs: Sequence[tuple[Mapping[str, Any], Options]]) -> list[int]:
    rows = _rows(job_type, jobs)
    with transaction.atomic():
        waits = waiting.hold([(row, options.after) for row, (_, options) in zip(rows, jobs, strict=True)])
        plain = [row for row in rows if not row.dedupe_slot]
        ids: dict[int, int] = {}
        new: list[Job] = []
        for start in range(0, len(plain), CHUNK):
            chunk = plain[start : start + CHUNK]
            ids.update(zip(map(id, chunk), ledger.insert_many(chunk), strict=True))
            new += chunk
        for row in rows:
            if row.dedupe_slot:
                ids[id(row)], created = ledger.insert_unique(row)
                new += [row] if created else []
        created_rows = {id(row) for row in new}
        waiting.note(
            [(ids[id(row)], after) for row, after in zip(rows, waits, strict=True) if id(row) in created_rows]
        )
        for queue in sorted({row.queue for row in new}):
            rung = [ids[id(row)] for row in new if row.queue == queue and row.status == Status.QUEUED]
            _ring_after_commit(job_type, queue, rung)
    return [ids[id(row)] for row in rows]


def _ring_after_commit(job_type: AnyJob, queue: str, ids: list[int], *, is_alone: bool = False) -> None:
    """is_alone: it shares no message, as it is not claimed together with others."""
    if ids:
        pairs = [(job_id, 1) for job_id in ids]
        alone = is_alone or job_type.max_crashes == 1
        transaction.on_commit(lambda: ringer.soon(job_type.name, queue, pairs, is_alone=alone), robust=True)


def _rows(job_type: AnyJob, jobs: Sequence[tuple[Mapping[str, Any], Options]]) -> list[Job]:
    """What is for a moment that has passed is for now: by the database's clock, as that of a bot may be wrong."""
    rows = [_row(job_type, args, options) for args, options in jobs]
    dated = [(row, row.run_at) for row in rows if row.run_at is not None]
    if dated:
        now = database.now()
        for row, run_at in dated:
            row.status = Status.SCHEDULED if run_at > now else Status.QUEUED
    return rows


def _row(job_type: AnyJob, args: Mapping[str, Any], options: Options) -> Job:
    job_type.check(args)
    _check_options(options)
    return Job(
        name=job_type.name,
        queue=options.queue or job_type.queue,
        args=dict(args),
        status=Status.QUEUED,
        run_at=options.run_at,
        serial_key=options.serial_key,
        dedupe_slot=_dedupe_slot(job_type.name, options.dedupe_key),
        parent_id=job_context.current_id(),
    )


def _check_options(options: Options) -> None:
    problems: list[Problem] = []
    key = options.serial_key
    if key is not None and not _is_text(key, MAX_SERIAL_KEY):
        problems.append(Problem("job_serial_key", key, f"must be a text of 1 to {MAX_SERIAL_KEY} characters"))
    if options.dedupe_key is not None and not _is_text(options.dedupe_key, None):
        problems.append(Problem("job_dedupe_key", options.dedupe_key, "must be a text that is not empty"))
    if options.run_at is not None and not _is_aware(options.run_at):
        remedy = "must be a datetime with a time zone, from the year 1 to 9999 in UTC too"
        problems.append(Problem("job_run_at", options.run_at, remedy))
    if options.queue is not None and not queues.is_known(options.queue):
        problems.append(queues.refusal("job_queue", options.queue))
    if not _are_ids(options.after):
        problems.append(Problem("job_after", options.after, "must be a list of task ids"))
    if problems:
        raise InvalidInput(*problems)


def _are_ids(value: object) -> bool:
    if not isinstance(value, list | tuple | set | frozenset):
        return False
    return all(isinstance(item, int) and not isinstance(item, bool) and 0 < item < 1 << 63 for item in value)


def _is_text(value: object, limit: int | None) -> bool:
    if not isinstance(value, str) or not value or "\0" in value:
        return False
    if any("\ud800" <= character <= "\udfff" for character in value):
        return False
    return limit is None or len(value) <= limit


def _is_aware(value: object) -> bool:
    if not isinstance(value, datetime) or value.utcoffset() is None:
        return False
    try:
        value.astimezone(UTC)
    except OverflowError:  # beyond the first or the last day that databases know
        return False
    return True


def _dedupe_slot(name: str, key: str | None) -> str | None:
    """The job's name and key as one short text that no collation confuses with another."""
    if key is None:
        return None
    return f"{name}:{key if _PLAIN.fullmatch(key) else hashlib.sha256(key.encode()).hexdigest()}"
