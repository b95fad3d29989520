from array import array

from hypothesis import given
from hypothesis import strategies as st

from longwave.testing.fake_telegram import FakeTelegram
from longwave.testing.fake_telegram.journal import Clock, Journal
from tests.unit.testing.bot import BOT, Call

gaps = st.floats(0, 0.7) | st.sampled_from([0.0, 0.25, 0.5, 1.0])


@given(st.lists(st.tuples(gaps, st.integers(0, 4)), max_size=40))
def test_the_judge_finds_the_same_highest_second_as_trying_them_all(steps: list[tuple[float, int]]) -> None:
    rows, now = [], 1_700_000_000.0
    for gap, weight in steps:
        now += gap
        rows.append((now, 7, 1, weight))
    tried = [sum(weight for at, _, _, weight in rows if at <= end and end - at < 1.0) for end, *_ in rows]
    assert filled(rows).stats()["peak_second"] == max(tried, default=0)


def test_messages_exactly_one_second_apart_are_in_two_seconds() -> None:
    assert filled([(1.0, 7, 1, 1), (2.0, 7, 1, 1), (3.0, 7, 1, 1)]).stats()["peak_second"] == 1
    assert filled([(1.0, 7, 1, 1), (1.999, 7, 1, 1), (2.0, 7, 1, 1)]).stats()["peak_second"] == 2


def test_the_mean_counts_what_came_after_the_first() -> None:
    assert filled([(10.0, 7, 1, 1), (11.0, 7, 1, 1), (12.0, 7, 1, 1)]).stats()["mean_rate"] == 1.0
    assert filled([(10.0, 7, 1, 5), (11.0, 7, 1, 3)]).stats()["mean_rate"] == 3.0
    assert filled([(10.0, 7, 1, 1)]).stats()["mean_rate"] is None
    assert filled([]).stats()["mean_rate"] is None


@given(
    st.lists(st.tuples(gaps, st.integers(7, 8), st.integers(1, 3), st.integers(0, 2)), max_size=30),
    st.integers(0, 30),
)
def test_asking_in_between_changes_no_verdict(
    steps: list[tuple[float, int, int, int]], asked_after: int
) -> None:
    rows, now = [], 1_700_000_000.0
    for gap, bot, chat, weight in steps:
        now += gap
        rows.append((now, bot, chat, weight))
    asked = filled(rows[:asked_after])
    asked.stats()
    asked.stats(bot=7)
    fill(asked, rows[asked_after:])
    for only in (None, 7):
        assert (
            asked.stats(bot=only) == filled(rows).stats(bot=only) == filled(rows).stats(bot=only, since=0.0)
        )
        assert asked.chat_counts(bot=only) == filled(rows).chat_counts(bot=only)


def test_the_clock_never_goes_back() -> None:
    clock = Clock()
    read = [clock() for _ in range(1000)]
    assert read == sorted(read)


def filled(rows: list[tuple[float, int, int, int]]) -> Journal:
    journal = Journal(keep_text=False)
    journal.method_names = ["sendMessage"]
    fill(journal, rows)
    return journal


def fill(journal: Journal, rows: list[tuple[float, int, int, int]]) -> None:
    for at, bot, chat, weight in rows:
        journal.accept(at, bot, 0, chat, 1, weight, False, "x" * 500)
        journal.attempts.add(at, bot, weight)


def test_stats_can_be_of_one_bot_and_of_what_came_since_a_moment() -> None:
    journal = filled([(1.0, 7, 50, 1), (2.0, 8, 50, 1), (3.0, 7, 50, 1), (3.5, 7, 51, 0), (4.0, 7, 52, 3)])
    everything, one, late = journal.stats(), journal.stats(bot=7), journal.stats(bot=7, since=3.0)
    assert (everything["accepted"], everything["chats"], everything["twice"]) == (4, 2, 1)
    assert (one["accepted"], one["messages"], one["twice"], one["first_at"]) == (3, 5, 1, 1.0)
    assert (late["accepted"], late["twice"], late["peak_second"], late["last_at"]) == (2, 0, 3, 4.0)
    assert journal.chat_counts(since=2.0) == {50: 2, 52: 1}


def test_only_the_latest_texts_are_kept_and_shortened() -> None:
    journal = filled([(float(nth), 7, nth, 1) for nth in range(10_005)])
    assert journal.row(4)["text"] is None
    assert journal.row(5)["text"] == "x" * 100
    assert journal.row(10_004)["chat_id"] == 10_004


def test_a_million_rows_take_less_than_a_hundred_bytes_each() -> None:
    journal = filled([(float(nth), 7, nth, 1) for nth in range(1000)])
    columns = [value for value in vars(journal).values() if isinstance(value, array)]
    assert sum(column.itemsize for column in columns) <= 40


def test_the_log_can_be_paged_and_filtered(telegram: FakeTelegram, call: Call) -> None:
    for chat in (1, 2, 1):
        call("sendMessage", chat_id=chat, text=f"to {chat}")
    call("sendDice", chat_id=1)
    rows = telegram.log()
    assert [(row["chat_id"], row["method"], row["text"]) for row in rows] == [
        (1, "sendMessage", "to 1"),
        (2, "sendMessage", "to 2"),
        (1, "sendMessage", "to 1"),
        (1, "sendDice", ""),
    ]
    assert rows[0]["bot"] == BOT
    assert [row["message_id"] for row in telegram.log(chat_id=1, offset=1)] == [3, 4]
    assert [row["message_id"] for row in telegram.log(method="senddice")] == [4]
    assert telegram.log(limit=1) == rows[:1]


def test_chats_arrivals_and_repeats_are_what_was_sent(telegram: FakeTelegram, call: Call) -> None:
    for chat in (1, 2, -1_000_000_000_001, 1):
        call("sendMessage", chat_id=chat, text="hi")
    assert telegram.chats() == {1: 2, 2: 1, -1_000_000_000_001: 1}
    assert telegram.twice() == [1]
    arrivals = telegram.arrivals()
    assert len(arrivals) == 4
    assert list(arrivals) == sorted(arrivals)
    assert len(telegram.arrivals(since=arrivals[2])) == 2
    assert telegram.stats(since=arrivals[2])["accepted"] == 2


def test_every_refusal_is_counted_by_what_it_said(telegram: FakeTelegram, call: Call) -> None:
    call("sendMessage", chat_id=1)
    call("sendMessage", chat_id=1)
    call("sendMessage", text="hi")
    assert telegram.stats()["refused"] == {
        "400 Bad Request: message text is empty": 2,
        "400 Bad Request: chat_id is empty": 1,
    }
    assert telegram.stats(bot=1)["refused"] == {}
