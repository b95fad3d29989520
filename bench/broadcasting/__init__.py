"""The parts of bench/broadcast.py."""
