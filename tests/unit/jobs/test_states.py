"""The state table against the documentation, and its shape."""

from pathlib import Path

from longwave.jobs.models import ACTIVE, FINISHED, Status
from longwave.jobs.states import JOB

PAGE = Path(__file__).parents[3] / "docs" / "jobs.md"


def test_the_picture_in_the_documentation_is_the_table() -> None:
    assert f"```mermaid\n{JOB.mermaid()}\n```" in PAGE.read_text()


def test_nothing_leaves_a_finished_state_but_a_failure_that_is_run_again() -> None:
    assert [verb for verb, source, _ in JOB if source in FINISHED] == ["rerun"]
    assert set(ACTIVE) | set(FINISHED) == set(Status)


def test_only_a_claim_leads_to_running() -> None:
    assert [verb for verb, _, target in JOB if target == Status.RUNNING] == ["claim"]
