"""What starting a campaign now would mean: how many, how long, how dear, and what they would read."""

from dataclasses import dataclass, replace

from django.db.models import Sum

from longwave import channels
from longwave.campaigns import pricing
from longwave.campaigns.audience import audience_of
from longwave.campaigns.ledger import COUNTED, template_fields
from longwave.campaigns.models import Batch, Campaign
from longwave.channels.base import Recipient
from longwave.contacts.models import Contact
from longwave.core.errors import Problem

PREVIEWED = 20
"""Contacts that a preview renders a personal message for."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What starting now would mean. seconds is None without a limit; stars is 0 unless paid."""

    recipients: int
    messages: int
    rate: float | None
    seconds: float | None
    stars: float


def estimate(campaign: Campaign) -> Estimate:
    """Recipients, duration at the rate, and Stars, as of now."""
    recipients = campaign.recipients if campaign.prepared else audience_of(campaign).count()
    messages = recipients * pricing.weight(campaign)
    rate = pricing.effective_rate(campaign)
    stars = pricing.stars(messages, rate) if campaign.paid else 0.0
    return Estimate(recipients, messages, rate, messages / rate if rate else None, stars)


def stars_needed(campaign: Campaign) -> float:
    """The Stars that a paid campaign will have cost in the end, at the rate it has now."""
    guess, settled = estimate(campaign), pricing.weight(campaign) * _settled(campaign)
    return pricing.spent(campaign) + pricing.stars(guess.messages - settled, guess.rate)


def has_audience(campaign: Campaign) -> bool:
    """Whether anybody would get it, were it started now."""
    return campaign.prepared or audience_of(campaign).exists()


def preview(campaign: Campaign) -> list[Problem]:
    """What is wrong with the message as the first PREVIEWED contacts of its audience would get it."""
    channel = channels.get(campaign.sender.channel)
    content = channel.parse(campaign.content)
    if not channel.templates(content):
        return []
    met: dict[str, tuple[Problem, list[str]]] = {}
    for contact in audience_of(campaign)[:PREVIEWED]:
        for problem in channel.preview(content, recipient_of(contact), paid=campaign.paid):
            met.setdefault(str(problem), (problem, []))[1].append(contact.address)
    return [replace(problem, field=f"{problem.field} for {_named(who)}") for problem, who in met.values()]


def _named(addresses: list[str]) -> str:
    """The first of them, and how many more."""
    first, *others = addresses
    return f"{first} and {len(others)} more" if others else first


def recipient_of(contact: Contact) -> Recipient:
    """A contact as templates see it."""
    fields = template_fields(
        contact.address, contact.attributes, language=contact.language, timezone=contact.timezone
    )
    return Recipient(contact.address, fields)


def pending(campaign: Campaign) -> int:
    """Deliveries still to come."""
    return campaign.recipients - _settled(campaign)


def _settled(campaign: Campaign) -> int:
    sums = Batch.objects.filter(campaign=campaign).aggregate(
        **{name: Sum(name, default=0) for name in COUNTED}
    )
    return sum(sums.values())
