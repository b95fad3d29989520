"""What became of the jobs of the storm: the ledger's word and the witness', which knows nothing of the ledger."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any

from longwave.jobs.models import Job, Schedule, Status, Tick, Wait

FAILING = "doomed"
TRIES = {"flaky": 3, "patient": 2, FAILING: 2}
"""How often a job is tried until it ends, where no worker died. The others end with the first try."""

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Told:
    """What the witness was told, in the order in which it was said. killed: the processes that were, by pid."""

    records: Sequence[Record]
    killed: frozenset[int]

    @classmethod
    def of(cls, records: Sequence[Record]) -> "Told":
        kills = [pid for record in records if record["what"] == "killed" for pid in record["pids"]]
        return cls(records, frozenset(kills))

    def by(self, *names: str) -> dict[Any, list[Record]]:
        """Begins and ends, grouped by what they say of themselves."""
        groups: dict[Any, list[Record]] = defaultdict(list)
        for record in self.records:
            if record["what"] in ("begin", "end") and all(name in record for name in names):
                groups[tuple(record[name] for name in names)].append(record)
        return groups


def judge(accepted: Mapping[int, str], records: Sequence[Record]) -> None:
    """Fail with what is wrong. accepted: the kind of each job, by id."""
    told, rows = Told.of(records), {row.pk: row for row in Job.objects.filter(name__startswith="storm.")}
    assert rows.keys() == accepted.keys(), "the ledger has exactly what was accepted"
    _judge_ends(accepted, rows)
    _judge_side_effects(accepted, rows, told)
    _judge_order_of_keys(told)
    _judge_stages(told)


def judge_ticks(records: Sequence[Record], every_minute: str) -> None:
    """Fail with what is wrong with schedules: times kept twice, or left out where each is to be kept."""
    killed = Told.of(records).killed
    ran = Counter(
        record["job"] for record in records if record["what"] == "tick" and record["pid"] not in killed
    )
    assert set(ran.values()) == {1}
    jobs = Counter(Tick.objects.filter(schedule=every_minute).values_list("job_id", flat=True))
    assert set(jobs.values()) <= {1}
    times = list(Tick.objects.filter(schedule=every_minute).order_by("at").values_list("at", flat=True))
    assert {later - earlier for earlier, later in pairwise(times)} <= {timedelta(minutes=1)}


def judge_times(schedule: str, every: timedelta) -> None:
    """Fail with what is wrong with a schedule that is to keep every time, when its beats have ended."""
    times = list(Tick.objects.filter(schedule=schedule).order_by("at").values_list("at", flat=True))
    assert {later - earlier for earlier, later in pairwise(times)} == {every}, "a time was left out"
    jobs = Counter(Tick.objects.filter(schedule=schedule).values_list("job_id", flat=True))
    assert set(jobs.values()) == {1}
    assert jobs.keys() == set(Job.objects.filter(name=schedule).values_list("pk", flat=True))
    assert Schedule.objects.get(name=schedule).next_at == times[-1] + every


def _judge_ends(accepted: Mapping[int, str], rows: Mapping[int, Job]) -> None:
    expected = {pk: Status.FAILURE if kind == FAILING else Status.SUCCESS for pk, kind in accepted.items()}
    assert _wrong(rows, lambda row: row.status == expected[row.pk]) == []
    assert _wrong(rows, lambda row: row.finished_at and not row.lease_until and not row.serial_slot) == []
    assert not Wait.objects.exists()


def _judge_side_effects(accepted: Mapping[int, str], rows: Mapping[int, Job], told: Told) -> None:
    turns = told.by("job", "turn")
    assert {job_id for job_id, _ in turns} == accepted.keys(), "each job did something"
    for (job_id, _), said in turns.items():
        begins = [record for record in said if record["what"] == "begin"]
        tries = TRIES.get(accepted[job_id], 1)
        _judge_tries(rows[job_id], begins, tries, told)
    gave_up = Counter(record["job"] for record in told.records if record["what"] == "gave up")
    assert set(gave_up.values()) <= {1}
    assert gave_up.keys() <= {job_id for job_id, kind in accepted.items() if kind == FAILING}


def _judge_tries(row: Job, begins: Sequence[Record], tries: int, told: Told) -> None:
    """A side effect is repeated only where a process that was at it was killed.

    A kill takes a try that the ledger has counted: one that had begun, or one whose job was claimed and not begun yet.
    """
    cut_off = [begin for begin in begins if begin["pid"] in told.killed]
    ended = 1 if row.name == "storm.turns" else row.failures + (row.status == Status.SUCCESS)
    assert len(begins) <= ended + len(cut_off), f"{row} was repeated though nobody was killed: {begins}"
    assert ended <= min(tries, len(begins)), f"{row} ended {ended} times, by the ledger: {begins}"
    if row.name != "storm.turns":
        assert len(begins) <= row.attempt, f"{row} was claimed {row.attempt} times, by the ledger: {begins}"
        assert ended == tries or ended < row.attempt, f"{row} was tried {ended} times of {tries}: {begins}"


def _judge_order_of_keys(told: Told) -> None:
    for (key,), said in told.by("key").items():
        numbers = [record["number"] for record in said]
        assert numbers == sorted(numbers), f"{key} out of order: {numbers}"
        for before, after in pairwise(said):
            if before["what"] == after["what"] == "begin":
                assert before["pid"] in told.killed, f"two of {key} at a time: {before}, {after}"
        assert all(said[n - 1]["what"] == "begin" for n, record in enumerate(said) if record["what"] == "end")


def _judge_stages(told: Told) -> None:
    for (chain,), said in told.by("chain").items():
        places = [record["place"] for record in said]
        assert places == sorted(places), (
            f"a stage of {chain} began before the one before it had ended: {places}"
        )
        assert set(places) == {0, 1, 2}


def _wrong(rows: Mapping[int, Job], is_right: Any) -> list[str]:
    return [f"{row} {row.error or row.cancel_reason}" for row in rows.values() if not is_right(row)]
