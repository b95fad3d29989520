"""Draw docs/demo.svg: what `longwave demo --chaos` really printed, run in a terminal of its own.

python docs/picture.py
"""

import os
import pty
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 92


def main() -> None:
    """Run the demo and draw the last screen of it."""
    os.environ |= {"COLUMNS": str(WIDTH), "LINES": "40", "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    said = bytearray()

    def read(descriptor: int) -> bytes:
        data = os.read(descriptor, 65536)
        said.extend(data)
        return data

    pty.spawn([sys.executable, "-m", "longwave", "demo", "--chaos"], read)
    lines = said.decode().replace("\r\n", "\n").split("\n")
    # The live view repaints itself: what stays on the screen begins with its last first line.
    intro = [line for line in lines[:2]]
    last = max(number for number, line in enumerate(lines) if "Longwave demo" in line)
    console = Console(record=True, width=WIDTH, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(Text.from_ansi("$ longwave demo --chaos\n" + "\n".join([*intro, *lines[last:]]).rstrip()))
    picture = console.export_svg(title="longwave demo --chaos")
    Path(__file__).with_name("demo.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
