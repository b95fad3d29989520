"""Background jobs from end to end, on PostgreSQL and Valkey, beside the libraries that people use today.

    python bench/jobs.py [--quick] [--only NAME] [--json FILE]

Every scenario has a process, a data folder and a database of its own, and leaves nothing behind. docs/benchmarks.md
says what each measures and how to install the peers it compares with.
"""

from harness import Harness
from working.scenarios import SCENARIOS

if __name__ == "__main__":
    Harness(__file__, SCENARIOS, left_out=["one_by_one_rabbitmq", "in_bulk_rabbitmq"]).main(__doc__)
