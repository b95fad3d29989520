"""The judge is judged: each chat in the count where it belongs, and nobody excused who was never tried."""

from longwave.testing.fake_telegram import FakeTelegram
from longwave.testing.verdict import judge
from tests.unit.testing.bot import Call


def send(call: Call, *chats: int) -> None:
    for chat in chats:
        call("sendMessage", chat_id=chat, text="Hello")


def test_every_chat_is_counted_where_it_belongs(telegram: FakeTelegram, call: Call) -> None:
    telegram.users(chats={4: "blocked"})
    send(call, 1, 2, 2, 4)

    verdict = judge(telegram, range(1, 8), {4: "gone", 5: "unknown", 6: "skipped", 7: "pending"})

    counts = (verdict.delivered_once, verdict.delivered_twice, verdict.gone, verdict.unknown, verdict.lost)
    assert counts == (1, 1, 1, 2, 2)
    assert verdict.broken_promises(None) == ["1 chats got it twice", "2 chats were silently skipped"]


def test_a_blocked_chat_that_was_never_tried_is_lost(telegram: FakeTelegram, call: Call) -> None:
    telegram.users(chats={1: "blocked", 2: "blocked"})
    send(call, 1)

    verdict = judge(telegram, (1, 2), {1: "gone", 2: "pending"})

    assert (verdict.gone, verdict.lost) == (1, 1)


def test_our_own_word_that_somebody_is_gone_is_not_taken_for_it(telegram: FakeTelegram, call: Call) -> None:
    telegram.users(chats={1: "blocked", 2: "blocked"})
    send(call, 1)
    assert judge(telegram, (1, 2), {1: "gone", 2: "gone"}).lost == 1

    assert judge(telegram, (3,), {3: "gone"}).lost == 1


def test_a_group_that_was_upgraded_got_it_under_its_new_number(telegram: FakeTelegram, call: Call) -> None:
    telegram.users(chats={-5: {"upgraded_to": -100500}})
    send(call, -5, -100500)

    verdict = judge(telegram, (-5,), {})

    assert (verdict.delivered_once, verdict.lost) == (1, 0)
