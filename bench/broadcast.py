"""Broadcasts from end to end against the fake Telegram, whose log is the clock and the judge.

    python bench/broadcast.py [--quick] [--only NAME] [--json FILE]

Every scenario has a process, a data folder and a database of its own, and leaves nothing behind. docs/benchmarks.md
says what each measures and how to install the peers it compares with.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

from broadcasting.results import HEADER, Broken, Result, broken, row
from broadcasting.scenarios import IDLE, NOT_IN_QUICK, SCENARIOS


def main() -> None:
    """Run scenarios one after another and print what they found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, under a minute in all")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help=f"one of {', '.join(SCENARIOS)}; repeatable",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    parser.add_argument("--measure", choices=SCENARIOS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _stop)
    if options.measure:
        print(json.dumps(measure(options.measure, options.quick)))
        return
    results = run(_chosen(parser, options.only, options.quick), options.quick)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    sys.exit(any(found["ok"] is False for found in results))


def _chosen(parser: argparse.ArgumentParser, names: list[str], quick: bool) -> list[str]:
    for name in names:
        if name not in SCENARIOS:
            parser.error(f"--only {name}: must be one of {', '.join(SCENARIOS)}")
    return names or [name for name in SCENARIOS if not (quick and name in NOT_IN_QUICK)]


def run(names: list[str], quick: bool) -> list[Result]:
    """Every scenario in turn, its results printed as they come."""
    began, results = time.monotonic(), []
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}\n{HEADER}", flush=True)
    for group in _groups(names, quick):
        for one in side_by_side(group, quick):
            results.append(one)
            print(row(one), flush=True)
    print(f"{time.monotonic() - began:.0f} s in all, load {os.getloadavg()[0]:.1f}")
    return results


def _groups(names: list[str], quick: bool) -> list[list[str]]:
    idle = [name for name in names if quick and name in IDLE]
    return [group for group in (idle, *([name] for name in names if name not in idle)) if group]


def side_by_side(names: list[str], quick: bool) -> list[Result]:
    """Scenarios at the same time, each in a process of its own."""
    options = ["--quick"] if quick else []
    commands = [[sys.executable, __file__, "--measure", name, *options] for name in names]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        for command in commands
    ]
    try:
        return [
            found for name, process in zip(names, running, strict=True) for found in _ended(name, process)
        ]
    except BaseException:
        for process in running:
            process.terminate()  # it cleans up behind itself
        for process in running:
            process.wait()
        raise


def _ended(name: str, process: "subprocess.Popen[str]") -> list[Result]:
    said = process.communicate()[0]
    found: list[Result] = json.loads(said) if said else [broken(name, f"exit code {process.returncode}")]
    return found


def measure(name: str, quick: bool) -> list[Result]:
    """In the process of its own."""
    try:
        return SCENARIOS[name](quick)
    except Broken as error:
        return [broken(name, str(error))]


def _stop(*_: object) -> NoReturn:
    raise SystemExit(143)


if __name__ == "__main__":
    main()
