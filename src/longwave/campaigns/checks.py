"""What must be right before a campaign may start: refused here, with every reason, rather than by the provider."""

from longwave import channels
from longwave.campaigns.models import Campaign
from longwave.core.errors import Conflict, InvalidInput, Problem
from longwave.senders.models import Sender, SenderStatus

FREE_RATE = 30.0
"""Telegram's limit for free broadcasts, messages a second (Bots FAQ)."""

STARS_PER_MESSAGE = 0.1
"""What Telegram charges for a message above the free rate (Bot API, paid broadcasts)."""


def rate(value: float | None, sender: Sender) -> None:
    """Raises InvalidInput unless `value` is a rate that the sender can give."""
    if value is None:
        return
    if not 0 < value <= 100_000:
        raise InvalidInput(Problem("rate", value, "must be above 0, in messages a second"))
    if sender.rate is not None and value > sender.rate:
        remedy = f"must not be above the rate of sender {sender.name}, {sender.rate:g}/s"
        raise InvalidInput(Problem("rate", value, remedy))


def ready_to_start(campaign: Campaign) -> None:
    """Raises Conflict or InvalidInput unless the campaign may start as it stands."""
    sender = campaign.sender
    if sender.status != SenderStatus.ACTIVE:
        raise Conflict(f"Sender {sender.name} is {sender.status}: {sender.status_reason}.")
    problems = content_problems(campaign) + paid_problems(campaign)
    if problems:
        raise InvalidInput(*problems)


def content_problems(campaign: Campaign) -> list[Problem]:
    """What the provider would refuse about the content."""
    channel = channels.get(campaign.sender.channel)
    return channel.check(channel.parse(campaign.content), paid=campaign.paid)


def paid_problems(campaign: Campaign) -> list[Problem]:
    """Whether money and rate go together: paid needs a budget, and above the free rate needs paid."""
    sender = campaign.sender
    if sender.channel != "telegram":
        return []
    if campaign.paid and not campaign.stars_budget:
        return [
            Problem(
                "stars_budget", campaign.stars_budget, "a paid broadcast needs a budget in Stars, above 0"
            )
        ]
    effective = effective_rate(campaign)
    is_telegrams_own = not sender.base_url
    if is_telegrams_own and not campaign.paid and (effective is None or effective > FREE_RATE):
        remedy = (
            f"Telegram grants more than {FREE_RATE:g}/s to paid broadcasts only: "
            "set --paid and --stars-budget, or --rate 30"
        )
        return [Problem("rate", effective, remedy)]
    return []


def effective_rate(campaign: Campaign) -> float | None:
    """Messages a second this campaign may reach; None is unlimited."""
    share = campaign.sender.rate and campaign.sender.rate * campaign.sender.bulk_share
    rates = [value for value in (share, campaign.rate) if value]
    return min(rates) if rates else None


def stars(messages: int, rate_: float | None) -> float:
    """Stars for `messages` at a rate: those above the free 30 in each second are charged."""
    if rate_ is None or rate_ <= FREE_RATE:
        return 0.0
    return messages * (1 - FREE_RATE / rate_) * STARS_PER_MESSAGE
