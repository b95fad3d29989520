"""Jobs of senders."""

from typing import Any

from longwave.jobs import Again, coroutines, job, job_context
from longwave.jobs.chores import chore
from longwave.pacing import ledger
from longwave.senders import connections, sending

coroutines.at_close(connections.close_all)


@job("senders.send_notification", queue="notifications", retries=3, backoff=(2, 10, 60), lease=60)
def send_notification(
    sender_id: int, address: str, content: dict[str, Any], fields: dict[str, Any]
) -> Again | dict[str, Any]:
    """One message now, in an interactive slot."""
    return sending.send_one(sender_id, address, content, fields, job_context.current())


@job("senders.tell_admin", queue="notifications", retries=100, backoff=(2, 10, 60, 300), lease=60)
def tell_admin(
    sender_id: int, address: str, content: dict[str, Any], fields: dict[str, Any]
) -> Again | dict[str, Any]:
    """The same, tried for hours, and rather twice than never: admins have to know that the provider is away."""
    context = job_context.current()
    try:
        return sending.send_one(sender_id, address, content, fields, context)
    except sending.OutcomeUnknown as error:
        context.checkpoint(None)
        raise sending.PassingFault(str(error)) from None


@chore(every=600)
def forget_idle_limits() -> None:
    """Every chat ever written to has a limit of its own; most are never needed again."""
    ledger.forget_idle()
