"""Segments kept under a name."""

from longwave.contacts import models, segments
from longwave.contacts.lists import checked_name, missing
from longwave.core.errors import NotFound
from longwave.core.text import storable


def save(name: str, segment: segments.Segment) -> models.Segment:
    """Keep the segment under this name, in place of the one that had it. Campaigns hold copies of theirs."""
    filter_ = segments.to_json(segment)
    row, _ = models.Segment.objects.update_or_create(
        name=checked_name(name, "segment"), defaults={"filter": filter_}
    )
    return row


def by_name(name: str) -> segments.Segment:
    """The segment of this name. NotFound names the ones that look alike."""
    row = models.Segment.objects.filter(name=storable(name.strip())).first()
    if row is None:
        names = models.Segment.objects.order_by("name").values_list("name", flat=True)
        raise NotFound(missing("segment", name, names))
    return segments.parse(row.filter)


def names() -> list[str]:
    """Every segment's name, in order."""
    return list(models.Segment.objects.order_by("name").values_list("name", flat=True))
