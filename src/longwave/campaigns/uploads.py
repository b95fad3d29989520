"""Local files that the provider has already: uploaded once, as long as they are still the same files."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from longwave.campaigns.models import Campaign, CampaignState

Files = dict[str, list[int] | None]
"""Of each local file its size and its time of change, or None where it cannot be seen from here."""


def files_of(content: Mapping[str, Any]) -> Files:
    """The local files that the content names, as they are now."""
    return {path: _look_at(path) for path in _paths(content)}


def usable(campaign: Campaign) -> dict[str, str]:
    """The provider's ids of its files; none where a file is another by now, or cannot be compared from here."""
    return dict(campaign.media) if campaign.media_files == files_of(campaign.content) else {}


def keep(campaign_id: int, media: Mapping[str, str], files: Files) -> None:
    """Remember the ids of files that were uploaded for a test. files: as they were just before.

    Not of a campaign that has been started meanwhile: its files may be others by now.
    """
    waiting = Campaign.objects.filter(
        pk=campaign_id, state__in=(CampaignState.DRAFT, CampaignState.SCHEDULED)
    )
    waiting.update(media=dict(media), media_files=files)


def _look_at(path: str) -> list[int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]


def _paths(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if set(value) == {"path"} and isinstance(value["path"], str):
            yield value["path"]
        for inner in value.values():
            yield from _paths(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _paths(inner)
