"""The verbs of senders: add, find, break, mend, change the rate; and the limits their sends must keep."""

import asyncio
import math
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from hashlib import sha256
from typing import Literal
from urllib.parse import urlsplit

from django.db import IntegrityError, transaction
from django.db.models import ProtectedError

from longwave import channels
from longwave.channels.base import Account, Channel, Identity
from longwave.core.errors import Conflict, InvalidInput, NotFound, Problem
from longwave.core.slots import BULK_HORIZON, INTERACTIVE_HORIZON
from longwave.core.text import storable
from longwave.jobs import queues
from longwave.pacing.ledger import Rate
from longwave.senders import credentials
from longwave.senders.models import Sender, SenderStatus

Kind = Literal["bulk", "interactive"]

LOWEST_RATE, HIGHEST_RATE = 0.001, 100_000.0
LOWEST_SHARE = 0.001
CATCH_UP = 0.1
"""Seconds of unused time that a campaign's own rate and a bulk share may make good: what asking for slots may
take."""
CHAT_RATE = 1.0
"""Telegram: avoid more than one message a second in one chat (core.telegram.org/bots/faq)."""
GROUP_RATE = 20 / 60
"""Telegram: a group gets no more than 20 messages a minute (core.telegram.org/bots/faq)."""

_BOTFATHER = "is not a bot token; @BotFather's look like 123456789:AAE…, with 35 characters after the colon"
_TELEGRAM_CHAT = re.compile(r"-?[1-9]\d{0,15}|@\w{4,32}", re.ASCII)
_PLAIN_CHAT = re.compile(r"[-@]?[a-z0-9_]{1,64}", re.ASCII)
_TELEGRAM_TOKEN = re.compile(r"\d+:[A-Za-z0-9_-]{30,}")


def add(
    channel: str,
    name: str,
    secret: str,
    *,
    rate: float | None = None,
    preset: str | None = None,
    base_url: str = "",
    admin_chats: Sequence[int | str] = (),
    bulk_share: float = 1.0,
    burst_guard: float | None = None,
    region: str = "",
) -> Sender:
    """Ask the provider who this is, and keep it as a sender.

    rate: sends a second; 0 is unlimited; None takes `preset`, or else what the channel advises. admin_chats:
    who is told when something stops. region: its campaigns are for workers that serve it. Raises
    InvalidInput, Conflict (the name or the account is taken) or AccountRefused.
    """
    provider, secret = channels.get(channel), secret.strip()
    problems = [
        *_name_problems(name),
        *_secret_problems(channel, secret),
        *_rate_problems(provider, rate, preset),
        *_url_problems(base_url),
        *_number_problems(bulk_share, burst_guard),
        *_chat_problems(channel, admin_chats),
        *_region_problems(region),
    ]
    if problems:
        raise InvalidInput(*problems)
    _refuse_taken_name(name)
    base_url = base_url.rstrip("/")
    identity = asyncio.run(provider.identify(Account(secret, base_url)))
    sender = Sender(
        channel=channel,
        name=name,
        credentials=credentials.encrypt(secret),
        account=_account_of(identity),
        rate=_rate_of(provider, rate, preset),
        bulk_share=bulk_share,
        region=region,
        base_url=base_url,
        admin_chats=[str(chat).strip() for chat in admin_chats],
    )
    if burst_guard is not None:
        sender.burst_guard = burst_guard
    return _save_new(sender)


def by_name(name: str) -> Sender:
    """The sender called `name`. Raises NotFound with the names that come close."""
    try:
        return Sender.objects.get(name=storable(name))
    except Sender.DoesNotExist:
        raise NotFound(f"There is no sender {name!r}; {_hint(name)}") from None


def only(channel: str) -> Sender:
    """The one sender of a channel. Raises NotFound when there is none, InvalidInput when it must be named."""
    found = list(Sender.objects.filter(channel=channel).order_by("name"))
    if not found:
        raise NotFound(f"There is no sender for {channel}; add one with `longwave sender add {channel}`.")
    if len(found) > 1:
        names = ", ".join(sender.name for sender in found)
        raise InvalidInput(Problem("sender", None, f"there are several for {channel}; name one of {names}"))
    return found[0]


def all_senders() -> list[Sender]:
    """Every sender, by name."""
    return list(Sender.objects.order_by("name"))


def regions() -> list[str]:
    """The regions that senders are in, by name."""
    found = Sender.objects.exclude(region="").values_list("region", flat=True)
    return sorted(set(found))


def account(sender: Sender) -> Account:
    """What the channel needs to act as this sender. Raises CredentialsUnreadable."""
    return Account(credentials.decrypt(sender.credentials), sender.base_url)


def mark_broken(sender_id: int, reason: str) -> bool:
    """The provider refuses this sender: nothing more is sent with it. False: somebody has marked it
    already."""
    active = Sender.objects.filter(id=sender_id, status=SenderStatus.ACTIVE)
    return bool(active.update(status=SenderStatus.BROKEN, status_reason=storable(reason)[:255]))


def why_broken(sender: Sender) -> str:
    """Why a broken sender may not send, and what to do."""
    return (
        f"The sender {sender.name!r} is broken: {sender.status_reason or 'its provider refuses it'}. "
        f"Mend it, then run `longwave sender enable {sender.name}`."
    )


def mark_active(sender_id: int) -> bool:
    """It may send again. False: it could already."""
    broken = Sender.objects.filter(id=sender_id, status=SenderStatus.BROKEN)
    return bool(broken.update(status=SenderStatus.ACTIVE, status_reason=""))


def enable(name: str, secret: str | None = None) -> Sender:
    """Ask the provider again, with a new secret if one is given, and let the sender send if it agrees."""
    sender = by_name(name)
    if secret is not None:
        _replace_secret(sender, secret.strip())
    else:
        asyncio.run(channels.get(sender.channel).identify(account(sender)))
    mark_active(sender.id)
    sender.refresh_from_db()
    return sender


def set_rate(name: str, rate: float) -> Sender:
    """Change the rate; 0 is unlimited. Campaigns that are sending follow within a second."""
    sender = by_name(name)
    if problems := _rate_problems(channels.get(sender.channel), rate, None):
        raise InvalidInput(*problems)
    sender.rate = rate or None
    sender.save(update_fields=["rate"])
    return sender


def remove(name: str) -> None:
    """Forget a sender and its credentials. Raises Conflict while campaigns refer to it."""
    sender = by_name(name)
    try:
        with transaction.atomic():
            sender.delete()
    except ProtectedError as error:
        used = len(error.protected_objects)
        raise Conflict(
            f"The sender {name!r} is used by {used} campaign{'s' if used > 1 else ''}, "
            "whose receipts name it, so it is kept. To stop sending with it, cancel those that are not over."
        ) from None


def limit_key(sender_id: int) -> str:
    """The key of the sender's own limit: what a hold of the whole sender names."""
    return f"sender:{sender_id}"


def horizon(kind: Kind) -> float:
    """How many seconds ahead a send of this kind may reserve: interactive ones further, so they go first."""
    return INTERACTIVE_HORIZON if kind == "interactive" else BULK_HORIZON


def limits(
    sender: Sender,
    kind: Kind,
    *,
    campaign_id: int | None = None,
    campaign_rate: float | None = None,
    chat: str | int | None = None,
) -> list[Rate]:
    """The limits a send must keep, the sender's own first: what `pacing.ledger.reserve` takes.

    campaign_rate: a campaign's own rate (None: the sender's). chat: where an interactive send goes.
    """
    own = limit_key(sender.id)
    found = [Rate(own, sender.rate or None)]
    if kind == "bulk":
        if sender.rate and sender.bulk_share < 1:
            found.append(Rate(f"{own}/bulk", sender.rate * sender.bulk_share, CATCH_UP))
        if campaign_id is not None and campaign_rate:
            found.append(Rate(f"campaign:{campaign_id}", campaign_rate, CATCH_UP))
    elif sender.channel == "telegram" and chat is not None:
        found.append(
            Rate(f"{own}/chat:{_chat_key(str(chat))}", GROUP_RATE if _is_group(str(chat)) else CHAT_RATE)
        )
    return found


def _chat_key(chat: str) -> str:
    """A chat as part of a limit's key: short, and in letters that no collation confuses."""
    plain = chat.lower()
    return plain if _PLAIN_CHAT.fullmatch(plain) else sha256(plain.encode(errors="replace")).hexdigest()


def _is_group(chat: str) -> bool:
    """Groups and channels have negative ids; a public one may also be named."""
    return chat.startswith(("-", "@"))


def _replace_secret(sender: Sender, secret: str) -> None:
    if problems := list(_secret_problems(sender.channel, secret)):
        raise InvalidInput(*problems)
    identity = asyncio.run(channels.get(sender.channel).identify(Account(secret, sender.base_url)))
    if identity.id != sender.account.get("id"):
        raise Conflict(
            f"These credentials belong to {identity.name}, but the sender {sender.name!r} is "
            f"{sender.account.get('name')}. Add {identity.name} as a sender of its own."
        )
    sender.credentials = credentials.encrypt(secret)
    sender.account = _account_of(identity)
    sender.save(update_fields=["credentials", "account"])


def _save_new(sender: Sender) -> Sender:
    try:
        with transaction.atomic():
            _refuse_taken_account(sender)
            sender.save(force_insert=True)
    except IntegrityError:  # somebody else took the name while we asked the provider
        raise _name_taken(sender.name) from None
    return sender


def _refuse_taken_name(name: str) -> None:
    if Sender.objects.filter(name=name).exists():
        raise _name_taken(name)


def _name_taken(name: str) -> Conflict:
    return Conflict(f"There is already a sender {name!r}. Choose another name, or remove that one first.")


def _refuse_taken_account(sender: Sender) -> None:
    """One account under two names would have two limits, and together exceed the provider's."""
    for other in Sender.objects.filter(channel=sender.channel, base_url=sender.base_url):
        if sender.account["id"] and other.account.get("id") == sender.account["id"]:
            raise Conflict(
                f"{sender.account['name']} is already the sender {other.name!r}. Use that one: "
                "two senders for one account would have a limit each, and together send too fast."
            )


def _account_of(identity: Identity) -> dict[str, object]:
    return {"id": identity.id, "name": identity.name, "details": dict(identity.details)}


def _rate_of(provider: Channel, rate: float | None, preset: str | None) -> float | None:
    if rate is not None:
        return rate or None
    return provider.presets[preset] if preset is not None else provider.default_rate or None


def _name_problems(name: str) -> Iterable[Problem]:
    if not name or name != name.strip() or not name.isprintable() or len(name) > 100:
        yield Problem("name", name, "give a name of 1 to 100 printable characters, without spaces around it")


def _secret_problems(channel: str, secret: str) -> Iterable[Problem]:
    if channel == "telegram" and not _TELEGRAM_TOKEN.fullmatch(secret):
        yield Problem("token", "…", _BOTFATHER)


def _rate_problems(provider: Channel, rate: float | None, preset: str | None) -> list[Problem]:
    if rate is not None and preset is not None:
        return [Problem("preset", preset, f"give either a preset or a rate, not both (the rate is {rate})")]
    if preset is not None and preset not in provider.presets:
        known = ", ".join(f"{name} ({value:g}/s)" for name, value in provider.presets.items())
        return [Problem("preset", preset, f"must be one of {known}")]
    if rate is not None and not (math.isfinite(rate) and (rate == 0 or LOWEST_RATE <= rate <= HIGHEST_RATE)):
        return [
            Problem(
                "rate",
                rate,
                f"must be {LOWEST_RATE:g} to {HIGHEST_RATE:,.0f} sends a second, or 0: unlimited",
            )
        ]
    return []


def _url_problems(base_url: str) -> Iterable[Problem]:
    if not base_url:
        return
    try:
        parts = urlsplit(base_url)
        is_fine = (
            parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.query or parts.fragment)
        )
    except ValueError:
        is_fine = False
    if not is_fine or len(base_url) > 255:
        yield Problem("base_url", base_url, "must be a web address such as http://127.0.0.1:8081")


def _number_problems(bulk_share: float, burst_guard: float | None) -> Iterable[Problem]:
    if not LOWEST_SHARE <= bulk_share <= 1:
        remedy = f"must be {LOWEST_SHARE:g} to 1: the part campaigns use"
        yield Problem("bulk_share", bulk_share, remedy)
    if burst_guard is not None and not 0 <= burst_guard <= 0.5:
        yield Problem("burst_guard", burst_guard, "must be 0 to 0.5: how much wider than 1/rate slots lie")


def _chat_problems(channel: str, chats: Sequence[int | str]) -> Iterable[Problem]:
    for index, chat in enumerate(chats):
        text = str(chat).strip()
        if not text or (channel == "telegram" and not _TELEGRAM_CHAT.fullmatch(text)):
            yield Problem(f"admin_chat[{index}]", chat, "must be a chat id, or the @name of a channel")


def _region_problems(region: str) -> Iterable[Problem]:
    if region and not queues.is_region(region):
        yield Problem(
            "region", region, "must be 1 to 32 small letters, digits and dashes, such as eu or us-east"
        )


def _hint(name: str) -> str:
    known = list(Sender.objects.order_by("name").values_list("name", flat=True))
    if not known:
        return "there are none yet: add one with `longwave sender add telegram`."
    close = get_close_matches(name, known)
    return f"perhaps you mean {', '.join(close)}." if close else f"there are {', '.join(known[:10])}."
