"""`longwave`, and `python -m longwave`, the same."""

import sys


def main() -> None:
    """Run the command line. Ctrl-C while it still loads ends it as any later one does, without a traceback."""
    try:
        from longwave.cli import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
