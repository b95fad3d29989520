"""What a campaign has met most: for the reasons that people read."""

from collections.abc import Collection

from longwave.campaigns.models import ErrorTally

SHOWN = 3


def commonest(campaign_id: int, labels: Collection[str]) -> str:
    """The commonest error texts of these labels, each with how often it came."""
    tallies = ErrorTally.objects.filter(campaign=campaign_id, outcome__in=labels).order_by("-count")[:SHOWN]
    return "; ".join(f"{tally.text} ({tally.count}×)" for tally in tallies)
