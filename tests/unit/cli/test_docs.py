"""What the documents tell people to type exists."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from longwave.cli import COMMANDS, lazy
from longwave.contacts import segments

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def consoles(page: Path) -> Iterator[list[str]]:
    """The words of every `longwave …` line in the page's console blocks."""
    for block in re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for line in re.findall(r"^(?:.*&& )?longwave ([^#\n]*)", block, re.MULTILINE):
            yield line.split()


def test_there_is_something_to_check() -> None:
    assert sum(len(list(consoles(page))) for page in PAGES) > 15


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_in_the_documents_exists(page: Path) -> None:
    for words in consoles(page):
        command = lazy.load(words[0], COMMANDS[words[0]])
        rest = words[1:]
        while getattr(command, "commands", None):
            command, rest = command.commands[rest[0]], rest[1:]
        known = {name for parameter in command.params for name in parameter.opts}
        given = {word for word in rest if re.fullmatch(r"-{1,2}[a-z][a-z-]*", word)}
        assert given <= known | {"--help"}, f"{page.name}: longwave {' '.join(words)}"


def test_the_segments_in_the_documents_are_right() -> None:
    page = (ROOT / "docs" / "contacts.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        segments.parse(json.loads(block))


def test_the_table_of_segments_names_every_operator() -> None:
    page = (ROOT / "docs" / "contacts.md").read_text(encoding="utf-8")
    for operators in segments._OPERATORS.values():
        for operator in operators:
            assert f"`{operator}`" in page
