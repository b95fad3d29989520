"""What the moves between a job's states have in common: the columns that they set."""

from typing import Any

from django.db.models import F
from django.db.models.functions import Now

from longwave import logs
from longwave.core.text import storable
from longwave.jobs.models import Status
from longwave.jobs.states import JOB

MAX_TRACEBACK = 20_000
MAX_REASON = 255


def leaving(verb: str) -> dict[str, Any]:
    """What every way out of `running` sets."""
    return {"status": JOB.target(verb, Status.RUNNING), "lease_until": None, "serial_slot": None}


def ended() -> dict[str, Any]:
    """What every move into a final state sets."""
    return {"finished_at": Now(), "dedupe_slot": None}


def queued() -> dict[str, Any]:
    """What every move into `queued` sets, besides the status."""
    return {**rung_anew(), "ready_at": Now()}


def rung_anew() -> dict[str, Any]:
    """What goes with another message for the job, and makes those before stale."""
    return {"seq": F("seq") + 1, "rung_at": Now()}


def failed() -> dict[str, Any]:
    """What every move into `failure` sets. MySQL assigns from left to right: the slot is kept before it is given up."""
    return {"dedupe_key": F("dedupe_slot"), **ended()}


def orderly() -> dict[str, Any]:
    """What a turn that ended with `Again` sets: it is no attempt, and whatever failed before is forgiven."""
    return {"attempt": F("attempt") - 1, "failures": 0, "crashes": 0}


def blame(error: str, traceback: str) -> dict[str, Any]:
    """What a failed run leaves to be read, without secrets."""
    return {
        "error": storable(logs.scrub(error))[:MAX_TRACEBACK],
        "traceback": storable(logs.scrub(traceback))[-MAX_TRACEBACK:],
    }


def storable_reason(text: str) -> str:
    """A reason as it fits into its column."""
    return storable(text)[:MAX_REASON]
