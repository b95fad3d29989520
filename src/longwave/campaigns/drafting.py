"""Before a campaign starts: write it down, look at it, try it on somebody."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longwave import channels
from longwave.campaigns import checks, lifecycle
from longwave.campaigns.models import Campaign, OnUnknown
from longwave.campaigns.outlook import recipient_of
from longwave.channels.base import Recipient
from longwave.contacts import segments
from longwave.contacts.models import Contact, ContactList
from longwave.core.errors import InvalidInput, Problem
from longwave.core.text import is_storable
from longwave.jobs.declare import find
from longwave.senders.models import Sender

NAME_LENGTH = 200
MOST_STARS = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Draft:
    """Everything a person says of a new campaign."""

    sender: Sender
    content: Mapping[str, Any]
    contact_list: ContactList | None = None
    segment: Mapping[str, Any] | None = None
    name: str = ""
    rate: float | None = None
    on_unknown: str = OnUnknown.SKIP
    paid: bool = False
    stars_budget: int | None = None
    failure_limit: float = 0.10


def create(draft: Draft) -> Campaign:
    """Store a draft. Raises InvalidInput with everything that is wrong about it."""
    channel = channels.get(draft.sender.channel)
    content = channel.parse(draft.content)
    problems = [*channel.check(content, paid=draft.paid), *_draft_problems(draft)]
    campaign = Campaign(
        name=draft.name or _name_from(draft.content),
        sender=draft.sender,
        contact_list=draft.contact_list,
        segment=dict(draft.segment) if draft.segment is not None else None,
        content=_with_absolute_paths(channel.to_json(content)),
        rate=draft.rate,
        on_unknown=draft.on_unknown,
        paid=draft.paid,
        stars_budget=draft.stars_budget,
        failure_limit=draft.failure_limit,
    )
    problems += checks.paid_problems(campaign)
    if problems:
        raise InvalidInput(*problems)
    checks.rate(draft.rate, draft.sender)
    campaign.save()
    return lifecycle.get(campaign.pk)


def test(campaign: Campaign, addresses: Sequence[str]) -> list[int]:
    """Send it now, as it stands, to a few chats; the jobs' ids. Their attributes fill its templates.

    Raises InvalidInput when it is wrong for one of them; nobody gets it then.
    """
    checks.ready_to_send(campaign)
    if not addresses:
        raise InvalidInput(Problem("to", [], "name at least one chat to send the test to"))
    asked = [address for address in addresses if is_storable(address)]
    known = {c.address: c for c in Contact.objects.filter(channel=campaign.sender.channel, address__in=asked)}
    recipients = [
        recipient_of(known[address]) if address in known else Recipient(address, {"address": address})
        for address in addresses
    ]
    channel = channels.get(campaign.sender.channel)
    content = channel.parse(campaign.content)
    if problems := [
        Problem(f"{problem.field} for {recipient.address}", problem.value, problem.remedy)
        for recipient in recipients
        for problem in channel.preview(content, recipient, paid=False)
    ]:
        raise InvalidInput(*problems)
    return find("campaigns.test").submit_many(
        {"campaign_id": campaign.pk, "address": recipient.address, "fields": dict(recipient.fields)}
        for recipient in recipients
    )


def _draft_problems(draft: Draft) -> list[Problem]:
    problems = []
    if len(draft.name) > NAME_LENGTH or len(draft.name.splitlines()) > 1:
        problems.append(Problem("name", draft.name, f"must be one line of at most {NAME_LENGTH} characters"))
    elif not is_storable(draft.name):
        problems.append(Problem("name", draft.name, "has characters that no database stores; remove them"))
    if draft.stars_budget is not None and draft.stars_budget > MOST_STARS:
        problems.append(Problem("stars_budget", draft.stars_budget, f"must be at most {MOST_STARS:,}"))
    if draft.stars_budget is not None and not draft.paid:
        remedy = "is for paid broadcasts; add --paid, or leave it out"
        problems.append(Problem("stars_budget", draft.stars_budget, remedy))
    if draft.on_unknown not in OnUnknown.values:
        allowed = " or ".join(OnUnknown.values)
        problems.append(Problem("on_unknown", draft.on_unknown, f"must be {allowed}"))
    if not 0 < draft.failure_limit <= 1:
        problems.append(
            Problem("failure_limit", draft.failure_limit, "must be above 0 and at most 1 (0.1 is 10 %)")
        )
    if draft.contact_list is None and draft.segment is None:
        problems.append(Problem("list", None, "say who gets it: a list, a segment, or both"))
    if draft.contact_list is not None and draft.contact_list.channel != draft.sender.channel:
        remedy = f"sender {draft.sender.name} sends on {draft.sender.channel}; choose a list of that channel"
        problems.append(Problem("list", f"{draft.contact_list.name} ({draft.contact_list.channel})", remedy))
    if draft.segment is not None:
        try:
            segments.parse(draft.segment)
        except InvalidInput as error:
            problems.extend(error.problems)
    return problems


def _name_from(content: Mapping[str, Any]) -> str:
    text = str(content.get("text") or content.get("caption") or content.get("kind") or "campaign")
    return text.strip().splitlines()[0][:60] if text.strip() else "campaign"


def _with_absolute_paths(content: dict[str, Any]) -> dict[str, Any]:
    """Workers run in other folders: a local file is named by its full path."""

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            is_file = set(value) == {"path"} and isinstance(value["path"], str)
            return (
                {"path": str(Path(value["path"]).absolute())}
                if is_file
                else {k: walk(v) for k, v in value.items()}
            )
        return [walk(item) for item in value] if isinstance(value, list) else value

    walked: dict[str, Any] = walk(content)
    return walked
