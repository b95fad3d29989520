"""What a benchmark found: one line of the table, one object of the JSON."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

Result = dict[str, Any]
"""`{name, value, unit, target, ok, peers}`. ok: None where there is no target, or nothing could be measured."""


class Broken(Exception):
    """The run did not do what it was to be measured doing: its numbers mean nothing."""


def result(
    name: str,
    value: float,
    unit: str,
    target: float | None = None,
    *,
    lower: bool = False,
    peers: Mapping[str, Any] | None = None,
) -> Result:
    """One measurement, judged as it will be shown. lower: less is better. peers: what it is compared with."""
    value = round(value, 3)
    ok = None if target is None else (value <= target if lower else value >= target)
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "target": target,
        "ok": ok,
        "peers": dict(peers or {}),
    }


def missing(name: str, why: str) -> Result:
    """A measurement that this machine cannot make."""
    return {"name": name, "value": None, "unit": "", "target": None, "ok": None, "peers": {"missing": why}}


def broken(name: str, why: str) -> Result:
    """A measurement that failed."""
    return {"name": name, "value": None, "unit": "", "target": None, "ok": False, "peers": {"error": why}}


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of all values do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def row(found: Result) -> str:
    """One line for people."""
    value = "-" if found["value"] is None else f"{found['value']:,.2f}"
    target = "" if found["target"] is None else f"{found['target']:,g}"
    verdict = {True: "ok", False: "MISSED", None: ""}[found["ok"]]
    peers = ", ".join(f"{name} {_short(value)}" for name, value in found["peers"].items())
    return f"{found['name']:<34} {value:>11} {found['unit']:<8} {target:>8}  {verdict:<6}  {peers}"


HEADER = f"{'':<34} {'measured':>11} {'':<8} {'target':>8}"


def _short(value: object) -> str:
    return (
        f"{value:,.4g}"
        if isinstance(value, float)
        else f"{value:,}"
        if isinstance(value, int)
        else str(value)
    )
