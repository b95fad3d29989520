"""What may be declared and submitted, and what is refused with words that help."""

import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longwave.core.errors import InvalidInput, NotFound
from longwave.jobs import declare, job
from longwave.jobs.declare import Options


@job("declare.example", queue="email")
def example(first: int, *, second: str = "x") -> int:
    """Add nothing."""
    return first


def test_a_declared_job_is_still_a_function() -> None:
    assert example(3, second="y") == 3


def test_a_module_full_of_jobs_is_cheap_to_import() -> None:
    code = (
        "import longwave.jobs, sys; print(*{'django', 'celery', 'asyncio', 'structlog'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_job_is_found_by_name_and_a_wrong_name_gets_close_ones() -> None:
    assert declare.find("declare.example") is example
    with pytest.raises(NotFound, match=r"declare\.example"):
        declare.find("declare.exampel")
    assert declare.get("declare.exampel") is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "Lane"}, "must read like"),
        ({"name": "no_room"}, "must read like"),
        ({"name": "a." + "b" * 100}, "at most 100"),
        ({"queue": "emial"}, "must be one of"),
        ({"retries": -1}, "must be positive"),
        ({"lease": 0}, "must be positive"),
        ({"retries": 1, "backoff": ()}, "need a backoff"),
        ({"backoff": (10, math.inf)}, "none longer than"),
        ({"backoff": (math.nan,)}, "must be positive"),
        ({"lease": math.nan}, "must be positive"),
        ({"lease": math.inf}, "none longer than"),
        ({"max_crashes": 0}, "must be 1 or more"),
    ],
)
def test_a_declaration_that_cannot_work_fails_at_import(options: dict[str, object], words: str) -> None:
    values: dict[str, object] = {"name": "declare.broken"} | options
    with pytest.raises(ValueError, match=words):
        job(**values)(lambda: None)  # type: ignore[arg-type]


def test_parameters_that_no_row_can_carry_fail_at_import() -> None:
    with pytest.raises(ValueError, match="given by name"):
        job("declare.positional")(lambda *values: None)
    with pytest.raises(ValueError, match="must not start with job_"):
        job("declare.clash")(lambda job_run_at: None)


def test_two_functions_cannot_have_one_name() -> None:
    with pytest.raises(ValueError, match=r"two jobs are called 'declare\.example'"):
        job("declare.example")(lambda: None)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({}, "first = None: declare.example needs it"),
        ({"first": 1, "third": 2}, "third = 2: declare.example does not take it; it takes first, second"),
        ({"first": object()}, "cannot be written as JSON"),
        ({"first": float("nan")}, "cannot be written as JSON"),
        ({"first": ["a\0b"]}, "NUL"),
        ({"first": "\ud83d"}, "half a surrogate pair"),
        ({"first": b"bytes"}, "cannot be written as JSON"),
    ],
)
def test_arguments_that_cannot_be_stored_are_refused_by_name(args: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        example.check(args)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        example.check({"second": b"", "third": 1})
    assert sorted(problem.field for problem in caught.value.problems) == ["first", "second", "third"]


def test_options_are_told_from_arguments_by_their_prefix() -> None:
    args, options = declare.split(example, {"first": 1, "job_dedupe_key": "d", "job_queue": "email.eu"})
    assert args == {"first": 1}
    assert options == Options(dedupe_key="d", queue="email.eu")
    with pytest.raises(InvalidInput, match="job_priority = 9: is no option"):
        declare.split(example, {"first": 1, "job_priority": 9})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_plain_values_without_nul_are_storable(value: object) -> None:
    assert (declare.json_problem(value) is None) == ("\0" not in _texts(value))


def _texts(value: object) -> str:
    match value:
        case str():
            return value
        case list():
            return "".join(map(_texts, value))
        case dict():
            return "".join(map(_texts, [*value, *value.values()]))
    return ""
