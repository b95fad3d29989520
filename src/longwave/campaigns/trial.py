"""One message of a campaign, to somebody who looks at it before everybody gets it."""

from collections.abc import Mapping
from typing import Any

from longwave.campaigns import lifecycle, uploads
from longwave.jobs import Again
from longwave.senders import sending


def send(
    campaign_id: int, address: str, fields: Mapping[str, Any], progress: sending.Progress
) -> Again | dict[str, Any]:
    """Send it, as `sending.send_one` does. What it uploads is kept for the next test, and for the campaign."""
    campaign = lifecycle.get(campaign_id)
    files = uploads.files_of(campaign.content)
    media = uploads.usable(campaign)
    result = sending.send_one(campaign.sender_id, address, campaign.content, fields, progress, media=media)
    if not isinstance(result, Again) and result.get("media"):
        uploads.keep(campaign_id, result["media"], files)
    return result
