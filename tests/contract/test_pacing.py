"""The pacing ledger keeps its promises on every database, under concurrent processes."""

import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from django.db import connections

from longwave import database as databases
from longwave.core.slots import SECOND, Grant, Rate, Standing
from longwave.pacing import ledger
from longwave.pacing.models import Limit
from longwave.senders import senders

SENDER = Rate("sender:1", 1000.0)
WIDE = 1.0
"""A horizon within which tests can take many slots at once."""


def reserve(*limits: Rate, n: int = 1, horizon: float = 0.5, weight: int = 1) -> Grant:
    return ledger.reserve(limits or [SENDER], n, horizon=horizon, weight=weight, burst_guard=0.0)


def together(work: Callable[[], None], threads: int) -> None:
    """Run `work` in so many threads at once, each with a connection of its own."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)
        finally:
            connections.close_all()

    running = [threading.Thread(target=run) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if failures:
        raise failures[0]


def slots_of(grants: Sequence[Grant]) -> list[int]:
    return sorted(grant.slot_us(i) for grant in grants for i in range(grant.count))


def test_a_new_limit_starts_at_the_databases_now(database: str) -> None:
    before = databases.clock_us()
    grant = reserve(n=10)
    assert before <= grant.start_us == grant.now_us <= databases.clock_us()
    assert (grant.count, grant.spacing_us) == (10, 1000)


def test_slots_go_on_where_the_last_block_ended_also_after_a_restart(database: str) -> None:
    first = reserve(n=100)
    connections.close_all()
    assert reserve(n=5).start_us == first.end_us


def test_concurrent_threads_never_get_the_same_slot_and_leave_none_out(database: str) -> None:
    grants: list[Grant] = []

    def work() -> None:
        for _ in range(15):
            grants.append(reserve(Rate("sender:1", 5000.0), n=7, horizon=WIDE))

    together(work, 4)
    taken = slots_of(grants)
    assert len(taken) == 4 * 15 * 7
    assert all(later - earlier >= 200 for earlier, later in pairwise(taken))
    assert taken[-1] - taken[0] <= max(grant.now_us for grant in grants) - taken[0] + len(taken) * 200


CHILD = """
import json, sys, time
import longwave
longwave.setup()
from longwave.core.slots import Rate
from longwave.pacing import ledger
limits = [Rate("sender:1", 2000.0), Rate("campaign:1", 1500.0, catch_up=0.1)][: int(sys.argv[1])]
ledger.state("sender:1")
print("ready", flush=True)
sys.stdin.readline()
grants, until = [], time.monotonic() + 1.5
while time.monotonic() < until:
    grant = ledger.reserve(limits, 50, horizon=0.2, burst_guard=0.0)
    if grant.count:
        grants.append((grant.start_us, grant.spacing_us, grant.count))
    else:
        time.sleep(min(0.05, max(0, grant.wait_until_us - grant.now_us) / 1e6))
print(json.dumps(grants))
"""


LANE = """
import json, sys, time
import longwave
longwave.setup()
from longwave.core.slots import MAX_LATE_US, SECOND, ClockOffset, Rate, debt
from longwave.pacing import ledger
rate, guard, seconds = 100.0, 0.006, 2.5
clock, left = ClockOffset(), []
ledger.state("sender:1")
print("ready", flush=True)
sys.stdin.readline()
until = time.monotonic() + seconds
while time.monotonic() < until:
    grant = ledger.reserve([Rate("sender:1", rate)], 20, burst_guard=guard, lead=0.01, clock=clock)
    owed, last = 0, 0
    for slot in map(grant.slot_us, range(grant.count)):
        at = clock.to_monotonic(slot)
        time.sleep(max(0, at - time.monotonic()))
        late = round((time.monotonic() - at) * SECOND)
        if late <= MAX_LATE_US:
            left.append(time.time())
            tolerance = round(guard * SECOND) - clock.uncertainty_us
            owed, last = max(owed, debt(late, tolerance)), slot
    ledger.push("sender:1", owed, slot_us=last)
    if not grant.count:
        time.sleep(max(0, clock.to_monotonic(grant.wait_until_us) - time.monotonic()))
print(json.dumps(left))
"""


def in_processes(script: str, url: str, *args: str, processes: int) -> list[Any]:
    """Start the script so many times, let all begin at once, and return what each printed."""
    environ = os.environ | {"LONGWAVE_DATABASE_URL": url}
    children = [
        subprocess.Popen(
            [sys.executable, "-c", script, *args],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(processes)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    return [json.loads(child.communicate()[0]) for child in children]


@pytest.mark.alone
def test_processes_that_send_in_their_slots_never_exceed_the_rate_in_any_second(database: str) -> None:
    """Judged by the wall clock at which each send left, over all processes."""
    left = sorted(at for times in in_processes(LANE, database, processes=3) for at in times)
    window: deque[float] = deque()
    peak = 0
    for at in left:
        window.append(at)
        while window[0] <= at - 1:
            window.popleft()
        peak = max(peak, len(window))
    assert 90 <= peak <= 100
    assert (len(left) - 1) / (left[-1] - left[0]) >= 90


@pytest.mark.parametrize("keys", [1, 2])
def test_concurrent_processes_share_the_rate_exactly(database: str, keys: int) -> None:
    answers = in_processes(CHILD, database, str(keys), processes=3)
    blocks = [tuple(block) for answer in answers for block in answer]
    taken = sorted(start + i * spacing for start, spacing, count in blocks for i in range(count))
    assert {spacing for _, spacing, _ in blocks} == {500}
    assert all(later - earlier >= 500 for earlier, later in pairwise(taken))
    mean = (len(taken) - 1) / (taken[-1] - taken[0]) * SECOND
    if keys == 1:
        assert all(later - earlier == 500 for earlier, later in pairwise(taken))
        assert mean == pytest.approx(2000)
    else:
        assert 1400 <= mean <= 1650


def test_unused_time_is_lost(database: str) -> None:
    reserve(n=1)
    Limit.objects.update(next_free=databases.clock_us() - 10 * SECOND)
    grant = reserve(n=1)
    assert grant.start_us == grant.now_us


def test_beyond_the_horizon_nothing_is_granted_and_nothing_written(database: str) -> None:
    reserve(n=400, horizon=WIDE)
    before = Limit.objects.get().next_free
    refused = reserve(n=10, horizon=0.1)
    assert refused.count == 0
    assert refused.wait_until_us > refused.now_us
    assert Limit.objects.get().next_free == before


def test_an_interactive_send_goes_before_waiting_campaigns(database: str) -> None:
    from longwave.core.slots import BULK_HORIZON, INTERACTIVE_HORIZON

    reserve(n=10_000, horizon=BULK_HORIZON)
    Limit.objects.update(next_free=databases.clock_us() + round((BULK_HORIZON + 0.05) * SECOND))
    assert reserve(n=1, horizon=BULK_HORIZON).count == 0
    assert reserve(n=1, horizon=INTERACTIVE_HORIZON).count == 1


def test_a_hold_stops_everybody_for_exactly_its_time(database: str) -> None:
    reserve(n=1)
    before = databases.clock_us()
    assert ledger.hold("sender:1", 7.0, "429: retry after 7") == pytest.approx(7.0, abs=0.001)
    refused = reserve(n=1)
    assert refused.count == 0
    assert refused.held_reason == "429: retry after 7"
    assert before + 7 * SECOND <= refused.held_until_us <= databases.clock_us() + 7 * SECOND


def test_a_hold_grows_by_what_it_is_longer(database: str) -> None:
    ledger.hold("sender:1", 5.0, "first")
    assert ledger.hold("sender:1", 8.0, "second") == pytest.approx(3.0, abs=1.0)
    assert ledger.hold("sender:1", 1.0, "shorter") == 0
    state = ledger.state("sender:1")
    assert state.held_reason == "second"
    assert 6.5 < state.held_seconds <= 8.0


def test_concurrent_holds_add_up_to_the_longest(database: str) -> None:
    grown: list[float] = []
    seconds = iter([3.0, 9.0, 6.0, 9.0])
    together(lambda: grown.append(ledger.hold("sender:1", next(seconds), "flood")), 4)
    assert sum(grown) == pytest.approx(9.0, abs=0.5)


def test_a_short_hold_moves_the_start(database: str) -> None:
    ledger.hold("sender:1", 0.3, "pause")
    grant = reserve(n=1)
    assert grant.count == 1
    assert grant.start_us == grant.held_until_us


def test_a_released_hold_is_over_at_once(database: str) -> None:
    ledger.hold("sender:1", 60, "flood")
    ledger.release("sender:1")
    assert reserve(n=1).count == 1
    assert ledger.state("sender:1").held_seconds == 0


def test_a_sender_without_a_rate_only_knows_holds(database: str) -> None:
    free = Rate("sender:1", None)
    assert reserve(free, n=5000).count == 5000
    assert ledger.state("sender:1").next_free_us == 0
    ledger.hold("sender:1", 60, "flood")
    assert reserve(free, n=5000).count == 0


def test_the_lowest_rates_have_a_next_slot_that_can_be_written_down(database: str) -> None:
    lowest = senders.LOWEST_RATE
    limits = [Rate("own", lowest), Rate("bulk", lowest * senders.LOWEST_SHARE), Rate("campaign", lowest)]
    assert ledger.reserve(limits, 1, weight=100, burst_guard=0.5).count == 1
    assert not ledger.reserve(limits, 1, weight=100, burst_guard=0.5).count


def test_every_key_has_its_own_rate(database: str) -> None:
    chat = Rate("sender:1/chat:42", 1.0)
    first = reserve(SENDER, chat)
    assert first.count == 1
    refused = reserve(SENDER, chat)
    assert refused.count == 0
    assert refused.wait_until_us == pytest.approx(first.start_us + SECOND, abs=5000)
    assert reserve(SENDER, Rate("sender:1/chat:43", 1.0)).count == 1


def test_a_refusal_by_one_key_costs_the_others_nothing(database: str) -> None:
    chat = Rate("sender:1/chat:42", 1.0)
    reserve(SENDER, chat)
    before = ledger.state("sender:1").next_free_us
    assert reserve(SENDER, chat).count == 0
    assert ledger.state("sender:1").next_free_us == before


def test_concurrent_sends_to_several_chats_neither_deadlock_nor_overlap(database: str) -> None:
    grants: list[Grant] = []
    chats = [Rate(f"sender:1/chat:{number}", 100.0) for number in range(3)]

    def work() -> None:
        for turn in range(12):
            grants.append(reserve(SENDER, *(chats if turn % 2 else chats[::-1]), horizon=WIDE))

    together(work, 4)
    taken = slots_of(grants)
    assert taken
    assert all(later - earlier >= 1000 for earlier, later in pairwise(taken))


def test_a_clock_set_back_starts_anew_and_does_not_wait_for_the_old_time(database: str) -> None:
    reserve(n=1)
    Limit.objects.update(next_free=databases.clock_us() + 3600 * SECOND)
    refused = reserve(n=1)
    assert refused.count == 0
    assert refused.wait_until_us <= refused.now_us + SECOND
    assert ledger.state("sender:1").next_free_us <= databases.clock_us() + SECOND


def test_a_late_send_moves_what_has_not_been_given_away(database: str) -> None:
    grant = reserve(n=100)
    ledger.push("sender:1", 5_000, slot_us=grant.start_us)
    assert reserve(n=1).start_us == grant.end_us + 5_000


def test_lanes_late_together_pay_once(database: str) -> None:
    grant = reserve(n=400)
    together(lambda: ledger.push("sender:1", 5_000, slot_us=grant.start_us), 4)
    assert ledger.state("sender:1").next_free_us == grant.end_us + 5_000


def test_a_push_without_its_slot_is_paid_in_full(database: str) -> None:
    grant = reserve(n=400)
    ledger.push("sender:1", 5_000)
    ledger.push("sender:1", 5_000)
    ledger.push("sender:1", 0)
    assert ledger.state("sender:1").next_free_us == grant.end_us + 10_000


def test_unused_slots_can_be_given_back(database: str) -> None:
    grant = reserve(n=100)
    assert ledger.give_back("sender:1", grant, 40)
    assert reserve(n=1).start_us == grant.slot_us(60)


def test_slots_cannot_be_given_back_once_somebody_reserved_after_them(database: str) -> None:
    grant = reserve(n=100)
    after = reserve(n=1)
    assert not ledger.give_back("sender:1", grant, 40)
    assert not ledger.give_back("sender:1", grant, 0)
    assert ledger.state("sender:1").next_free_us == after.end_us


def test_an_album_takes_its_weight_in_slots(database: str) -> None:
    assert reserve(Rate("sender:1", 10.0), n=1, weight=5).spacing_us == 500_000


def test_idle_limits_are_forgotten_and_busy_ones_kept(database: str) -> None:
    reserve(SENDER, Rate("sender:1/chat:42", 1.0))
    ledger.hold("sender:2", 60, "flood")
    Limit.objects.filter(key="sender:1/chat:42").update(next_free=1)
    assert ledger.forget_idle() == 1
    assert set(Limit.objects.values_list("key", flat=True)) == {"sender:1", "sender:2"}
    assert ledger.forget_idle(after=0) == 0 or ledger.state("sender:2").held_seconds > 0


def test_a_row_that_vanishes_while_it_is_read_is_made_again(
    sqlite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve(n=1)
    write = ledger._write

    def vanish(rows: dict[str, Standing], changes: dict[str, Standing]) -> bool:
        Limit.objects.all().delete()
        return write(rows, changes)

    monkeypatch.setattr(ledger, "_write", vanish)
    assert reserve(n=1).count == 1
    assert Limit.objects.count() == 1


def test_what_cannot_be_reserved_is_refused(sqlite: str) -> None:
    for limits, n in (([], 1), ([SENDER], 0)):
        with pytest.raises(ValueError, match="reserve needs"):
            ledger.reserve(limits, n, burst_guard=0.0)


def test_a_reservation_costs_milliseconds(database: str) -> None:
    """Lanes ask four times a second; this leaves room for a hundred lanes."""
    reserve(n=1)
    begin = time.perf_counter()
    for _ in range(50):
        reserve(Rate("sender:1", 100_000.0), n=1)
    assert (time.perf_counter() - begin) / 50 < 0.02
