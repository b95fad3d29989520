"""A house for workers that are stopped, replaced, grow too large or go deaf."""

from contextlib import AbstractContextManager
from pathlib import Path

from longwave.jobs.models import Job, Status
from tests import houses
from tests.houses import House

JOBS = "tests.health.jobs"


def inhabited(kind: str, home: Path) -> AbstractContextManager[House]:
    return houses.house(kind, home, modules=JOBS, more={"LONGWAVE_LOG_FORMAT": "json"})


def submit(house: House, code: str) -> None:
    """Run `code`, which submits `jobs`, in a process of the house."""
    house.submit(f"from tests.health import jobs; {code}")


def traces(house: House) -> list[str]:
    """What the jobs have left, in order."""
    return [record["word"] for record in house.witness.records()]


def done(name: str) -> int:
    """How many jobs of that name have succeeded."""
    return Job.objects.filter(name=name, status=Status.SUCCESS).count()
