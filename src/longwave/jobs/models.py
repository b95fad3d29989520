"""Rows of the job ledger."""

from django.db import models
from django.db.models.functions import Now


class Status(models.TextChoices):
    """Where a job stands. `states.py` holds the arrows between them."""

    SCHEDULED = "scheduled", "waits for its first run_at"
    QUEUED = "queued", "may run now; the broker has been rung"
    RUNNING = "running", "a worker holds its lease"
    RETRY = "retry", "failed, waits for its next run_at"
    SUCCESS = "success", "done"
    FAILURE = "failure", "gave up; kept with error and traceback"
    CANCELLED = "cancelled", "taken back before it finished"


ACTIVE = (Status.SCHEDULED, Status.QUEUED, Status.RUNNING, Status.RETRY)
FINISHED = (Status.SUCCESS, Status.FAILURE, Status.CANCELLED)


class Job(models.Model):
    """One durable background task.

    seq: counts the moves into `queued`; a message carries (id, seq), and one with an older seq is stale.
    attempt: how often it was started, orderly turns that ended with `Again` not counted.
    failures, crashes: how often in a row it raised, and the worker under it died.
    wait_reason: what it waits for until `run_at`, as its last orderly turn has said.
    ready_at: since when it could have run, while it is queued.
    rung_at: when the broker was last rung for it; None when that is known to have failed.
    serial_slot: equals serial_key while running; unique, so that one key never runs twice at a time.
    dedupe_slot: made of the dedupe key while unfinished; unique, so that submitting twice makes one job.
    dedupe_key: of a failed job, the slot that it takes back when it is run again.
    is_waiting: scheduled until the jobs that rows of `Wait` name have succeeded.
    is_awaited: another waits, or waited, for it.
    parent_id: the job that was running when this one was submitted.
    progress: how far it says it is: done, total and a note.
    cancel_reason: why it is cancelled; while it runs: why it shall stop at its next checkpoint.
    """

    name = models.CharField(max_length=100)
    queue = models.CharField(max_length=64)
    args = models.JSONField(default=dict)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.QUEUED)
    seq = models.PositiveIntegerField(default=1, db_default=1)
    attempt = models.PositiveIntegerField(default=0, db_default=0)
    failures = models.PositiveIntegerField(default=0, db_default=0)
    crashes = models.PositiveIntegerField(default=0, db_default=0)
    run_at = models.DateTimeField(null=True)
    wait_reason = models.CharField(max_length=255, default="", db_default="")
    ready_at = models.DateTimeField(db_default=Now())
    rung_at = models.DateTimeField(null=True)
    serial_key = models.CharField(max_length=190, null=True)
    serial_slot = models.CharField(max_length=190, null=True, unique=True)
    dedupe_slot = models.CharField(max_length=190, null=True, unique=True)
    dedupe_key = models.CharField(max_length=190, null=True)
    owner = models.CharField(max_length=120, default="", db_default="")
    lease_until = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    is_waiting = models.BooleanField(default=False, db_default=False)
    is_awaited = models.BooleanField(default=False, db_default=False)
    parent_id = models.BigIntegerField(null=True)
    checkpoint = models.JSONField(null=True)
    progress = models.JSONField(null=True)
    result = models.JSONField(null=True)
    cancel_reason = models.CharField(max_length=255, default="", db_default="")
    error = models.TextField(default="", db_default="")
    traceback = models.TextField(default="", db_default="")

    class Meta:
        db_table = "longwave_job"
        indexes = [
            # The status comes first: what has ended is most of the table, and so is out of the way of the rest.
            models.Index(fields=["status", "queue", "ready_at"], name="lw_job_line"),
            models.Index(fields=["status", "queue", "rung_at"], name="lw_job_ready"),
            models.Index(fields=["status", "run_at"], name="lw_job_due"),
            models.Index(fields=["status", "finished_at"], name="lw_job_prune"),
            models.Index(fields=["serial_key", "status", "id"], name="lw_job_serial"),
        ]

    def __str__(self) -> str:
        return f"{self.name}#{self.pk} {self.status}"


class PausedQueue(models.Model):
    """A queue of which nothing is begun. by: who paused it."""

    queue = models.CharField(max_length=64, primary_key=True)
    paused_at = models.DateTimeField(db_default=Now())
    by = models.CharField(max_length=190, default="", db_default="")
    reason = models.CharField(max_length=255, default="", db_default="")

    class Meta:
        db_table = "longwave_paused_queue"


class Wait(models.Model):
    """`job_id` does not begin before `after_id` has succeeded. The row goes when that one has ended."""

    after_id = models.BigIntegerField()
    job_id = models.BigIntegerField()

    class Meta:
        db_table = "longwave_wait"
        constraints = [models.UniqueConstraint(fields=["after_id", "job_id"], name="lw_wait_once")]
        indexes = [models.Index(fields=["job_id"], name="lw_wait_job")]


class JobSpan(models.Model):
    """What a job spent time on. It goes with the job."""

    job_id = models.BigIntegerField(db_index=True)
    name = models.CharField(max_length=100)
    component = models.CharField(max_length=100)
    started_at = models.DateTimeField()
    duration_ms = models.FloatField()
    error = models.CharField(max_length=255)

    class Meta:
        db_table = "longwave_job_span"


class Epoch(models.Model):
    """How the ledger last marked its broker. A broker without the mark has lost its messages."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    mark = models.CharField(max_length=36)

    class Meta:
        db_table = "longwave_epoch"


class BeatLease(models.Model):
    """Which beat process does the chores. One row; whoever finds it run out may take it."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    owner = models.CharField(max_length=120)
    until = models.DateTimeField()

    class Meta:
        db_table = "longwave_beat_lease"


class Schedule(models.Model):
    """A job that is submitted again and again by itself.

    every: seconds; None where `cron` says when, on the clocks of `timezone`.
    is_declared: by `@schedule` in code, which then has the say over all but `paused_at`.
    next_at: the first of its times that was not kept yet. planned_at: what the database's clock said when that was
    worked out; where it says less now, it was set back.
    last_at, last_job_id: the time kept last, or when it was last run by hand, and the job that was submitted then.
    problem: why its time came and nothing could be submitted; it is tried again.
    """

    name = models.CharField(max_length=100, primary_key=True)
    job = models.CharField(max_length=100)
    args = models.JSONField(default=dict)
    every = models.FloatField(null=True)
    cron = models.CharField(max_length=100, default="")
    timezone = models.CharField(max_length=64, default="")
    catch_up = models.CharField(max_length=4, default="once")
    is_declared = models.BooleanField(default=False)
    next_at = models.DateTimeField()
    planned_at = models.DateTimeField()
    paused_at = models.DateTimeField(null=True)
    last_at = models.DateTimeField(null=True)
    last_job_id = models.BigIntegerField(null=True)
    problem = models.CharField(max_length=255, default="")

    class Meta:
        db_table = "longwave_schedule"

    def __str__(self) -> str:
        return self.name


class Tick(models.Model):
    """A time of a schedule that was kept. There is one row for it, so nobody keeps it twice."""

    schedule = models.CharField(max_length=100)
    at = models.DateTimeField()
    job_id = models.BigIntegerField(null=True)

    class Meta:
        db_table = "longwave_tick"
        constraints = [models.UniqueConstraint(fields=["schedule", "at"], name="lw_tick_once")]
        indexes = [models.Index(fields=["at"], name="lw_tick_at")]


class ChoreRun(models.Model):
    """When the beat last did a chore, how long that took, and what it raised, if it did. Some seconds old."""

    name = models.CharField(max_length=190, primary_key=True)
    last_at = models.DateTimeField()
    duration_ms = models.FloatField()
    error = models.CharField(max_length=255, default="")

    class Meta:
        db_table = "longwave_chore_run"
