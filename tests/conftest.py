"""Every test runs in a data folder of its own. `database` runs a test once on each database there is."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import folders

for name in [name for name in os.environ if name.startswith("LONGWAVE_")]:
    del os.environ[name]
# Tables are as wide as it says, wherever they go, and a runner of tests may set it.
os.environ.pop("COLUMNS", None)
os.environ["LONGWAVE_HOME"] = str(folders.lasting())

import longwave  # noqa: E402

longwave.setup()

from longwave.jobs import ring, ringer  # noqa: E402
from tests import databases  # noqa: E402


@pytest.fixture(autouse=True)
def _rings_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A submit rings before it returns, so that what was rung for can be looked at."""

    def soon(name: str, queue: str, pairs: ringer.Pairs, *, is_alone: bool = False) -> None:
        ring.ring(name, queue, pairs)

    monkeypatch.setattr(ringer, "soon", soon)


@pytest.fixture(params=databases.NAMES)
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """The default connection points at an empty, migrated database of this kind; the value is its URL."""
    with databases.empty(request.param) as url:
        yield url


@pytest.fixture
def sqlite() -> Iterator[str]:
    """As `database`, on SQLite only: for tests of logic that no database changes."""
    with databases.empty("sqlite") as url:
        yield url


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A data folder of the test's own, for processes it starts."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder
