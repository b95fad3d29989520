"""Every figure there is: what docs, dashboard and alerts are held to."""

from longwave.ops.metrics import events, page
from longwave.ops.metrics.figures import Figure
from longwave.ops.metrics.state import PARTS

STATE = tuple(figure for part in PARTS for figure in part.figures)
EVENTS = events.FIGURES
OWN = page.OWN


def table(figures: tuple[Figure, ...]) -> str:
    """The figures as the rows of a Markdown table."""
    return "\n".join(_row(figure) for figure in figures)


def _row(figure: Figure) -> str:
    labels = ", ".join(f"`{label}`" for label in figure.labels)
    return f"| `{figure.name}` | {figure.kind} | {labels} | {figure.help} |"
