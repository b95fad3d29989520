"""Commands of ours that a supervisor runs."""

import os
import sys

from longwave.config import Config
from longwave.ops.metrics.measuring import OPTION, SHARED
from longwave.ops.supervisor import Child

COUNTED = (OPTION, SHARED)
"""For commands that run jobs or end them: the web process serves what they count."""


def command(*words: str) -> list[str]:
    """`longwave` with these words, as a child that ends when this process is gone."""
    return [sys.executable, "-m", "longwave", "--parent", str(os.getpid()), *words]


def return_work(pids: list[int]) -> list[str]:
    """What frees the jobs that dead workers held."""
    return command("return-work", *COUNTED, *map(str, pids))


def modules_check(current: Config) -> list[Child]:
    """What is tried once before anything starts: what fails there would fail in every process, again and again."""
    return [Child("modules", command("check-modules"))] if current.modules else []
