"""Waiting in tests: for what shall come, and for what must not."""

import time
from collections.abc import Callable
from typing import Any


def until(condition: Callable[[], Any], timeout: float, explain: Callable[[], Any]) -> Any:
    """Look again and again until `condition` is true; its value. Fails with `explain()` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {timeout} s: {explain()}"
        time.sleep(0.05)


def pass_time(until_moment: float) -> None:
    """Let everything run on until this Unix time: only for seeing what does not happen meanwhile."""
    time.sleep(max(0.0, until_moment - time.time()))
