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
from broadcasting.scenarios import NOT_IN_QUICK, SCENARIOS


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
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}\n{HEADER}")
    for name in names:
        found = isolated(name, quick)
        results += found
        for one in found:
            print(row(one), flush=True)
    print(f"{time.monotonic() - began:.0f} s in all, load {os.getloadavg()[0]:.1f}")
    return results


def isolated(name: str, quick: bool) -> list[Result]:
    """One scenario in a process of its own."""
    command = [sys.executable, __file__, "--measure", name, *(["--quick"] if quick else [])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    try:
        said = process.communicate()[0]
    except BaseException:
        process.terminate()  # it cleans up behind itself
        process.wait()
        raise
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
