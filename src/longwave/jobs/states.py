"""The life of a job as a table. Each verb is a guarded UPDATE: its row count decides."""

from longwave.core.states import StateTable
from longwave.jobs.models import Status

JOB = StateTable[Status](
    {
        "due": {Status.SCHEDULED: Status.QUEUED, Status.RETRY: Status.QUEUED},
        "claim": {Status.QUEUED: Status.RUNNING},
        "finish": {Status.RUNNING: Status.SUCCESS},
        "requeue": {Status.RUNNING: Status.QUEUED},
        "hand_on": {Status.RUNNING: Status.QUEUED},
        "postpone": {Status.RUNNING: Status.RETRY},
        "retry": {Status.RUNNING: Status.RETRY},
        "fail": {Status.RUNNING: Status.FAILURE},
        "hand_back": {Status.RUNNING: Status.QUEUED},
        "give_back": {Status.RUNNING: Status.QUEUED},
        "poison": {Status.RUNNING: Status.FAILURE},
        "rerun": {Status.FAILURE: Status.QUEUED},
        "cancel": {
            Status.SCHEDULED: Status.CANCELLED,
            Status.QUEUED: Status.CANCELLED,
            Status.RETRY: Status.CANCELLED,
        },
        "stop": {Status.RUNNING: Status.CANCELLED},
    }
)
"""requeue, postpone: the job returned `Again`. hand_on: it was claimed with others, and not begun. hand_back: its
worker was stopped, and did not wait for it. give_back, poison: its worker died under it. stop: somebody cancelled it
while it ran, and it noticed, or could not go on anyway. rerun: somebody asked for a failed one again."""
