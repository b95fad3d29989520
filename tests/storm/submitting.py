"""A bot of the storm, as the test sees it."""

import json
import subprocess
import sys
from pathlib import Path

from tests.houses import House


class Bot:
    """A process that submits jobs: `pace` seconds between two submits, until it is told to finish."""

    def __init__(self, house: House, half: str, seed: str, jobs: int, *, pace: float = 0.0) -> None:
        self._log = (house.home / f"bot-{half}.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.storm.bot", half, seed, str(jobs), str(pace)],
            env=house.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            bufsize=0,  # what one read leaves must not stay in a buffer that `communicate` does not see
        )
        self._heard = [self._hear()]  # it submits now
        self.slowest = 0.0

    def _hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().decode()

    def finish(self) -> dict[int, str]:
        """Have it submit the rest without a pause; the kinds of all jobs that were accepted, by id."""
        said, _ = self._process.communicate(timeout=120)
        assert self._process.returncode == 0, Path(self._log.name).read_text()
        self._log.close()
        lines = [json.loads(line) for line in [*self._heard, *said.decode().splitlines()]]
        self.slowest = max(line["seconds"] for line in lines)
        return {job_id: kind for line in lines for kind, job_id in line["accepted"]}
