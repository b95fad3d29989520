"""Who a campaign goes to."""

from django.db.models import QuerySet

from longwave.campaigns.models import Campaign
from longwave.contacts import audience, segments
from longwave.contacts.models import Contact


def audience_of(campaign: Campaign, after: int = 0) -> "QuerySet[Contact]":
    """The contacts the campaign would go to if it were frozen now, from the one after id `after` on."""
    segment = segments.parse(campaign.segment) if campaign.segment is not None else None
    return audience.audience(campaign.contact_list, segment, campaign.sender.channel, after=after)
