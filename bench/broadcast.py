"""Broadcasts from end to end against the fake Telegram, whose log is the clock and the judge.

    python bench/broadcast.py [--quick] [--only NAME] [--json FILE]

Every scenario has a process, a data folder and a database of its own, and leaves nothing behind. docs/benchmarks.md
says what each measures and how to install the peers it compares with.
"""

from broadcasting.scenarios import NOT_IN_QUICK, SCENARIOS, TOGETHER
from harness import Harness

if __name__ == "__main__":
    Harness(__file__, SCENARIOS, left_out=NOT_IN_QUICK, together=TOGETHER).main(__doc__)
