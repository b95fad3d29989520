"""Real processes that run jobs, on each database with each broker."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import houses
from tests.houses import House
from tests.installations import JOB_STACKS


@pytest.fixture(params=JOB_STACKS)
def house(request: pytest.FixtureRequest, home: Path) -> Iterator[House]:
    """A house for the jobs of tests.room, in which nothing has been started yet."""
    with houses.house(request.param, home) as running:
        yield running
