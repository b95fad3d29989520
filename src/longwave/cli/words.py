"""Numbers and times as people read them, and as scripts do."""

from datetime import UTC, datetime


def duration(seconds: float) -> str:
    """Seconds as people say them: `55 min 34 s`."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def moment(at: datetime | str | None) -> str:
    """A point in time, or its ISO 8601, as people read it: `2027-01-31 06:00:00 UTC`."""
    if at is None:
        return "–"
    known = datetime.fromisoformat(at) if isinstance(at, str) else at
    return f"{known.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def for_scripts(value: object) -> str:
    """What JSON has no kind of, for `json.dumps`: a point in time as ISO 8601, as everywhere."""
    return value.isoformat(timespec="milliseconds") if isinstance(value, datetime) else str(value)
