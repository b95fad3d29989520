"""What a person is told of a value that is refused."""

from longwave.core.errors import Problem


def test_a_long_value_is_shown_by_its_two_ends() -> None:
    short = Problem("FILE", "people.csv", "is empty")
    assert str(short) == "FILE = 'people.csv': is empty"
    long = str(Problem("FILE", f"/data/{'deep/' * 100}people.csv", "is empty"))
    assert long.startswith("FILE = '/data/deep/")
    assert long.endswith("deep/people.csv': is empty")
    assert len(long) < 100
