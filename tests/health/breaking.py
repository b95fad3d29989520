"""A worker whose consumer breaks down a second after its first message."""

from typing import Any, NoReturn

from celery import signals


@signals.task_received.connect(weak=False)
def break_down(sender: Any, **_: Any) -> None:
    sender.timer.call_after(1, _fail)


def _fail() -> NoReturn:
    raise MemoryError("the consumer is broken")
