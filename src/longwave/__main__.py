"""`python -m longwave`, the same as `longwave`."""

from longwave.cli import main

if __name__ == "__main__":
    main()
