"""How fast a campaign may be, and what Telegram charges for it."""

from collections import Counter

from longwave import channels
from longwave.campaigns.ledger import BUCKET_SECONDS
from longwave.campaigns.models import Bucket, Campaign, Charted

FREE_RATE = 30.0
"""Telegram's limit for free broadcasts, messages a second (Bots FAQ)."""

STARS_PER_MESSAGE = 0.1
"""What Telegram charges for a message above the free rate (Bot API, paid broadcasts)."""

CHARGED = (Charted.SENT, Charted.UNKNOWN, Charted.ORPHANED)
"""What was paid for, or may have been."""

FULLER = 1.05
"""So much above its rate, ten seconds were sent at a higher one than today's."""


def effective_rate(campaign: Campaign) -> float | None:
    """Messages a second this campaign may reach; None is unlimited."""
    share = campaign.sender.rate and campaign.sender.rate * campaign.sender.bulk_share
    rates = [value for value in (share, campaign.rate) if value]
    return min(rates) if rates else None


def weight(campaign: Campaign) -> int:
    """Messages that one delivery counts as (an album's items)."""
    channel = channels.get(campaign.sender.channel)
    return channel.compile(channel.parse(campaign.content), paid=campaign.paid, media=campaign.media).weight


def stars(messages: float, rate: float | None) -> float:
    """Stars for `messages` at a rate: those above the free 30 in each second are charged."""
    return messages * _charged_share(rate) * STARS_PER_MESSAGE


def spent(campaign: Campaign) -> float:
    """The Stars that its messages have cost so far, at most.

    Inexact by design: what was sent in ten seconds is taken to be spread as its rate says.
    """
    rate, each = effective_rate(campaign), weight(campaign)
    sent: Counter[int] = Counter()
    for at, count in Bucket.objects.filter(campaign=campaign, outcome__in=CHARGED).values_list("at", "count"):
        sent[at] += count * each
    return sum(_of_ten_seconds(messages, rate) for messages in sent.values())


def affordable(campaign: Campaign) -> int | None:
    """Deliveries that the rest of its budget in Stars pays for; None where nothing is charged."""
    rate = effective_rate(campaign)
    if not campaign.paid or campaign.stars_budget is None or not _charged_share(rate):
        return None
    price = stars(weight(campaign), rate)
    return int(max(0.0, (campaign.stars_budget - spent(campaign)) / price + 1e-6))


def why_spent(campaign: Campaign) -> str:
    """That nothing more may be sent for Stars, and what to do."""
    return (
        f"the budget of {campaign.stars_budget} Stars is spent; the rest is free of charge after "
        f"`longwave campaign rate {campaign.pk} {FREE_RATE:g}`"
    )


def _of_ten_seconds(messages: int, rate: float | None) -> float:
    if rate is not None and messages > rate * BUCKET_SECONDS * FULLER:
        return max(0.0, messages - FREE_RATE * BUCKET_SECONDS) * STARS_PER_MESSAGE
    return stars(messages, rate)


def _charged_share(rate: float | None) -> float:
    return 1.0 if rate is None else max(0.0, 1 - FREE_RATE / rate)
