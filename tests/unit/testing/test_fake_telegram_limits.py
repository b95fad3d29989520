from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longwave.testing.fake_telegram import FakeTelegram
from longwave.testing.fake_telegram.limits import KeyedWindows, Limits, SlidingWindow, whole_seconds
from tests.unit.testing.bot import BOT, Call
from tests.waiting import until

arrivals = st.lists(st.tuples(st.floats(0, 1.3), st.integers(1, 3)), max_size=60)


def held(accepted: Sequence[tuple[float, int]], now: float, seconds: float) -> int:
    """By its definition: messages in (now - seconds, now]."""
    return sum(weight for at, weight in accepted if at <= now and now - at < seconds)


@given(arrivals, st.integers(3, 7), st.floats(0.5, 4))
def test_a_window_lets_through_exactly_what_fits(
    steps: list[tuple[float, int]], limit: int, seconds: float
) -> None:
    accepted: list[tuple[float, int]] = []
    window, now = SlidingWindow(), 1_700_000_000.0
    for step, weight in steps:
        now += step
        fits = held(accepted, now, seconds) + weight <= limit
        wait = window.wait(now, weight, limit, seconds)
        assert (wait == 0.0) == fits
        if fits:
            window.add(now, weight, limit, seconds)
            accepted.append((now, weight))
        else:
            later = now + wait + 1e-6
            assert held(accepted, later, seconds) + weight <= limit
            assert held(accepted, now + wait - 1e-6, seconds) + weight > limit


@given(st.lists(st.tuples(st.floats(0, 1.5), st.integers(1, 3)), max_size=60))
def test_every_chat_has_a_window_of_its_own_for_as_long_as_it_counts(steps: list[tuple[float, int]]) -> None:
    windows, alone, now = KeyedWindows(), {chat: SlidingWindow() for chat in (1, 2, 3)}, 1_700_000_000.0
    for step, chat in steps:
        now += step
        wait = alone[chat].wait(now, 1, 2, 3.0)
        assert windows.wait(chat, now, 1, 2, 3.0) == wait
        if wait == 0.0:
            alone[chat].add(now, 1, 2, 3.0)
            windows.add(chat, now, 1, 2, 3.0)


def test_windows_of_chats_that_fell_silent_are_given_back() -> None:
    windows = KeyedWindows()
    for chat in range(10_000):
        windows.add(chat, 1000.0 + chat / 100, 1, 3, 3.0)
    assert len(windows._young) + len(windows._old) <= 700


def test_more_than_the_limit_at_once_passes_an_empty_window_and_fills_the_next_ones() -> None:
    window = SlidingWindow()
    assert window.wait(100.0, 100, 30, 1.0) == 0.0
    window.add(100.0, 100, 30, 1.0)
    assert window.wait(100.0, 1, 30, 1.0) == 3.0
    assert window.wait(103.0, 21, 30, 1.0) == 1.0
    assert window.wait(103.0, 20, 30, 1.0) == 0.0


def test_retry_after_is_never_zero_and_rounds_up() -> None:
    assert [whole_seconds(wait) for wait in (0.001, 1.0, 1.001)] == [1, 1, 2]


def test_a_limit_that_is_no_positive_number_is_refused_with_its_name() -> None:
    with pytest.raises(ValueError, match="rate = 0: give a number above 0"):
        Limits(rate=0)
    with pytest.raises(ValueError, match="paid_rate = None"):
        Limits().changed({"paid_rate": None})
    with pytest.raises(ValueError, match="speed is not a limit"):
        Limits().changed({"speed": 3})


def answers(call: Call, chats: Sequence[int], **params: Any) -> list[int]:
    return [call("sendMessage", chat_id=chat, text="hi", **params).get("error_code", 200) for chat in chats]


def test_the_31st_send_in_a_second_is_refused_and_so_is_everything_until_the_flood_is_over(
    telegram: FakeTelegram, call: Call
) -> None:
    telegram.limits(rate=30)
    assert answers(call, range(1, 31)) == [200] * 30
    refused = call("sendMessage", chat_id=31, text="hi")
    assert refused["description"] == "Too Many Requests: retry after 1"
    assert refused["parameters"] == {"retry_after": 1}
    assert answers(call, [32]) == [429]
    stats = telegram.stats()
    assert (stats["accepted"], stats["peak_second"], stats["caused_429"]) == (30, 30, 2)
    assert stats["peak_second_attempted"] == 32
    assert [row["cause"] for row in telegram.throttled()] == ["global", "flood"]


def test_refused_requests_do_not_count_as_accepted_ones(telegram: FakeTelegram, call: Call) -> None:
    telegram.limits(rate=1)
    assert answers(call, [1, 2]) == [200, 429]
    telegram.clear_faults()
    assert answers(call, [3]) == [429]
    telegram.limits(rate=3)
    telegram.clear_faults()
    assert answers(call, [4, 5, 6]) == [200, 200, 429]


def test_bots_do_not_share_a_limit(telegram: FakeTelegram, call: Call) -> None:
    telegram.limits(rate=1)
    other = "77:" + "B" * 32
    assert answers(call, [1, 2]) == [200, 429]
    assert call("sendMessage", token=other, chat_id=1, text="hi")["ok"]
    assert telegram.stats(bot=77)["accepted"] == 1
    assert telegram.stats(bot=BOT)["caused_429"] == 1


def test_a_private_chat_takes_a_short_burst_and_the_others_go_on(telegram: FakeTelegram, call: Call) -> None:
    telegram.limits(chat_burst=3)
    assert answers(call, [5, 5, 5, 5, 6]) == [200, 200, 200, 429, 200]
    assert telegram.throttled()[0]["cause"] == "chat"
    assert telegram.throttled()[0]["retry_after"] == 3


def test_a_group_takes_twenty_a_minute(telegram: FakeTelegram, call: Call) -> None:
    telegram.limits(group_burst=20)
    assert answers(call, [-5] * 21) == [200] * 20 + [429]
    assert telegram.throttled()[0] | {"at": 0} == {
        "at": 0,
        "bot": BOT,
        "chat_id": -5,
        "cause": "group",
        "retry_after": 60,
    }


def test_an_album_counts_as_many_as_it_has_items(telegram: FakeTelegram, call: Call) -> None:
    telegram.limits(rate=3)
    media = [{"type": "photo", "media": f"https://example.com/{nth}.jpg"} for nth in range(2)]
    assert call("sendMediaGroup", chat_id=1, media=media)["ok"]
    assert call("sendMediaGroup", chat_id=2, media=media)["error_code"] == 429
    telegram.clear_faults()
    assert answers(call, [3, 4]) == [200, 429]
    stats = telegram.stats()
    assert (stats["accepted"], stats["messages"], stats["peak_second"]) == (2, 3, 3)


def test_a_send_to_someone_who_blocked_the_bot_uses_the_rate_as_well(
    telegram: FakeTelegram, call: Call
) -> None:
    telegram.limits(rate=2)
    telegram.users(chats={1: "blocked"})
    assert answers(call, [1, 2, 3]) == [403, 200, 429]


def test_edits_and_deletions_use_the_rate_but_are_no_new_message(telegram: FakeTelegram, call: Call) -> None:
    telegram.limits(rate=3)
    assert answers(call, [1]) == [200]
    assert call("editMessageText", chat_id=1, message_id=1, text="ho")["ok"]
    assert call("deleteMessage", chat_id=1, message_id=1)["ok"]
    assert answers(call, [2]) == [429]
    stats = telegram.stats()
    assert (stats["accepted"], stats["twice"], stats["attempted"]) == (1, 0, 4)
    assert [row["weight"] for row in telegram.log()] == [1, 0, 0]


def test_paid_messages_go_faster_and_cost_a_tenth_of_a_star_above_the_free_rate(
    telegram: FakeTelegram, call: Call
) -> None:
    telegram.limits(rate=5, paid_rate=8, stars=100)
    assert answers(call, range(1, 10), allow_paid_broadcast=True) == [200] * 8 + [429]
    assert telegram.stats()["stars_spent"] == 0.3
    assert telegram.stats()["paid"] == 8
    assert call("getMyStarBalance")["result"] == {"amount": 99, "nanostar_amount": 700_000_000}


def test_a_paid_message_that_is_not_delivered_costs_nothing(telegram: FakeTelegram, call: Call) -> None:
    telegram.limits(rate=1, stars=1)
    telegram.users(chats={2: "blocked"})
    assert answers(call, [1, 2], allow_paid_broadcast=True) == [200, 403]
    assert telegram.stats()["stars_spent"] == 0


def test_without_stars_a_paid_broadcast_has_the_free_rate(telegram: FakeTelegram, call: Call) -> None:
    telegram.limits(rate=2, stars=0.1)
    assert answers(call, range(1, 5), allow_paid_broadcast=True) == [200, 200, 200, 429]
    telegram.clear_faults()
    assert answers(call, [9]) == [429]


def test_forwards_cannot_be_paid_for(telegram: FakeTelegram, call: Call) -> None:
    telegram.limits(rate=2, stars=10)
    assert answers(call, [1, 2]) == [200, 200]
    params = {"from_chat_id": 1, "message_id": 1, "allow_paid_broadcast": True}
    assert call("forwardMessage", chat_id=3, **params)["error_code"] == 429
    telegram.clear_faults()
    assert call("copyMessage", chat_id=3, **params)["ok"]


def test_what_was_full_a_second_ago_is_free_again(telegram: FakeTelegram, call: Call) -> None:
    telegram.limits(chat_burst=1, chat_seconds=0.5)
    assert answers(call, [1, 1]) == [200, 429]
    until(lambda: answers(call, [1]) == [200], 10, telegram.stats)
