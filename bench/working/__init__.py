"""The parts of bench/jobs.py."""
