"""When the times of a schedule come, and which of them are kept when nothing ran for a while."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from longwave.core.errors import InvalidInput
from longwave.jobs import rhythm
from longwave.jobs.rhythm import GRACE, CatchUp, Cron, Every, Rhythm, due

MOMENTS = st.integers(946_684_800_000_000, 2_840_140_800_000_000).map(
    lambda us: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
)
ZONES = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca"]
)
CRONS = st.builds(
    "{} {} * * {}".format,
    st.sampled_from(["*", "0", "30", "*/15", "5,10", "7-9"]),
    st.sampled_from(["*", "0", "2", "1-3", "*/6", "23"]),
    st.sampled_from(["*", "1-5", "SUN"]),
)
RHYTHMS: st.SearchStrategy[Rhythm] = st.one_of(
    st.builds(Every, st.sampled_from([1.0, 1.5, 60.0, 3600.0, 86400.0, 100.25])),
    st.builds(Cron, CRONS, ZONES),
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@given(RHYTHMS, MOMENTS)
@example(Cron("30 1 * * *", "Europe/Berlin"), at("2026-10-25T00:10"))
@example(Cron("5,10 2 * * *", "Europe/Berlin"), at("2026-03-29T00:59"))
def test_times_only_go_forward_and_none_lies_between_two(times: Rhythm, moment: datetime) -> None:
    following = times.next_after(moment)
    assert following > moment
    assert following.tzinfo is UTC
    between = moment + (following - moment) / 2
    assert times.next_after(between) == following
    assert times.next_after(following) > following


@given(st.floats(1, 1e6), MOMENTS)
def test_an_interval_is_its_length(seconds: float, moment: datetime) -> None:
    first = Every(seconds).next_after(moment)
    assert first - moment <= timedelta(seconds=seconds, microseconds=1)
    assert Every(seconds).next_after(first) - first == timedelta(microseconds=round(seconds * 1e6))


@given(CRONS, MOMENTS)
def test_a_cron_expression_is_about_the_clocks_of_its_zone(expression: str, moment: datetime) -> None:
    zone = ZoneInfo("Asia/Kathmandu")  # no summer time: what it says is what its clocks show
    local = Cron(expression, zone.key).next_after(moment).astimezone(zone)
    as_utc = Cron(expression).next_after(moment.astimezone(zone).replace(tzinfo=UTC))
    assert local.replace(tzinfo=UTC) == as_utc


def test_a_fixed_time_comes_once_on_the_nights_when_clocks_change() -> None:
    nightly = Cron("30 2 * * *", "Europe/Berlin")
    assert nightly.next_after(at("2026-03-28T12:00")) == at(
        "2026-03-29T01:00"
    )  # 02:30 is left out: 03:00 it is
    assert nightly.next_after(at("2026-03-29T01:00")) == at("2026-03-30T00:30")
    autumn = nightly.next_after(at("2026-10-24T12:00"))
    assert nightly.next_after(autumn) == at("2026-10-26T01:30")


@given(RHYTHMS, MOMENTS, st.integers(0, 3 * 3600))
def test_what_is_kept_after_an_outage_is_what_the_policy_says(
    times: Rhythm, began: datetime, seconds: int
) -> None:
    first, now = times.next_after(began), began + timedelta(seconds=seconds)
    missed = [first]
    while missed[-1] <= now:
        missed.append(times.next_after(missed[-1]))
    following = missed.pop()

    every = due(times, first, now, catch_up=CatchUp.ALL, limit=100_000)
    assert (list(every.times), every.next_at) == (missed, following)
    once = due(times, first, now, catch_up=CatchUp.ONCE)
    assert (list(once.times), once.next_at) == (missed[:1], following)
    skip = due(times, first, now, catch_up=CatchUp.SKIP)
    assert (list(skip.times), skip.next_at) == ([one for one in missed if one > now - GRACE][:1], following)


@given(RHYTHMS, MOMENTS, st.integers(1, 3 * 3600), st.integers(1, 7))
def test_all_of_them_in_parts_are_all_of_them(
    times: Rhythm, began: datetime, seconds: int, limit: int
) -> None:
    next_at, now = times.next_after(began), began + timedelta(seconds=min(seconds, 60))
    whole = due(times, next_at, now, catch_up=CatchUp.ALL, limit=100_000)
    kept: list[datetime] = []
    while next_at <= now:
        part = due(times, next_at, now, catch_up=CatchUp.ALL, limit=limit)
        assert 1 <= len(part.times) <= limit
        kept += part.times
        next_at = part.next_at
    assert (tuple(kept), next_at) == (whole.times, whole.next_at)
    assert all(one < other for one, other in pairwise(kept))


@pytest.mark.parametrize(
    ("given_", "complaint"),
    [
        ({}, "give one of the two"),
        ({"every": 5.0, "cron": "* * * * *"}, "give one of the two"),
        ({"every": 0.5}, "from 1 to"),
        ({"every": float("nan")}, "from 1 to"),
        ({"every": 1e9}, "from 1 to"),
        ({"every": 60.0, "timezone": "UTC"}, "is for cron"),
        ({"cron": "* * * *"}, "five fields"),
        ({"cron": "* * * * * *"}, "five fields"),
        ({"cron": "61 * * * *"}, "bad minute"),
        ({"cron": ",".join(map(str, range(60))) + " * * * *"}, "100 characters at most"),
        ({"cron": "0 0 31 2 *"}, "bad day-of-month"),
        ({"cron": "0 3 * * *", "timezone": "Mars/Olympus"}, "Europe/Berlin"),
        ({"cron": "0 3 * * *", "timezone": "../../etc/passwd"}, "Europe/Berlin"),
    ],
)
def test_a_rhythm_that_cannot_be_is_refused(given_: dict[str, object], complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        rhythm.parse(**given_)  # type: ignore[arg-type]


def test_what_was_given_is_what_it_says() -> None:
    assert str(rhythm.parse(every=300)) == "every 300 s"
    assert str(rhythm.parse(cron="0 3 * * MON")) == "0 3 * * MON (UTC)"
    assert rhythm.parse(cron="0 3 * * *", timezone="Asia/Tokyo") == Cron("0 3 * * *", "Asia/Tokyo")
