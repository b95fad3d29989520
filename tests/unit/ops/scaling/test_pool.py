"""Which workers stay, which come, and what they are called."""

from collections import Counter
from dataclasses import replace

import pytest

from longwave.core.scaling import Limits
from longwave.jobs.profiles import PROFILES
from longwave.ops.scaling import pool
from longwave.ops.scaling.load import Group
from longwave.ops.supervisor import Member

FILES = Group("files", PROFILES["files"].queues, 2, Limits(1, 4))


def test_new_workers_have_the_first_free_numbers() -> None:
    assert pool.choose("auto-", 4, ["auto-2"], ["auto-1"], {}) == ["auto-2", "auto-3", "auto-4", "auto-5"]


def test_of_too_many_those_stay_that_have_the_most_to_do() -> None:
    staying = ["auto-1", "auto-2", "auto-3", "auto-4"]
    assert pool.choose("auto-", 2, staying, [], {"auto-2": 1, "auto-4": 2}) == ["auto-2", "auto-4"]
    assert pool.choose("auto-", 2, staying, [], {}) == ["auto-1", "auto-2"]
    assert pool.choose("auto-", 0, staying, [], {"auto-2": 1}) == []


def test_those_that_are_leaving_count_against_the_most_by_what_they_still_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    still_run: Counter[int] = Counter()
    monkeypatch.setattr(pool, "running_here", lambda: still_run)
    members = [Member("auto-files-1", 10, False), *(Member(f"auto-files-{n}", n, True) for n in (2, 3, 4))]
    new = ["auto-files-5", "auto-files-6", "auto-files-7"]
    assert pool.names_to_keep(FILES, 4, members) == ["auto-files-1", *new]
    still_run.update({2: 1, 3: 1, 10: 2})  # two jobs have the places of one worker
    assert pool.names_to_keep(FILES, 4, members) == ["auto-files-1", *new[:2]]
    assert pool.names_to_keep(FILES, 2, members) == ["auto-files-1", "auto-files-5"]
    assert pool.names_to_keep(FILES, 0, members) == []


def test_the_fewest_stay_whatever_is_leaving(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "running_here", lambda: Counter({11: 2}))
    only_one = replace(FILES, limits=Limits(1, 1))
    assert pool.names_to_keep(only_one, 1, [Member("auto-files-1", 11, True)]) == ["auto-files-2"]
