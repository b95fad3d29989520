"""Import of a CSV of contacts: rows a second and memory, beside what Django and bare sqlite3 do with the same file.

    python bench/contacts_import.py [--quick] [--json FILE]

The import runs in a process of its own, so that its peak memory is its own. Peers, in the same run:
- `orm`: csv.DictReader and bulk_create(update_conflicts=True), the usual way of a Django project;
- `floor`: csv.reader and one executemany into the same tables, without checks, merging, or a transaction a chunk.
"""

import argparse
import csv
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

ROWS, QUICK_ROWS = 1_000_000, 150_000
PEER_ROWS = 100_000
RATE_TARGET = 30_000.0
MEMORY_TARGET = 150.0
COLUMNS = ("chat_id", "language", "first name", "city", "age")


def main() -> None:
    """Run everything and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROWS:,} rows instead of {ROWS:,}")
    parser.add_argument("--json", type=Path, help="write the results there")
    parser.add_argument("--measure", nargs=2, metavar=("WHAT", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure[0], Path(options.measure[1]))))
        return
    results = run(QUICK_ROWS if options.quick else ROWS)
    for result in results:
        verdict = {True: "ok", False: "MISSED", None: ""}[result["ok"]]
        print(
            f"{result['name']:<34} {result['value']:>12,.1f} {result['unit']:<7} {verdict}  {result['peers']}"
        )
    if options.json:
        options.json.write_text(json.dumps(results, indent=2))
    sys.exit(any(result["ok"] is False for result in results))


def run(rows: int) -> list[dict[str, Any]]:
    """Every measurement, as {name, value, unit, target, ok, peers}."""
    with tempfile.TemporaryDirectory(prefix="longwave-bench-") as folder:
        file, sample = Path(folder, "all.csv"), Path(folder, "sample.csv")
        write_people(file, rows)
        write_people(sample, min(rows, PEER_ROWS))
        peers = {what: isolated(what, sample)["rate"] for what in ("longwave", "orm", "floor")}
        found = isolated("twice", file)
    ratios = {f"of {what}": round(peers["longwave"] / peers[what], 2) for what in ("orm", "floor")}
    same = f"at {min(rows, PEER_ROWS):,} rows"
    return [
        result("import_rows_per_second", found["rate"], "rows/s", RATE_TARGET),
        result("import_again_rows_per_second", found["again_rate"], "rows/s", RATE_TARGET),
        result("import_peak_memory", found["peak_mb"], "MB", MEMORY_TARGET, lower=True),
        result(f"import_{same.replace(' ', '_')}", peers["longwave"], "rows/s", None, peers=peers | ratios),
    ]


def result(
    name: str,
    value: float,
    unit: str,
    target: float | None,
    *,
    lower: bool = False,
    peers: dict[str, float] | None = None,
) -> dict[str, Any]:
    """One measurement; `lower`: less is better."""
    ok = None if target is None else (value <= target if lower else value >= target)
    return {
        "name": name,
        "value": round(value, 1),
        "unit": unit,
        "target": target,
        "ok": ok,
        "peers": peers or {},
    }


def write_people(file: Path, rows: int) -> None:
    """A CSV of people in random order: the hard case for a database's index."""
    dice = random.Random(7)
    with file.open("w", newline="", encoding="utf-8") as target:
        writer = csv.writer(target)
        writer.writerow(COLUMNS)
        for _ in range(rows):
            city = dice.choice(("Bonn", "Köln", "Paris"))
            writer.writerow(
                (dice.randrange(1, 8_000_000_000), dice.choice(("de", "en")), "Ann", city, dice.randrange(99))
            )


def isolated(what: str, file: Path) -> dict[str, float]:
    """The measurement `what`, in a process and a database of its own."""
    with tempfile.TemporaryDirectory(prefix="longwave-bench-") as home:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LONGWAVE_")}
        done = subprocess.run(
            [sys.executable, __file__, "--measure", what, str(file)],
            env=environment | {"LONGWAVE_HOME": home}, check=True, stdout=subprocess.PIPE,
        )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure(what: str, file: Path) -> dict[str, float]:
    """In the process of its own: import once (or twice) and tell the rate and the peak memory."""
    import longwave

    longwave.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    ways: dict[str, Callable[[Path], int]] = {"longwave": by_longwave, "orm": by_orm, "floor": by_floor}
    found = {"rate": rate(ways.get(what, by_longwave), file)}
    if what == "twice":
        found["again_rate"] = rate(by_longwave, file)
    found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1 << (10 if sys.platform == "linux" else 20)
    )
    return found


def rate(way: Callable[[Path], int], file: Path) -> float:
    """Rows a second."""
    started = time.perf_counter()
    rows = way(file)
    return rows / (time.perf_counter() - started)


def by_longwave(file: Path) -> int:
    """What is measured."""
    from longwave.contacts import importing, lists

    with file.open("rb") as source:
        contact_list = lists.get_or_create("bench", "telegram")
        return importing.import_csv(source, channel="telegram", contact_list=contact_list).rows


def by_orm(file: Path) -> int:
    """The usual way of a Django project."""
    from longwave.contacts.models import Contact, ContactList, Membership

    contact_list = ContactList.objects.create(name="bench", channel="telegram")
    count = 0
    with file.open(newline="", encoding="utf-8") as source:
        for chunk in chunks(csv.DictReader(source)):
            people = [
                Contact(
                    channel="telegram",
                    address=row["chat_id"],
                    language=row["language"],
                    attributes={"first_name": row["first name"], "city": row["city"], "age": row["age"]},
                )
                for row in chunk
            ]
            stored = Contact.objects.bulk_create(
                people,
                update_conflicts=True,
                unique_fields=["channel", "address"],
                update_fields=["language", "attributes"],
            )
            members = [Membership(contact_list=contact_list, contact=contact) for contact in stored]
            Membership.objects.bulk_create(members, ignore_conflicts=True)
            count += len(chunk)
    return count


def by_floor(file: Path) -> int:
    """As little as can be done: no checks, one transaction, no list."""
    from django.db import connection, transaction

    sql = (
        "INSERT OR REPLACE INTO longwave_contact (channel, address, status, status_reason, language, timezone,"
        " attributes, first_seen, last_seen)"
        " VALUES ('telegram', %s, 'active', '', %s, '', %s, '2026-01-01', '2026-01-01')"
    )
    with (
        file.open(newline="", encoding="utf-8") as source,
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        rows = csv.reader(source)
        next(rows)
        count = 0
        for chunk in chunks(rows):
            cursor.executemany(sql, [(chat, language, json.dumps(rest)) for chat, language, *rest in chunk])
            count += len(chunk)
    return count


def chunks(rows: Iterator[Any]) -> Iterator[list[Any]]:
    """Rows by the two thousand."""
    while chunk := list(islice(rows, 2000)):
        yield chunk


if __name__ == "__main__":
    main()
