"""The promises, with real processes and real kills. The provider's log is the judge."""

import random
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.stacks import STACKS, Stack, stack

pytestmark = pytest.mark.chaos


@pytest.fixture(scope="module", params=STACKS)
def started(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(request.param, tmp_path_factory.mktemp("home"), workers=4) as one:
        yield one


def test_everybody_gets_it_once_and_who_has_blocked_the_bot_is_no_failure(running: Stack) -> None:
    running.telegram.users(blocked=0.3)
    campaign = running.broadcast(3000)

    report = running.wait(campaign)

    verdict = running.verdict(campaign)
    assert (verdict.delivered_twice, verdict.lost, verdict.unknown) == (0, 0, 0)
    assert report["sent"] == verdict.delivered_once
    assert report["gone"] == verdict.gone > 600
    assert report["state"] == "completed"


def test_a_broker_that_is_emptied_or_replaced_loses_nothing(running: Stack) -> None:
    first = running.broadcast(3000, rate=1000)
    second = running.create()
    running.wait_sent(500)

    running.empty_broker()
    running.wait_sent(1500)
    running.replace_broker()
    running.run("campaign", "start", str(second))  # only what has found the new broker can take it
    running.wait(first)
    running.wait(second)

    assert Counter(running.telegram.chats().values()) == {2: 3000}


def test_twenty_kills_lose_nobody_and_each_leaves_less_than_a_second_unknown(running: Stack) -> None:
    """The last: who was killed says nothing of a broker that is replaced."""
    dice, rate, target = random.Random(20), 500, 0
    before = running.deliveries("unknown")
    campaign = running.broadcast(6000, rate=rate)

    kills = []
    for _ in range(20):
        target += dice.randint(50, 250)
        running.wait_sent(target)
        kills.append(running.kill_worker(dice))
    running.wait(campaign, timeout=120)

    print("under way at each kill:", *map(len, kills))
    assert max(len(under_way) for under_way in kills) <= rate
    assert running.deliveries("unknown") - before == set().union(*kills)
    verdict = running.verdict(campaign)
    assert (verdict.delivered_twice, verdict.lost) == (0, 0)
    assert verdict.delivered_once + verdict.unknown == 6000
