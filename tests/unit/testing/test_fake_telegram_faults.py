import time
from http.client import HTTPConnection
from random import Random
from typing import Any

import pytest

from longwave.testing.fake_telegram import FakeTelegram
from longwave.testing.fake_telegram.faults import Faults
from tests.unit.testing.bot import BOT, Call
from tests.waiting import until

HANGS_UP = (ConnectionError, OSError)


def send(call: Call, chat: int = 1) -> Any:
    return call("sendMessage", chat_id=chat, text="hi")


def test_dropped_before_means_nobody_received_anything(telegram: FakeTelegram, call: Call) -> None:
    telegram.fault("drop_before", count=1)
    with pytest.raises(HANGS_UP):
        send(call)
    assert telegram.stats()["accepted"] == 0
    assert telegram.stats()["attempted"] == 1


def test_dropped_after_means_it_was_received_all_the_same(
    telegram: FakeTelegram, call: Call, connection: HTTPConnection
) -> None:
    telegram.fault("drop_after", count=1)
    with pytest.raises(HANGS_UP):
        send(call)
    assert telegram.chats() == {1: 1}
    connection.close()
    assert send(call)["ok"]
    assert telegram.twice() == [1]
    assert telegram.stats()["in_flight_peak"] == 1


def test_a_server_error_accepts_nothing(telegram: FakeTelegram, call: Call) -> None:
    telegram.fault("error", status=502, count=2)
    assert send(call) == {"ok": False, "error_code": 502, "description": "Bad Gateway"}
    assert send(call)["error_code"] == 502
    assert send(call)["ok"]
    assert telegram.stats()["refused"] == {"502 Bad Gateway": 2}


def test_an_error_may_come_as_a_page_instead_of_json(
    telegram: FakeTelegram, connection: HTTPConnection
) -> None:
    telegram.fault("error", status=504, body="<html>", method="getMe")
    connection.request("GET", f"/bot{BOT}:{'A' * 35}/getMe")
    response = connection.getresponse()
    assert (response.status, response.read()) == (504, b"<html>")


def test_a_slow_answer_does_not_hold_up_the_others(telegram: FakeTelegram, call: Call) -> None:
    telegram.fault("slow", delay=0.1, chat_id=1)
    began = time.monotonic()
    assert send(call, 2)["ok"]
    assert time.monotonic() - began < 0.1
    assert send(call, 1)["ok"]
    assert time.monotonic() - began >= 0.1
    first, second = telegram.arrivals()
    assert second - first < 0.1


def test_a_flood_stops_everything_of_a_bot_and_is_not_its_own_fault(
    telegram: FakeTelegram, call: Call
) -> None:
    telegram.fault("flood", seconds=7, bot=BOT)
    assert send(call)["parameters"] == {"retry_after": 7}
    assert call("getMe")["error_code"] == 429
    assert call("getMe", token="77:" + "B" * 35)["ok"]
    stats = telegram.stats()
    assert (stats["caused_429"], stats["throttled"]) == (0, {"fault": 2})
    telegram.clear_faults()
    assert send(call)["ok"]


def test_a_flood_ends_by_itself(telegram: FakeTelegram, call: Call) -> None:
    telegram.fault("flood", seconds=0.5)
    assert send(call)["error_code"] == 429
    until(lambda: send(call)["ok"], 10, telegram.stats)


def test_one_chat_can_be_rejected_with_given_words(telegram: FakeTelegram, call: Call) -> None:
    telegram.fault("reject", description="TOPIC_CLOSED", chat_id=3)
    assert send(call, 3)["description"] == "Bad Request: TOPIC_CLOSED"
    assert send(call, 4)["ok"]


def test_a_revoked_token_is_unauthorized_until_the_fault_is_cleared(
    telegram: FakeTelegram, call: Call
) -> None:
    telegram.fault("revoke")
    assert call("getMe") == {"ok": False, "error_code": 401, "description": "Unauthorized"}
    telegram.clear_faults()
    assert call("getMe")["ok"]


def test_faults_leave_methods_alone_that_send_nothing_unless_they_are_named(
    telegram: FakeTelegram, call: Call
) -> None:
    telegram.fault("error")
    assert call("getMe")["ok"]
    telegram.fault("error", method="*", status=503)
    assert call("getMe")["error_code"] == 503


def test_a_probability_hits_its_share_and_the_seed_makes_it_repeatable(
    telegram: FakeTelegram, call: Call
) -> None:
    def run() -> list[bool]:
        telegram.reset()
        telegram.fault("error", probability=0.3)
        return [send(call, chat)["ok"] for chat in range(1, 201)]

    first = run()
    assert 110 <= sum(first) <= 170
    assert run() == first


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ({}, "kind is missing: give one of drop_before"),
        ({"kind": "burn"}, "kind = 'burn': give one of drop_before"),
        ({"kind": "slow", "speed": 1}, "speed is nothing a fault has: give one of body"),
        ({"kind": "slow", "probability": 0}, "probability = 0: give a share above 0"),
        ({"kind": "error", "status": 200}, "status = 200: give a status from 400 to 599"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(fault: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Faults(Random(0)).add(fault, 0.0)


def test_a_refusal_of_the_control_endpoints_reaches_the_caller(telegram: FakeTelegram) -> None:
    with pytest.raises(ValueError, match="kind = 'burn'"):
        telegram.fault("burn")
    with pytest.raises(ValueError, match="rate = -1: give a number above 0"):
        telegram.limits(rate=-1)


def test_an_answer_is_lost_even_when_it_is_a_refusal(telegram: FakeTelegram, call: Call) -> None:
    telegram.users(chats={1: "blocked"})
    telegram.fault("drop_after", count=1)
    with pytest.raises(HANGS_UP):
        send(call)
    assert telegram.stats()["refused"] == {"403 Forbidden: bot was blocked by the user": 1}


def test_what_was_refused_before_a_bot_was_found_is_counted_too(telegram: FakeTelegram, call: Call) -> None:
    call("sendEverything")
    assert telegram.stats()["refused"] == {"404 Not Found: method not found": 1}
