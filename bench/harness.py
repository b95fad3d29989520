"""What the benchmarks share: scenarios, each in a process of its own, a table for people and JSON for the rest."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from results import HEADER, Broken, Result, broken, row

Scenario = Callable[[bool], list[Result]]
"""What measures something; told whether it is the quick run."""


class Harness:
    """Runs scenarios by their names.

    left_out: not in the quick run. together: what the quick run has side by side, to save time: those that wait more
    than they work, or that are judged by a ratio.
    """

    def __init__(
        self,
        script: str,
        scenarios: Mapping[str, Scenario],
        *,
        left_out: Collection[str] = (),
        together: Sequence[Collection[str]] = (),
    ) -> None:
        self._script = script
        self._scenarios = scenarios
        self._left_out = left_out
        self._together = together

    def main(self, description: str | None) -> None:
        """The command line: run scenarios one after another and print what they found."""
        parser = self._parser(description)
        options = parser.parse_args()
        signal.signal(signal.SIGTERM, _stop)
        if options.measure:
            print(json.dumps(self._measure(options.measure, options.quick)))
            return
        results = self._run(self._chosen(parser, options.only, options.quick), options.quick)
        if options.json:
            options.json.write_text(json.dumps(results, indent=2) + "\n")
        sys.exit(any(found["ok"] is False for found in results))

    def _parser(self, description: str | None) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.add_argument("--quick", action="store_true", help="small sizes, under 45 seconds in all")
        parser.add_argument(
            "--only",
            action="append",
            default=[],
            metavar="NAME",
            help=f"one of {', '.join(self._scenarios)}; repeatable",
        )
        parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
        parser.add_argument("--measure", choices=self._scenarios, help=argparse.SUPPRESS)
        return parser

    def _chosen(self, parser: argparse.ArgumentParser, names: list[str], quick: bool) -> list[str]:
        for name in names:
            if name not in self._scenarios:
                parser.error(f"--only {name}: must be one of {', '.join(self._scenarios)}")
        return names or [name for name in self._scenarios if not (quick and name in self._left_out)]

    def _run(self, names: list[str], quick: bool) -> list[Result]:
        began, results = time.monotonic(), []
        print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}\n{HEADER}", flush=True)
        for group in self._groups(names, quick):
            for one in self._side_by_side(group, quick):
                results.append(one)
                print(row(one), flush=True)
        print(f"{time.monotonic() - began:.0f} s in all, load {os.getloadavg()[0]:.1f}")
        return results

    def _groups(self, names: list[str], quick: bool) -> list[list[str]]:
        """Each scenario by itself, in the quick run with those it goes together with; in order."""
        groups: dict[object, list[str]] = {}
        for name in names:
            partners = next((group for group in self._together if quick and name in group), name)
            groups.setdefault(partners, []).append(name)
        return list(groups.values())

    def _side_by_side(self, names: list[str], quick: bool) -> list[Result]:
        options = ["--quick"] if quick else []
        commands = [[sys.executable, self._script, "--measure", name, *options] for name in names]
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

    def _measure(self, name: str, quick: bool) -> list[Result]:
        """In the process of its own."""
        try:
            return self._scenarios[name](quick)
        except Broken as error:
            return [broken(name, str(error))]


def _ended(name: str, process: "subprocess.Popen[str]") -> list[Result]:
    said = process.communicate()[0]
    found: list[Result] = json.loads(said) if said else [broken(name, f"exit code {process.returncode}")]
    return found


def _stop(*_: object) -> NoReturn:
    raise SystemExit(143)
