"""The verbs of senders, on every database."""

from collections.abc import Sequence

import pytest

from longwave.channels.base import AccountRefused
from longwave.core.errors import Conflict, InvalidInput, NotFound
from longwave.core.slots import Rate
from longwave.pacing import ledger as pacing
from longwave.senders import credentials, senders
from longwave.senders.models import Sender, SenderStatus

TOKEN = "123456789:AAEhBOweik6ad9r_QXMENQjcrGbqCr4K-bc"


def shop(**values: object) -> Sender:
    return senders.add("memory", "shop", "shop-account", **values)  # type: ignore[arg-type]


def test_a_sender_is_kept_with_what_its_provider_said_of_it(database: str) -> None:
    shop(rate=12.5, admin_chats=[42, " -100 "], bulk_share=0.8, base_url="http://127.0.0.1:8081/")
    kept = senders.by_name("shop")
    assert (kept.rate, kept.bulk_share, kept.admin_chats) == (12.5, 0.8, ["42", "-100"])
    assert kept.base_url == "http://127.0.0.1:8081"
    assert kept.account["name"] == "memory shop-account"
    assert senders.account(kept).secret == "shop-account"


def test_the_secret_is_stored_encrypted(database: str) -> None:
    kept = shop()
    assert "shop-account" not in kept.credentials
    assert credentials.decrypt(kept.credentials) == "shop-account"


def test_without_a_rate_the_channel_advises_and_0_is_unlimited(database: str) -> None:
    assert shop().rate == 1000
    assert senders.add("memory", "relay", "relay", rate=0).rate is None
    assert senders.add("memory", "preset", "preset", preset="standard").rate == 1000


def test_a_name_is_given_once(database: str) -> None:
    shop()
    with pytest.raises(Conflict, match="already a sender 'shop'"):
        senders.add("memory", "shop", "another")


def test_an_account_gets_one_limit_only(database: str) -> None:
    shop()
    with pytest.raises(Conflict, match="already the sender 'shop'"):
        senders.add("memory", "shop two", "shop-account")


def test_an_account_that_the_provider_refuses_is_not_kept(database: str) -> None:
    with pytest.raises(AccountRefused):
        senders.add("memory", "shop", "refused")
    assert not Sender.objects.exists()


def test_every_wrong_value_is_named_and_the_token_is_not_shown(database: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        senders.add(
            "telegram",
            " shop",
            TOKEN[:-10] + " x",
            rate=-1,
            base_url="ftp://example",
            bulk_share=0,
            burst_guard=2,
            admin_chats=["me"],
        )
    named = [problem.field for problem in refused.value.problems]
    assert named == ["name", "token", "rate", "base_url", "bulk_share", "burst_guard", "admin_chat[0]"]
    assert TOKEN[12:20] not in str(refused.value)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"rate": 5, "preset": "standard"}, "preset"),
        ({"preset": "ludicrous"}, "preset"),
        ({"rate": float("nan")}, "rate"),
        ({"rate": 1e9}, "rate"),
        ({"bulk_share": 1e-300}, "bulk_share"),
    ],
)
def test_a_rate_that_cannot_be_is_refused(sqlite: str, values: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput, match=field):
        shop(**values)


def test_a_name_nobody_has_names_those_that_come_close(database: str) -> None:
    with pytest.raises(NotFound, match="there are none yet"):
        senders.by_name("shop")
    shop()
    with pytest.raises(NotFound, match="perhaps you mean shop"):
        senders.by_name("shopp")


def test_a_sender_is_broken_once_and_mended_once(database: str) -> None:
    sender = shop()
    assert senders.mark_broken(sender.id, "Unauthorized")
    assert not senders.mark_broken(sender.id, "later words")
    broken = senders.by_name("shop")
    assert (broken.status, broken.status_reason) == (SenderStatus.BROKEN, "Unauthorized")
    assert "longwave sender enable shop" in senders.why_broken(broken)
    assert senders.mark_active(sender.id)
    assert not senders.mark_active(sender.id)
    assert senders.by_name("shop").status_reason == ""


def test_enabling_asks_the_provider_again(database: str) -> None:
    sender = shop()
    senders.mark_broken(sender.id, "Unauthorized")
    Sender.objects.update(credentials=credentials.encrypt("refused"))
    with pytest.raises(AccountRefused):
        senders.enable("shop")
    assert senders.by_name("shop").status == SenderStatus.BROKEN
    assert senders.enable("shop", "shop-account").status == SenderStatus.ACTIVE


def test_a_new_secret_must_be_of_the_same_account(database: str) -> None:
    shop()
    with pytest.raises(Conflict, match="a sender of its own"):
        senders.enable("shop", "another-account")


def test_a_rate_is_changed_and_0_lifts_it(database: str) -> None:
    shop()
    assert senders.set_rate("shop", 7).rate == 7
    assert senders.set_rate("shop", 0).rate is None
    assert senders.by_name("shop").rate is None
    with pytest.raises(InvalidInput, match="rate"):
        senders.set_rate("shop", -1)


def test_a_sender_is_removed_unless_campaigns_use_it(database: str) -> None:
    from longwave.campaigns.models import Campaign

    sender = shop()
    campaign = Campaign.objects.create(name="spring", sender=sender, content={"text": "hi"})
    with pytest.raises(Conflict, match="used by 1 campaign,"):
        senders.remove("shop")
    campaign.delete()
    senders.remove("shop")
    assert not Sender.objects.exists()


# Limits: which keys a send has to keep


def telegram(**values: object) -> Sender:
    return Sender(id=7, channel="telegram", name="bot", **{"rate": 30.0, **values})


def test_a_campaign_keeps_the_senders_limit() -> None:
    assert senders.limits(telegram(), "bulk", campaign_id=12) == [Rate("sender:7", 30.0)]


def test_a_campaign_with_a_rate_of_its_own_keeps_that_too() -> None:
    assert senders.limits(telegram(), "bulk", campaign_id=12, campaign_rate=5.0) == [
        Rate("sender:7", 30.0),
        Rate("campaign:12", 5.0, senders.CATCH_UP),
    ]


def test_a_bulk_share_is_a_limit_of_campaigns_only() -> None:
    sender = telegram(bulk_share=0.5)
    assert senders.limits(sender, "bulk")[1] == Rate("sender:7/bulk", 15.0, senders.CATCH_UP)
    assert senders.limits(sender, "interactive") == [Rate("sender:7", 30.0)]


@pytest.mark.parametrize(
    ("chat", "key", "rate"),
    [(42, "42", 1.0), ("-100", "-100", 1 / 3), ("@News", "@news", 1 / 3)],
)
def test_an_interactive_send_keeps_its_chats_limit(chat: int | str, key: str, rate: float) -> None:
    found = senders.limits(telegram(), "interactive", chat=chat)
    assert found == [Rate("sender:7", 30.0), Rate(f"sender:7/chat:{key}", rate)]


def test_chats_that_a_collation_takes_for_one_or_that_are_too_long_have_limits_of_their_own(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    create = pacing._create

    def create_a_few(keys: Sequence[str]) -> None:
        made.extend(keys)
        assert len(made) < 10, "limits are made again and again, and never found"
        create(keys)

    monkeypatch.setattr(pacing, "_create", create_a_few)

    def granted(chat: str) -> int:
        limits = senders.limits(telegram(), "interactive", chat=chat)
        return pacing.reserve(limits, 1, burst_guard=0.0).count

    assert [granted(chat) for chat in ("@u", "@\xfc", "1" * 300, "@U")] == [1, 1, 1, 0]


def test_a_sender_without_a_rate_has_nothing_to_share() -> None:
    assert senders.limits(telegram(rate=None, bulk_share=0.5), "bulk") == [Rate("sender:7", None)]


def test_interactive_sends_reserve_further_ahead_than_campaigns() -> None:
    assert senders.horizon("interactive") > senders.horizon("bulk")
