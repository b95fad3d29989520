"""The job ledger's statements. Each verb of states.py is one guarded UPDATE: its row count decides."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import Exists, F, Min, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from longwave import database, logs
from longwave.jobs.job_context import Cancelled
from longwave.jobs.models import ACTIVE, FINISHED, Job, JobSpan, PausedQueue, Status
from longwave.jobs.states import JOB

MAX_TRACEBACK = 20_000
MAX_REASON = 255


@dataclass(frozen=True, slots=True)
class Bell:
    """What the broker is rung with: a job, and the move into `queued` that is meant."""

    id: int
    seq: int
    name: str
    queue: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that this process holds the lease of, as it was when it was claimed."""

    id: int
    seq: int
    owner: str
    name: str
    queue: str
    args: dict[str, Any]
    attempt: int
    failures: int
    crashes: int
    serial_key: str | None
    saved: Any


def insert(row: Job) -> int:
    """Insert a row that has no dedupe key; its id. Runs in the caller's transaction, if there is one."""
    return _insert([row])[0]


def insert_many(rows: Sequence[Job]) -> list[int]:
    """Insert rows that have no dedupe key; their ids in order. Runs in the caller's transaction."""
    if connection.features.can_return_rows_from_bulk_insert:
        return _insert(rows)
    return _insert_counting(rows)


def insert_unique(row: Job) -> tuple[int, bool]:
    """Insert a row with a dedupe key, or find the unfinished one that has it: `(id, is it new)`."""
    while True:
        existing = Job.objects.filter(dedupe_slot=row.dedupe_slot).values_list("pk", flat=True).first()
        if existing is not None:
            return existing, False
        try:
            with transaction.atomic():
                return insert(row), True
        except IntegrityError:
            # Another submitter was first. Its job is found now, unless it has finished already.
            continue


_GIVEN = (
    *("name", "queue", "args", "status", "run_at", "rung_at", "serial_key", "dedupe_slot"),
    *("parent_id", "is_waiting", "cancel_reason", "finished_at"),
)
"""What a new row has values for. The rest the database knows: each value of each row costs time here."""


def _insert(rows: Sequence[Job], *, is_counted: bool = False) -> list[int]:
    """One INSERT; the ids it returns, unless they are counted."""
    _set_rung(rows)
    fields = [Job._meta.get_field(name) for name in _GIVEN]
    returning = None if is_counted else [Job._meta.pk]
    new: Any = Job.objects.get_queryset()
    return [pk for (pk,) in new._insert(rows, fields=fields, returning_fields=returning, using="default")]


def _set_rung(rows: Iterable[Job]) -> None:
    for row in rows:
        if row.status == Status.QUEUED:
            row.rung_at = Now()


def _insert_counting(rows: Sequence[Job]) -> list[int]:
    """For MySQL, which returns no ids: those of one multi-row INSERT follow one another."""
    with transaction.atomic():
        _insert(rows, is_counted=True)
        with connection.cursor() as cursor:
            cursor.execute("SELECT LAST_INSERT_ID(), @@auto_increment_increment")
            first, step = cursor.fetchone()
    return [first + step * position for position in range(len(rows))]


def look(job_id: int) -> Job | None:
    """The row as it is now."""
    return Job.objects.filter(pk=job_id).first()


def claim(row: Job, seq: int, owner: str, lease: float) -> Claim | None:
    """Start the job `row` (just read) in its `seq`; None when the message is stale or it is not its turn yet.

    Safe to repeat after a lost answer, because `owner` is unique for every attempt to claim.
    """
    if row.status == Status.RUNNING and row.seq == seq and row.owner == owner:
        return _claimed(row, owner, row.attempt)
    if row.status not in JOB.sources("claim") or row.seq != seq:
        return None
    if row.serial_key is not None and earlier(row.serial_key, row.pk).exists():
        return None
    try:
        # No transaction around one statement: it would cost two more round trips.
        mine = _unpaused().filter(pk=row.pk, seq=seq, status__in=JOB.sources("claim"))
        changed = mine.update(
            status=Status.RUNNING,
            owner=owner,
            lease_until=Now() + timedelta(seconds=lease),
            attempt=F("attempt") + 1,
            started_at=Now(),
            serial_slot=row.serial_key,
        )
    except IntegrityError:
        return None  # its serial_slot is taken: whoever holds it rings us when it ends
    return _claimed(row, owner, row.attempt + 1) if changed else None


_PAIRS = {
    "sqlite": "(SELECT json_extract(value, '$[0]') AS job_id, json_extract(value, '$[1]') AS job_seq"
    " FROM json_each(%s)) AS v",
    "postgresql": "(SELECT (e->>0)::bigint AS job_id, (e->>1)::int AS job_seq"
    " FROM json_array_elements(%s::json) AS e) AS v",
    "mysql": "JSON_TABLE(%s, '$[*]' COLUMNS (job_id BIGINT PATH '$[0]', job_seq INT PATH '$[1]')) AS v",
}
_LEASED = "status = 'running', owner = %s, lease_until = {until}, attempt = attempt + 1, started_at = {now}"
_FREE = (
    "status = 'queued' AND serial_key IS NULL AND crashes = 0 AND name = %s"
    " AND queue NOT IN (SELECT p.queue FROM longwave_paused_queue p)"
)
_CLAIMED = ("id", "seq", "name", "queue", "args", "attempt", "failures", "crashes", "checkpoint")
_CLAIM = {
    "sqlite": f"UPDATE longwave_job SET {_LEASED} FROM {{pairs}} WHERE id = v.job_id AND seq = v.job_seq AND {_FREE}"
    f" RETURNING {', '.join(_CLAIMED)}",
    "mysql": "UPDATE {pairs} STRAIGHT_JOIN longwave_job j FORCE INDEX (PRIMARY) ON j.id = v.job_id"
    f" AND j.seq = v.job_seq SET {_LEASED} WHERE {_FREE}",
}
_CLAIM["postgresql"] = _CLAIM["sqlite"]


def claim_many(name: str, pairs: Sequence[tuple[int, int]], owner: str, lease: float) -> list[Claim]:
    """Start those of the jobs of that name that are queued in their seq, whatever the others are.

    Not those with a serial key, whose turn it may not be, nor those under which a worker died: a job that kills its
    worker must not take the blame to others. They run by themselves (`claim`). Safe to repeat after a lost answer,
    because `owner` is unique for every attempt to claim.
    """
    dialect, ids = database.dialect(), json.dumps(pairs)
    sql = _CLAIM[dialect].format(
        pairs=_PAIRS[dialect],
        now=database.NOW_SQL[dialect],
        until=database.IN_SECONDS_SQL[dialect].format("%s"),
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, [ids, owner, lease, name] if dialect == "mysql" else [owner, lease, ids, name])
        rows = [] if dialect == "mysql" else cursor.fetchall()
    claims = [_read(row, owner) for row in rows]
    return sorted(claims if len(claims) == len(pairs) else _claims_of(owner, pairs), key=lambda held: held.id)


def _claims_of(owner: str, pairs: Sequence[tuple[int, int]]) -> list[Claim]:
    ids = [job_id for job_id, _ in pairs]
    mine = Job.objects.filter(pk__in=ids, owner=owner, status=Status.RUNNING)
    return [_claimed(row, owner, row.attempt) for row in mine]


def _read(row: Sequence[Any], owner: str) -> Claim:
    values = dict(zip(_CLAIMED, row, strict=True))
    saved = values.pop("checkpoint")
    return Claim(
        **values | {"args": json.loads(values["args"])},
        owner=owner,
        serial_key=None,
        saved=None if saved is None else json.loads(saved),
    )


def renew(job_id: int, seq: int, owner: str, lease: float) -> bool:
    """Hold the lease for `lease` more seconds from now; False when it is gone."""
    return _held(job_id, seq, owner).update(lease_until=Now() + timedelta(seconds=lease)) == 1


def checkpoint(job_id: int, seq: int, owner: str, value: Any) -> bool:
    """Store a checkpoint; False when the lease is gone. Raises Cancelled, the checkpoint stored, when it shall stop."""
    held = _held(job_id, seq, owner)
    if held.filter(cancel_reason="").update(checkpoint=value):
        return True
    if not held.update(checkpoint=value):
        return False
    raise Cancelled(stop_reason(job_id, seq, owner) or "")


def progress(job_id: int, seq: int, owner: str, value: Any) -> bool:
    """Store how far it is; False when the lease is gone."""
    return _held(job_id, seq, owner).update(progress=value) == 1


def stop_reason(job_id: int, seq: int, owner: str) -> str | None:
    """Why the running job shall stop; empty: it may go on; None: the lease is gone."""
    return _held(job_id, seq, owner).values_list("cancel_reason", flat=True).first()


def finish(held: Claim, result: Any) -> bool:
    """running → success."""
    return not finish_many(held.owner, [(held, result)])


_FINISHED = {
    "sqlite": "(SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS seq,"
    " json_extract(value, '$[2]') AS result FROM json_each(%s)) AS v",
    "postgresql": "(SELECT (e->>0)::bigint AS id, (e->>1)::int AS seq, (e->>2)::jsonb AS result"
    " FROM json_array_elements(%s::json) AS e) AS v",
    "mysql": "JSON_TABLE(%s, '$[*]' COLUMNS (id BIGINT PATH '$[0]', seq INT PATH '$[1]',"
    " result LONGTEXT PATH '$[2]')) AS v",
}
_FINISH = {
    "sqlite": "UPDATE longwave_job SET status = 'success', result = v.result, error = '', traceback = '',"
    " lease_until = NULL, serial_slot = NULL, dedupe_slot = NULL, finished_at = {now} FROM {rows}"
    " WHERE longwave_job.id = v.id AND longwave_job.seq = v.seq"
    " AND longwave_job.owner = %s AND longwave_job.status = 'running' AND NOT longwave_job.is_awaited",
    "mysql": "UPDATE {rows} STRAIGHT_JOIN longwave_job j FORCE INDEX (PRIMARY) ON j.id = v.id AND j.seq = v.seq"
    " SET j.status = 'success', j.result = v.result, j.error = '', j.traceback = '', j.lease_until = NULL,"
    " j.serial_slot = NULL, j.dedupe_slot = NULL, j.finished_at = {now}"
    " WHERE j.owner = %s AND j.status = 'running' AND NOT j.is_awaited",
}
_FINISH["postgresql"] = _FINISH["sqlite"]


def finish_many(owner: str, ended: Sequence[tuple[Claim, Any]]) -> set[int]:
    """running → success for jobs of one owner with their results, but for those that others wait for.

    Answers with the ids of those, and of those that were not its own any more.
    """
    name = database.dialect()
    rows = [[held.id, held.seq, None if result is None else json.dumps(result)] for held, result in ended]
    with connection.cursor() as cursor:
        sql = _FINISH[name].format(rows=_FINISHED[name], now=database.NOW_SQL[name])
        cursor.execute(sql, [json.dumps(rows), owner])
        if cursor.rowcount == len(rows):
            return set()
    ids = {held.id for held, _ in ended}
    # Perhaps they were written before, and the answer was lost.
    written = Job.objects.filter(pk__in=ids, owner=owner, status=Status.SUCCESS)
    return ids - set(written.values_list("pk", flat=True))


def finish_awaited(held: Claim, result: Any) -> bool:
    """running → success also for a job that others wait for. They are to be released then."""
    return _move("finish", held, result=result, error="", traceback="", **_ended())


def hand_on(owner: str, unbegun: Sequence[Claim]) -> tuple[list[Bell], set[int]]:
    """running → queued for jobs that were claimed and never begun, or cancelled for those that shall stop.

    Answers with what to ring for, and with the ids of the cancelled ones. Safe to repeat after a lost answer.
    """
    ids = [held.id for held in unbegun]
    mine = Job.objects.filter(pk__in=ids, owner=owner)
    running = mine.filter(status=Status.RUNNING)
    running.filter(cancel_reason="").update(**_leaving("hand_on"), attempt=F("attempt") - 1, **_queued())
    running.update(**_leaving("stop"), **_ended())
    return still_queued(ids), set(mine.filter(status=Status.CANCELLED).values_list("pk", flat=True))


def fail(held: Claim, error: str, traceback: str) -> bool:
    """running → failure, for good."""
    return _move("fail", held, failures=F("failures") + 1, **_blame(error, traceback), **_ended())


def retry(held: Claim, after: float, error: str, traceback: str) -> bool:
    """running → retry, in `after` seconds."""
    run_at = Now() + timedelta(seconds=after)
    return _go_on(
        "retry", held, failures=F("failures") + 1, crashes=0, run_at=run_at, **_blame(error, traceback)
    )


def requeue(held: Claim) -> bool:
    """running → queued after an orderly turn. The bell to ring then is `seq + 1`."""
    return _go_on("requeue", held, **_orderly(), **_queued())


def postpone(held: Claim, after: float) -> bool:
    """running → retry after an orderly turn, in `after` seconds."""
    return _go_on("postpone", held, run_at=Now() + timedelta(seconds=after), **_orderly())


def stop(held: Claim, reason: str) -> bool:
    """running → cancelled: it noticed, or decided it itself."""
    return _move("stop", held, cancel_reason=storable_reason(reason), **_ended())


def stop_if_asked(held: Claim) -> bool:
    """running → cancelled when somebody has cancelled it meanwhile."""
    asked = _held(held.id, held.seq, held.owner).exclude(cancel_reason="")
    return asked.update(**_leaving("stop"), **_ended()) == 1


def ask_to_stop(job_id: int, reason: str) -> bool:
    """Have a running job stop at its next checkpoint; False when it is not running."""
    running = Job.objects.filter(pk=job_id, status=Status.RUNNING)
    return running.update(cancel_reason=storable_reason(reason)) == 1


def cancel(ids: Sequence[int], reason: str) -> int:
    """scheduled, queued, retry → cancelled; how many were."""
    waiting = Job.objects.filter(pk__in=ids, status__in=JOB.sources("cancel"))
    return waiting.update(status=Status.CANCELLED, cancel_reason=storable_reason(reason), **_ended())


def waiting_in(queue: str, limit: int, last_id: int) -> list[int]:
    """Jobs of a queue, up to the number `last_id`, that have not begun."""
    waiting = Job.objects.filter(queue=queue, status__in=JOB.sources("cancel"), pk__lte=last_id)
    return list(waiting.values_list("pk", flat=True)[:limit])


def last_id() -> int:
    """The highest number of a job there is."""
    return Job.objects.order_by("-pk").values_list("pk", flat=True).first() or 0


def next_in_line(serial_key: str) -> Bell | None:
    """The job that a finished one of the same key makes room for, when it is ready to be rung."""
    head = Job.objects.filter(serial_key=serial_key, status__in=ACTIVE).order_by("pk").first()
    if head is None or head.status != Status.QUEUED:
        return None
    mark_rung([head.pk])
    return Bell(head.pk, head.seq, head.name, head.queue)


def _claimed(row: Job, owner: str, attempt: int) -> Claim:
    return Claim(
        id=row.pk,
        seq=row.seq,
        owner=owner,
        name=row.name,
        queue=row.queue,
        args=row.args,
        attempt=attempt,
        failures=row.failures,
        crashes=row.crashes,
        serial_key=row.serial_key,
        saved=row.checkpoint,
    )


def _unpaused() -> QuerySet[Job]:
    """Without the jobs of queues that are paused."""
    return Job.objects.exclude(queue__in=PausedQueue.objects.values("queue"))


def earlier(serial_key: Any, job_id: Any) -> QuerySet[Job]:
    """Unfinished jobs of the key that were submitted before."""
    return Job.objects.filter(serial_key=serial_key, status__in=ACTIVE, pk__lt=job_id)


def _held(job_id: int, seq: int, owner: str) -> QuerySet[Job]:
    return Job.objects.filter(pk=job_id, seq=seq, owner=owner, status=Status.RUNNING)


def _move(verb: str, held: Claim, **changes: Any) -> bool:
    return _held(held.id, held.seq, held.owner).update(**_leaving(verb), **changes) == 1


def _go_on(verb: str, held: Claim, **changes: Any) -> bool:
    """A move after which the job runs again: not when it has been cancelled meanwhile."""
    may_go_on = _held(held.id, held.seq, held.owner).filter(cancel_reason="")
    return may_go_on.update(**_leaving(verb), **changes) == 1


def _leaving(verb: str) -> dict[str, Any]:
    """What every way out of `running` sets."""
    return {"status": JOB.target(verb, Status.RUNNING), "lease_until": None, "serial_slot": None}


def _ended() -> dict[str, Any]:
    return {"finished_at": Now(), "dedupe_slot": None}


def _queued() -> dict[str, Any]:
    return {"seq": F("seq") + 1, "rung_at": Now()}


def _orderly() -> dict[str, Any]:
    return {"attempt": F("attempt") - 1, "failures": 0, "crashes": 0}


def _blame(error: str, traceback: str) -> dict[str, Any]:
    return {
        "error": storable(logs.scrub(error))[:MAX_TRACEBACK],
        "traceback": storable(logs.scrub(traceback))[-MAX_TRACEBACK:],
    }


def storable_reason(text: str) -> str:
    """A reason as it fits into its column."""
    return storable(text)[:MAX_REASON]


def storable(text: str) -> str:
    """Without what databases refuse in text: NUL and halves of surrogate pairs."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")


def due(limit: int) -> list[Bell]:
    """scheduled, retry → queued for those whose time has come; what to ring for."""
    waiting = Q(status__in=JOB.sources("due"), run_at__lte=Now(), is_waiting=False)
    ids = list(Job.objects.filter(waiting).order_by("run_at").values_list("pk", flat=True)[:limit])
    if not ids:
        return []
    return make_ready(Job.objects.filter(waiting), ids)


def make_ready(waiting: QuerySet[Job], ids: Sequence[int]) -> list[Bell]:
    """Those of the jobs that are `waiting` → queued; what to ring for."""
    waiting.filter(pk__in=ids).update(status=Status.QUEUED, **_queued())
    return still_queued(ids)


def expired(limit: int) -> list[Job]:
    """Running jobs whose lease ran out."""
    return list(
        Job.objects.filter(status=Status.RUNNING, lease_until__lt=Now()).order_by("lease_until")[:limit]
    )


def owned_by(prefix: str) -> list[Job]:
    """Running jobs of the owners that begin with `prefix`."""
    return list(Job.objects.filter(status=Status.RUNNING, owner__startswith=prefix))


def rerun(ids: Sequence[int]) -> list[Bell]:
    """failure → queued for those of the jobs that have failed; what to ring for."""
    failed = Job.objects.filter(pk__in=ids, status__in=JOB.sources("rerun"))
    failed.update(
        status=JOB.target("rerun", Status.FAILURE),
        failures=0,
        crashes=0,
        finished_at=None,
        run_at=None,
        cancel_reason="",
        progress=None,
        error="",
        traceback="",
        **_queued(),
    )
    return still_queued(ids)


def forget_failed(ids: Sequence[int]) -> int:
    """Delete those of the jobs that have failed; how many."""
    forgotten = Job.objects.filter(pk__in=ids, status=Status.FAILURE).delete()[0]
    JobSpan.objects.filter(~Exists(Job.objects.filter(pk=OuterRef("job_id"))), job_id__in=ids).delete()
    return forgotten


def give_back(row: Job, *, is_dead: bool) -> bool:
    """running → queued because the worker died: known (`is_dead`), or concluded from a lease that ran out."""
    deserted = _deserted(row, is_dead).filter(cancel_reason="")
    return deserted.update(**_leaving("give_back"), owner="", crashes=F("crashes") + 1, **_queued()) == 1


def stop_deserted(row: Job, *, is_dead: bool) -> bool:
    """running → cancelled because it shall stop, and its worker died."""
    deserted = _deserted(row, is_dead).exclude(cancel_reason="")
    return deserted.update(**_leaving("stop"), crashes=F("crashes") + 1, **_ended()) == 1


def poison(row: Job, error: str, *, is_dead: bool) -> bool:
    """running → failure because workers die of it."""
    changes = {"crashes": F("crashes") + 1, **_blame(error, ""), **_ended()}
    return _deserted(row, is_dead).update(**_leaving("poison"), **changes) == 1


def _deserted(row: Job, is_dead: bool) -> QuerySet[Job]:
    held = _held(row.pk, row.seq, row.owner)
    return held if is_dead else held.filter(lease_until__lt=Now())


def queues_with_ready_jobs() -> list[str]:
    """The queues that have queued jobs: one index look-up each, however many jobs there are."""
    found: list[str] = []
    ready = _unpaused().filter(status=Status.QUEUED)
    name = ready.aggregate(first=Min("queue"))["first"]
    while name is not None:
        found.append(name)
        name = ready.filter(queue__gt=name).aggregate(first=Min("queue"))["first"]
    return found


def unrung(queue: str, limit: int) -> list[Bell]:
    """Queued jobs for which ringing is known to have failed."""
    return bells(_ready(queue).filter(rung_at=None).order_by("pk")[:limit])


def rung_before(queue: str, age: float, limit: int) -> list[Bell]:
    """Queued jobs rung more than `age` seconds ago, the oldest first."""
    return bells(_ready(queue).filter(rung_at__lt=Now() - timedelta(seconds=age)).order_by("rung_at")[:limit])


def ready_after(job_id: int, limit: int, queue: str | None = None) -> list[Bell]:
    """The next chunk of all queued jobs, or of one queue's, by id."""
    rows = _heads().filter(status=Status.QUEUED, pk__gt=job_id)
    return bells((rows if queue is None else rows.filter(queue=queue)).order_by("pk")[:limit])


def still_queued(ids: Sequence[int]) -> list[Bell]:
    """Those of the jobs that nobody has started."""
    return bells(Job.objects.filter(pk__in=ids, status=Status.QUEUED))


def mark_rung(ids: Sequence[int]) -> None:
    """The broker is about to be rung for these."""
    Job.objects.filter(pk__in=ids, status=Status.QUEUED).update(rung_at=Now())


def mark_unrung(ids: Sequence[int]) -> None:
    """The broker could not be rung for these: the sweeper does it as soon as it can."""
    Job.objects.filter(pk__in=ids, status=Status.QUEUED).update(rung_at=None)


def bells(rows: QuerySet[Job]) -> list[Bell]:
    """The rows as what the broker is rung with."""
    return [Bell(*values) for values in rows.values_list("pk", "seq", "name", "queue")]


def _ready(queue: str) -> QuerySet[Job]:
    return _heads().filter(status=Status.QUEUED, queue=queue)


def _heads() -> QuerySet[Job]:
    """Without jobs that wait for an earlier one of their serial key: they are rung when that one ends."""
    before = earlier(OuterRef("serial_key"), OuterRef("pk"))
    return Job.objects.filter(Q(serial_key=None) | ~Exists(before))


def delete_finished(age: timedelta, limit: int, statuses: Sequence[Status] = FINISHED) -> int:
    """Delete up to `limit` jobs that finished more than `age` ago; how many there were."""
    # A list of ids, not a subquery: MySQL knows no LIMIT in a subquery of IN.
    old = Job.objects.filter(status__in=statuses, finished_at__lt=Now() - age)
    ids = list(old.values_list("pk", flat=True)[:limit])
    if ids:
        JobSpan.objects.filter(job_id__in=ids)._raw_delete("default")
        Job.objects.filter(pk__in=ids)._raw_delete("default")
    return len(ids)
