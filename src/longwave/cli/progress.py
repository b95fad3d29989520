"""What somebody at a terminal sees while a command works: on stderr, and gone when it is done.

Into a file or a pipe nothing is written, so that a script reads results and errors only.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

Tell = Callable[[int, int], None]
"""Called with (done, total); a total of 0 is not known yet."""


@contextmanager
def bar(label: str, *, of_bytes: bool = False, wanted: bool = True) -> Iterator[Tell]:
    """A bar with the time that is left. wanted: False where stdout shows something on the same terminal."""
    count: ProgressColumn = DownloadColumn() if of_bytes else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), count, TimeRemainingColumn())
    console = Console(stderr=True)
    is_shown = wanted and console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=not is_shown) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total or None)


@contextmanager
def spinner(words: str) -> Iterator[None]:
    """A sign of life beside `words`, for what has no measure."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(words):
        yield
