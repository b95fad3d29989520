"""What must be right before a campaign may start: refused here, with every reason, rather than by the provider."""

import math

from longwave import channels
from longwave.campaigns import outlook, pricing
from longwave.campaigns.models import Campaign
from longwave.core.errors import Conflict, InvalidInput, Problem
from longwave.senders.models import Sender, SenderStatus
from longwave.senders.senders import HIGHEST_RATE, LOWEST_RATE


def rate(value: float | None, sender: Sender) -> None:
    """Raises InvalidInput unless `value` is a rate that the sender can give."""
    if value is None:
        return
    if not LOWEST_RATE <= value <= HIGHEST_RATE:
        remedy = f"must be {LOWEST_RATE:g} to {HIGHEST_RATE:,.0f} messages a second"
        raise InvalidInput(Problem("rate", value, remedy))
    if sender.rate is not None and value > sender.rate:
        remedy = f"must not be above the rate of sender {sender.name}, {sender.rate:g}/s"
        raise InvalidInput(Problem("rate", value, remedy))


def ready_to_start(campaign: Campaign) -> None:
    """Raises Conflict or InvalidInput unless the campaign may start as it stands.

    A personal message is rendered for the first PREVIEWED contacts of its audience, not for all of it: whoever further
    down lacks an attribute is rejected by itself.
    """
    ready_to_send(campaign)
    if problems := outlook.preview(campaign) + budget_problems(campaign):
        raise InvalidInput(*problems)


def ready_to_send(campaign: Campaign) -> None:
    """Raises Conflict or InvalidInput unless the message may leave, whoever gets it."""
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
    effective = pricing.effective_rate(campaign)
    is_telegrams_own = not sender.base_url
    if is_telegrams_own and not campaign.paid and (effective is None or effective > pricing.FREE_RATE):
        remedy = (
            f"Telegram grants more than {pricing.FREE_RATE:g}/s to paid broadcasts only: "
            "set --paid and --stars-budget, or --rate 30"
        )
        return [Problem("rate", effective, remedy)]
    return []


def budget_problems(campaign: Campaign) -> list[Problem]:
    """Whether the budget in Stars pays for everybody who is to get it. Counts the audience of a paid campaign."""
    budget = campaign.stars_budget
    needed = math.ceil(outlook.stars_needed(campaign)) if campaign.paid and budget is not None else 0
    if budget is None or needed <= budget:
        return []
    speed = pricing.effective_rate(campaign)
    at = f"at {speed:g}/s" if speed else "without a limit"
    remedy = (
        f"{at} it costs {needed:,} Stars. Create it again with --stars-budget {needed} or more, or "
        f"send it free of charge: `longwave campaign rate {campaign.pk} {pricing.FREE_RATE:g}`"
    )
    return [Problem("stars_budget", budget, remedy)]
