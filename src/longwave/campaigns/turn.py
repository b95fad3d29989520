"""From a job to a lane and back: open what it needs, let it send, say whether there is more to do."""

import gc
from functools import cache

from longwave import channels
from longwave.campaigns import control, lifecycle
from longwave.campaigns.control import Control, Halt
from longwave.campaigns.lane import Lane, Work, in_taking_thread
from longwave.campaigns.models import Campaign, OnUnknown
from longwave.channels.base import Message
from longwave.jobs import Again, job_context
from longwave.senders.connections import connection_for
from longwave.senders.senders import account


async def take(campaign_id: int, *, number: int, generation: int) -> Again | None:
    """One turn of one lane; None when nothing is left for it to do."""
    context = job_context.current()
    now = await in_taking_thread(lambda: Control.read(campaign_id))
    campaign, halted = now.campaign, now.halts(generation)
    if halted is not None:
        return await in_taking_thread(lambda: _after(campaign, halted))
    connection = await connection_for(campaign.sender.channel, account(campaign.sender))
    _spare_the_collector()
    work = Work(
        campaign_id=campaign_id,
        generation=generation,
        number=number,
        owner=f"{context.owner}:{number}",
        compile=compile_message,
        connection=connection,
        resend_unknown=campaign.on_unknown == OnUnknown.RESEND,
        is_paid=campaign.paid,
        is_stopping=context.stopping,
    )
    halt = await Lane(work, campaign).run()
    return await in_taking_thread(lambda: _after(campaign, halt))


@cache
def _spare_the_collector() -> None:
    """Once a process: what is loaded by now stays, and is looked at no more.

    A full collection over Django, Celery and aiohttp stops everything for 80 to 180 ms, in the middle of sending.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)  # a message makes hundreds of objects, and leaves none behind


def compile_message(campaign: Campaign) -> Message:
    """The campaign's content, ready to be sent."""
    channel = channels.get(campaign.sender.channel)
    return channel.compile(channel.parse(campaign.content), paid=campaign.paid, media=campaign.media)


def _after(campaign: Campaign, halt: Halt) -> Again | None:
    match halt.kind:
        case "turn" | "stopping" | "lost":
            return Again(why=halt.kind)
        case "broken":
            control.stop_broken(campaign.sender_id, halt.reason)
            return None
        case "idle":
            lifecycle.complete(campaign.pk)
            return None
        case "state":
            return None
