"""As many workers as the work needs: a spike, and a sender that is throttled, on PostgreSQL and Valkey.

    python bench/autoscale.py [--quick] [--only NAME] [--json FILE]

Every scenario has a process, a data folder and a database of its own, and leaves nothing behind. docs/benchmarks.md
says what each measures.
"""

from harness import Harness
from scaling.scenarios import SCENARIOS

if __name__ == "__main__":
    Harness(__file__, SCENARIOS, together=[("spike", "throttled")]).main(__doc__)
