"""What commands have in common: to ask before they do it, and to answer in words or as JSON."""

import json
import sys
from typing import Annotated, Any

import typer

from longwave.cli import words
from longwave.core.errors import InvalidInput, Problem

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def ask(yes: bool, question: str) -> None:
    """End with 1 unless the answer is yes. Raises InvalidInput where nobody can be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise InvalidInput(Problem("--yes", False, f"is needed where nobody can be asked: {question}"))
    if not typer.confirm(question):
        raise typer.Exit(1)


def answer(fields: Any, as_json: bool, text: str) -> None:
    """Print `fields` as a JSON document, or the text."""
    typer.echo(json.dumps(fields, default=words.for_scripts) if as_json else text)


def count_jobs(number: int) -> str:
    """So many jobs, in words."""
    return "1 job" if number == 1 else f"{number:,} jobs"
