"""How much of what waits for a sender's slots another worker could begin: nothing of it, where the rate is used up."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from longwave.campaigns.models import Campaign
from longwave.core.slots import SECOND, Rate
from longwave.pacing.models import Limit
from longwave.senders import senders
from longwave.senders.models import Sender, SenderStatus

LANE = "campaigns.lane"
SUBJECTS = {
    LANE: "campaign_id",
    "campaigns.test": "campaign_id",
    "senders.send_notification": "sender_id",
    "senders.tell_admin": "sender_id",
}
"""The jobs that take slots of a sender, and the argument that says of which, or of which campaign's."""

AHEAD = 0.1
"""Seconds that a limit's next free slot lies ahead where the limit is used up. Whoever keeps up with a rate reserves a
quarter to half a second ahead; whoever does not, reserves no more than it needs."""

PER_LANE = 250.0
"""Sends a second that one lane drives, also where the provider takes more than a second to answer."""


@dataclass(frozen=True, slots=True)
class _Subject:
    """A sender, and the campaign for which it sends, if any."""

    sender: Sender
    limits: tuple[Rate, ...]

    @property
    def per_second(self) -> float | None:
        """Sends a second that all its limits allow; None is unlimited."""
        return min((rate.per_second for rate in self.limits if rate.per_second), default=None)


class Rates:
    """The senders' limits at one moment. now_us: what the database's clock said then."""

    def __init__(
        self, wanted: Iterable[tuple[str, int]], running_lanes: Mapping[int, int], now_us: int
    ) -> None:
        """wanted: names of jobs with their subject's number. running_lanes: campaign → lanes at work."""
        pairs = set(wanted)
        self._campaigns = _campaigns(
            {number for name, number in pairs if _is_campaign(name)} | running_lanes.keys()
        )
        self._senders = Sender.objects.in_bulk({number for name, number in pairs if not _is_campaign(name)})
        self._subjects = {pair: found for pair in pairs if (found := self._subject(*pair)) is not None}
        keys = {rate.key for subject in self._subjects.values() for rate in subject.limits}
        self._standing = {row.key: row for row in Limit.objects.filter(key__in=keys)}
        self._now_us = now_us
        self._lanes_left = self._lanes_of_limits(running_lanes)

    def useful(self, name: str, number: int, count: int, addresses: int, within: float) -> int:
        """How many of `count` ready jobs could begin `within` so many seconds if there were workers for them.

        addresses: to how many different chats they go. Lanes are counted off as they are asked for.
        """
        subject = self._subjects.get((name, number))
        if subject is None:
            return count  # the sender is gone: they end at once
        if self._is_used_up(subject):
            return 0
        if subject.per_second is None:
            return count
        if name == LANE:
            return self._some_lanes(subject, count)
        allowed = subject.per_second
        if subject.sender.channel == "telegram":
            allowed = min(allowed, addresses * senders.CHAT_RATE)
        return min(count, math.ceil(within * allowed))

    def _some_lanes(self, subject: _Subject, count: int) -> int:
        """No more than drive what the limits allow, however many campaigns the sender has."""
        keys = [rate.key for rate in subject.limits if rate.per_second]
        some = min(count, *(self._lanes_left[key] for key in keys))
        for key in keys:
            self._lanes_left[key] -= some
        return some

    def _is_used_up(self, subject: _Subject) -> bool:
        if subject.sender.status != SenderStatus.ACTIVE:
            return True
        return any(self._is_taken(rate) for rate in subject.limits)

    def _is_taken(self, rate: Rate) -> bool:
        row = self._standing.get(rate.key)
        if row is None:
            return False
        is_held = row.held_until > self._now_us
        return is_held or (rate.per_second is not None and row.next_free > self._now_us + AHEAD * SECOND)

    def _subject(self, name: str, number: int) -> _Subject | None:
        if not _is_campaign(name):
            sender = self._senders.get(number)
            return None if sender is None else _Subject(sender, tuple(senders.limits(sender, "interactive")))
        campaign = self._campaigns.get(number)
        if campaign is None:
            return None
        kind: senders.Kind = "bulk" if name == LANE else "interactive"
        limits = senders.limits(campaign.sender, kind, campaign_id=campaign.pk, campaign_rate=campaign.rate)
        return _Subject(campaign.sender, tuple(limits))

    def _lanes_of_limits(self, running_lanes: Mapping[int, int]) -> dict[str, int]:
        """Key of a limit → lanes that it could still use, beside those that are at work under it."""
        lanes = [(self._subject(LANE, number), at_work) for number, at_work in running_lanes.items()]
        left = {rate.key: _lanes_for(rate) for subject in self._subjects.values() for rate in subject.limits}
        for subject, at_work in lanes:
            for rate in () if subject is None else subject.limits:
                left[rate.key] = max(0, left.get(rate.key, _lanes_for(rate)) - at_work)
        return left


def _lanes_for(rate: Rate) -> int:
    return math.ceil((rate.per_second or 0) / PER_LANE)


def _is_campaign(name: str) -> bool:
    return SUBJECTS[name] == "campaign_id"


def _campaigns(numbers: Iterable[int]) -> dict[int, Campaign]:
    return {
        found.pk: found for found in Campaign.objects.select_related("sender").filter(pk__in=set(numbers))
    }
