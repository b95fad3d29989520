"""Tables as people read them: nothing that was stored is cut off, or taken for markup."""

import os
import sys
from collections.abc import Iterable

from rich.console import Console, JustifyMethod, RenderableType
from rich.table import Table

UNBOUND = 200
"""Columns that a table gets in a file or a pipe."""


def table(*columns: str, whole: str = "") -> Table:
    """One with these columns; `>` before one of numbers. What does not fit goes on below; not that of `whole`, which
    others make room for.
    """
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        justify: JustifyMethod = "right" if column.startswith(">") else "left"
        made.add_column(column.removeprefix(">"), justify=justify, no_wrap=column == whole, overflow="fold")
    return made


def facts(rows: Iterable[tuple[str, str]]) -> Table:
    """What is known of one thing: a name and a value a line."""
    made = Table(box=None, pad_edge=False, show_header=False)
    made.add_column(no_wrap=True)
    made.add_column(overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def console() -> Console:
    """As wide as the terminal, or as COLUMNS says."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else UNBOUND
    return Console(width=width, highlight=False, markup=False, emoji=False)


def show(what: RenderableType) -> None:
    """Print it on stdout."""
    console().print(what)
